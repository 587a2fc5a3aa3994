"""Batches handed over to an intake process: same rows, same answers, and a clear one where it goes away."""

import socket
import threading
import time

import pytest
from django.db import connections
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.traces.test_api import request_message
from traces import intake
from traces.models import Span

PROTOBUF = "application/x-protobuf"


@pytest.fixture
def listener(tmp_path, monkeypatch):
    """A socket at which web processes find an intake process."""
    address = f"{tmp_path}/intake"
    monkeypatch.setattr(intake.Avoided, "until", 0.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen()
        monkeypatch.setenv("MARKBOOK_INTAKE_SOCKET", address)
        yield listener


def answer_next(listener, times=1):
    """Take in the next batches, in a thread with a database connection of its own."""

    def work():
        try:
            for _ in range(times):
                connection, _ = listener.accept()
                with connection:
                    intake.answer_one(connection)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def post(client, body, **headers):
    return client.post("/v1/traces", body, content_type=PROTOBUF, headers=headers)


@pytest.mark.django_db(transaction=True)
def test_batch_that_was_handed_over_is_kept_and_what_was_not_kept_is_said(client, settings, listener):
    settings.LOGIN_REQUIRED = False
    message = request_message(spans=3)
    message.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    thread = answer_next(listener)
    answer = post(client, message.SerializeToString())
    thread.join(20)
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    assert "is not 16 bytes" in partial.error_message
    assert Span.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_body_that_cannot_be_decoded_is_refused_as_without_an_intake_process(client, settings, listener):
    settings.LOGIN_REQUIRED = False
    thread = answer_next(listener)
    handed_over = post(client, b"\xff\xff\xff")
    thread.join(20)
    listener.close()
    taken_here = post(client, b"\xff\xff\xff")
    assert handed_over.status_code == taken_here.status_code == 400
    assert handed_over.content == taken_here.content


@pytest.mark.django_db(transaction=True)
def test_web_process_takes_a_batch_in_where_nobody_listens(client, settings, tmp_path, monkeypatch):
    settings.LOGIN_REQUIRED = False
    monkeypatch.setenv("MARKBOOK_INTAKE_SOCKET", f"{tmp_path}/nobody")
    assert post(client, request_message(spans=2).SerializeToString()).status_code == 200
    assert Span.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_intake_process_that_ends_in_a_batch_gives_503_and_the_batch_can_be_sent_again(client, settings, listener):
    settings.LOGIN_REQUIRED = False

    def vanish():
        connection, _ = listener.accept()
        connection.sendall(intake.ACCEPTED)
        connection.recv(10)
        connection.close()

    thread = threading.Thread(target=vanish, daemon=True)
    thread.start()
    body = request_message(spans=2).SerializeToString()
    answer = post(client, body)
    thread.join(20)
    assert answer.status_code == 503
    assert answer["Retry-After"] == "2"
    thread = answer_next(listener)
    assert post(client, body).status_code == 200
    thread.join(20)
    assert Span.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_error_of_ours_in_an_intake_process_does_not_end_it(listener):
    thread = answer_next(listener, times=2)
    for _ in range(2):
        connection = intake.connect()
        with connection:
            answer = intake.hand_over(connection, {"kind": "spans"}, b"")
        assert answer["error"] == "broken"
    thread.join(20)


@pytest.mark.django_db(transaction=True)
def test_web_process_takes_a_batch_in_where_the_socket_is_open_and_nobody_accepts(
    client, settings, listener, monkeypatch
):
    settings.LOGIN_REQUIRED = False
    monkeypatch.setattr(intake, "ACCEPT_S", 0.2)
    started = time.monotonic()
    assert post(client, request_message(spans=2).SerializeToString()).status_code == 200
    assert post(client, request_message(spans=2).SerializeToString()).status_code == 200  # asks nobody any more
    assert time.monotonic() - started < 5
    assert intake.connect() is None
    assert Span.objects.count() == 2
