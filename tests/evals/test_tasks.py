"""The worker's threads: runs do not take those that the looks need."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.celery import LOOKS
from evals import services, tasks

THREADS = 13


@pytest.fixture
def held_runs(monkeypatch):
    """Runs that hold their thread until the test lets them go; gives what ends them."""
    end = threading.Event()

    async def hold(run_id, **options):
        end.wait(20)

    monkeypatch.setattr(services, "pump_run", hold)
    yield end
    end.set()


@pytest.fixture
def asked_again(monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.look, "apply_async", lambda *args, **options: sent.append(options))
    return sent


def test_however_many_runs_are_active_a_thread_is_left_for_each_look(monkeypatch, held_runs, asked_again):
    end = held_runs
    monkeypatch.setattr(tasks.Room, "pumps", tasks.pumps_at_once(THREADS))
    with ThreadPoolExecutor(THREADS) as pool:  # as the worker's pool of threads
        runs = [pool.submit(tasks.pump_run, run_id) for run_id in range(1, 21)]
        looks = [pool.submit(threading.Event().is_set) for _ in LOOKS]
        assert [look.result(timeout=5) for look in looks] == [False] * len(LOOKS)
        assert len(tasks.pumping) == THREADS - tasks.LOOKING
        assert not asked_again
        end.set()
        for run in runs:
            run.result(timeout=5)
    assert len(asked_again) == 1  # for the twelve that found no room, at the first end
    assert not tasks.pumping
    assert not tasks.refused


def test_eight_candidates_run_side_by_side_in_the_worker_that_serve_starts():
    from config import processes

    assert tasks.pumps_at_once(processes.WORKER_THREADS) == 8
    assert [tasks.pumps_at_once(threads) for threads in (1, 2, 4, 8)] == [1, 1, 2, 4]
    assert len(LOOKS) < tasks.LOOKING


def test_the_room_follows_the_threads_of_the_worker(monkeypatch):
    class Consumer:
        class controller:
            concurrency = 20

    monkeypatch.setattr(tasks, "warm_up", lambda: None)
    monkeypatch.setattr(tasks.Room, "pumps", 1)
    tasks.load_client(sender=Consumer)
    assert tasks.Room.pumps == 15


def test_an_end_with_nobody_waiting_asks_for_nothing(monkeypatch, held_runs, asked_again):
    held_runs.set()
    monkeypatch.setattr(tasks.Room, "pumps", 4)
    tasks.pump_run(1)
    assert not asked_again
