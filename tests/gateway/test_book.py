"""The proxy's entries in the book: there before a call is sent, and never at its cost."""

import logging
import threading
import time

import pytest
from django.db import IntegrityError, OperationalError, connection

from gateway.book import Booking, Bookkeeper, write_calls
from gateway.recorder import new_call
from providers.models import Call
from tests.factories import make_project
from tests.gateway.test_recorder import make_exchange


def make_call(project_pk=1):
    return new_call(make_exchange(), project_pk, keeps_trace=True)


@pytest.mark.django_db(transaction=True)
def test_start_returns_when_the_call_is_in_the_database():
    project = make_project()

    def write(calls):
        write_calls(calls)
        connection.close()  # the thread outlives the test: its connection would keep the test database

    booking = Bookkeeper(write).start(make_call(project.pk))

    row = Call.objects.get()
    assert (row.pk, row.state, row.ended_at) == (booking.call.pk, "started", None)


def test_calls_that_come_together_are_written_together():
    sizes, gate = [], threading.Event()

    def write(calls):
        gate.wait(5)
        sizes.append(len(calls))

    bookkeeper = Bookkeeper(write, wait_s=5)
    threads = [threading.Thread(target=bookkeeper.start, args=(make_call(),)) for _ in range(20)]
    for thread in threads:
        thread.start()
    while len(bookkeeper.waiting) < 15:
        time.sleep(0.01)
    gate.set()
    for thread in threads:
        thread.join(5)

    assert sum(sizes) == 20
    assert len(sizes) <= 4


def test_a_database_that_hangs_delays_one_call_a_little_and_the_others_not_at_all(caplog):
    gate = threading.Event()
    bookkeeper = Bookkeeper(lambda calls: gate.wait(10), wait_s=0.2)
    took = []
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            begun = time.perf_counter()
            bookkeeper.start(make_call())
            took.append(time.perf_counter() - begun)
    gate.set()

    assert took[0] < 1.0
    assert max(took[1:]) < 0.1
    assert caplog.text.count("is sent before it is in the book of calls") == 20  # the log is their record meanwhile


def test_calls_are_booked_once_when_the_database_is_back():
    written, refusals = [], [OperationalError("database is locked")] * 2

    def write(calls):
        if refusals:
            raise refusals.pop()
        written.extend(calls)

    bookkeeper = Bookkeeper(write, wait_s=0.01)
    bookings = [bookkeeper.start(make_call()) for _ in range(5)]

    assert all(booking.is_written.wait(5) for booking in bookings)
    assert written == [booking.call for booking in bookings]
    assert bookkeeper.is_behind is False


def test_an_entry_that_the_database_refuses_keeps_no_other_out_of_the_book(caplog):
    written, calls = [], [make_call() for _ in range(3)]

    def write(batch):
        if calls[1] in batch:
            raise IntegrityError("its project is gone")
        written.extend(batch)

    bookings = [Booking(call) for call in calls]
    with caplog.at_level(logging.WARNING):
        assert Bookkeeper(write).write_batch(bookings) is True

    assert written == [calls[0], calls[2]]
    assert [booking.is_written.is_set() for booking in bookings] == [True, False, True]
    assert "is not in the book: its project is gone" in caplog.text


def test_a_call_that_was_withdrawn_is_not_written_and_a_written_one_cannot_be_withdrawn():
    written = []
    bookkeeper = Bookkeeper(written.extend)
    first, second = Booking(make_call()), Booking(make_call())

    assert bookkeeper.withdraw(first) is True
    assert bookkeeper.write_batch([first, second]) is True

    assert written == [second.call]
    assert bookkeeper.withdraw(second) is False


def test_a_queue_that_is_full_takes_no_more():
    gate = threading.Event()
    bookkeeper = Bookkeeper(lambda calls: gate.wait(10), wait_s=0.0, max_waiting=3)
    for _ in range(50):
        bookkeeper.start(make_call())
    waiting = len(bookkeeper.waiting)
    gate.set()

    assert waiting <= 3
