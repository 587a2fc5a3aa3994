"""The proxy's entries in the book of calls: on disk before a call is sent, many in one transaction, and never at the cost of the call.

A caller waits for its entry, but not for a database that is away: after WAIT_S it is sent all the same, the log says so, and until the
database has caught up nobody waits any more. An entry that could not be written by the time the call has ended is written with its end.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from django.db import DatabaseError, IntegrityError, close_old_connections, connection

from providers.models import Call
from traces.services import choose_store

log = logging.getLogger(__name__)
WAIT_S = 0.5  # as a rule an entry takes 1 to 5 ms
BATCH = 200
MAX_WAITING = 5_000
LONGEST_WAIT_S = 5.0


class Booking:
    """A call's entry on its way into the book."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.is_written = threading.Event()
        self.is_withdrawn = False


class Bookkeeper:
    """A queue and a thread that writes what is in it. `write` raises DatabaseError where the database cannot take it now."""

    def __init__(
        self,
        write: Callable[[Sequence[Call]], None] | None = None,
        *,
        wait_s: float = WAIT_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.write, self.wait_s, self.max_waiting = write or write_calls, wait_s, max_waiting
        self.waiting: deque[Booking] = deque()
        self.changed = threading.Condition()
        self.writing = threading.Lock()
        self.is_behind = False
        self.thread: threading.Thread | None = None

    def start(self, call: Call) -> Booking:
        """Put a call on the books; it may be sent when this returns."""
        booking = Booking(call)
        with self.changed:
            if len(self.waiting) < self.max_waiting:
                self.waiting.append(booking)
                if self.thread is None or not self.thread.is_alive():
                    self.thread = threading.Thread(target=self.run, name="proxy-book", daemon=True)
                    self.thread.start()
                elif len(self.waiting) == 1:
                    self.changed.notify_all()
        if not self.is_behind and not booking.is_written.wait(self.wait_s):
            self.is_behind = True
        if not booking.is_written.is_set():
            log.warning(
                "Proxy: a call to %s at %s (%s) is sent before it is in the book of calls, which cannot be written now.",
                call.model,
                call.provider,
                call.subject or "not recorded",
            )
        return booking

    def withdraw(self, booking: Booking) -> bool:
        """Say whether a call is not in the book; then it will not come there any more, and whoever asked writes it with its end."""
        with self.writing:
            if booking.is_written.is_set():
                return False
            booking.is_withdrawn = True
            return True

    def run(self) -> None:
        """Write what waits, for the life of the process."""
        wait_s = 0.05
        while True:
            with self.changed:
                while not self.waiting:
                    self.changed.wait()
                batch = [self.waiting.popleft() for _ in range(min(BATCH, len(self.waiting)))]
            if self.write_batch(batch):
                wait_s = 0.05
                continue
            with self.changed:
                self.waiting.extendleft(reversed(batch))
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def write_batch(self, batch: list[Booking]) -> bool:
        """Write entries; False where the database is away. Of a batch with an entry that it refuses (its project is gone) the others
        are written one by one.
        """
        with self.writing:
            wanted = [booking for booking in batch if not booking.is_withdrawn]
            try:
                if wanted:
                    self.write([booking.call for booking in wanted])
            except IntegrityError:
                self.write_singly(wanted)
                return True
            except DatabaseError as error:
                if not connection.in_atomic_block:
                    connection.close()
                self.is_behind = True
                log.warning("Proxy: %s calls wait for their place in the book: %s", len(wanted), error)
                return False
            except Exception:
                log.exception("Proxy: %s calls could not be put into the book before they were sent.", len(wanted))
                return True
            for booking in wanted:
                booking.is_written.set()
        self.is_behind = False
        return True

    def write_singly(self, batch: list[Booking]) -> None:
        """Write entries one at a time; one that the database refuses is named in the log and let go."""
        for booking in batch:
            try:
                self.write([booking.call])
            except IntegrityError as error:
                log.warning("Proxy: a call to %s is not in the book: %s", booking.call.model, error)
            except DatabaseError:  # it went away in between: the entry is written with the call's end
                return
            else:
                booking.is_written.set()


def write_calls(calls: Sequence[Call]) -> None:
    """Write calls as started, in one transaction."""
    if not connection.in_atomic_block:
        close_old_connections()
    with choose_store().in_turn():
        Call.objects.bulk_create(calls)
