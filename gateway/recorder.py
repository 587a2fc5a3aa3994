"""Records proxied calls behind their answers: a bounded queue in memory, and one thread of the web process that writes.

That a call was made is in the book before it is sent (`gateway.book`); here come its end and its trace.

Nothing that goes wrong here reaches a caller. While the database cannot be written the queue fills; what comes when it is full is
dropped, counted, and said in the log; only its entry in the book is closed, when the database is back. `flush` empties it when the
process ends; what a kill -9 loses is what has not been written yet, as a rule the last quarter of a second (docs/proxy.md).
"""

import atexit
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.utils import timezone

from accounts.models import Project
from gateway.book import Booking, Bookkeeper
from gateway.exchange import Exchange, Observed, observe
from providers.ledger import LEFT_OPEN, Ending, write_ends
from providers.models import Call, CallState
from traces.responses import ProxiedCall, ingest_proxied
from traces.services import choose_store

log = logging.getLogger(__name__)
PURPOSE = "proxy"
MAX_WAITING = 5_000  # calls
MAX_WAITING_BYTES = 256 * 1024 * 1024
MAX_DROPPED = 50_000  # dropped calls whose entries are still to be closed, about 1 KB each
CLOSE_EVERY_S = 3600.0  # so often a process looks for calls that nobody closes any more
NOT_RECORDED = "What came back was not recorded; the call may have been charged."
LINGER_S = 0.25  # how long a batch gathers
BATCH = 100
SAY_AGAIN_S = 10.0
LONGEST_WAIT_S = 5.0
FLUSH_S = 2.5


@dataclass(frozen=True)
class Finished:
    """A call that has ended, whichever way. `keeps_trace`: whether it is recorded, beside its entry in the book."""

    exchange: Exchange
    project_pk: int
    booking: Booking
    keeps_trace: bool = True


@dataclass(frozen=True)
class Dropped:
    """What is kept of a call that was not recorded: its place in the book, and its end in ns since 1970."""

    booking: Booking
    end_ns: int


Entry = TypeVar("Entry", Finished, Dropped)


