"""What the queue says: look. An id in, one service call, nothing out; a message lost, late or doubled changes nothing."""

import asyncio
import logging
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.db import close_old_connections

from evals import services
from evals.models import Run, RunStatus
from evals.services import gradings
from evals.services.deletion import finish_deletions as finish_project_deletions
from evals.workers import worker_name
from providers.client import warm_up
from traces import asked_deletions, background

log = logging.getLogger(__name__)
MESSAGE_LIFE_S = 30  # a look that nobody took by then is said again anyway

LOOKING = 5  # threads of a worker that no pump takes: one for each look that `config.celery` sends, one for gradings
pumping: set[int] = set()
refused: set[int] = set()  # runs that found no room in this process and wait for another to end
pumping_lock = threading.Lock()
stopping = threading.Event()


def pumps_at_once(threads: int) -> int:
    """Return how many of a worker's threads may hold a run: a pump keeps its thread until the run ends."""
    return max(1, threads - LOOKING, threads // 2)


class Room:
    """How many runs this process works on at once; set when the worker knows its threads."""

    pumps = 1


@worker_ready.connect
def load_client(sender: Any = None, **_: Any) -> None:
    """Count the threads, and load the model client beside the first look, so that the first run does not wait for it."""
    if sender is not None:
        Room.pumps = pumps_at_once(sender.controller.concurrency)
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()


@worker_shutting_down.connect
def stop_pumps(**_: Any) -> None:
    """Ask the pumps of this process to end in order: store what is in flight, give the rest back."""
    stopping.set()


@shared_task(ignore_result=True, acks_late=True)
def look() -> None:
    """Free what dead workers of this host held, and wake a pump for every active run and grading. Safe at any time, in any number."""
    close_old_connections()
    try:
        services.release_dead_leases()
        for run_id in Run.objects.filter(status__in=RunStatus.active()).order_by("pk").values_list("pk", flat=True):
            if run_id not in pumping:
                pump_run.apply_async((run_id,), expires=MESSAGE_LIFE_S)
        for grading_id in gradings.open_gradings():
            work_on_grading.apply_async((grading_id,), expires=MESSAGE_LIFE_S)
    finally:
        close_old_connections()


@shared_task(ignore_result=True, acks_late=True)
def pump_run(run_id: int) -> None:
    """Work on a run until nothing is left to claim.

    Done at once where this process works on the run already, or on as many as it has room for: the next look, at the latest when
    one of those ends, asks again.
    """
    with pumping_lock:
        if run_id in pumping or stopping.is_set():
            return
        if len(pumping) >= Room.pumps:
            refused.add(run_id)
            return
        pumping.add(run_id)
        refused.discard(run_id)
    try:
        with background.foremost():
            asyncio.run(services.pump_run(run_id, worker=worker_name(), stop=stopping))
    finally:
        with pumping_lock:
            pumping.discard(run_id)
            has_waiting = bool(refused) and not stopping.is_set()
            refused.clear()
        if has_waiting:
            look.apply_async(expires=MESSAGE_LIFE_S)


def wake(run_id: int) -> None:
    """Have a worker begin a run once it is committed; where none has room for it, the next look asks again."""
    pump_run.apply_async_on_commit((run_id,), expires=MESSAGE_LIFE_S)


grading = threading.Lock()


@shared_task(ignore_result=True, acks_late=True)
def work_on_grading(grading_id: int) -> None:
    """Grade the recorded runs of a grading. One at a time in a process, as it keeps its thread; the next look asks again for others."""
    if not grading.acquire(blocking=False):
        return
    close_old_connections()
    try:
        gradings.work_on_grading(grading_id, worker=f"{worker_name()}#{threading.get_ident()}", stop=stopping)
    finally:
        close_old_connections()
        grading.release()


deleting = threading.Lock()


@shared_task(ignore_result=True, acks_late=True)
def finish_deletions() -> None:
    """Delete the traces and sessions that pages left to the worker, and the rows of projects that are to go. One at a time in a process;
    a second one is done at once.
    """
    if not deleting.acquire(blocking=False):
        return
    close_old_connections()
    try:
        asked_deletions.finish_due()
        finish_project_deletions()
    finally:
        close_old_connections()
        deleting.release()
