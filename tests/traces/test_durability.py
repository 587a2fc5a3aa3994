"""An answer of 200 means on disk: the server is killed right after it, and the spans are there."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
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


@pytest.mark.django_db(transaction=True)
def test_spans_answered_with_200_survive_kill_9(tmp_path):
    environment = {**os.environ, "MARKBOOK_DATA_DIR": str(tmp_path), "MARKBOOK_LOGIN": "off", "DATABASE_URL": ""}
    if connection.vendor == "postgresql":
        parts = connection.settings_dict
        environment["DATABASE_URL"] = (
            f"postgresql://{parts['USER']}:{parts['PASSWORD']}@{parts['HOST']}:{parts['PORT'] or 5432}/{parts['NAME']}"
        )
    else:
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
    if connection.vendor == "postgresql":
        with psycopg.connect(environment["DATABASE_URL"]) as database:
            row = database.execute(sql).fetchone()
    else:
        import sqlite3

        with sqlite3.connect(tmp_path / "markbook.sqlite3") as database:
            row = database.execute(sql).fetchone()
    assert row == (250,)


@pytest.mark.django_db
def test_commits_wait_for_the_disk():
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == ("on",)
        else:
            cursor.execute("PRAGMA synchronous")
            assert cursor.fetchone() == (2,)
