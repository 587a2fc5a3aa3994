"""Batches of spans and log records are taken in by processes of their own, which share the work evenly.

A batch costs tens of milliseconds of computing. In a web process it would compete with the pages and with other batches for one
interpreter, and connections that are kept alive spread unevenly over web processes. So a web process hands the body over a
socket of this machine (`hand_over`), and whichever intake process is free takes it (`serve`). A web process that finds nobody
there takes the batch in itself (`take`): the rows are the same.

A batch that waits says that no process is free. So a process that has prepared one prepares the next that waits too, up to a
few, and writes them in one transaction (`take_group`): fewer commits, and pages of indexes that each of them changes are
written once. Each is answered after the commit.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError, close_old_connections
from django.db import connection as django_connection

from accounts.models import Project
from traces.otlp import DecodeError, decode_logs, decode_traces
from traces.services import IngestResult, Prepared, find_price_usd, ingest_logs, ingest_spans

log = logging.getLogger(__name__)
SIZES = struct.Struct("!IQ")  # of the head, of the body
ANSWER_S = 300  # a batch that waits longer for its answer is sent again by its sender
ACCEPT_S = 10  # so long a web process waits for one that is free; then it takes the batch in itself
AVOID_S = 30  # and after that it asks nobody for so long
ACCEPTED = b"\x01"
AT_ONCE = 1024 * 1024  # bytes
MOST_TOGETHER = 4  # batches in one transaction
MOST_BYTES = 4 * 1024 * 1024  # no further batch joins a group of so many


class Busy(Exception):
    """The database, or who takes batches in, cannot take one now; what became of it is not known. The sender sends it again."""


class Broken(Exception):
    """An intake process met an error of ours; its log has the traceback."""


# Taking in -------------------------------------------------------------------------------------------------------


def take(kind: str, project: Project, body: bytes, content_type: str) -> list[str]:
    """Decode and keep the `spans` or `logs` of a request. Returns why some were not kept. Raises DecodeError, Busy."""
    try:
        if kind == "spans":
            decoded = decode_traces(body, content_type)
            return [*decoded.rejected, *keep(ingest_spans, project, decoded.records).rejected]
        logs = decode_logs(body, content_type)
        return [*logs.rejected, *keep(ingest_logs, project, logs.logs).rejected]
    except (OperationalError, InterfaceError, IntegrityError) as error:
        raise_busy(project, error)


def raise_busy(project: Project, error: Exception) -> NoReturn:
    """Raise Busy for what passes: the database is away, or the project was deleted meanwhile. Raises another error again."""
    if isinstance(error, IntegrityError) and Project.objects.filter(pk=project.pk).exists():
        raise error
    if isinstance(error, OperationalError | InterfaceError):
        raise Busy(str(error)) from error
    raise Busy("its project was deleted meanwhile") from error


def keep(ingest: Callable[[Project, list[Any]], IngestResult], project: Project, items: list[Any]) -> IngestResult:
    """Keep items; where the database refuses a value, keep what it takes, halving the batch to find what it refuses."""
    if not items:
        return IngestResult(0)
    try:
        return ingest(project, items)
    except DataError as error:
        if len(items) == 1:
            return IngestResult(0, [f"span {items[0].span_id[:60]}: the database refuses it: {error}"])
        middle = len(items) // 2
        first, second = keep(ingest, project, items[:middle]), keep(ingest, project, items[middle:])
        return IngestResult(first.accepted + second.accepted, [*first.rejected, *second.rejected])


# Handing over, in a web process ------------------------------------------------------------------------------------


def receive(kind: str, project: Project, body: bytes, content_type: str) -> list[str]:
    """Have a request's spans or logs kept, by an intake process where one listens. As `take`."""
    connection = connect()
    if connection is None:
        return take(kind, project, body, content_type)
    with connection:
        answer = hand_over(connection, {"kind": kind, "project": project.pk, "content_type": content_type}, body)
    if answer.get("error") == "decode":
        raise DecodeError(answer["message"])
    if answer.get("error") == "busy":
        raise Busy(answer["message"])
    if "rejected" not in answer:
        raise Broken(f"An intake process failed at a batch: {answer.get('message', '')}")
    return [str(reason) for reason in answer["rejected"]]


class Avoided:
    """Until when this web process asks no intake process, since none was free for ACCEPT_S (monotonic seconds)."""

    until = 0.0


def connect() -> socket.socket | None:
    """Return a connection to an intake process that has accepted it; None where nobody does."""
    address = os.environ.get("MARKBOOK_INTAKE_SOCKET", "")
    if not address or time.monotonic() < Avoided.until:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ACCEPT_S)
        connection.connect(address)
        # The socket is open for as long as the server runs, also while no process is behind it: only an answer counts.
        if connection.recv(1) == ACCEPTED:
            connection.settimeout(ANSWER_S)
            return connection
    except TimeoutError:
        Avoided.until = time.monotonic() + AVOID_S
        log.warning("Intake: no process was free for %s s; batches are taken in here for %s s.", ACCEPT_S, AVOID_S)
    except OSError as error:
        log.debug("Intake: nobody listens: %s", error)
    connection.close()
    return None