class Recorder:
    """The queue and its thread. `write` takes a batch and raises DatabaseError where the database cannot take it now;
    `close` likewise takes the calls that were dropped.
    """

    def __init__(
        self,
        write: Callable[[list[Finished]], None] | None = None,
        *,
        close: Callable[[list[Dropped]], None] | None = None,
        max_waiting: int = MAX_WAITING,
        max_bytes: int = MAX_WAITING_BYTES,
        linger_s: float = LINGER_S,
    ) -> None:
        self.bookkeeper = Bookkeeper()
        writer = Writer(self.bookkeeper)
        self.write, self.close = write or writer.write, close or writer.close
        self.max_waiting, self.max_bytes, self.linger_s = max_waiting, max_bytes, linger_s
        self.waiting: deque[Finished] = deque()
        self.unclosed: deque[Dropped] = deque(maxlen=MAX_DROPPED)
        self.bytes = 0
        self.dropped = 0
        self.written = 0
        self.said_at = 0.0
        self.is_hurried = False
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self.in_work = 0

    def book(self, exchange: Exchange, project_pk: int, *, keeps_trace: bool) -> Booking:
        """Put a call on the books, before it is sent."""
        return self.bookkeeper.start(new_call(exchange, project_pk, keeps_trace=keeps_trace))

    def put(self, entry: Finished) -> bool:
        """Take an entry, at once; False where the queue is full: then only that it ended is kept."""
        size = entry_size(entry)
        with self.changed:
            if len(self.waiting) >= self.max_waiting or (self.bytes + size > self.max_bytes and self.waiting):
                self.dropped += 1
                self.unclosed.append(dropped(entry))
                total = self.dropped
                is_said = time.monotonic() - self.said_at < SAY_AGAIN_S
                if not is_said:
                    self.said_at = time.monotonic()
            else:
                self.waiting.append(entry)
                self.bytes += size
                if self.thread is None or not self.thread.is_alive():
                    self.thread = threading.Thread(target=self.run, name="proxy-recorder", daemon=True)
                    self.thread.start()
                elif len(self.waiting) == 1:
                    self.changed.notify_all()
                return True
        if not is_said:
            log.error(
                "Proxy: %s calls were not recorded so far: the database cannot be written, and the queue is full.",
                total,
            )
        return False

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until everything is written, at most so long; say in the log what is not."""
        end = time.monotonic() + timeout_s
        with self.changed:
            self.is_hurried = True
            self.changed.notify_all()
            while self.waiting or self.unclosed or self.in_work:
                left = end - time.monotonic()
                if left <= 0 or self.thread is None or not self.thread.is_alive():
                    log.error("Proxy: %s calls were not recorded before the end.", len(self.waiting) + self.in_work)
                    return False
                self.changed.wait(left)
            self.is_hurried = False
        return True

    def run(self) -> None:
        """Write batch after batch, for the life of the process."""
        while True:
            with self.changed:
                while not (self.waiting or self.unclosed):
                    self.changed.wait()
                if self.waiting and not self.is_hurried:
                    self.changed.wait_for(lambda: self.is_hurried or len(self.waiting) >= BATCH, self.linger_s)
                batch = [self.waiting.popleft() for _ in range(min(BATCH, len(self.waiting)))]
                self.bytes -= sum(entry_size(entry) for entry in batch)
                self.in_work = len(batch)
            self.write_until_done(batch, self.write)
            with self.changed:
                unclosed = [self.unclosed.popleft() for _ in range(min(5 * BATCH, len(self.unclosed)))]
                self.in_work = len(unclosed)
            self.write_until_done(unclosed, self.close)
            with self.changed:
                self.in_work = 0
                self.written += len(batch)
                self.changed.notify_all()

    def write_until_done(self, batch: list[Entry], write: Callable[[list[Entry]], None]) -> None:
        """Write a batch, again and again while the database is away; an entry that it refuses for good is dropped."""
        if not batch:
            return
        wait_s = 0.1
        while True:
            try:
                write(batch)
                return
            except (OperationalError, InterfaceError) as error:
                log.warning("Proxy: %s entries wait for the database: %s", len(batch), error)
            except Exception:
                if len(batch) > 1:
                    for entry in batch:
                        self.write_until_done([entry], write)
                    return
                log.exception("Proxy: a call could not be recorded.")
                if isinstance(batch[0], Finished):
                    with self.changed:
                        self.unclosed.append(dropped(batch[0]))
                return
            with self.changed:
                if self.is_hurried:
                    self.changed.wait(min(wait_s, 0.2))
                else:
                    self.changed.wait_for(lambda: self.is_hurried, wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def dropped(entry: Finished) -> Dropped:
    return Dropped(entry.booking, entry.exchange.end_ns or entry.exchange.start_ns)


def entry_size(entry: Finished) -> int:
    """Return about how many bytes an entry holds."""
    return 2_000 + entry.exchange.size + entry.exchange.sent_size


# Writing ---------------------------------------------------------------------------------------------------------


class Writer:
    """Writes entries into the book of calls and the store of traces."""

    def __init__(self, bookkeeper: Bookkeeper) -> None:
        self.bookkeeper = bookkeeper
        self.done: set[str] = set()  # spans of the batch in work whose trace is kept already: a retry leaves them
        self.close_old_at = 0.0

    def write(self, batch: list[Finished]) -> None:
        """Write a batch. May be called again with the same one where it raised."""
        try:
            if not connection.in_atomic_block:
                close_old_connections()
            if time.monotonic() >= self.close_old_at:
                close_left_open(worker_name())
                self.close_old_at = time.monotonic() + CLOSE_EVERY_S
            self.write_batch(batch)
        except DatabaseError:
            if not connection.in_atomic_block:
                connection.close()
            raise

    def close(self, batch: list[Dropped]) -> None:
        """Say in the book that calls have ended and nothing more is known of them. May be called again where it raised."""
        try:
            if not connection.in_atomic_block:
                close_old_connections()
            late, ends = [], []
            for entry in batch:
                call, ended_at = entry.booking.call, moment(entry.end_ns)
                if self.bookkeeper.withdraw(entry.booking):
                    call.pk, call.state, call.ended_at, call.error = None, CallState.UNKNOWN, ended_at, NOT_RECORDED
                    late.append(call)
                else:
                    ends.append(Ending(call.pk, CallState.UNKNOWN, ended_at, error=NOT_RECORDED))
            with choose_store().in_turn(), transaction.atomic():
                Call.objects.bulk_create(late)
                if ends:
                    write_ends(ends)
        except DatabaseError:
            if not connection.in_atomic_block:
                connection.close()
            raise

    def write_batch(self, batch: list[Finished]) -> None:
        observed = {entry.exchange.span_id: observe(entry.exchange) for entry in batch}
        by_project: dict[int, list[str]] = {}
        for entry in batch:
            if entry.keeps_trace:
                by_project.setdefault(entry.project_pk, []).append(entry.exchange.span_id)
        known = Project.objects.in_bulk({entry.project_pk for entry in batch})
        for project_pk, span_ids in by_project.items():
            wanted = [observed[one] for one in span_ids if one not in self.done]
            if project_pk in known and wanted:
                calls = [ProxiedCall(one.record, one.response_id, one.previous_id) for one in wanted]
                for reason in ingest_proxied(known[project_pk], calls).rejected:
                    log.error("Proxy: a call could not be recorded: %s", reason)
            self.done.update(span_ids)
        self.write_book([entry for entry in batch if entry.project_pk in known], observed)
        self.done.difference_update(observed)

    def write_book(self, batch: list[Finished], observed: dict[str, Observed]) -> None:
        """Write how calls ended, in one transaction; a call that is not in the book yet comes there as a whole."""
        late, ends = [], []
        for entry in batch:
            ending = ending_of(entry.exchange, observed[entry.exchange.span_id])
            if self.bookkeeper.withdraw(entry.booking):
                late.append(new_call(entry.exchange, entry.project_pk, keeps_trace=entry.keeps_trace, **ending))
            else:
                ends.append(Ending(pk=entry.booking.call.pk, **ending))
        with choose_store().in_turn(), transaction.atomic():
            Call.objects.bulk_create(late)
            if ends:
                write_ends(ends)


def worker_name() -> str:
    return f"proxy:{socket.gethostname()[:60]}:{os.getpid()}"


def new_call(exchange: Exchange, project_pk: int, *, keeps_trace: bool, **ending: Any) -> Call:
    """Return a call's row: as started, or as ended."""
    return Call(
        project_id=project_pk,
        provider=exchange.provider[:60],
        model=exchange.model.replace("\x00", "")[:200],
        purpose=PURPOSE,
        job=PURPOSE,
        subject=f"trace:{exchange.trace_id}"[:80] if keeps_trace else "",
        worker=worker_name()[:120],
        started_at=moment(exchange.start_ns),
        **ending,
    )


