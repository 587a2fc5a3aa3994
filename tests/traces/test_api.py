"""OTLP over HTTP and the read API: status codes, forms of answers, limits; no body makes a 500."""

import base64
import gzip
import json
import random
import zlib
from pathlib import Path

import orjson
import pytest
from django.db import OperationalError, connection
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from accounts.models import Project
from tests.factories import make_key, make_project, make_span
from traces import api
from traces.models import Span, Trace
from traces.services import ingest_spans

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


def request_message(*, spans: int = 1) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(spans):
        span = scope.spans.add(
            trace_id=bytes([1]) * 16,
            span_id=(number + 1).to_bytes(8, "big"),
            name=f"span {number}",
            start_time_unix_nano=1_780_000_000_000_000_000,
            end_time_unix_nano=1_780_000_000_500_000_000,
        )
        span.attributes.add(key="input.value").value.string_value = "hello"
    return request


def json_request(**change: object) -> bytes:
    span = {
        "traceId": "ab" * 16,
        "spanId": "cd" * 8,
        "name": "one",
        "startTimeUnixNano": "1780000000000000000",
        **change,
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def post(client: Client, body: bytes, kind: str = PROTOBUF, path: str = "/v1/traces", **headers: str):
    return client.post(
        path, body, content_type=kind, headers={name.replace("_", "-"): headers[name] for name in headers}
    )


def varint_fields(body: bytes) -> tuple[int, str]:
    """Read code and message of a google.rpc.Status."""
    assert body[0] == 0x08
    assert body[2] == 0x12
    size, place, shift = 0, 3, 0
    while True:
        byte = body[place]
        size |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            break
    assert len(body) == place + size
    return body[1], body[place:].decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/v1/traces", "/v1/traces/", "/api/public/otel/v1/traces", "/otel/v1/traces", "/otel/v1/traces/", "/v1/traces/v1/traces",
    ],
)  # fmt: skip
def test_spans_are_taken_under_every_prefix(client, project, path):
    answer = post(client, request_message().SerializeToString(), path=path)
    assert (answer.status_code, answer.content, answer["Content-Type"]) == (200, b"", PROTOBUF)
    assert Span.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [JSON, "application/json; charset=utf-8"])
def test_json_is_answered_in_json(client, project, kind):
    answer = post(client, json_request(), kind)
    assert (answer.status_code, answer.content, answer["Content-Type"]) == (200, b"{}", JSON)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"", PROTOBUF), (b"{}", JSON), (b'{"resourceSpans": []}', JSON), (b'{"resourceSpans": [{}]}', JSON)],
)
def test_empty_request_is_a_success(client, project, body, kind):
    assert post(client, body, kind).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/metrics/", "/otel/v1/metrics", "/api/public/otel/v1/metrics"])
def test_metrics_are_answered_with_success(client, project, path):
    assert post(client, b"\x0a\x00", path=path).status_code == 200


@pytest.mark.django_db
def test_first_ingest_with_login_off_makes_the_default_project(client):
    assert post(client, request_message().SerializeToString()).status_code == 200
    assert Project.objects.get().slug == "default"


