"""Batches handed over to an intake process: same rows, same answers, and a clear one where it goes away."""

import socket
import threading
import time

import pytest
from django.db import connections
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from accounts.models import Project
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
                    intake.answer_group(filter(None, [intake.read_request(connection)]))
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


def make_request(body, project_pk, kind="spans"):
    head = {"kind": kind, "project": project_pk, "content_type": PROTOBUF}
    return intake.Request(socket.socket(), head, body)


@pytest.mark.django_db(transaction=True)
def test_batches_that_are_taken_in_together_leave_the_rows_of_one_after_another_and_get_an_answer_each():
    ended, open_one = request_message(spans=3), request_message(spans=3)
    open_one.resource_spans[0].scope_spans[0].spans[1].end_time_unix_nano = 0
    odd = request_message(spans=2)
    odd.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
    bodies = [ended.SerializeToString(), b"\xff\xff", open_one.SerializeToString(), odd.SerializeToString()]
    rows = []
    for together in (False, True):
        project = Project.objects.create(slug=f"p{together}", name="P")
        requests = [make_request(body, project.pk) for body in bodies]
        groups = [requests] if together else [[request] for request in requests]
        for group in groups:
            intake.take_group(group)
        answers = [request.answer for request in requests]
        assert [answer.get("error") for answer in answers] == [None, "decode", None, None]
        assert [len(answer.get("rejected", ())) for answer in answers] == [0, 0, 0, 1]
        spans = Span.objects.filter(trace__project=project).order_by("span_id")
        rows.append([list(spans.values_list("span_id", "end_ns", "digest")), project.traces.get().span_count])
    assert rows[0] == rows[1]
    assert len(rows[0][0]) == 3
    assert all(end is not None for _, end, _ in rows[0][0])


@pytest.mark.django_db(transaction=True)
def test_batch_of_a_project_that_is_gone_harms_no_other_of_its_group():
    project = Project.objects.create(slug="there", name="There")
    body = request_message(spans=2).SerializeToString()
    requests = [make_request(body, project.pk + 1000), make_request(body, project.pk)]
    intake.take_group(requests)
    assert [request.answer.get("error") for request in requests] == ["busy", None]
    assert Span.objects.filter(trace__project=project).count() == 2


@pytest.mark.django_db(transaction=True)
def test_batches_that_wait_are_written_in_one_transaction(listener):
    project = Project.objects.create(slug="there", name="There")
    body = request_message(spans=2).SerializeToString()
    head = {"kind": "spans", "project": project.pk, "content_type": PROTOBUF}
    answers = []

    def send():
        with intake.connect() as connection:
            answers.append(intake.hand_over(connection, head, body))

    senders = [threading.Thread(target=send) for _ in range(intake.MOST_TOGETHER + 1)]
    for sender in senders:
        sender.start()
    listener.setblocking(False)
    requests = []
    for count in (intake.MOST_TOGETHER, 1):
        first = next(filter(None, (intake.accept(listener) or time.sleep(0.01) for _ in range(1000))))
        time.sleep(0.5)  # the others stand behind it
        group = list(intake.waiting(listener, first))
        assert len(group) == count
        requests += group
        intake.answer_group(group)
    for sender in senders:
        sender.join(20)
    assert answers == [{"rejected": []}] * len(senders)
    assert Span.objects.count() == 2
