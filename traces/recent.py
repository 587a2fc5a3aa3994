"""A few things that were costly to make, kept in this process for a short while."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Recent:
    """The things asked for last, by a key that changes when they do. At most `size`, none older than `seconds`."""

    def __init__(self, *, size: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.size, self.seconds, self.clock = size, seconds, clock
        self.kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Hashable) -> Any | None:
        """Return what was put under a key not long ago, or None."""
        with self.lock:
            made_at, value = self.kept.get(key, (0.0, None))
            if value is None or self.clock() - made_at > self.seconds:
                self.kept.pop(key, None)
                return None
            self.kept.move_to_end(key)
            return value

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a thing, and let go of those beyond the size and of those too old."""
        with self.lock:
            now = self.clock()
            self.kept[key] = (now, value)
            for old in [one for one, (made_at, _) in self.kept.items() if now - made_at > self.seconds]:
                del self.kept[old]
            while len(self.kept) > self.size:
                self.kept.popitem(last=False)
