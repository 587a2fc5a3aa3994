import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from django.db import OperationalError

from gateway.attribution import Attribution
from gateway.exchange import CHAT, Exchange, new_span_id, new_trace_id
from gateway.recorder import Finished, Recorder, Started, Writer, is_gone
from providers.models import Call, CallState
from tests.factories import make_project
from traces.models import Trace

BODY = b'{"model": "m", "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}'


def make_exchange(**overrides):
    now = time.time_ns()
    request = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    exchange = Exchange(CHAT, request, Attribution(), "m", "default", now, new_trace_id(), new_span_id())
    exchange.status, exchange.end_ns, exchange.parts, exchange.size = 200, now + 10**9, [BODY], len(BODY)
    for name, value in overrides.items():
        setattr(exchange, name, value)
    return exchange


def entries(project_pk=1, **overrides):
    exchange = make_exchange(**overrides)
    return [Started(exchange, project_pk), Finished(exchange, project_pk)]


class Store:
    """Stands for the database: refuses as often as it is told to."""

    def __init__(self, refusals=0):
        self.kept, self.refusals = [], refusals

    def __call__(self, batch):
        if self.refusals:
            self.refusals -= 1
            raise OperationalError("database is locked")
        self.kept += batch


def test_recorder_writes_in_order_what_it_was_given():
    store = Store()
    recorder = Recorder(store, linger_s=0.01)
    given = [entry for _ in range(150) for entry in entries()]
    assert all(recorder.put(entry) for entry in given)

    assert recorder.flush(5)
    assert store.kept == given


def test_recorder_tries_again_while_the_database_is_locked():
    store = Store(refusals=3)
    recorder = Recorder(store, linger_s=0.01)
    for entry in entries():
        recorder.put(entry)

    assert recorder.flush(5)
    assert len(store.kept) == 2


def test_recorder_that_is_full_drops_counts_and_says_so(caplog):
    gate = threading.Event()
    recorder = Recorder(lambda batch: gate.wait(10), max_waiting=5, linger_s=0.0)
    with caplog.at_level(logging.ERROR):
        taken = [recorder.put(entries()[1]) for _ in range(200)]
    gate.set()

    assert taken.count(False) == recorder.dropped > 50
    assert "calls were not recorded so far" in caplog.text
    assert len(caplog.records) == 1
    assert recorder.flush(5)
    assert recorder.put(entries()[1])


def test_recorder_bounds_the_bytes_that_wait():
    gate = threading.Event()
    recorder = Recorder(lambda batch: gate.wait(10), max_bytes=50_000, linger_s=0.0)
    taken = [recorder.put(entries(size=20_000)[1]) for _ in range(20)]
    gate.set()

    assert False in taken
    assert recorder.flush(5)


def test_put_does_not_wait_for_a_database_that_hangs():
    gate = threading.Event()
    recorder = Recorder(lambda batch: gate.wait(10), linger_s=0.0)
    start = time.perf_counter()
    for _ in range(500):
        recorder.put(entries()[1])
    took = time.perf_counter() - start
    gate.set()

    assert took < 1.0
    assert recorder.flush(5)


def test_recorder_drops_one_entry_that_cannot_be_kept_and_keeps_the_others(caplog):
    bad = entries()[1]
    kept = []

    def write(batch):
        if bad in batch:
            raise ValueError("this one")
        kept.extend(batch)

    recorder = Recorder(write, linger_s=0.05)
    good = [entries()[1] for _ in range(3)]
    for entry in [good[0], bad, *good[1:]]:
        recorder.put(entry)

    assert recorder.flush(5)
    assert kept == good
    assert "could not be recorded" in caplog.text


def test_flush_gives_up_in_time_and_says_what_is_lost(caplog):
    gate = threading.Event()
    recorder = Recorder(lambda batch: gate.wait(10), linger_s=0.0)
    recorder.put(entries()[1])

    assert recorder.flush(0.1) is False
    assert "not recorded before the end" in caplog.text
    gate.set()


def test_what_waits_is_written_when_the_process_ends(tmp_path):
    code = """
import os, sys
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from accounts.models import Project
project = Project.objects.create(slug="default", name="Default")
from gateway.recorder import current_recorder
from tests.gateway.test_recorder import entries
for entry in entries(project.pk):
    current_recorder().put(entry)
"""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        "MARKBOOK_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)

    count = "import django; django.setup(); from traces.models import Trace; print(Trace.objects.count())"
    shown = subprocess.run([sys.executable, "-c", count], env=environment, check=True, timeout=60, capture_output=True)
    assert shown.stdout.strip() == b"1"


@pytest.mark.django_db
def test_writer_books_a_call_that_takes_long_as_started_and_closes_it():
    project, writer = make_project(), Writer()
    started, finished = entries(project.pk)

    writer.write([started])
    assert Call.objects.get().state == CallState.STARTED
    writer.write([finished])
    call = Call.objects.get()

    assert (call.state, call.purpose, call.provider) == (CallState.ANSWERED, "proxy", "default")
    assert call.ended_at > call.started_at
    assert Trace.objects.count() == 1


@pytest.mark.django_db
def test_writer_books_an_end_whose_start_was_dropped():
    project = make_project()
    Writer().write(entries(project.pk)[1:])

    assert Call.objects.get().state == CallState.ANSWERED


@pytest.mark.django_db
def test_writer_again_with_the_same_batch_keeps_one_trace():
    project, writer = make_project(), Writer()
    batch = entries(project.pk)
    writer.write(batch)
    Writer().write(batch[1:])

    assert Trace.objects.get().span_count == 1


@pytest.mark.django_db
def test_writer_passes_over_a_project_that_is_gone():
    project = make_project()
    Writer().write([*entries(987_654_321), *entries(project.pk)])

    assert Trace.objects.count() == Call.objects.count() == 1


@pytest.mark.django_db
def test_writer_closes_what_a_killed_process_left_open():
    project, dead = make_project(), Writer()
    dead.worker = dead.worker.rpartition(":")[0] + ":999999999"
    dead.write([entries(project.pk)[0]])
    other = Call.objects.get()
    Call.objects.filter(pk=other.pk).update(worker=dead.worker)

    Writer().write(entries(project.pk))

    other.refresh_from_db()
    assert other.state == CallState.UNKNOWN
    assert "may have been charged" in other.error


def test_is_gone_tells_only_of_this_host():
    assert is_gone("proxy:here:999999999", "proxy:here") is True
    assert is_gone("proxy:there:999999999", "proxy:here") is False
    assert is_gone(f"proxy:here:{os.getpid()}", "proxy:here") is False
    assert is_gone(f"proxy:here:{os.getppid()}", "proxy:here") is False
