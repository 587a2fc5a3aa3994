"""Which traces came since a page was drawn."""

from dataclasses import dataclass
from datetime import datetime

from accounts.models import Project
from traces.filters import filtered
from traces.models import Trace
from traces.search import Group, Query, Words

MOST_ARRIVALS = 100


@dataclass(frozen=True)
class Arrival:
    """What came since a trace: how many (up to MOST_ARRIVALS), and the newest."""

    count: int
    trace_id: str
    received_at: datetime | None
    is_empty: bool


def arrival_mark(project: Project) -> int:
    """Return the mark after which a trace of the project is new: the key of its newest, 0 where it holds none."""
    return Trace.objects.filter(project=project).order_by("-pk").values_list("pk", flat=True).first() or 0


def arrivals(project: Project, *, since: int) -> Arrival:
    """Say which traces of the project were stored after a mark; reads no more rows than came since."""
    traces = Trace.objects.filter(project=project)
    newer = traces.filter(pk__gt=since).order_by("-pk") if since else traces.order_by("-sort_ns", "-id")
    found = list(newer.values_list("trace_id", "received_at")[:MOST_ARRIVALS])
    if found:
        return Arrival(len(found), found[0][0], found[0][1], False)
    return Arrival(0, "", None, since == 0)


def count_fresh(project: Project, query: Query, *, since: int) -> int | None:
    """Count the traces stored after a mark that match a query (up to MOST_ARRIVALS), the words that it looks for aside.

    None where a part in parentheses or with OR looks for words: what the rest leaves would say too much.
    """
    if any(isinstance(term, Group) and has_words(term) for term in query.terms):
        return None
    known = Query(tuple(term for term in query.terms if not isinstance(term, Words)))
    return len(filtered(project, known).filter(pk__gt=since).order_by("-pk").values_list("pk")[:MOST_ARRIVALS])


def has_words(group: Group) -> bool:
    """Say whether a group looks for words anywhere in it."""
    return any(
        isinstance(term, Words) or (isinstance(term, Group) and has_words(term))
        for choice in group.choices
        for term in choice
    )
