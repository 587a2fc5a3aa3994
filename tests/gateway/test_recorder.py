import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from django.db import OperationalError

from gateway.attribution import Attribution
from gateway.book import Booking, Bookkeeper, write_calls
from gateway.exchange import CHAT, Exchange, new_span_id, new_trace_id
from gateway.recorder import CLOSE_EVERY_S, Finished, Recorder, Writer, dropped, is_gone, new_call, worker_name
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


def make_entry(project_pk=1, *, keeps_trace=True, **overrides):
    """Return a call that has ended and is not in the book."""
    exchange = make_exchange(**overrides)
    return Finished(exchange, project_pk, Booking(new_call(exchange, project_pk, keeps_trace=keeps_trace)), keeps_trace)


def make_writer():
    return Writer(Bookkeeper())


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
    given = [make_entry() for _ in range(300)]
    assert all(recorder.put(entry) for entry in given)

    assert recorder.flush(5)
    assert store.kept == given


def test_recorder_tries_again_while_the_database_is_locked():
    store = Store(refusals=3)
    recorder = Recorder(store, linger_s=0.01)
    for entry in (make_entry(), make_entry()):
        recorder.put(entry)

    assert recorder.flush(5)
    assert len(store.kept) == 2


def test_recorder_that_is_full_drops_counts_and_says_so(caplog):
    gate = threading.Event()
    closed = []
    recorder = Recorder(lambda batch: gate.wait(10), close=closed.extend, max_waiting=5, linger_s=0.0)
    with caplog.at_level(logging.ERROR):
        taken = [recorder.put(make_entry()) for _ in range(200)]
    gate.set()

    assert taken.count(False) == recorder.dropped > 50
    assert "calls were not recorded so far" in caplog.text
    assert len(caplog.records) == 1
    assert recorder.flush(5)
    assert len(closed) == recorder.dropped  # the book says of each that it has ended
    assert recorder.put(make_entry())


def test_recorder_bounds_the_bytes_that_wait():
    gate = threading.Event()
    recorder = Recorder(lambda batch: gate.wait(10), close=lambda batch: None, max_bytes=50_000, linger_s=0.0)
    taken = [recorder.put(make_entry(size=20_000)) for _ in range(20)]
    gate.set()

    assert False in taken
    assert recorder.flush(5)


def test_put_does_not_wait_for_a_database_that_hangs():
    gate = threading.Event()
    recorder = Recorder(lambda batch: gate.wait(10), linger_s=0.0)
    start = time.perf_counter()
    for _ in range(500):
        recorder.put(make_entry())
    took = time.perf_counter() - start
    gate.set()

    assert took < 1.0
    assert recorder.flush(5)


def test_recorder_drops_one_entry_that_cannot_be_kept_and_keeps_the_others(caplog):
    bad = make_entry()
    kept = []

    def write(batch):
        if bad in batch:
            raise ValueError("this one")
        kept.extend(batch)

    closed = []
    recorder = Recorder(write, close=closed.extend, linger_s=0.05)
    good = [make_entry() for _ in range(3)]
    for entry in [good[0], bad, *good[1:]]:
        recorder.put(entry)

    assert recorder.flush(5)
    assert kept == good
    assert [entry.booking for entry in closed] == [bad.booking]
    assert "could not be recorded" in caplog.text


def test_flush_gives_up_in_time_and_says_what_is_lost(caplog):
    gate = threading.Event()
    recorder = Recorder(lambda batch: gate.wait(10), linger_s=0.0)
    recorder.put(make_entry())

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
from tests.gateway.test_recorder import make_entry
current_recorder().put(make_entry(project.pk))
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
def test_writer_closes_a_call_that_is_in_the_book():
    project = make_project()
    entry = make_entry(project.pk)
    write_calls([entry.booking.call])
    entry.booking.is_written.set()
    assert Call.objects.get().state == CallState.STARTED

    make_writer().write([entry])
    call = Call.objects.get()

    assert (call.state, call.purpose, call.provider) == (CallState.ANSWERED, "proxy", "default")
    assert call.ended_at > call.started_at
    assert Trace.objects.count() == 1


@pytest.mark.django_db
def test_writer_books_a_call_whose_start_could_not_be_written_and_nobody_books_it_again():
    project, bookkeeper = make_project(), Bookkeeper()
    entry = make_entry(project.pk)

    Writer(bookkeeper).write([entry])
    assert bookkeeper.write_batch([entry.booking])

    assert Call.objects.get().state == CallState.ANSWERED


@pytest.mark.django_db
def test_writer_books_a_call_that_is_not_to_be_recorded_without_a_trace():
    project = make_project()
    make_writer().write([make_entry(project.pk, keeps_trace=False)])

    call = Call.objects.get()
    assert (call.state, call.subject, Trace.objects.count()) == (CallState.ANSWERED, "", 0)


@pytest.mark.django_db
def test_writer_again_with_the_same_entry_keeps_one_trace():
    project = make_project()
    entry = make_entry(project.pk)
    make_writer().write([entry])
    make_writer().write([entry])

    assert Trace.objects.get().span_count == 1


@pytest.mark.django_db
def test_writer_passes_over_a_project_that_is_gone():
    project = make_project()
    make_writer().write([make_entry(987_654_321), make_entry(project.pk)])

    assert Trace.objects.count() == Call.objects.count() == 1


@pytest.mark.django_db
def test_writer_closes_what_a_killed_process_left_open():
    project = make_project()
    other = new_call(make_exchange(), project.pk, keeps_trace=True)
    other.worker = worker_name().rpartition(":")[0] + ":999999999"
    write_calls([other])

    make_writer().write([make_entry(project.pk)])

    other.refresh_from_db()
    assert other.state == CallState.UNKNOWN
    assert "may have been charged" in other.error


@pytest.mark.django_db
def test_the_book_closes_a_dropped_call_whether_its_start_was_written_or_not():
    project = make_project()
    begun, unbegun = make_entry(project.pk), make_entry(project.pk)
    write_calls([begun.booking.call])
    begun.booking.is_written.set()

    make_writer().close([dropped(begun), dropped(unbegun)])

    assert [call.state for call in Call.objects.all()] == [CallState.UNKNOWN] * 2
    assert all(call.ended_at > call.started_at and "not recorded" in call.error for call in Call.objects.all())
    assert not Trace.objects.exists()


@pytest.mark.django_db
def test_a_process_that_lives_on_closes_a_call_of_its_own_after_a_day():
    project = make_project()
    old = new_call(make_exchange(start_ns=time.time_ns() - 25 * 3600 * 10**9), project.pk, keeps_trace=True)
    writer = make_writer()
    writer.write([make_entry(project.pk)])
    write_calls([old])  # left open after the first look

    writer.close_old_at -= CLOSE_EVERY_S
    writer.write([make_entry(project.pk)])

    old.refresh_from_db()
    assert old.state == CallState.UNKNOWN


def test_is_gone_tells_only_of_this_host():
    assert is_gone("proxy:here:999999999", "proxy:here") is True
    assert is_gone("proxy:there:999999999", "proxy:here") is False
    assert is_gone(f"proxy:here:{os.getpid()}", "proxy:here") is False
    assert is_gone(f"proxy:here:{os.getppid()}", "proxy:here") is False
