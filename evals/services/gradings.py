"""Grading all runs that a query finds: a row with its state, worked on by one worker at a time, page by page.

After each page the row says how far it is. What a killed worker had not written is graded again, and what was written is not: the same
score is kept once. Runs that came in after it was asked for are left out.
"""

import threading
from datetime import timedelta

from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Project, User
from accounts.services import write_audit
from evals.graders import IMPORTED, BadConfig
from evals.models import GraderVersion, Grading, RunStatus
from evals.services.recorded import AT_ONCE, grade_traces
from evals.services.verdicts import Client
from evals.workers import host_name, is_dead
from traces import search
from traces.list_queries import CursorError, matching_traces, trace_page
from traces.models import Trace
from traces.search import QueryError

MOST = 100_000  # runs of one grading
LEASE = timedelta(minutes=15)  # no page takes longer; each renews it


class BadGrading(ValueError):
    """A grading that cannot be made; the text says why."""


def count_matching(project: Project, query: str) -> int:
    """Count the runs that a query finds. Raises BadGrading for a query that cannot be read, none, or more than MOST."""
    try:
        search.parse(query)
        found = matching_traces(project, query).order_by().values("pk")[: MOST + 1].count()
    except QueryError as error:
        raise BadGrading(str(error)) from None
    if not found:
        raise BadGrading("No run matches.")
    if found > MOST:
        raise BadGrading(f"More than {MOST:,} runs match; at most {MOST:,} are graded at once. Narrow the filter.")
    return found


def start_grading(project: Project, *, query: str, version: GraderVersion, user: User | None = None) -> Grading:
    """Ask for a grading of all runs that a query finds; a worker does it. Raises BadGrading."""
    if version.grader.project_id != project.pk or version.grader.kind == IMPORTED:
        raise BadGrading("Nothing here can run this grader.")
    count = count_matching(project, query)
    newest = Trace.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    write_audit("grading.start", str(version), project=project, user=user, query=query[:500], runs=count)
    return Grading.objects.create(
        project=project, query=query, grader_version=version, asked=count, last_trace=newest, user=user
    )


def cancel_grading(grading: Grading) -> bool:
    """Stop a grading; the scores that it gave stay. Returns whether there was anything to stop."""
    return bool(
        Grading.objects.filter(pk=grading.pk, status__in=RunStatus.active()).update(
            status=RunStatus.CANCELLED, finished_at=timezone.now()
        )
    )


def open_gradings() -> list[int]:
    """Return the gradings that a worker should look at; those of dead workers of this host are free at once."""
    active = Grading.objects.filter(status__in=RunStatus.active())
    for worker in set(active.filter(leased_by__startswith=f"{host_name()}:").values_list("leased_by", flat=True)):
        if is_dead(worker):
            active.filter(leased_by=worker).update(leased_by="", leased_until=None)
    return list(active.filter(free()).order_by("pk").values_list("pk", flat=True))


def free() -> Q:
    return Q(leased_until=None) | Q(leased_until__lt=timezone.now())


def work_on_grading(
    grading_id: int, *, worker: str, stop: threading.Event | None = None, client: Client | None = None
) -> None:
    """Grade page after page until all is done, the grading is stopped, or the worker is to end. Does nothing where another is at it."""
    mine = Grading.objects.filter(pk=grading_id, status__in=RunStatus.active())
    lease = {"leased_by": worker, "status": RunStatus.RUNNING}
    if not mine.filter(free()).update(leased_until=timezone.now() + LEASE, **lease):
        return
    mine = mine.filter(leased_by=worker)
    while (grading := mine.select_related("project", "grader_version__grader").first()) is not None:
        if stop is not None and stop.is_set():
            mine.update(leased_by="", leased_until=None)
            return
        try:
            next_place, looked, added = grade_page(grading, worker=worker, client=client)
        except (QueryError, CursorError, BadConfig) as error:  # the key or the grader is no more what it was
            mine.update(status=RunStatus.FAILED, status_reason=str(error), finished_at=timezone.now())
            return
        done = {"looked_at": F("looked_at") + looked, "added": F("added") + added, "place": next_place}
        if not next_place:
            done |= {"status": RunStatus.FINISHED, "finished_at": timezone.now(), "leased_until": None}
        mine.update(**{"leased_until": timezone.now() + LEASE} | done)


def grade_page(grading: Grading, *, worker: str, client: Client | None) -> tuple[str, int, int]:
    """Grade the next runs of a grading. Returns the place after them (empty at the end), how many they were, and the scores added."""
    page = trace_page(grading.project, grading.query, after=grading.place, limit=AT_ONCE)
    traces = [trace for trace in page.rows if trace.pk <= grading.last_trace]
    added = 0
    if traces:
        added = grade_traces(grading.project, traces, [grading.grader_version], worker=worker, client=client)
    return page.next_key, len(traces), added
