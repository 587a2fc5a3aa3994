"""How many calls to one provider may be in flight, over all threads of this process; it slows down when the provider asks for it.

Several runs may ask the same provider at once, each in an event loop of its own, so waiters are woken in their own loop.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

PAUSE_LIMIT_S = 60.0
AHEAD = 0.3  # of a provider's limit: so many more calls may be made ready to be sent while these are in flight


@dataclass(eq=False)
class Waiter:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    is_granted: bool = False


def ahead_of(limit: int) -> int:
    """Return how many calls may be made ready beside those in flight, so that a place that is given back is taken at once."""
    return math.ceil(AHEAD * limit)


class Gate:
    """At most `limit` calls at once; fewer after a 429, then slowly more again."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.allowed = float(limit)
        self.in_flight = 0
        self.paused_until = 0.0
        self.slowed_at = 0.0
        self.waiting: deque[Waiter] = deque()
        self.lock = threading.Lock()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place, and for the end of a pause that the provider asked for; give the place back at the end."""
        await self.enter()
        try:
            while (left := self.paused_until - time.monotonic()) > 0:  # noqa: ASYNC110  # a pause may be prolonged
                await asyncio.sleep(left)
            yield
        finally:
            self.leave()

    async def enter(self) -> None:
        with self.lock:
            if not self.waiting and self.has_room():
                self.in_flight += 1
                return
            loop = asyncio.get_running_loop()
            waiter = Waiter(loop, loop.create_future())
            self.waiting.append(waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            with self.lock:
                if not waiter.is_granted:
                    self.waiting.remove(waiter)
                    raise
            self.leave()
            raise

    def leave(self) -> None:
        with self.lock:
            self.in_flight -= 1
            self.let_in()

    def has_room(self) -> bool:
        return self.in_flight < max(1, int(self.allowed))

    def let_in(self) -> None:
        """Wake as many waiters as there is room for. Call with the lock held."""
        while self.waiting and self.has_room():
            waiter = self.waiting.popleft()
            try:
                waiter.loop.call_soon_threadsafe(wake, waiter.future)
            except RuntimeError:  # its loop is closed: nobody waits there any more
                continue
            waiter.is_granted = True
            self.in_flight += 1

    def resize(self, limit: int) -> None:
        """Follow a change of the provider's settings."""
        with self.lock:
            if limit != self.limit:
                self.limit = limit
                self.allowed = float(limit)
                self.let_in()

    def slow_down(self, pause_s: float) -> None:
        """Halve what is allowed, once for each burst of refusals, and let nothing out for `pause_s` seconds."""
        now = time.monotonic()
        with self.lock:
            self.paused_until = max(self.paused_until, now + min(pause_s, PAUSE_LIMIT_S))
            if now - self.slowed_at > 1.0:
                self.allowed = max(1.0, min(self.allowed, float(self.in_flight)) / 2)
                self.slowed_at = now

    def speed_up(self) -> None:
        """Allow a little more after an answer: about one call more for each round."""
        if self.allowed >= self.limit:
            return
        with self.lock:
            self.allowed = min(float(self.limit), self.allowed + 1.0 / self.allowed)
            self.let_in()


def wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class ProviderGate(Gate):
    """The gate of a provider, and before it the `forecourt`: who is let in there may make a call ready, and waits for its turn."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.forecourt = Gate(limit + ahead_of(limit))

    def resize(self, limit: int) -> None:
        super().resize(limit)
        self.forecourt.resize(limit + ahead_of(limit))

    def slow_down(self, pause_s: float) -> None:
        super().slow_down(pause_s)
        self.forecourt.allowed = self.allowed + ahead_of(self.limit)

    def speed_up(self) -> None:
        if self.allowed >= self.limit:
            return
        super().speed_up()
        with self.forecourt.lock:
            self.forecourt.allowed = self.allowed + ahead_of(self.limit)
            self.forecourt.let_in()


gates: dict[tuple[int, str], ProviderGate] = {}
gates_lock = threading.Lock()


def gate_for(project_pk: int, provider_name: str, limit: int) -> ProviderGate:
    """Return the one gate of a provider in this process."""
    with gates_lock:
        gate = gates.setdefault((project_pk, provider_name), ProviderGate(limit))
    gate.resize(limit)
    return gate
