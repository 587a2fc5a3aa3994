"""Pages of lists: by the id of the last object, in a total order, with an exact `has_more`."""

from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from evals.openai_api.reading import BadRequest, one_of

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Wanted:
    """Which page is asked for."""

    limit: int
    after: str
    is_descending: bool


def read_page(
    request: HttpRequest, *, default_limit: int = DEFAULT_LIMIT, max_limit: int = MAX_LIMIT, order: str = "asc"
) -> Wanted:
    """Return what a list request asks for. Raises BadRequest."""
    text = request.GET.get("limit", str(default_limit))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= max_limit):
        raise BadRequest(f"`limit` must be 1 to {max_limit:,}, not {text[:40]!r}.", param="limit")
    chosen = one_of(request.GET.get("order") or order, ("asc", "desc"), "order")
    after = request.GET.get("after", "")
    if "\x00" in after:
        raise BadRequest("`after` must be an id of this list.", param="after")
    return Wanted(int(text), after, chosen == "desc")


def page_of(
    rows: "QuerySet[M]", everything: "QuerySet[M]", wanted: Wanted, *, by: str = "created_at"
) -> tuple[list[M], bool]:
    """Return the rows of a page and whether there are more. `everything` is the list without its filters, where `after` is looked up.

    Raises BadRequest where `after` is not in the list, for example because it was deleted meanwhile.
    """
    sign, word = ("-", "lt") if wanted.is_descending else ("", "gt")
    if wanted.after:
        last = everything.filter(public_id=wanted.after).values_list(by, "pk").first()
        if last is None:
            raise BadRequest(f"`after` names {wanted.after[:100]!r}, which is not in this list.", param="after")
        rows = rows.filter(Q(**{f"{by}__{word}": last[0]}) | Q(**{by: last[0], f"pk__{word}": last[1]}))
    found = list(rows.order_by(f"{sign}{by}", f"{sign}pk")[: wanted.limit + 1])
    return found[: wanted.limit], len(found) > wanted.limit


def list_document(documents: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """Return a list as it is answered."""
    return {
        "object": "list",
        "data": documents,
        "first_id": documents[0]["id"] if documents else None,
        "last_id": documents[-1]["id"] if documents else None,
        "has_more": has_more,
    }
