"""How many traces start when, by status, without reading them: from `TraceCount`, but for the hours that a range cuts."""

from collections import Counter

from django.db import connection
from django.db.models import BigIntegerField, Count, F, QuerySet, Sum, Value
from django.db.models.functions import Cast

from accounts.models import Project
from traces.count_schema import HOUR_NS
from traces.models import Trace, TraceCount

MOST_GROUPS = 2_000  # hours that are summed up in one statement
SUM_UP = """
    WITH gone AS (
        DELETE FROM traces_tracecount WHERE id <= %s AND (project_id, hour, status) IN (
            SELECT project_id, hour, status FROM traces_tracecount WHERE id <= %s
            GROUP BY 1, 2, 3 HAVING count(*) > 1 LIMIT %s
        ) RETURNING project_id, hour, status, count
    )
    INSERT INTO traces_tracecount (project_id, hour, status, count)
    SELECT project_id, hour, status, sum(count) FROM gone GROUP BY 1, 2, 3 HAVING sum(count) <> 0
"""
Buckets = Counter[tuple[int, str]]  # (number of the bucket, status) -> traces
summed_to: dict[str, int] = {}  # by database: the newest row when rows were last summed up in this process


def count_traces(
    project: Project,
    *,
    low_ns: int | None,
    high_ns: int | None,
    statuses: list[str] | None,
    start_ns: int,
    step_ns: int,
) -> Buckets:
    """Count the traces from `low_ns` until before `high_ns` (None: no bound), by bucket of `step_ns` from `start_ns` on, and status.

    Exact. Whole hours come from their counts, the rest from the index of starts; so does all where buckets are shorter than hours.
    """
    own = Trace.objects.filter(project=project)
    if statuses is not None:
        own = own.filter(status__in=statuses)
    found: Buckets = Counter()
    first = None if low_ns is None else -(-low_ns // HOUR_NS)
    last = None if high_ns is None else high_ns // HOUR_NS
    is_short = step_ns % HOUR_NS or start_ns % HOUR_NS
    is_odd = start_ns < 0 or (low_ns is not None and low_ns < 0)  # before 1970 hours are cut otherwise
    if is_short or is_odd or (first is not None and last is not None and first >= last):
        count_rows(between(own, low_ns, high_ns), start_ns, step_ns, found)
        return found
    if low_ns is not None and first is not None:
        count_rows(between(own, low_ns, first * HOUR_NS), start_ns, step_ns, found)
    if high_ns is not None and last is not None:
        count_rows(between(own, last * HOUR_NS, high_ns), start_ns, step_ns, found)
    hours = TraceCount.objects.filter(project=project)
    if first is not None:
        hours = hours.filter(hour__gte=first)
    if last is not None:
        hours = hours.filter(hour__lt=last)
    if statuses is not None:
        hours = hours.filter(status__in=statuses)
    # Summed up by bucket in the database: `ahead` whole buckets are added and taken off, as it divides towards zero.
    start, length = start_ns // HOUR_NS, step_ns // HOUR_NS
    ahead = start // length + 1
    place = Cast(
        (F("hour") + Value(ahead * length - start, BigIntegerField())) / Value(length, BigIntegerField()),
        BigIntegerField(),
    )
    counted = hours.order_by().annotate(place=place).values_list("place", "status").annotate(n=Sum("count"))
    for bucket, status, count in counted:
        found[bucket - ahead, status] += count
    return +found


def between(traces: QuerySet[Trace], low_ns: int | None, high_ns: int | None) -> QuerySet[Trace]:
    if low_ns is not None:
        traces = traces.filter(sort_ns__gte=low_ns)
    return traces if high_ns is None else traces.filter(sort_ns__lt=high_ns)


def count_rows(traces: QuerySet[Trace], start_ns: int, step_ns: int, found: Buckets) -> None:
    """Count traces one by one, into `found`."""
    place = Cast(
        (F("sort_ns") - Value(start_ns, BigIntegerField())) / Value(step_ns, BigIntegerField()), BigIntegerField()
    )
    for bucket, status, count in (
        traces.order_by().annotate(place=place).values_list("place", "status").annotate(n=Count("pk"))
    ):
        found[bucket, status] += count


def tidy() -> None:
    """Sum up the rows that writers on PostgreSQL have added. Safe at any time, in any number: each row is taken by one."""
    if connection.vendor != "postgresql":
        return
    newest = TraceCount.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    name = str(connection.settings_dict["NAME"])
    if summed_to.get(name) == newest:
        return
    with connection.cursor() as cursor:
        cursor.execute(SUM_UP, [newest, newest, MOST_GROUPS])
    summed_to[name] = TraceCount.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
