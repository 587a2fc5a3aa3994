"""Settings of the web server that cannot be said on its command line: it ends with the process that started it, and tunes memory."""

import gc
import sys
from typing import Any

# How long a thread may compute while others wait: a proxied stream must not stand behind a batch of spans. Python's own is 5 ms.
SWITCH_S = 0.001


def on_starting(server: Any) -> None:
    from config import processes

    processes.die_with_parent()


def post_fork(server: Any, worker: Any) -> None:
    """Look for cyclic garbage less often: a batch of spans makes 100,000 objects that are no garbage, and the sweeps that they set
    off took a tenth of the time of ingest. What the application loaded is never looked at again.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def worker_exit(server: Any, worker: Any) -> None:
    """Write the proxied calls that wait in memory."""
    from gateway import recorder

    recorder.flush()
