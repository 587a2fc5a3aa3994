"""Web server and worker in one process tree, for `serve` and `demo`.

The parent opens the listening socket, keeps it, and starts gunicorn and a Celery worker with it; a child that dies is
started again after a pause, and one that keeps dying stops the whole. Each child holds the read end of a pipe whose write end
only the parent has: when the parent is gone, however it went, the child reads the end of the file and goes too.
"""

import contextlib
import errno
import ipaddress
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

WATCH_FD = "MARKBOOK_WATCH_FD"
# A worker in the middle of model calls is not waited for longer: its lease runs out and the work is done again.
STOP_S = 6.0
READY_S = 60.0
QUICK_DEATHS = 4  # so many deaths of one child within QUICK_S stop the whole
QUICK_S = 60.0
WORKER_THREADS = 13  # eight runs at a time, and a thread for each of the looks and the gradings (evals/tasks.py)


class StopAsked(BaseException):
    """SIGTERM or Ctrl-C came while the server was being prepared. No `except Exception` on the way may swallow it."""


# Children end with their parent ----------------------------------------------------------------------------------


def die_with_parent() -> None:
    """End this process when the one that started it is gone. Does nothing in a process that `run_server` did not start."""
    if os.environ.get(WATCH_FD):
        threading.Thread(target=wait_for_parent, args=(int(os.environ[WATCH_FD]),), name="watch", daemon=True).start()


def wait_for_parent(descriptor: int) -> None:
    """Block until the parent's end of the pipe is closed, then leave at once: every row in work is under a lease."""
    with contextlib.suppress(OSError):
        os.read(descriptor, 1)
    os.killpg(0, signal.SIGKILL)  # the children of `run_server` lead a process group of their own


# Addresses -------------------------------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Say whether a host can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    return host.strip("[]") in ("0.0.0.0", "::", "")  # noqa: S104  compared, not bound


def bind_socket(host: str, port: int) -> socket.socket:
    """Open the listening socket. Raises CommandError (exit code 2) where the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise CommandError(f"The host {host!r} is not known here: {error.strerror}.", returncode=2) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            text = f"Port {port} on {host} is in use by another program; stop it, or choose another with --port."
        elif error.errno == errno.EACCES:
            text = f"Port {port} may not be opened by this user; choose one above 1023 with --port."
        else:
            text = f"The address {host}:{port} cannot be opened: {error.strerror}."
        raise CommandError(text, returncode=2) from error
    return listener


def local_url(listener: socket.socket) -> str:
    """Return where this machine itself reaches the socket."""
    host, port = listener.getsockname()[:2]
    if is_wildcard(host):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def refuse_platform() -> None:
    """Raise CommandError on Windows, which gunicorn does not run on."""
    if sys.platform == "win32":
        raise CommandError("Markbook serves on Linux and macOS; on Windows run it inside WSL.", returncode=2)


def login_for(host: str) -> str:
    """Return "on" or "off": MARKBOOK_LOGIN, else off on loopback. Raises CommandError for off on any other host."""
    login = os.environ.get("MARKBOOK_LOGIN", "").lower() or ("off" if is_loopback(host) else "on")
    if login == "off" and not is_loopback(host):
        raise CommandError(
            f"Login is off (MARKBOOK_LOGIN=off), so anybody who reaches {host} could read and change everything. "
            "Serve on 127.0.0.1, or leave MARKBOOK_LOGIN unset to have login on.",
            returncode=2,
        )
    return login


def bind_intake() -> tuple[socket.socket, str]:
    """Open the socket over which web processes hand batches to intake processes, and return its address; nobody else may connect.

    It listens while those are loaded: what comes then waits for them.
    """
    folder = tempfile.mkdtemp(prefix="markbook-")  # readable by its owner only; the name of a Unix socket must be short
    address = os.path.join(folder, "intake")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    return listener, address


def child_environment(host: str, listener: socket.socket, watch: int) -> dict[str, str]:
    """Return the environment of web server and worker. Raises CommandError where login is off and the host is not loopback."""
    login = login_for(host)
    allowed = [name for name in os.environ.get("MARKBOOK_ALLOWED_HOSTS", "").split(",") if name]
    if not allowed and is_wildcard(host):
        allowed = ["*"]  # login is on: a page of another site has no cookie under a name of its own
    elif not allowed:
        allowed = [f"[{host}]" if ":" in host and not host.startswith("[") else host]
    return {
        **os.environ,
        "MARKBOOK_LOGIN": login,
        "MARKBOOK_ALLOWED_HOSTS": ",".join(dict.fromkeys([*allowed, *settings.LOOPBACK_HOSTS])),
        "MARKBOOK_SELF_URL": local_url(listener),
        "MARKBOOK_HASHED_STATIC": "on",
        "PYTHONUNBUFFERED": "1",
        WATCH_FD: str(watch),
    }


# Children --------------------------------------------------------------------------------------------------------


@dataclass
class Child:
    """A process that is kept running."""

    name: str
    command: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...]
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    deaths: list[float] = field(default_factory=list)

    def start(self) -> None:
        # A session of its own: Ctrl-C in the terminal reaches the parent alone, which then stops the children in order.
        self.process = subprocess.Popen(  # noqa: S603  our own command
            self.command, env=self.environment, cwd=settings.BASE_DIR, pass_fds=self.descriptors, start_new_session=True
        )

    def keep(self, report: Callable[[str], None]) -> None:
        """Start the process where it is not running. Raises CommandError where it keeps dying."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.start_at:
                self.start()
            return
        code = self.process.poll()
        if code is None:
            return
        self.process = None
        self.deaths = [death for death in self.deaths if now - death < QUICK_S] + [now]
        if len(self.deaths) >= QUICK_DEATHS:
            raise CommandError(
                f"The {self.name} ended {len(self.deaths)} times within a minute (last code {code}); stopping."
            )
        pause = 2.0 ** (len(self.deaths) - 1)
        self.start_at = now + pause
        report(f"The {self.name} ended with code {code}; starting it again in {pause:.0f} s.")

    def signal_group(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def web_command(descriptor: int, *, workers: int, threads: int) -> list[str]:
    return [
        *(sys.executable, "-m", "gunicorn", "config.wsgi:application", "--bind", f"fd://{descriptor}"),
        *("--config", "python:config.gunicorn_hooks", "--preload", "--worker-class", "gthread"),
        *("--workers", str(workers), "--threads", str(threads), "--keep-alive", "75", "--timeout", "120"),
        *("--graceful-timeout", "3", "--log-level", "warning", "--no-control-socket"),
    ]


def worker_command(*, threads: int) -> list[str]:
    return [
        # Celery warns of root because of pickle; our messages are JSON.
        *(
            sys.executable,
            "-W",
            "ignore:You're running the worker",
            "-m",
            "celery",
            "--quiet",
            "-A",
            "config",
            "worker",
            "--pool",
            "threads",
        ),
        *("--concurrency", str(threads), "--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--loglevel", "warning"),
    ]


def intake_command(descriptor: int) -> list[str]:
    return [sys.executable, "-m", "config.intake_processes", str(descriptor)]


def stop_children(children: list[Child]) -> None:
    """Ask all to stop, wait a little, then end what is left, grandchildren too."""
    for child in children:
        if child.process is not None:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
    end = time.monotonic() + STOP_S
    for child in children:
        if child.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, end - time.monotonic()))
        child.signal_group(signal.SIGKILL)
        if child.process is not None:
            child.process.wait()


