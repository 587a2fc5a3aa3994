"""Deletions that people ask for, as rows: large ones are the worker's, and one that was killed is taken up again.

A row stands until the last of its traces is gone. Whoever works on it says so every few seconds; a row of which nothing was heard for
STALE is anybody's.
"""

import logging
from datetime import timedelta

from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from accounts.models import Project, User
from traces.deletion import delete_traces
from traces.models import AskedDeletion, Trace
from traces.page_queries import traces_of_session

log = logging.getLogger(__name__)
AT_ONCE_TRACES = 500  # more, or more spans, is no work for a request
AT_ONCE_SPANS = 10_000
STALE = timedelta(minutes=2)


def traces_to_go(asked: AskedDeletion) -> QuerySet[Trace]:
    """Return the traces of a deletion that are still there; what came in after it was asked for stays."""
    if asked.kind == AskedDeletion.Kind.SESSION:
        traces = traces_of_session(asked.project, asked.name)
    else:
        traces = Trace.objects.filter(project=asked.project, trace_id=asked.name)
    return traces.filter(pk__lte=asked.last_trace)


def pending(project: Project, kind: str, name: str) -> AskedDeletion | None:
    """Return the deletion of a trace or a session that was asked for and is not done, if there is one."""
    return AskedDeletion.objects.filter(project=project, kind=kind, name=name).order_by("pk").first()


def ask(project: Project, kind: str, name: str, *, user: User | None = None) -> AskedDeletion:
    """Ask for a deletion. A large one is left to the worker (`taken_at` is None), a small one is the caller's to `finish` at once."""
    newest = Trace.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    asked = AskedDeletion(project=project, kind=kind, name=name, last_trace=newest, user=user)
    traces = traces_to_go(asked).order_by()
    spans = traces.aggregate(spans=Sum("span_count"))["spans"] or 0
    is_small = spans <= AT_ONCE_SPANS and not traces.values("pk")[AT_ONCE_TRACES : AT_ONCE_TRACES + 1].exists()
    asked.taken_at = timezone.now() if is_small else None
    asked.save()
    return asked


def finish(asked: AskedDeletion) -> tuple[int, int]:
    """Delete what was asked for, then the row. Returns how many traces and spans went."""

    def go_on(_traces: int, _spans: int) -> None:
        AskedDeletion.objects.filter(pk=asked.pk).update(taken_at=timezone.now())

    what = f"{asked.kind} {asked.name}"
    gone = delete_traces(traces_to_go(asked), what=what, user=asked.user, report=go_on)
    asked.delete()
    return gone


def finish_due() -> int:
    """Finish the deletions that nobody is at: large ones, and those whose worker or request was killed. Returns how many.

    One that fails is in the log, is tried again after STALE, and holds up no other.
    """
    done = 0
    free = Q(taken_at=None) | Q(taken_at__lt=timezone.now() - STALE)
    for asked in AskedDeletion.objects.filter(free, project__deleted_at=None).select_related("project", "user"):
        mine = AskedDeletion.objects.filter(free, pk=asked.pk).update(taken_at=timezone.now())
        if not mine:
            continue
        try:
            finish(asked)
            done += 1
        except Exception:
            log.exception("The %s %s could not be deleted; trying again later.", asked.kind, asked.name)
    return done
