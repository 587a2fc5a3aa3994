"""Hostile and broken runs: each is stored or refused with a reason, and every page of it still renders, soon."""

import time

import pytest

from tests.traces.otlp_bodies import SPAN_ID, TRACE_ID, otlp_body, otlp_span, pairs
from traces.models import Span

CHILD_ID = "0011223344556677"
MAX_SECONDS = 10.0  # of one answer, on a busy machine


def send(client, *spans):
    response = client.post("/v1/traces", otlp_body(*spans), content_type="application/json")
    assert response.status_code == 200
    return response.json()


def pages():
    trace = f"/p/default/traces/{TRACE_ID}"
    return [
        "/p/default/traces", trace, f"{trace}?span={SPAN_ID}", f"{trace}/timeline", f"{trace}/conversation", f"{trace}/spans.json",
        "/api/traces", f"/api/traces/{TRACE_ID}",
    ]  # fmt: skip


def check_pages(client):
    for address in pages():
        began = time.monotonic()
        response = client.get(address)
        body = b"".join(response.streaming_content) if response.streaming else response.content
        assert response.status_code == 200, (address, body[:300])
        assert time.monotonic() - began < MAX_SECONDS, address


def nested(levels):
    value = "[" * levels + "]" * levels
    return '{"a": ' + value + "}"


LLM = {"openinference.span.kind": "LLM"}
HOSTILE = {
    "a cycle of parents": [otlp_span(parentSpanId=CHILD_ID), otlp_span(spanId=CHILD_ID, parentSpanId=SPAN_ID)],
    "a span that is its own parent": [otlp_span(parentSpanId=SPAN_ID)],
    "a million characters": [otlp_span(LLM | {"input.value": "long words " * 95_000, "note": "x" * 1_000_000})],
    "a million characters of Markdown": [otlp_span(LLM | {"output.value": "*[`" * 350_000})],
    "times in 1970": [otlp_span(startTimeUnixNano="1", endTimeUnixNano="2")],
    "times in 2100": [otlp_span(startTimeUnixNano="4102444800000000000", endTimeUnixNano="4102444801000000000")],
    "times in 1970 and in 2100": [
        otlp_span(startTimeUnixNano="1", endTimeUnixNano="2"),
        otlp_span(spanId=CHILD_ID, startTimeUnixNano="4102444800000000000", endTimeUnixNano="4102444801000000000"),
    ],
    "times beyond 64 bits": [otlp_span(startTimeUnixNano="99999999999999999999", endTimeUnixNano="99999999999999999999")],
    "an end before the start": [otlp_span(startTimeUnixNano="1780000002500000000", endTimeUnixNano="1780000000000000000")],
    "no times": [otlp_span(startTimeUnixNano="0", endTimeUnixNano="0")],
    "NUL and control characters": [
        otlp_span(LLM | {"input.value": "a\x00b\x01\x1b[31m\u202e", "session.id": "s\x00\x07", "tag.tags": ["\x00"]}, name="n\x00\x08")
    ],
    "scripts and markup": [
        otlp_span(LLM | {"output.value": "<script>alert(1)</script>{% load x %}", "metadata": '{"<b>": "</script>"}'}, name="<img src=x>")
    ],
    "JSON nested 99 levels deep": [otlp_span({"openinference.span.kind": "TOOL", "input.value": nested(97), "output.value": nested(90)})],
    "JSON text nested 100,000 levels deep": [otlp_span(LLM | {"input.value": nested(100_000)})],
    "a message with nothing in it": [otlp_span(LLM | {"llm.input_messages.999999.message.role": ""})],
    "messages of no shape": [
        otlp_span({"gen_ai.operation.name": "chat", "gen_ai.input.messages": '[{"role": 7, "parts": [null, 3, {"type": {}}]}, 5, null]'})
    ],
    "odd tools": [otlp_span({"gen_ai.operation.name": "chat", "gen_ai.tool.definitions": '[null, 3, {"function": 5}, "x", []]'})],
    "a thousand roots": [otlp_span(spanId=SPAN_ID)] + [otlp_span(spanId=f"{number:016x}") for number in range(1, 1000)],
    "a chain of 2,000 parents": [otlp_span(spanId=SPAN_ID)]
    + [otlp_span(spanId=f"{n:016x}", parentSpanId=f"{n - 1:016x}" if n > 1 else SPAN_ID) for n in range(1, 2000)],
}  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_runs_are_kept_and_every_page_renders(client, project, what):
    spans = HOSTILE[what]
    assert send(client, *spans) == {}
    assert Span.objects.count() == len({span["spanId"] for span in spans})
    check_pages(client)


@pytest.mark.django_db
def test_a_hundred_thousand_events_are_kept_and_every_page_renders(client, project):
    event = {
        "name": "gen_ai.content.completion.chunk",
        "timeUnixNano": "1780000000000000001",
        "attributes": pairs({"n": 1}),
    }
    assert send(client, otlp_span(LLM, events=[event] * 100_000)) == {}
    assert len(client.get(f"/api/traces/{TRACE_ID}").json()["spans"][0]["events"]) == 100_000
    check_pages(client)


@pytest.mark.django_db
def test_of_two_spans_with_one_id_the_last_is_kept(client, project):
    send(client, otlp_span({"input.value": "first"}), otlp_span({"input.value": "second"}))
    assert client.get(f"/api/traces/{TRACE_ID}").json()["spans"][0]["input"] == "second"
    send(client, otlp_span({"input.value": "third"}))
    found = client.get(f"/api/traces/{TRACE_ID}").json()
    assert (found["spans"][0]["input"], found["span_count"]) == ("third", 1)
    check_pages(client)


@pytest.mark.django_db
def test_lone_surrogates_are_replaced_and_every_page_renders(client, project):
    body = otlp_body(otlp_span(LLM | {"input.value": "HERE", "session.id": "HERE"}, name="HERE")).replace(
        b"HERE", b"a\\ud800b"
    )
    assert client.post("/v1/traces", body, content_type="application/json").status_code == 200
    assert client.get(f"/api/traces/{TRACE_ID}").json()["spans"][0]["input"] == "a\ufffdb"
    check_pages(client)


@pytest.mark.django_db
def test_a_value_nested_too_deep_is_refused_with_its_place_and_the_rest_is_kept(client, project):
    deep = {"stringValue": "x"}
    for _ in range(60):
        deep = {"arrayValue": {"values": [deep]}}
    bad = otlp_span(spanId=CHILD_ID, name="too deep")
    bad["attributes"] = [{"key": "a", "value": deep}]
    answer = send(client, otlp_span(), bad)
    assert answer["partialSuccess"]["rejectedSpans"] == "1"
    assert "spans[1]" in answer["partialSuccess"]["errorMessage"]
    assert "nests deeper" in answer["partialSuccess"]["errorMessage"]
    assert Span.objects.count() == 1
    check_pages(client)
