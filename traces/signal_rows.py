"""Signals as rows: a look at each trace that follows ingest, and never takes part in it.

Ingest leaves a `SignalCheck` row pending in its own transaction (`mark_changed`), which is the truth; a message only says "look".
A look is due ten seconds after the first change, so that a trace that comes in many batches is not read for each of them, and it
is done only where the trace has not changed meanwhile.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from traces import store_postgres, store_sqlite
from traces.acts import Run, read_run
from traces.models import ReadingSettings, Signal, SignalCheck, Trace, TraceTerm
from traces.queries import span_records
from traces.signals import DETECTORS, MAX_REASON, VERSION, Limits, Suspicion, blind_spots, find_signals
from traces.signals.budget import FIGURES
from traces.signals.unfinished import QUIET_S
from traces.storable import clean_text

log = logging.getLogger(__name__)
TERM = "signal"
OWN_TERMS = (TERM, "person_tag")  # what did not come with the spans, and stays when their terms are written anew
SETTLE_S = 10  # from the first change of a trace to the look at it
LEASE_S = 300  # a look that was begun and not ended by then is begun again
SHARE = 20  # a trace that keeps changing is looked at for at most one part in twenty of the time
AT_ONCE = 50
MARK = """
    INSERT INTO traces_signalcheck (trace_id, project_id, is_pending, due_at, changed_at, changes, version, took_ms, blind)
    {rows}
    ON CONFLICT (trace_id) DO UPDATE SET is_pending = {true}, changed_at = excluded.changed_at,
        changes = traces_signalcheck.changes + 1,
        due_at = CASE WHEN traces_signalcheck.is_pending AND traces_signalcheck.due_at < excluded.due_at
                 THEN traces_signalcheck.due_at ELSE excluded.due_at END
