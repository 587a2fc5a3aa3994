import asyncio
import threading
import time

import pytest

from providers.gate import Gate, ProviderGate


async def hold(gate, seconds, seen):
    async with gate.slot():
        seen.append(gate.in_flight)
        await asyncio.sleep(seconds)


def test_gate_lets_in_as_many_as_its_limit_and_all_in_the_end():
    gate, seen = Gate(3), []

    async def main():
        await asyncio.gather(*(hold(gate, 0.005, seen) for _ in range(20)))

    asyncio.run(main())

    assert (max(seen), len(seen), gate.in_flight) == (3, 20, 0)


def test_gate_shared_by_two_loops_keeps_one_limit():
    gate, seen = Gate(2), []

    def loop():
        async def main():
            await asyncio.gather(*(hold(gate, 0.003, seen) for _ in range(15)))

        asyncio.run(main())

    threads = [threading.Thread(target=loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert (max(seen), len(seen), gate.in_flight) == (2, 45, 0)


def test_gate_after_a_refusal_allows_half_and_recovers_with_answers():
    gate = Gate(8)

    async def main():
        async with gate.slot(), gate.slot(), gate.slot(), gate.slot():
            gate.slow_down(0)
            gate.slow_down(0)  # of the same burst

    asyncio.run(main())
    assert gate.allowed == 2
    for _ in range(200):
        gate.speed_up()
    assert gate.allowed == 8


def test_gate_pauses_for_as_long_as_asked():
    gate, seen = Gate(2), []
    gate.slow_down(0.15)
    started = time.monotonic()

    asyncio.run(hold(gate, 0, seen))

    assert time.monotonic() - started >= 0.15


def test_gate_forgets_waiters_that_are_cancelled():
    gate, seen = Gate(1), []

    async def main():
        first = asyncio.ensure_future(hold(gate, 0.05, seen))
        await asyncio.sleep(0.01)
        waiting = [asyncio.ensure_future(hold(gate, 0, seen)) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in waiting[:2]:
            task.cancel()
        await first
        await waiting[2]
        for task in waiting[:2]:
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())

    assert (len(seen), gate.in_flight, len(gate.waiting)) == (2, 0, 0)


def test_the_forecourt_of_a_provider_grows_and_shrinks_with_its_gate():
    gate = ProviderGate(10)
    assert (gate.limit, gate.forecourt.limit) == (10, 13)

    gate.resize(4)
    gate.in_flight = 4
    gate.slow_down(0)
    assert (gate.allowed, gate.forecourt.allowed) == (2, 4)

    for _ in range(50):
        gate.speed_up()
    assert (gate.allowed, gate.forecourt.allowed) == (4, 6)