@pytest.mark.django_db
def test_project_that_is_named_and_missing_is_a_404(client):
    assert post(client, b"", path="/v1/traces?project=nowhere").status_code == 404
    assert Project.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("pack", "encoding"),
    [
        (gzip.compress, "gzip"),
        (lambda body: gzip.compress(body[:9], mtime=0) + gzip.compress(body[9:], mtime=0), "gzip"),
        (lambda body: gzip.compress(body, mtime=0) + b"\0" * 40, "GZIP"),
        (zlib.compress, "deflate"),
        (lambda body: zlib.compress(body)[2:-4], "deflate"),
        (lambda body: body, "identity"),
    ],
)
def test_packed_bodies_are_unpacked(client, project, pack, encoding):
    body = pack(request_message(spans=300).SerializeToString())
    assert post(client, body, Content_Encoding=encoding).status_code == 200
    assert Span.objects.count() == 300


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "body", "kind", "headers", "words"),
    [
        (415, b"{}", "text/plain", {}, "text/plain"),
        (415, b"{}", JSON, {"Content_Encoding": "br"}, "br"),
        (400, b"\xff\xff\xff", PROTOBUF, {}, "protobuf"),
        (400, b"{", JSON, {}, "JSON"),
        (400, b"[]", JSON, {}, "a list"),
        (400, b'{"resourceSpans": 3}', JSON, {}, "resourceSpans"),
        (400, b"nothing packed", PROTOBUF, {"Content_Encoding": "gzip"}, "not gzip"),
        (400, gzip.compress(b"x" * 1000, mtime=0)[:-9], PROTOBUF, {"Content_Encoding": "gzip"}, "not complete"),
        (400, b"\x00nothing", PROTOBUF, {"Content_Encoding": "deflate"}, "deflate"),
        (401, b"x", PROTOBUF, {"Authorization": "Bearer mb-wrong"}, "not known"),
    ],
)
def test_bad_request_is_refused_in_its_own_form(client, project, status, body, kind, headers, words):
    answer = post(client, body, kind, **headers)
    assert answer.status_code == status
    if kind == PROTOBUF:
        assert answer["Content-Type"] == PROTOBUF
        code, message = varint_fields(answer.content)
    else:
        found = orjson.loads(answer.content)
        code, message = found["code"], found["message"]
    assert code
    assert words in message


@pytest.mark.django_db
def test_other_method_is_refused(client, project):
    answer = client.get("/v1/traces")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")


@pytest.mark.django_db
def test_body_over_the_limit_is_refused_on_the_wire_and_while_unpacking(client, project, settings):
    settings.INGEST_MAX_BYTES = 1024 * 1024
    assert post(client, b"x" * (1024 * 1024 + 1)).status_code == 413
    bomb = gzip.compress(b"\0" * (200 * 1024 * 1024), mtime=0)
    assert len(bomb) < 1024 * 1024
    answer = post(client, bomb, Content_Encoding="gzip")
    assert answer.status_code == 413
    assert "MARKBOOK_INGEST_MAX_MB" in varint_fields(answer.content)[1]
    many = gzip.compress(b"", mtime=0) * 30_000
    assert post(client, many, Content_Encoding="gzip").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "header",
    [
        lambda key: {"Authorization": f"Bearer {key}"},
        lambda key: {"Authorization": "Basic " + base64.b64encode(f"public:{key}".encode()).decode()},
        lambda key: {"Authorization": key},
        lambda key: {"x_api_key": key},
        lambda key: {"api_key": key},
        lambda key: {"wandb_api_key": key},
    ],
)
def test_key_is_taken_in_every_way_that_sdks_send_one(client, login_on, header):
    project = make_project()
    answer = post(client, request_message().SerializeToString(), **header(make_key(project)))
    assert answer.status_code == 200
    assert Trace.objects.get().project == project


@pytest.mark.django_db
def test_without_a_key_it_is_401_and_with_another_scope_403(client, login_on):
    assert post(client, b"").status_code == 401
    assert post(client, b"", Authorization="Bearer nothing").status_code == 401
    key = make_key(make_project(), scopes=("read",))
    assert post(client, b"", Authorization=f"Bearer {key}").status_code == 403


@pytest.mark.django_db
def test_bad_span_in_a_good_batch_is_a_partial_success(client, project):
    message = request_message(spans=2)
    message.resource_spans[0].scope_spans[0].spans[0].span_id = b"short"
    answer = post(client, message.SerializeToString())
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    assert "spans[0]" in partial.error_message
    assert Span.objects.count() == 1
    answer = post(client, json_request(spanId="xy"), JSON)
    assert orjson.loads(answer.content)["partialSuccess"]["rejectedSpans"] == "1"


