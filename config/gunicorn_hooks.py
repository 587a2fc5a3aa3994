"""Settings of the web server that cannot be said on its command line: it ends with the process that started it."""

from typing import Any


def on_starting(server: Any) -> None:
    from config import processes

    processes.die_with_parent()
