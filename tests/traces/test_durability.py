"""An answer of 200 means on disk: the server is killed right after it, and the spans are there."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from tests.traces.test_api import request_message

ROOT = Path(settings.BASE_DIR)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def send(port: int, body: bytes, *, deadline: float = 60) -> int:
    """Post a batch as soon as the server listens; return the status."""
    end = time.monotonic() + deadline
    while True:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            client.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
            return client.getresponse().status
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def make_environment(data_dir: Path) -> dict[str, str]:
    """Return the environment of a server on the tests' PostgreSQL database, or on a SQLite file of its own."""
    environment = {**os.environ, "MARKBOOK_DATA_DIR": str(data_dir), "MARKBOOK_LOGIN": "off", "DATABASE_URL": ""}
    environment.pop("REDIS_URL", None)
    if connection.vendor == "postgresql":
        parts = connection.settings_dict
        environment["DATABASE_URL"] = (
            f"postgresql://{parts['USER']}:{parts['PASSWORD']}@{parts['HOST']}:{parts['PORT'] or 5432}/{parts['NAME']}"
        )
    return environment


def read_stored(environment: dict[str, str], sql: str) -> list[tuple]:
    """Read the server's database over a connection of our own."""
    if environment["DATABASE_URL"]:
        with psycopg.connect(environment["DATABASE_URL"]) as database:
            return database.execute(sql).fetchall()
    import sqlite3

    with sqlite3.connect(Path(environment["MARKBOOK_DATA_DIR"]) / "markbook.sqlite3") as database:
        return database.execute(sql).fetchall()


@pytest.mark.django_db(transaction=True)
def test_spans_answered_with_200_survive_kill_9(tmp_path):
    environment = make_environment(tmp_path)
    if connection.vendor != "postgresql":
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=environment, check=True, timeout=120)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", f"127.0.0.1:{port}", "--threads", "2"]
    server = subprocess.Popen(
        [*command, "--log-level", "critical", "--no-control-socket"], cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        status = send(port, request_message(spans=250).SerializeToString())
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert status == 200
    sql = "SELECT count(*) FROM traces_span s JOIN traces_spanpayload p ON p.span_id = s.id"
    assert read_stored(environment, sql) == [(250,)]


def load_body(sender: int, number: int, *, spans: int = 50) -> tuple[set[str], bytes]:
    """Return a batch of spans of three traces that other batches of the sender continue, and the ids of its spans."""
    message = request_message(spans=spans)
    ids = set()
    for place, span in enumerate(message.resource_spans[0].scope_spans[0].spans):
        span.trace_id = bytes([sender + 1, place % 3 + 1, number // 5]) + bytes(13)
        span.span_id = bytes([sender + 1]) + (number * spans + place + 1).to_bytes(7, "big")
        span.attributes[0].value.string_value = f"hello {sender} {number} {place}"
        ids.add(span.span_id.hex())
    return ids, message.SerializeToString()


def wait_until_ready(port: int) -> None:
    """Wait until `serve` answers."""
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10):
                return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.2)


@pytest.mark.django_db(transaction=True)
def test_every_span_acknowledged_under_load_is_there_after_kill_9_of_serve_and_a_restart(tmp_path):
    environment = make_environment(tmp_path)
    environment.pop("PYTEST_CURRENT_TEST", None)
    port = free_port()
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    acknowledged: list[set[str]] = [set() for _ in range(4)]
    batches = [0] * 4
    killed = threading.Event()

    def load(sender: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        number = 0
        try:
            while True:
                ids, body = load_body(sender, number)
                client.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
                answer = client.getresponse()
                content = answer.read()
                if answer.status == 200 and not content:
                    acknowledged[sender] |= ids
                    number += 1
                    batches[sender] = number
        except (OSError, http.client.HTTPException):
            assert killed.is_set()

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    server = start()
    try:
        wait_until_ready(port)
        threads = [threading.Thread(target=load, args=(sender,), daemon=True) for sender in range(4)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        while sum(batches) < 40 and time.monotonic() < end:
            time.sleep(0.05)
        killed.set()
        os.kill(server.pid, signal.SIGKILL)  # its children notice
        server.wait()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    finally:
        server.kill()
    wanted = set().union(*acknowledged)
    assert len(wanted) >= 2000
    server = start()
    try:
        wait_until_ready(port)
        rows = read_stored(
            environment, "SELECT s.span_id FROM traces_span s JOIN traces_spanpayload p ON p.span_id = s.id"
        )
        assert wanted <= {row[0] for row in rows}
        summed = read_stored(
            environment, "SELECT (SELECT count(*) FROM traces_span), (SELECT sum(span_count) FROM traces_trace)"
        )
        assert summed[0][0] == summed[0][1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/traces?limit=500", timeout=30) as answer:
            shown = json.loads(answer.read())["data"]
        assert sum(trace["span_count"] for trace in shown) == summed[0][0]
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.django_db
def test_commits_wait_for_the_disk():
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == ("on",)
        else:
            cursor.execute("PRAGMA synchronous")
            assert cursor.fetchone() == (2,)