@pytest.mark.django_db
def test_database_that_cannot_write_is_a_503_with_retry_after(client, project):
    def fail(execute, sql, params, many, context):
        if "traces_trace" in sql:
            raise OperationalError("database or disk is full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        answer = post(client, request_message().SerializeToString())
    assert answer.status_code == 503
    assert answer["Retry-After"].isdigit()
    assert post(client, request_message().SerializeToString()).status_code == 200


@pytest.mark.django_db
def test_hostile_values_are_stored_or_refused_with_a_reason(client, project):
    deep: object = 1
    for _ in range(150):
        deep = {"arrayValue": {"values": [deep]}}
    attributes = [
        [{"key": "input.value", "value": {"stringValue": "\0" * 100}}],
        [{"key": "a", "value": deep}],
        [{"key": "x" * 100_000, "value": {"stringValue": "y" * 1_000_000}}],
        [{"key": "llm.token_count.prompt", "value": {"doubleValue": "NaN"}}],
        [{"key": "llm.token_count.prompt", "value": {"intValue": "99999999999999999999"}}],
        [{"key": "metadata", "value": {"stringValue": "[" * 5000}}],
        [{"key": "session.id", "value": {"arrayValue": {"values": [{"stringValue": "a"}]}}}],
        [{"key": "gen_ai.input.messages", "value": {"stringValue": '[{"role": 3, "parts": {"a": 1}}]'}},
         {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}],
        [{"key": f"k{n}", "value": {"boolValue": True}} for n in range(5000)],
    ]  # fmt: skip
    for number, one in enumerate(attributes):
        body = json_request(attributes=one, spanId=f"{number + 1:016x}", name="\ufffe<script>")
        answer = post(client, body, JSON)
        assert answer.status_code in (200, 400), (number, answer.content)
    document = client.get("/api/traces/" + "ab" * 16)
    assert document.status_code == 200
    assert len(orjson.loads(document.content)["spans"]) >= 7


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(6))
def test_no_body_makes_a_500(client, project, shared, seed):
    """Captured payloads with bytes changed, cut and repeated, under every content type."""
    chance = random.Random(seed)
    client.raise_request_exception = True
    files = sorted(Path(shared / "fixtures/otlp").glob("*/*.pb")) + sorted(
        Path(shared / "fixtures/otlp").glob("*/*.wire.json")
    )
    for _ in range(60):
        path = chance.choice(files)
        body = bytearray(path.read_bytes())
        for _ in range(chance.choice([1, 3, 50])):
            place = chance.randrange(len(body))
            body[place : place + chance.choice([0, 1, 1, 9])] = chance.randbytes(chance.choice([0, 1, 1, 4]))
        if chance.random() < 0.3:
            body = body[: chance.randrange(len(body))]
        kind = JSON if path.suffix == ".json" else PROTOBUF
        where = "/v1/logs" if chance.random() < 0.3 else "/v1/traces"
        answer = post(client, bytes(body), kind, path=where)
        assert answer.status_code in (200, 400), answer.content
    for trace_id in Trace.objects.values_list("trace_id", flat=True):
        assert client.get(f"/api/traces/{trace_id}").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(4))
