"""The embedded queue: a kombu transport over one folder, for a server without Redis.

The queue only says "look", so it holds each call once: a message whose task and arguments already wait is not added again,
and the folder cannot grow beyond the number of different calls. A message appears and is claimed by one rename, so that no
reader ever sees half of one. A message claimed by a process that was killed is lost, which changes nothing: workers look at
the rows when they start and every few seconds after.

kombu's own file transport was measured and not taken; docs/decisions/0001-embedded-queue.md says why.
"""

import hashlib
import json
import os
import re
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from time import monotonic, sleep
from typing import Any

from kombu.transport import virtual

POLL_S = 0.02  # an idle worker wakes within this
DRAIN_S = 0.25  # so often the worker's loop comes round to see whether it should stop
SUFFIX = ".json"


def message_name(message: dict[str, Any]) -> str:
    """Name a message by what it calls: the same task with the same arguments (and the same hour) has the same name."""
    headers = message.get("headers") or {}
    parts = [headers.get("task"), headers.get("eta"), headers.get("retries"), message.get("body")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32] + SUFFIX


def put(folder: Path, message: dict[str, Any]) -> bool:
    """Add a message. Returns False where the same call already waits."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".draft-{uuid.uuid4().hex}"
    draft.write_text(json.dumps(message))
    try:
        os.link(draft, folder / message_name(message))
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def waiting(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if entry.name.endswith(SUFFIX) and not entry.name.startswith("."))
    except FileNotFoundError:
        return


def age(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mtime_ns
    except FileNotFoundError:  # claimed by another worker since
        return 0


def take(folder: Path) -> dict[str, Any] | None:
    """Claim the oldest message, or return None. A file that is not a message is dropped."""
    for entry in sorted(waiting(folder), key=age):
        claimed = folder / f".claimed-{uuid.uuid4().hex}"
        try:
            os.rename(entry.path, claimed)
        except FileNotFoundError:
            continue
        try:
            message = json.loads(claimed.read_bytes())
        except ValueError:
            continue
        finally:
            claimed.unlink()
        if isinstance(message, dict):
            return message
    return None


def sweep(folder: Path) -> int:
    """Remove what killed processes left half done; returns how many files. For a worker's start."""
    left = [path for path in folder.glob("*/.*") if path.name.startswith((".draft-", ".claimed-"))]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


class Channel(virtual.Channel):
    """One folder a queue, below `transport_options["folder"]`."""

    def folder_of(self, queue: str) -> Path:
        return Path(self.connection.client.transport_options["folder"]) / re.sub(r"[^A-Za-z0-9_-]", "_", queue)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        put(self.folder_of(queue), message)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        message = take(self.folder_of(queue))
        if message is None:
            raise Empty
        return message

    def _size(self, queue: str) -> int:
        return sum(1 for _ in waiting(self.folder_of(queue)))

    def _purge(self, queue: str) -> int:
        entries = list(waiting(self.folder_of(queue)))
        for entry in entries:
            Path(entry.path).unlink(missing_ok=True)
        return len(entries)


class Transport(virtual.Transport):
    """Polls: a look into an empty folder costs some tens of microseconds."""

    Channel = Channel
    driver_type = "folder"
    driver_name = "folder"

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver the next message. Raises socket.timeout where none came in time."""
        end = monotonic() + min(timeout or DRAIN_S, DRAIN_S)
        while True:
            try:
                self.cycle.get(self._deliver, timeout=timeout)  # type: ignore[union-attr]  # set by the superclass
                return
            except Empty:
                if monotonic() >= end:
                    raise socket.timeout from None  # noqa: UP041  the name that kombu and celery catch
                sleep(POLL_S)

    def driver_version(self) -> str:
        return "1"