# The whole -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def wake_on_signals() -> Iterator[tuple[int, list[int]]]:
    """Collect SIGINT, SIGTERM, SIGHUP and SIGCHLD: gives a descriptor that becomes readable, and the list of stop signals."""
    asked: list[int] = []
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    before_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: dict[int, Any] = {
        number: signal.signal(number, lambda number, frame: asked.append(number)) for number in stops
    }
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        yield read_end, asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(read_end)
        os.close(write_end)


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310  our own server
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def run_server(
    host: str,
    listener: socket.socket,
    *,
    workers: int = 2,
    report: Callable[[str], None] = print,
    prepare: Callable[[str], None] | None = None,
    meanwhile: str = "",
) -> None:
    """Run web server and worker until SIGINT or SIGTERM; the database must be migrated, the static files collected.

    `listener` is the socket of `bind_socket`, closed here. `prepare(url)` runs in this process while the web server starts, the
    worker after it; the address is printed when all is done, and at once with the words `meanwhile`, where there are any, when
    the web server answers before. Raises CommandError where the address is not allowed, where nothing answers within a
    minute, or where a child keeps dying.
    """
    watch_read, watch_write = os.pipe()
    environment = child_environment(host, listener, watch_read)
    intake, environment["MARKBOOK_INTAKE_SOCKET"] = bind_intake()
    url = environment["MARKBOOK_SELF_URL"]
    web_fds, worker_fds, intake_fds = (listener.fileno(), watch_read), (watch_read,), (intake.fileno(), watch_read)
    worker = Child("worker", worker_command(threads=WORKER_THREADS), environment, worker_fds)
    children = [
        Child("web server", web_command(listener.fileno(), workers=workers, threads=8), environment, web_fds),
        worker,
        Child("intake", intake_command(intake.fileno()), environment, intake_fds),
    ]
    with wake_on_signals() as (wake, asked):
        try:
            for child in children:
                if child is not worker or prepare is None:
                    child.start()
            if prepare is not None:
                with announced_early(url, meanwhile, report):
                    prepare_or_stop(partial(prepare, url))
                worker.start()  # not before: its start and its looks would take the time of what is being prepared
            announced, end = False, time.monotonic() + READY_S
            while not asked:
                for child in children:
                    child.keep(report)
                if not announced and is_ready(url):
                    announced = True
                    report(f"Markbook is at {url}")
                    report("Ctrl-C stops it.")
                if not announced and time.monotonic() > end:
                    raise CommandError(f"Nothing answered at {url}/readyz within {READY_S:.0f} s; stopping.")
                select.select([wake], [], [], 1.0 if announced else 0.2)
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
            report("Stopping.")
        except StopAsked:
            report("Stopping.")
        finally:
            stop_children(children)
            listener.close()
            intake.close()
            shutil.rmtree(os.path.dirname(environment["MARKBOOK_INTAKE_SOCKET"]), ignore_errors=True)
            os.close(watch_write)
            os.close(watch_read)


@contextlib.contextmanager
def announced_early(url: str, words: str, report: Callable[[str], None]) -> Iterator[None]:
    """Report "Already at URL" and the words as soon as the web server answers, unless the block ends before or there are no words."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            if is_ready(url):
                if not over.is_set():
                    report(f"Already at {url} {words}")
                return

    watcher = threading.Thread(target=watch, name="announce", daemon=True)
    if words:
        watcher.start()
    try:
        yield
    finally:
        over.set()
        if words:
            watcher.join(1.0)  # a daemon: one that still waits for an answer says nothing any more


def prepare_or_stop(prepare: Callable[[], None]) -> None:
    """Run `prepare` so that a stop signal interrupts it."""

    def stop(number: int, frame: Any) -> None:
        raise StopAsked

    stops = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in stops}
    try:
        prepare()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
