"""Looks of a worker stand back while something in the same process is waited for, such as a run with calls in flight; for a while only."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_S = 20.0  # that a look stands back
INDEX_FIRST_S = 60.0  # that other looks leave the processor to the search index, where very much is to be indexed
lock = threading.Lock()


class Foremost:
    """How many works of this process are waited for."""

    count = 0


since: dict[str, float] = {}  # from when on a look stands back (monotonic)


@contextmanager
def foremost() -> Iterator[None]:
    """Do something that people wait for: the looks of this process stand back."""
    with lock:
        Foremost.count += 1
    try:
        yield
    finally:
        with lock:
            Foremost.count -= 1


@contextmanager
def look(name: str) -> Iterator[None]:
    """Do what may wait. Asks `stands_back` before each step; a look that came to its turn stands back anew the next time."""
    yield
    if not stands_back(name):
        since.pop(name, None)


def stands_back(name: str) -> bool:
    """Say whether a look is to do nothing now."""
    if not Foremost.count:
        since.pop(name, None)
        return False
    return time.monotonic() - since.setdefault(name, time.monotonic()) < LONGEST_S


def lets_index(name: str, *, is_behind: bool) -> bool:
    """Say whether a look is to leave the processor to the search index. Once it has for a while, not again before that has caught up."""
    key = f"{name}, index"
    if not is_behind:
        since.pop(key, None)
        return False
    return time.monotonic() - since.setdefault(key, time.monotonic()) < INDEX_FIRST_S
