"""The processes that take in spans, as one child of `serve`: `python -m config.intake_processes`. See `traces.intake`.

One for each core and one more, which computes while another waits for the disk; forked from a parent that has loaded the
application, and forked again when one ends.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
import time
import traceback
from typing import Any

import django

PAUSE_S = 0.5
MAX_PROCESSES = 4


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    listener = socket.socket(fileno=int(sys.argv[1]))
    # A batch that comes while the application is loaded waits, rather than have a web process load all that too.
    listener.listen(2048)
    django.setup()
    from config.processes import die_with_parent
    from traces import intake

    intake.warm_up()
    gc.collect()
    gc.freeze()
    # A batch makes 100,000 objects that are no garbage: look for garbage less often.
    gc.set_threshold(50_000, 20, 50)
    children: set[int] = set()
    stops: list[int] = []

    def stop(number: int, frame: Any) -> None:
        stops.append(number)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    while not stops:
        while len(children) < min((os.cpu_count() or 1) + 1, MAX_PROCESSES) and not stops:
            children.add(fork(listener, intake.serve, die_with_parent))
        if wait_for_one(children):
            time.sleep(PAUSE_S)
    stop(signal.SIGTERM, None)  # one that was forked while the signal came
    while children:
        wait_for_one(children)


def fork(listener: socket.socket, serve: Any, die_with_parent: Any) -> int:
    """Start one process that serves, and return its id."""
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    try:
        serve(listener)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def wait_for_one(children: set[int]) -> bool:
    """Wait until a child ends. Returns False where there is none."""
    try:
        pid, _ = os.wait()
    except ChildProcessError:
        children.clear()
        return False
    children.discard(pid)
    return True


if __name__ == "__main__":
    main()
