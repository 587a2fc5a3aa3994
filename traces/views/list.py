"""The traces list: one address, one view, one markup for the page and its fragments."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.access import ProjectRequest, project_page
from accounts.models import Role
from traces import columns, list_queries, search, text_queries
from traces.columns import Column
from traces.search import Query, QueryError

COUNT_LIMIT = 10_000
ORDERS = {
    "-started": "newest first",
    "started": "oldest first",
    "-latency": "slowest first",
    "latency": "fastest first",
    "-tokens": "most tokens first",
    "tokens": "fewest tokens first",
    "-cost": "dearest first",
    "cost": "cheapest first",
    "-spans": "most spans first",
    "spans": "fewest spans first",
}


@dataclass(frozen=True)
class Chip:
    """A part of the query as a chip: key, operator, value, and the address without it."""

    key: str
    operator: str
    value: str
    is_negated: bool
    text: str
    url: str


@dataclass(frozen=True)
class Heading:
    """The head of a column; `url` sorts by it, `direction` is that of `aria-sort` or empty."""

    column: Column
    url: str = ""
    direction: str = ""


@dataclass(frozen=True)
class ListAddress:
    """The address of a state of the list. Every link of the page is made here."""

    path: str
    q: str
    range: str
    sort: str
    columns: tuple[str, ...] = columns.USUAL

    def url(self, **changes: str | list[str]) -> str:
        state = {
            "q": self.q,
            "range": self.range,
            "sort": "" if self.sort == list_queries.DEFAULT_SORT else self.sort,
            "column": columns.asked_for(self.columns),
            **changes,
        }
        given = {name: value for name, value in state.items() if value}
        return f"{self.path}?{urlencode(given, doseq=True)}" if given else self.path


@require_GET
@project_page()
def trace_list(request: ProjectRequest) -> HttpResponseBase:
    """Show the traces of a project that match `q` within `range`, in the order `sort`, from the key `after` or `before` on.

    `column`, as often as wanted, names what shows; without it the usual ones do. `add` is text typed beside the chips and joins `q`;
    `from` and `to` are a range drawn on the histogram or typed beside it.
    """
    now = timezone.now()
    text, added_text = request.GET.get("q", ""), request.GET.get("add", "")
    sort = request.GET.get("sort", list_queries.DEFAULT_SORT)
    if sort.lstrip("-") not in list_queries.SORTS or sort.startswith("--"):
        sort = list_queries.DEFAULT_SORT
    error, query = None, Query()
    field = added_text
    try:
        query = search.parse(text, now=now)
    except QueryError as problem:
        error, field = problem, text
    path = reverse("traces:trace_list", args=[request.project.slug])
    if error is None and added_text.strip():
        try:
            joined = search.merge(query, search.parse(added_text, now=now))
            query = search.parse(joined, now=now)
            field = ""
        except QueryError as problem:
            error = problem
    shown, _ = columns.chosen_names(request.GET.getlist("column"))
    address = ListAddress(path, query.text, request.GET.get("range", ""), sort, shown)
    drawn = drawn_range(request)
    if error is None and drawn is not None:
        bound = search.range_query(query, after=drawn[0], before=drawn[1])
        query = search.parse(bound, now=now)
        address = replace(address, q=query.text, range="all")
    if error is not None and request.wants_partial:
        chosen = list_queries.time_range(request.project, address.range, now=now)
        context = bar_context(request, query, address, chosen, field=field, error=error)
        answer = render(request, "traces/_query_bar.html", context)
        answer["HX-Retarget"], answer["HX-Reswap"], answer["HX-Push-Url"] = "#query-bar", "outerHTML", "false"
        return answer
    is_changed = "add" in request.GET or drawn is not None
    if error is None and is_changed and not request.wants_partial:
        return redirect(address.url())
    answer = show_list(request, query, address, field=field, error=error, now=now)
    if is_changed:
        answer["HX-Push-Url"] = address.url()
    return answer


def drawn_range(request: ProjectRequest) -> tuple[datetime | None, datetime | None] | None:
    """Return the range drawn on the histogram or typed, or None where neither end is one. The earlier end comes first."""
    start, end = (moment_of(request.GET.get(name, "")) for name in ("from", "to"))
    if start == end:  # both None too
        return None
    return (end, start) if start and end and end < start else (start, end)


def moment_of(text: str) -> datetime | None:
    """Read ms since 1970, or what a field of date and time gives (in UTC; the page's script sends ms); None for anything else."""
    try:
        if text.removeprefix("-").isdecimal():
            return datetime.fromtimestamp(int(text) / 1000, tz=UTC)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def show_list(
    request: ProjectRequest, query: Query, address: ListAddress, *, field: str, error: QueryError | None, now: datetime
) -> HttpResponse:
    """Render the page, the whole browser under the top bar, or only its table when just that is asked for."""
    project = request.project
    chosen = list_queries.time_range(project, address.range, now=now)
    address = replace(address, range=chosen.name)
    after, before = request.GET.get("after", ""), request.GET.get("before", "")
    is_unreadable = error is not None and not request.GET.get("add", "")
    cursor_error = ""
    page = list_queries.TracePage([], "", "", address.sort)
    if not is_unreadable:
        since = chosen.since_ns
        fields = [*list_queries.ROW_FIELDS, *columns.fields_of(address.columns)]
        options: dict[str, Any] = {"sort": address.sort, "since_ns": since, "fields": fields}
        try:
            page = list_queries.trace_page(project, query, after=after, before=before, **options)
        except list_queries.CursorError as problem:
            cursor_error, after, before = str(problem), "", ""
            page = list_queries.trace_page(project, query, **options)
    only_table = request.wants_partial and request.htmx.target == "results"
    context = {
        "page": page,
        "rows": list_queries.list_rows(page, text_queries.excerpts(project, page.rows, query.said)),
        **column_context(request, address),
        "sort": address.sort,
        "order": ORDERS[address.sort],
        "cursor_error": cursor_error,
        "is_first": not after and not before,
        "newer_url": address.url(before=page.previous_key) if page.previous_key else "",
        "older_url": address.url(after=page.next_key) if page.next_key else "",
        "matching": matching_query(query, chosen),
        "is_unreadable": is_unreadable,
        "may_grade": request.role.allows(Role.ENGINEER),
        "list_path": address.path,
        "looked_to": page.looked_to if address.sort.lstrip("-") == "started" else None,
        "behind": text_queries.lag(project) if has_words(query.terms) else None,
    }
    if not page.rows and not page.is_cut and not is_unreadable:
        context |= empty_context(project, query, address, chosen)
    if only_table:
        return render(request, "traces/_trace_results.html", context)
    summary = None
    if not is_unreadable:
        summary = list_queries.trace_summary(project, query, since_ns=chosen.since_ns, now=now)
    context |= bar_context(request, query, address, chosen, field=field, error=error)
    context |= {
        "summary": summary,
        "figures": summary.figures if summary else None,
        "facets": facet_links(summary.facets, address) if summary else [],
        "cap": summary.looked_at if summary else 0,
        "state_url": address.url(q=""),
        "poll_url": poll_url(project, address),
        "all_time_url": address.url(range="all"),
    }
    template = "traces/_trace_browser.html" if request.wants_partial else "traces/trace_list.html"
    return render(request, template, context)


def poll_url(project: Any, address: ListAddress) -> str:
    """Return the address that says how many traces came since now."""
    mark = list_queries.arrival_mark(project)
    path = reverse("traces:fresh_traces", args=[project.slug])
    state = {"since": mark, "q": address.q, "range": address.range, "column": columns.asked_for(address.columns)}
    return f"{path}?{urlencode(state, doseq=True)}"


def has_words(terms: Iterable[search.Term]) -> bool:
    """Say whether a query looks for words anywhere in it."""
    return any(
        isinstance(term, search.Words) or (isinstance(term, search.Group) and any(map(has_words, term.choices)))
        for term in terms
    )


def bar_context(
    request: ProjectRequest,
    query: Query,
    address: ListAddress,
    chosen: list_queries.TimeRange,
    *,
    field: str,
    error: QueryError | None,
) -> dict[str, Any]:
    """Return what the query bar shows: chips, the text that is not taken yet, its error, the ranges."""
    address = replace(address, range=chosen.name)
    chips = []
    for place, term in enumerate(query.terms):
        url = address.url(q=search.drop_term(query, place))
        if isinstance(term, search.Condition):
            chips.append(Chip(term.label, term.shown_operator, term.shown_value, term.negated, term.text, url))
        else:
            chips.append(Chip("", "", term.text.removeprefix("-"), term.negated, term.text, url))
    ranges = [(name, label, address.url(range=name)) for name, (label, _length) in list_queries.RANGES.items()]
    before_error = field[: error.start] if error else ""
    return {
        "chips": chips,
        "address": address,
        "query_text": query.text,
        "field_text": field,
        "query_error": error,
        "error_before": before_error[-60:],
        "error_part": field[error.start : error.end][:80] if error else "",
        "error_after": field[error.end :][:60] if error else "",
        "suggestion_url": suggestion_url(query, address, field, error),
        "time_range": chosen,
        "is_time_bound": any(c.key.kind == search.Kind.TIME for c in query.conditions),
        "ranges": ranges,
        "list_path": address.path,
        "clear_url": address.url(q=""),
        "offered_columns": columns.COLUMNS,
        "always_column": columns.ALWAYS,
        "shown": address.columns,
        "is_chosen": address.columns != columns.USUAL,
        "usual_columns_url": address.url(column=[]),
    }


def suggestion_url(query: Query, address: ListAddress, field: str, error: QueryError | None) -> str:
    """Return the address with the misspelt key or value put right, or an empty text where nothing is near."""
    if error is None or not error.suggestion:
        return ""
    mended = field[: error.start] + error.suggestion + field[error.end :]
    return address.url(q=search.join([query.text, mended]))


def column_context(request: ProjectRequest, address: ListAddress) -> dict[str, Any]:
    """Return the columns that show and those that could, and the names in the address that no column has."""
    _, unknown = columns.chosen_names(request.GET.getlist("column"))
    return {
        "headings": headings(address),
        "shown": address.columns,
        "is_chosen": address.columns != columns.USUAL,
        "table_width": columns.table_width(address.columns),
        "unknown_columns": unknown,
    }


def headings(address: ListAddress) -> list[Heading]:
    """Return the columns with the address that sorts by each; largest or newest first at the first click."""
    made = []
    for column in columns.named(address.columns):
        url = direction = ""
        if column.sort:
            descending = f"-{column.sort}"
            direction = {descending: "descending", column.sort: "ascending"}.get(address.sort, "")
            url = address.url(sort=column.sort if address.sort == descending else descending)
        made.append(Heading(column, url, direction))
    return made


def facet_links(facets: list[list_queries.Facet], address: ListAddress) -> list[dict[str, Any]]:
    """Pair each facet value with the address that switches it."""

    def linked(values: list[list_queries.FacetValue]) -> list[tuple[list_queries.FacetValue, str]]:
        return [(value, address.url(q=value.query)) for value in values]

    return [{"facet": facet, "values": linked(facet.values), "rest": linked(facet.rest)} for facet in facets]


def matching_query(query: Query, chosen: list_queries.TimeRange) -> str:
    """Return the query of all matches as text, the chosen range included, for acting on more than one page."""
    if chosen.since_ns is None:
        return query.text
    since = datetime.fromtimestamp(chosen.since_ns // search.NS, tz=UTC)
    return search.join([query.text, f"after:{search.stamp(since)}"])


def empty_context(project: Any, query: Query, address: ListAddress, chosen: list_queries.TimeRange) -> dict[str, Any]:
    """Say why nothing is shown: nothing was ever sent, the range is too short, or the filter lets nothing through."""
    in_all_time = 0
    if chosen.since_ns is not None:
        in_all_time = len(list_queries.trace_page(project, query, limit=1, fields=["id", "sort_ns"]).rows)
    exists = list_queries.count_without_filter(project, limit=COUNT_LIMIT)
    slips = []
    if query.terms and not in_all_time:
        for key, asked, meant in list_queries.likely_values(project, query):
            mended = search.toggle(search.parse(search.toggle(query, key, asked)), key, meant)
            slips.append({"key": key, "asked": asked, "meant": meant, "url": address.url(q=mended)})
    return {
        "is_empty": True,
        "exists": exists,
        "exists_more": exists == COUNT_LIMIT,
        "match_in_all_time": bool(in_all_time),
        "slips": slips,
        "has_filter": bool(query.terms),
        "range_label": chosen.label,
        "clear_url": address.url(q="", range="all"),
        "all_time_url": address.url(range="all"),
    }


@require_GET
@project_page()
def completions(request: ProjectRequest) -> HttpResponse:
    """List what may come next in the query field, for the text typed so far (`add`)."""
    found = list_queries.completions(request.project, request.GET.get("add", ""))
    return render(request, "traces/_completions.html", {"completions": found})


@require_GET
@project_page()
def fresh_traces(request: ProjectRequest) -> HttpResponse:
    """Say how many traces came since the list was drawn (`since`); asked every few seconds. The list itself stays as it is."""
    text = request.GET.get("since", "")
    since = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    try:
        query = search.parse(request.GET.get("q", ""))
    except QueryError:
        query = Query()
    count = list_queries.count_fresh(request.project, query, since=since) or 0
    path = reverse("traces:trace_list", args=[request.project.slug])
    shown, _ = columns.chosen_names(request.GET.getlist("column"))
    address = ListAddress(path, query.text, request.GET.get("range", ""), list_queries.DEFAULT_SORT, shown)
    state = {"since": since, "q": query.text, "range": address.range, "column": columns.asked_for(shown)}
    context = {
        "fresh": count,
        "is_most": count >= list_queries.MOST_ARRIVALS,
        "fresh_url": address.url(),
        "poll_url": f"{request.path}?{urlencode(state, doseq=True)}",
    }
    return render(request, "traces/_fresh_traces.html", context)
