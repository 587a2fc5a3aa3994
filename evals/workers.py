"""Who works here: a name that says host and process, so that the leases of a dead worker on this host can be freed at once.

Pure but for reading the process table.
"""

import os
import socket
import subprocess
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def host_name() -> str:
    """Name this host as process ids are unique on it: its name, its boot, and the process namespace of a container."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [socket.gethostname().replace(":", "-")[:40]]
    if boot.exists():
        parts.append(boot.read_text().strip()[:8])
    if namespace.exists():
        parts.append(str(namespace.stat().st_ino))
    return "/".join(parts)


def process_start(pid: int) -> str:
    """Return when a process began, as text that no later process of the same id shares; empty where there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return "" if fields[0] in ("Z", "X") else fields[19]
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return found.stdout.strip().replace(" ", "_").replace(":", ".")


def worker_name() -> str:
    """Name this process as a worker: host:pid:start."""
    return f"{host_name()}:{os.getpid()}:{process_start(os.getpid())}"


def is_dead(worker: str) -> bool:
    """Say whether a worker of this host no longer runs. Of other hosts nothing is known: False."""
    host, _, rest = worker.partition(":")
    pid, _, start = rest.partition("#")[0].partition(":")
    if host != host_name() or not pid.isdigit():
        return False
    return process_start(int(pid)) != start