def test_json_of_any_shape_makes_no_500(client, project, seed):
    """JSON requests in which any value may be replaced by one of another kind."""
    chance = random.Random(seed)
    odd = [None, True, 0, -1, 2**70, 1.5, "", "x", "\0", [], {}, [[]], [{}], {"a": 1}, "9" * 30]

    def bend(value: object) -> object:
        if chance.random() < 0.04:
            return chance.choice(odd)
        if isinstance(value, dict):
            return {key: bend(one) for key, one in value.items()}
        return [bend(one) for one in value] if isinstance(value, list) else value

    span = {
        "traceId": "ab" * 16, "spanId": "cd" * 8, "parentSpanId": "ef" * 8, "name": "one", "kind": 3,
        "startTimeUnixNano": "1780000000000000000", "endTimeUnixNano": 1780000000500000000, "status": {"code": 2, "message": "no"},
        "attributes": [
            {"key": "openinference.span.kind", "value": {"stringValue": "LLM"}},
            {"key": "llm.input_messages.0.message.role", "value": {"stringValue": "user"}},
            {"key": "llm.input_messages.0.message.content", "value": {"stringValue": "hello"}},
            {"key": "llm.token_count.prompt", "value": {"intValue": "7"}},
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.input.messages",
             "value": {"arrayValue": {"values": [{"kvlistValue": {"values": [{"key": "role", "value": {"stringValue": "user"}}]}}]}}},
            {"key": "tag.tags", "value": {"arrayValue": {"values": [{"stringValue": "t"}]}}},
        ],
        "events": [{"name": "exception", "timeUnixNano": "1", "attributes": [{"key": "a", "value": {"doubleValue": 1}}]}],
        "links": [{"traceId": "ab" * 16, "spanId": "cd" * 8}],
    }  # fmt: skip
    log = {"traceId": "ab" * 16, "spanId": "cd" * 8, "eventName": "gen_ai.user.message", "timeUnixNano": "1",
           "body": {"kvlistValue": {"values": [{"key": "content", "value": {"stringValue": "hi"}}]}}}  # fmt: skip
    for _ in range(150):
        traces = bend(
            {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {}, "spans": [span, span]}]}]}
        )
        logs = bend({"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]})
        assert post(client, json.dumps(traces).encode(), JSON).status_code in (200, 400)
        assert post(client, json.dumps(logs).encode(), JSON, path="/v1/logs").status_code in (200, 400)
    for trace_id in Trace.objects.values_list("trace_id", flat=True):
        assert client.get(f"/api/traces/{trace_id}").status_code == 200


# The read API ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_list_pages_newest_first_by_cursor(client, project):
    ingest_spans(project, [make_span(name=f"run {n}") for n in range(5)])
    first = client.get("/api/traces?limit=2").json()
    second = client.get(f"/api/traces?limit=2&cursor={first['next_cursor']}").json()
    third = client.get(f"/api/traces?limit=2&cursor={second['next_cursor']}").json()
    names = [row["name"] for page in (first, second, third) for row in page["data"]]
    assert names == ["run 4", "run 3", "run 2", "run 1", "run 0"]
    assert third["next_cursor"] is None


@pytest.mark.django_db
def test_list_takes_a_query(client, project):
    ingest_spans(project, [make_span(status="error"), make_span(status="ok")])
    found = client.get("/api/traces?q=status:error").json()["data"]
    assert [row["status"] for row in found] == ["error"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=x", "limit"), ("limit=501", "limit"), ("cursor=!!", "cursor"), ("q=cost:>abc", "q"),
     ("sort=x", "cursor")],
)  # fmt: skip
def test_list_refuses_what_it_cannot_read(client, project, query, param):
    answer = client.get(f"/api/traces?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.django_db
@pytest.mark.parametrize("trace_id", ["nothing", "%00", "a/b", "x" * 300])
def test_trace_that_is_not_there_is_a_404(client, project, trace_id):
    assert client.get(f"/api/traces/{trace_id}").status_code == 404


@pytest.mark.django_db
def test_trace_of_another_project_is_a_404(client, login_on):
    mine, other = make_project(), make_project()
    span = make_span()
    ingest_spans(other, [span])
    headers = {"Authorization": f"Bearer {make_key(mine)}"}
    assert client.get(f"/api/traces/{span.trace_id}", headers=headers).status_code == 404
    assert client.get("/api/traces", headers=headers).json()["data"] == []


def test_reasons_beyond_the_first_are_counted():
    assert api.reasons([str(n) for n in range(25)]).endswith("; 19; and 5 more")
