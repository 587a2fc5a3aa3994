"""The book of calls: each is written as started, and committed, before it is sent.

Many calls are in flight at once, so what they have to write is collected and committed together: while one batch is on its way to
the disk the next one gathers. A call waits for its start to be on disk; its end is written with the next batch, without waiting.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from asgiref.sync import sync_to_async
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.utils import timezone

from providers.models import Call, CallState

logger = logging.getLogger(__name__)
BATCH = 500
GATHER_S = 0.003
NOT_SENT = "Not sent: the work was stopped first."
LEFT_OPEN = "The worker ended while it waited; it may have been charged."


@dataclass(frozen=True)
class Ending:
    """How a call ended."""

    pk: int
    state: str
    ended_at: datetime
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    error: str = ""
    cached_input_tokens: int | None = None


class Ledger:
    """Writes starts and ends of calls for one event loop."""

    def __init__(self) -> None:
        self.starts: list[tuple[Call, asyncio.Future[int]]] = []
        self.ends: list[Ending] = []
        self.writer: asyncio.Task[None] | None = None
        self.ends_told, self.ends_written = 0, 0
        self.settling: list[tuple[int, asyncio.Future[None]]] = []  # how many ends to wait for, and who waits

    async def start(self, call: Call) -> int:
        """Write a call as started; returns its key when that is on disk. Raises DatabaseError, and then it must not be sent."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.starts.append((call, future))
        self.wake_writer()
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(self.close_unsent)
            raise

    def close_unsent(self, future: asyncio.Future[int]) -> None:
        """End a call whose maker was cancelled before it was sent."""
        if not future.cancelled() and future.exception() is None:
            self.end(Ending(future.result(), CallState.FAILED, timezone.now(), error=NOT_SENT))

    def end(self, ending: Ending) -> None:
        """Write how a call ended, with the next batch."""
        self.ends.append(ending)
        self.ends_told += 1
        self.wake_writer()

    async def settle(self) -> None:
        """Wait until the ends told so far are on disk, whatever comes meanwhile: what a call brought is stored after its end."""
        if self.ends_written >= self.ends_told:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.settling.append((self.ends_told, future))
        self.wake_writer()
        await future

    def count_written(self, ends: int) -> None:
        """Let those go on who waited for ends that are written now, or given up."""
        self.ends_written += ends
        done = [future for wanted, future in self.settling if wanted <= self.ends_written]
        self.settling = [(wanted, future) for wanted, future in self.settling if wanted > self.ends_written]
        for future in done:
            if not future.done():
                future.set_result(None)

    async def flush(self) -> None:
        """Wait until everything is on disk."""
        while self.writer is not None and not self.writer.done():
            await asyncio.shield(self.writer)

    async def aclose(self) -> None:
        """Flush, and close the database connection of the writing thread."""
        await self.flush()
        await sync_to_async(close_connection)()

    def wake_writer(self) -> None:
        if self.writer is None or self.writer.done():
            self.writer = asyncio.get_running_loop().create_task(self.write_all())

    async def write_all(self) -> None:
        """Write batch after batch until nothing waits."""
        failures = 0
        while self.starts or self.ends:
            await asyncio.sleep(GATHER_S)  # let others join this batch
            starts, self.starts = self.starts[:BATCH], self.starts[BATCH:]
            ends, self.ends = self.ends[:BATCH], self.ends[BATCH:]
            try:
                keys = await sync_to_async(write_batch)([call for call, _ in starts], ends)
            except DatabaseError as error:
                failures += 1
                for _, future in starts:
                    refuse(future, error)
                if failures < 3:
                    self.ends = ends + self.ends
                    await asyncio.sleep(0.2 * failures)
                else:
                    logger.exception("%s ended calls stay `started` in the book: it could not be written.", len(ends))
                    self.count_written(len(ends))
            except BaseException:  # the loop is being closed: nobody may go on as if the start were on disk
                for _, future in starts:
                    future.cancel()
                for _, waiting in self.settling:
                    waiting.cancel()
                raise
            else:
                failures = 0
                self.count_written(len(ends))
                for (_, future), key in zip(starts, keys, strict=True):
                    if not future.done():
                        future.set_result(key)


def close_connection() -> None:
    if not connection.in_atomic_block:
        connection.close()


def refuse(future: asyncio.Future[int], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # read once: a maker that was cancelled does not read it


def write_batch(starts: list[Call], ends: list[Ending]) -> list[int]:
    """Write starts and ends in one transaction; returns the keys of the starts, in order."""
    if not connection.in_atomic_block:
        close_old_connections()  # this thread serves no requests: nobody else drops a connection that broke
    with transaction.atomic():
        made = Call.objects.bulk_create(starts) if starts else []
        if ends:
            write_ends(ends)
    return [call.pk for call in made]


def write_ends(ends: list[Ending]) -> None:
    """End calls in one statement for all: an ORM update for each would cost more than the call itself."""
    adapt = connection.ops.adapt_datetimefield_value
    rows = [
        (
            ending.state,
            adapt(ending.ended_at),
            ending.input_tokens,
            ending.output_tokens,
            ending.cost_usd,
            ending.error.replace("\x00", "")[:4000],
            ending.cached_input_tokens,
            ending.pk,
        )
        for ending in ends
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE providers_call SET state=%s, ended_at=%s, input_tokens=%s, output_tokens=%s, cost_usd=%s, error=%s, "
            "cached_input_tokens=%s WHERE id=%s",
            rows,
        )


def mark_unknown(*, job: str = "", subjects: Iterable[str] = ()) -> int:
    """Close the open calls of a dead worker, by job or by unit of work: they may have been charged. Returns how many."""
    wanted = list(subjects)
    fields = {"state": CallState.UNKNOWN, "ended_at": timezone.now(), "error": LEFT_OPEN}
    if job:
        return Call.objects.filter(job=job, state=CallState.STARTED).update(**fields)
    closed = 0
    for start in range(0, len(wanted), BATCH):
        rows = Call.objects.filter(subject__in=wanted[start : start + BATCH], state=CallState.STARTED)
        closed += rows.update(**fields)
    return closed
