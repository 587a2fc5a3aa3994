"""Writes what becomes of samples, many together, from an event loop that must not wait for the database."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections

from accounts.models import Project
from evals.services.samples import Failure, Outcome, store_outcomes

log = logging.getLogger(__name__)
T = TypeVar("T")

GATHER_S = 0.05  # outcomes are gathered this long before they are written together
WRITE_ATTEMPTS = 4  # of a batch, while the database is busy or away
MAX_BATCH = 200  # outcomes in one transaction


class DatabaseThread:
    """A thread with a database connection of its own, for a loop that must not wait."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="pump-database")

    async def __call__(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, partial(work, *args, **options))

    async def close(self) -> None:
        await self(connections.close_all)
        self.executor.shutdown(wait=False)


class OutcomeWriter:
    """Gathers outcomes and writes them in one transaction. `in_work` says how many samples may still bring one.

    `settle` waits until the calls that brought them are in the book as ended: after a kill no stored answer has an open call.
    """

    def __init__(
        self,
        project: Project,
        database: DatabaseThread,
        *,
        worker: str,
        in_work: Callable[[], int],
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self.project, self.database, self.worker, self.in_work, self.settle = project, database, worker, in_work, settle
        self.waiting: list[tuple[Outcome, asyncio.Future[int | None]]] = []
        self.has_outcomes = asyncio.Event()

    def add(self, outcome: Outcome) -> "Written":
        """Take an outcome; it is written with the next batch, after all that were added before."""
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.waiting.append((outcome, future))
        self.has_outcomes.set()
        return Written(future)

    async def run(self) -> None:
        """Write what waits, again and again. Gathers a while, unless nobody is left who could add to it."""
        while True:
            await self.has_outcomes.wait()
            if len({outcome.sample for outcome, _ in self.waiting}) < self.in_work():
                await asyncio.sleep(GATHER_S)
            batch, self.waiting = self.waiting[:MAX_BATCH], self.waiting[MAX_BATCH:]
            if not self.waiting:
                self.has_outcomes.clear()
            await self.settle()
            kept = await self.write([outcome for outcome, _ in batch])
            for outcome, written in batch:
                if written.done():
                    continue
                if outcome.sample in kept:
                    written.set_result(kept[outcome.sample])
                else:
                    written.set_exception(LeaseLost())
                    written.exception()  # read once: a sample that was stopped does not read it

    async def write(self, outcomes: list[Outcome]) -> dict[int, int | None]:
        """Write a batch; where it is refused, one by one, so that one bad answer costs no other."""
        for attempt in itertools.count(1):
            try:
                return await self.database(store_outcomes, self.project, outcomes, worker=self.worker)
            except (OperationalError, InterfaceError):
                if attempt == WRITE_ATTEMPTS:
                    raise
                await asyncio.sleep(attempt)
            except (DatabaseError, ValueError, TypeError) as error:
                if len(outcomes) == 1:
                    return await self.write_failure(outcomes[0], error)
                break
        kept: dict[int, int | None] = {}
        for outcome in outcomes:
            found = await self.write([outcome])
            kept = {pk: trace for pk, trace in kept.items() if pk != outcome.sample} | found
        return kept

    async def write_failure(self, outcome: Outcome, error: Exception) -> dict[int, int | None]:
        """Note on the sample that its outcome could not be stored."""
        log.exception("Sample %s: the outcome could not be stored", outcome.sample, exc_info=error)
        failure = Failure(outcome.sample, f"The result could not be stored: {error}"[:2000])
        await self.database(store_outcomes, self.project, [failure], worker=self.worker)
        return {}


class Written:
    """An outcome on its way to the database."""

    def __init__(self, future: asyncio.Future[int | None]) -> None:
        self.future = future

    async def is_kept(self) -> bool:
        """Wait until the outcome is written; False where it was not kept, since the lease was lost or the write refused."""
        try:
            await asyncio.shield(self.future)
        except LeaseLost:
            return False
        return True


class LeaseLost(Exception):
    """Another worker has the sample now, or its run was cancelled."""