def hand_over(connection: socket.socket, head: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Send a batch and return the answer. Raises Busy where none comes."""
    encoded = orjson.dumps(head)
    try:
        connection.sendall(SIZES.pack(len(encoded), len(body)) + encoded)
        if body:
            connection.sendall(body)
        answer, _ = read_frame(connection)
    except (OSError, EOFError) as error:
        raise Busy(f"the process that took the batch in ended before it answered ({error!r})") from error
    return dict(orjson.loads(answer))


def read_frame(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read a head and a body. Raises EOFError where the other side goes away."""
    head_size, body_size = SIZES.unpack(read_exactly(connection, SIZES.size))
    return read_exactly(connection, head_size), read_exactly(connection, body_size)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """Read so many bytes. Raises EOFError."""
    buffer = bytearray(size)
    view, place = memoryview(buffer), 0
    while place < size:
        count = connection.recv_into(view[place : place + AT_ONCE])
        if not count:
            raise EOFError(f"{place} of {size} bytes came")
        place += count
    return bytes(buffer)


# An intake process -------------------------------------------------------------------------------------------------


class Stop(BaseException):
    """The process was asked to end while it waited."""


def warm_up() -> None:
    """Load what the first batch would wait for: the table of prices, and what decoding makes at its first use."""
    find_price_usd()("gpt-4o-mini", 1, 1, 0, provider="openai")
    decode_traces(b"", "application/x-protobuf")


def serve(listener: socket.socket) -> None:
    """Take in batches until SIGTERM; those that were begun are ended first."""
    state = {"waits": False, "stops": False}

    def stop(number: int, frame: Any) -> None:
        state["stops"] = True
        if state["waits"]:
            raise Stop

    signal.signal(signal.SIGTERM, stop)
    with contextlib.suppress(DatabaseError, InterfaceError):  # away now: the first batch is told so, where it still is
        django_connection.ensure_connection()
    listener.setblocking(False)  # for all processes that share it: which of those that look is quicker is not known
    with contextlib.suppress(Stop):
        while not state["stops"]:
            state["waits"] = True
            select.select([listener], [], [])
            connection = accept(listener)
            state["waits"] = False
            if connection is not None:
                answer_group(waiting(listener, connection))


def accept(listener: socket.socket) -> socket.socket | None:
    """Return the connection that waits; None where none does, or another process was quicker."""
    try:
        return listener.accept()[0]
    except BlockingIOError:
        return None


@dataclass
class Request:
    """A batch that a web process handed over, and what became of it."""

    connection: socket.socket
    head: dict[str, Any]
    body: bytes
    answer: dict[str, Any] = field(default_factory=dict)

    def reply(self) -> None:
        """Say what became of the batch."""
        with self.connection, contextlib.suppress(OSError):  # a web process that is gone needs no answer
            encoded = orjson.dumps(self.answer)
            self.connection.sendall(SIZES.pack(len(encoded), 0) + encoded)


def waiting(listener: socket.socket, connection: socket.socket) -> Iterator[Request]:
    """Read the batch of a connection, then those that wait when the one before is prepared, as many as are written together."""
    size, following = 0, connection
    for number in range(1, MOST_TOGETHER + 1):
        request = read_request(following)
        if request is None:
            return
        size += len(request.body)
        yield request
        # One that is accepted is taken in: so none is where the group is full.
        if number == MOST_TOGETHER or size > MOST_BYTES or (found := accept(listener)) is None:
            return
        following = found


def read_request(connection: socket.socket) -> Request | None:
    """Accept a batch; None where it breaks off."""
    connection.settimeout(ANSWER_S)
    try:
        connection.sendall(ACCEPTED)
        head, body = read_frame(connection)
        return Request(connection, orjson.loads(head), body)
    except (OSError, EOFError) as error:
        connection.close()
        log.warning("Intake: a batch broke off: %s", error)
        return None


def answer_group(requests: Iterable[Request]) -> None:
    """Take in batches together, and say what became of each."""
    for request in take_group(requests):
        request.reply()


def take_group(requests: Iterable[Request]) -> list[Request]:
    """Take in batches, the spans of a project in one transaction. Each request is prepared before the next one is asked for."""
    close_old_connections()
    taken: list[Request] = []
    groups: dict[int, tuple[Prepared, list[Request]]] = {}
    for request in requests:
        taken.append(request)
        head = request.head
        if head.get("kind") != "spans":
            request.answer = take_frame(head, request.body)
            continue
        try:
            decoded = decode_traces(request.body, head["content_type"])
            prepared, together = groups.setdefault(head["project"], (Prepared(), []))
            request.answer = {"rejected": [*decoded.rejected, *prepared.add(decoded.records).rejected]}
            together.append(request)
        except Exception as error:
            request.answer = failure(error)
    for project, (prepared, together) in groups.items():
        write_group(Project(pk=project), prepared, together)
    return taken


def write_group(project: Project, prepared: Prepared, requests: list[Request]) -> None:
    """Write the spans of some requests. Where the database refuses a value, each is taken in alone."""
    try:
        try:
            prepared.write(project)
        except DataError:
            for request in requests:
                request.answer = take_frame(request.head, request.body)
        except (OperationalError, InterfaceError, IntegrityError) as error:
            raise_busy(project, error)
    except Exception as error:
        answer = failure(error)
        for request in requests:
            request.answer = answer


def take_frame(head: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Take in one batch that a web process handed over. Returns the answer."""
    try:
        return {"rejected": take(head["kind"], Project(pk=head["project"]), body, head["content_type"])}
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> dict[str, Any]:
    """Return the answer to a batch that could not be taken in; whatever it is, the next batch is taken in."""
    if isinstance(error, DecodeError):
        return {"error": "decode", "message": str(error)}
    if isinstance(error, Busy):
        return {"error": "busy", "message": str(error)}
    log.error("Intake: a batch could not be taken in.", exc_info=error)
    return {"error": "broken", "message": repr(error)}