def ending_of(exchange: Exchange, observed: Observed) -> dict[str, Any]:
    """Return how a call ended, as fields of its row."""
    record = observed.record
    state = CallState.ANSWERED
    if observed.is_unknown:
        state = CallState.UNKNOWN
    elif observed.has_failed:
        state = CallState.FAILED
    usage = record.usage
    return {
        "state": state,
        "ended_at": moment(exchange.end_ns or exchange.start_ns),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "cost_usd": usage.cost_usd,
        "error": (record.error_message or "").replace("\x00", "")[:4000],
    }


def moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, UTC)


def close_left_open(worker: str) -> None:
    """Close the calls of web processes that are gone, and any after a day: they may have been charged."""
    now = timezone.now()
    host = worker.rpartition(":")[0]
    rows = Call.objects.filter(job=PURPOSE, state=CallState.STARTED).values_list("pk", "worker", "started_at")
    gone = [pk for pk, owner, started_at in rows if is_gone(owner, host) or started_at < now - timedelta(days=1)]
    for start in range(0, len(gone), 500):
        Call.objects.filter(pk__in=gone[start : start + 500], state=CallState.STARTED).update(
            state=CallState.UNKNOWN, ended_at=now, error=LEFT_OPEN
        )


def is_gone(owner: str, host: str) -> bool:
    """Say whether the web process of a worker's name ran on this host and is not there any more."""
    where, _, pid = owner.rpartition(":")
    if where != host or not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


# One a process ---------------------------------------------------------------------------------------------------


class Current:
    """The recorder of this process: a web server forks after it has loaded the application."""

    pid = 0
    recorder: Recorder | None = None
    lock = threading.Lock()


def current_recorder() -> Recorder:
    """Return the recorder of this process, made on first use."""
    found = Current.recorder
    if found is None or Current.pid != os.getpid():
        with Current.lock:
            if Current.recorder is None or Current.pid != os.getpid():
                Current.recorder, Current.pid = Recorder(), os.getpid()
            found = Current.recorder
    return found


def flush(timeout_s: float = FLUSH_S) -> None:
    """Write what waits in this process, at most for so long."""
    if Current.recorder is not None and Current.pid == os.getpid():
        Current.recorder.flush(timeout_s)


atexit.register(flush)
