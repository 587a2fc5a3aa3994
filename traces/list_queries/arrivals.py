"""Which traces came since a page was drawn."""

from dataclasses import dataclass
from datetime import datetime

from accounts.models import Project
from traces.filters import filtered
from traces.models import Trace
from traces.search import Condition, Query

MOST_ARRIVALS = 100


@dataclass(frozen=True)
class Arrival:
    """What came since a trace: how many (up to MOST_ARRIVALS), and the newest."""

    count: int
    trace_id: str
    received_at: datetime | None
    is_empty: bool


def arrival_mark(project: Project) -> int:
    """Return the mark after which a trace is new: 0 for a project that holds none, else the key of the newest trace of all."""
    if not Trace.objects.filter(project=project).exists():
        return 0
    return Trace.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def arrivals(project: Project, *, since: int) -> Arrival:
    """Say which traces of the project were stored after a mark; reads no more rows than came since."""
    traces = Trace.objects.filter(project=project)
    newer = traces.filter(pk__gt=since).order_by("-pk") if since else traces.order_by("-sort_ns", "-id")
    found = list(newer.values_list("trace_id", "received_at")[:MOST_ARRIVALS])
    if found:
        return Arrival(len(found), found[0][0], found[0][1], False)
    return Arrival(0, "", None, since == 0)


def newest_mark() -> int:
    """Return the mark after which a trace of any project is new."""
    return Trace.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def count_fresh(project: Project, query: Query, *, since: int) -> int:
    """Count the traces stored after a mark that match a query (up to MOST_ARRIVALS), the words that it looks for aside."""
    known = Query(tuple(term for term in query.terms if isinstance(term, Condition)))
    return len(filtered(project, known).filter(pk__gt=since).order_by("-pk").values_list("pk")[:MOST_ARRIVALS])
