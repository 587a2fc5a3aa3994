"""`serve` as a process tree, run for real: start, stop, death of the parent, refusals."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from config import processes

ROOT = Path(__file__).resolve().parent.parent.parent
UNSET = (
    "DATABASE_URL",
    "REDIS_URL",
    "MARKBOOK_LOGIN",
    "MARKBOOK_ALLOWED_HOSTS",
    "MARKBOOK_SELF_URL",
    "MARKBOOK_HASHED_STATIC",
)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def manage(data: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    clean = {name: value for name, value in os.environ.items() if name not in UNSET and not name.startswith("PYTEST")}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env={**clean, "MARKBOOK_DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "config.settings", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_until(claim, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def read_until(process: subprocess.Popen, text: str) -> str:
    """Read lines up to the one that holds `text`; fails where the process ends before."""
    seen = ""
    while text not in seen:
        line = process.stdout.readline()
        assert line, f"ended without {text!r}: {seen}"
        seen += line
    return seen


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return found + [grandchild for child in found for grandchild in descendants(child)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc to find the children: Linux only")
def test_serve_starts_survives_a_dead_worker_and_leaves_nothing_behind(tmp_path):
    port = free_port()
    server = manage(tmp_path, "serve", "--port", str(port))
    try:
        read_until(server, f"Markbook is at http://127.0.0.1:{port}")
        assert answers(port)
        children = descendants(server.pid)
        worker = next(pid for pid in children if b"celery" in Path(f"/proc/{pid}/cmdline").read_bytes())

        os.kill(worker, signal.SIGKILL)
        read_until(server, "starting it again")
        wait_until(lambda: len(descendants(server.pid)) >= len(children))
        assert answers(port)

        # The parent dies without a chance to say anything: nobody keeps the port or goes on working.
        children = descendants(server.pid)
        server.kill()
        server.wait(5)
        # The new worker may still be loading; it looks for its parent as soon as it is up.
        wait_until(lambda: is_free(port) and not any(map(is_running, children)))
    finally:
        server.kill()

    again = manage(tmp_path, "serve", "--port", str(port))
    try:
        said = read_until(again, "Markbook is at")
        assert "copy is at" not in said  # nothing to migrate: no backup
        children = descendants(again.pid)
        again.send_signal(signal.SIGTERM)
        assert again.wait(10) == 0
        assert not any(map(is_running, children))
        assert is_free(port)
    finally:
        again.kill()


def test_serve_refuses_login_off_on_another_host(tmp_path):
    server = manage(tmp_path, "serve", "--host", "0.0.0.0", "--port", str(free_port()), MARKBOOK_LOGIN="off")
    said, _ = server.communicate(timeout=60)
    assert server.returncode == 2
    assert "Login is off" in said
    assert "Traceback" not in said


def test_serve_on_a_busy_port_says_so(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        server = manage(tmp_path, "serve", "--port", str(port))
        said, _ = server.communicate(timeout=60)
    assert server.returncode == 2
    asks = f"Port {port} on 127.0.0.1 is in use by another program; stop it, or choose another with --port."
    assert said == f"CommandError: {asks}\n"  # one line
    assert not (tmp_path / "markbook.sqlite3").exists()  # nothing was done before the port was looked at
    assert not (tmp_path / "static").exists()


def test_what_python_compiles_is_kept_in_the_data_folder_where_it_may_not_lie_beside_the_sources(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        manage(tmp_path / "told", "serve", "--port", port, PYTHONDONTWRITEBYTECODE="1").communicate(timeout=60)
        manage(tmp_path / "free", "serve", "--port", port, PYTHONDONTWRITEBYTECODE="").communicate(timeout=60)
    assert list((tmp_path / "told" / "bytecode").rglob("config/processes*.pyc"))
    assert not (tmp_path / "free" / "bytecode").exists()


def test_serve_refuses_a_database_of_a_newer_version_and_names_the_migration(tmp_path):
    assert manage(tmp_path, "migrate", "-v", "0").wait(60) == 0
    with sqlite3.connect(tmp_path / "markbook.sqlite3") as database:
        database.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('traces', '9999_later', '2030-01-01')"
        )
    server = manage(tmp_path, "serve", "--port", str(free_port()))
    said, _ = server.communicate(timeout=60)
    assert server.returncode == 2
    assert "newer Markbook" in said
    assert "traces.9999_later" in said


def test_login_is_off_on_loopback_only(monkeypatch):
    monkeypatch.delenv("MARKBOOK_LOGIN", raising=False)
    assert [processes.login_for(host) for host in ("127.0.0.1", "localhost", "::1")] == ["off"] * 3
    assert [processes.login_for(host) for host in ("0.0.0.0", "::", "10.1.2.3", "markbook.example")] == ["on"] * 4
    monkeypatch.setenv("MARKBOOK_LOGIN", "on")
    assert processes.login_for("127.0.0.1") == "on"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1,localhost,[::1]"),
        ("10.1.2.3", "10.1.2.3,127.0.0.1,localhost,[::1]"),
        ("0.0.0.0", "*,127.0.0.1,localhost,[::1]"),
    ],
)
def test_children_know_the_host_and_their_own_address(monkeypatch, host, allowed):
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        environment = processes.child_environment(host, listener, 5)
        assert environment["MARKBOOK_SELF_URL"] == f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert environment["MARKBOOK_ALLOWED_HOSTS"] == allowed
    assert environment["MARKBOOK_HASHED_STATIC"] == "on"


def keep_alive(child: processes.Child, said: list[str]) -> None:
    for _ in range(400):
        child.start_at = 0.0  # no pause in the test
        child.keep(said.append)
        time.sleep(0.02)


def test_child_that_keeps_dying_stops_the_whole():
    said: list[str] = []
    child = processes.Child("worker", [sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ), ())
    with pytest.raises(CommandError, match="ended 4 times within a minute"):
        keep_alive(child, said)
    assert said[0] == "The worker ended with code 3; starting it again in 1 s."


def test_stop_signal_interrupts_the_preparation_whatever_it_catches():
    def prepare() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except Exception:  # as Django does around each request
            pytest.fail("the stop was swallowed")

    with pytest.raises(processes.StopAsked):
        processes.prepare_or_stop(prepare)


# The early line ---------------------------------------------------------------------------------------------------


def test_the_early_line_comes_as_soon_as_the_server_answers_and_once(monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr(processes, "is_ready", lambda url: next(answers))
    said: list[str] = []
    came = threading.Event()
    with processes.announced_early("http://x", "while it loads.", lambda text: (said.append(text), came.set())):
        assert came.wait(10)
    assert said == ["Already at http://x while it loads."]


@pytest.mark.parametrize("words", ["", "while it loads."])
def test_nothing_is_said_early_without_words_or_when_all_is_done_before(monkeypatch, words):
    monkeypatch.setattr(processes, "is_ready", lambda url: True)
    said: list[str] = []
    with processes.announced_early("http://x", words, said.append):
        pass
    assert said == []