"""


def mark_changed(project_pk: int, trace_pks: Sequence[int]) -> None:
    """Leave traces to be looked at. Part of the transaction that changes them, which holds their rows."""
    if not trace_pks:
        return
    now = timezone.now()
    due, changed = (
        connection.ops.adapt_datetimefield_value(moment) for moment in (now + timedelta(seconds=SETTLE_S), now)
    )
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            rows = "SELECT pk, %s, true, %s, %s, 1, 0, 0, '{}' FROM unnest(%s::bigint[]) AS pk ORDER BY pk"
            cursor.execute(
                MARK.replace("{rows}", rows).replace("{true}", "true"), [project_pk, due, changed, list(trace_pks)]
            )
        else:
            rows = "VALUES (%s, %s, 1, %s, %s, 1, 0, 0, '{}')"
            sql = MARK.replace("{rows}", rows).replace("{true}", "1")
            cursor.executemany(sql, [(pk, project_pk, due, changed) for pk in trace_pks])


def check_due(*, for_s: float = 4.0, now: Any = None, stop: Callable[[], bool] = bool) -> int:
    """Look at the traces whose time has come, for at most some seconds, or until `stop` says so. Returns how many.

    Safe at any time, in any number.
    """
    until = time.monotonic() + for_s
    count = 0
    while time.monotonic() < until and not stop():
        due = list(
            SignalCheck.objects.filter(is_pending=True, due_at__lte=now or timezone.now())
            .order_by("due_at")
            .select_related("trace")[:AT_ONCE]
        )
        if not due:
            return count
        for check in due:
            if time.monotonic() >= until or stop():
                return count
            count += look_at(check)
    return count


def mark_outdated() -> int:
    """Make traces pending that older detectors looked at, some at a time. Returns how many. Reads all rows: not to be asked often."""
    old = SignalCheck.objects.filter(is_pending=False).exclude(version=VERSION).order_by("pk").values("pk")[:1000]
    return SignalCheck.objects.filter(pk__in=list(old.values_list("pk", flat=True))).update(
        is_pending=True, due_at=timezone.now()
    )


def look_at(check: SignalCheck) -> int:
    """Look at one trace. Returns 0 where another worker has it. What breaks is logged, and looked at again after the lease."""
    lease = timezone.now() + timedelta(seconds=LEASE_S)
    mine = SignalCheck.objects.filter(pk=check.pk, is_pending=True, due_at=check.due_at).update(due_at=lease)
    if not mine:
        return 0
    started = time.monotonic()
    try:
        run, limits = read_run(span_records(check.trace)), limits_of(check.trace, check)
        found, blind = find_signals(run, limits), blind_spots(run, limits)
    except Exception:  # one odd trace must not keep all others from being looked at
        log.exception("Signals: trace %s could not be looked at.", check.trace.trace_id)
        return 1
    took_ms = int((time.monotonic() - started) * 1000)
    store_signals(check, found, blind, took_ms=took_ms, look_again=has_open_spans(run) and limits.quiet_s < QUIET_S)
    return 1


def limits_of(trace: Trace, check: SignalCheck | None = None) -> Limits:
    """Return what detectors may know beside the run."""
    settings = ReadingSettings.objects.filter(pk=trace.project_id).first()
    changed = (check.changed_at if check is not None else None) or trace.received_at
    return Limits(
        budgets=settings.budgets if settings else {},
        figures={name: getattr(trace, name) for name in FIGURES},
        quiet_s=max(0.0, (timezone.now() - changed).total_seconds()),
    )


def has_open_spans(run: Run) -> bool:
    return any(
        record.start_ns is not None and record.end_ns is None and record.kind != "event" for record in run.records
    )


def store_signals(
    check: SignalCheck,
    found: dict[str, list[Suspicion]],
    blind: dict[str, str],
    *,
    took_ms: int,
    look_again: bool = False,
) -> None:
    """Put what a look found in the place of what the one before found, and say that it is done."""
    rows = [row for name, suspicions in found.items() for row in signal_rows(check.trace, name, suspicions)]
    store = store_postgres if connection.vendor == "postgresql" else store_sqlite
    with store.in_turn(), transaction.atomic():
        locked = (
            Trace.objects.select_for_update().filter(pk=check.pk).values_list("pk", flat=True)
        )  # as ingest does, first
        if not list(locked):
            return  # deleted meanwhile
        Signal.objects.filter(trace=check.pk).delete()
        Signal.objects.bulk_create(rows)
        set_terms(check.trace, TERM, found)
        changes = SignalCheck.objects.filter(pk=check.pk).values_list("changes", flat=True).first()
        now = timezone.now()
        update: dict[str, Any] = {"is_pending": False, "version": VERSION, "took_ms": took_ms, "blind": blind}
        if changes != check.changes:
            update |= {"is_pending": True, "due_at": now + timedelta(seconds=max(SETTLE_S, SHARE * took_ms / 1000))}
        elif look_again:
            update |= {"is_pending": True, "due_at": now + timedelta(seconds=QUIET_S)}
        SignalCheck.objects.filter(pk=check.pk).update(**update)


def signal_rows(trace: Trace, name: str, suspicions: Iterable[Suspicion]) -> list[Signal]:
    """Return the rows of one detector's suspicions."""
    return [
        Signal(
            trace=trace,
            project_id=trace.project_id,
            detector=name,
            version=VERSION,
            span_id=one.span_id,
            other_span_ids=list(one.others),
            reason=clean_text(one.reason, MAX_REASON),
        )
        for one in suspicions
    ]


def set_terms(trace: Trace, key: str, values: Iterable[str]) -> None:
    """Make these the words by which a trace is found under a key."""
    wanted = set(values)
    stored = set(TraceTerm.objects.filter(trace=trace, key=key).values_list("value", flat=True))
    if stored - wanted:
        TraceTerm.objects.filter(trace=trace, key=key, value__in=stored - wanted).delete()
    new = sorted(wanted - stored)
    TraceTerm.objects.bulk_create(
        (TraceTerm(trace=trace, project_id=trace.project_id, key=key, value=value) for value in new),
        ignore_conflicts=True,
    )


def pending_count(*, limit: int = 10_000) -> int:
    """Count the traces that wait for a look, up to a limit."""
    return SignalCheck.objects.filter(is_pending=True).order_by().values("pk")[:limit].count()


def signal_documents(trace: Trace) -> list[dict[str, Any]]:
    """Return the suspicions of a trace as the read API gives them."""
    return [
        {
            "detector": one.detector,
            "label": DETECTORS[one.detector].label if one.detector in DETECTORS else one.detector,
            "span_id": one.span_id,
            "other_span_ids": one.other_span_ids,
            "reason": one.reason,
            "version": one.version,
        }
        for one in Signal.objects.filter(trace=trace).order_by("pk")
    ]


def blind_document(trace: Trace) -> dict[str, str] | None:
    """Return which detectors a trace cannot feed, and why; None where nobody has looked yet."""
    check = SignalCheck.objects.filter(pk=trace.pk, version__gt=0).first()
    return check.blind if check is not None else None
