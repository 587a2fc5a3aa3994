import base64
import json
import sys

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.traces.otlp_bodies import SPAN_ID, TRACE_ID, otlp_body, otlp_span, pairs
from traces.conventions import rebuild_attributes
from traces.otlp import DecodeError, decode_logs, decode_traces

JSON, PROTOBUF = "application/json", "application/x-protobuf"


def decode_one(attributes=None, **overrides):
    decoded = decode_traces(otlp_body(otlp_span(attributes, **overrides)), JSON)
    assert decoded.rejected == []
    return decoded.records[0]


def to_protobuf(body: bytes) -> bytes:
    """The same request as protobuf: ids are base64 in proto3 JSON."""
    document = json.loads(body)
    for resource_spans in document["resourceSpans"]:
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                for key in ("traceId", "spanId", "parentSpanId"):
                    if key in span:
                        span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    return ParseDict(document, ExportTraceServiceRequest()).SerializeToString()


def test_protobuf_and_json_of_one_request_give_equal_records():
    attributes = {"a": "text", "b": 2**62 + 1, "c": 0.5, "d": True, "e": ["x", 1], "f": {"k": {"n": None}}, "g": ""}
    body = otlp_body(otlp_span(attributes, parentSpanId="0011223344556677"), resource={"service.name": "shop"})
    from_json, from_protobuf = decode_traces(body, JSON), decode_traces(to_protobuf(body), PROTOBUF)
    assert from_json.records == from_protobuf.records
    assert from_json.records[0].attributes == attributes
    assert from_json.records[0].origin == {
        "resource": {"service.name": "shop"},
        "scope": {"name": "test", "version": "1"},
        "span_kind": "internal",
    }


@pytest.mark.parametrize("trace_id", [TRACE_ID, TRACE_ID.upper(), base64.b64encode(bytes.fromhex(TRACE_ID)).decode()])
def test_ids_in_hex_of_any_case_and_in_base64_are_the_same_trace(trace_id):
    span_id = base64.b64encode(bytes.fromhex(SPAN_ID)).decode()
    record = decode_one(traceId=trace_id, spanId=span_id)
    assert (record.trace_id, record.span_id) == (TRACE_ID, SPAN_ID)


@pytest.mark.parametrize("parent", [None, "", "0000000000000000", "AAAAAAAAAAA="])
def test_a_parent_that_is_absent_empty_or_zero_means_root(parent):
    assert decode_one(parentSpanId=parent).parent_span_id == ""


def test_named_and_numbered_enums_are_equal():
    named = decode_one(kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_ERROR", "message": "no"})
    numbered = decode_one(kind=3, status={"code": 2, "message": "no"})
    assert named == numbered
    assert (named.status, named.error_message, named.origin["span_kind"]) == ("error", "no", "client")


def test_integers_as_text_and_as_number_are_exact_beyond_2_to_53():
    big = 2**53 + 1
    span = otlp_span()
    span["attributes"] = [{"key": "a", "value": {"intValue": str(big)}}, {"key": "b", "value": {"intValue": big}}]
    record = decode_traces(otlp_body(span), JSON).records[0]
    assert record.attributes == {"a": big, "b": big}


def test_times_are_read_from_text_and_from_numbers_without_loss():
    record = decode_one(startTimeUnixNano=1780000000000000001, endTimeUnixNano="1780000000000000003")
    assert (record.start_ns, record.end_ns) == (1780000000000000001, 1780000000000000003)


@pytest.mark.parametrize("end", ["0", 0, None, ""])
def test_a_span_without_end_has_not_ended(end):
    assert decode_one(endTimeUnixNano=end).end_ns is None


def test_an_end_before_the_start_gives_zero_length_and_keeps_what_was_sent():
    record = decode_one(startTimeUnixNano="2000", endTimeUnixNano="1000")
    assert (record.start_ns, record.end_ns, record.attributes["markbook.sent_end_ns"]) == (2000, 2000, "1000")


def test_snake_case_unknown_keys_and_nulls_are_tolerated():
    span = {
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "parent_span_id": None,
        "name": "s",
        "start_time_unix_nano": "5",
        "end_time_unix_nano": "6",
        "flags": 256,
        "newer": {"x": 1},
        "attributes": [{"key": "a", "value": {"string_value": "b"}}, {"key": "n", "value": None}],
        "events": None,
    }
    body = json.dumps({"resource_spans": [{"scope_spans": [{"spans": [span]}]}], "other": 1}).encode()
    record = decode_traces(body, "application/json; charset=utf-8").records[0]
    assert record.attributes == {"a": "b", "n": None}
    assert (record.start_ns, record.end_ns) == (5, 6)


def test_of_equal_keys_the_last_wins():
    span = otlp_span()
    span["attributes"] = pairs({"a": "first"}) + pairs({"a": "last"})
    assert decode_traces(otlp_body(span), JSON).records[0].attributes == {"a": "last"}


def test_special_doubles_become_text_that_json_can_hold():
    span = otlp_span()
    values = ["NaN", "Infinity", "-Infinity", 1.5]
    span["attributes"] = [{"key": str(place), "value": {"doubleValue": value}} for place, value in enumerate(values)]
    assert list(decode_traces(otlp_body(span), JSON).records[0].attributes.values()) == values


def test_literal_nan_in_the_body_does_not_fail_it():
    body = otlp_body(otlp_span({"x": 1.25})).replace(b"1.25", b"NaN")
    assert decode_traces(body, JSON).records[0].attributes == {"x": "NaN"}


def test_lone_surrogates_in_json_are_replaced_and_pairs_are_kept():
    body = otlp_body(otlp_span({"x": "MARK", "y": "PAIR"}))
    body = body.replace(b"MARK", b"a\\ud800b").replace(b"PAIR", b"\\ud83d\\ude00")
    assert decode_traces(body, JSON).records[0].attributes == {"x": "a\ufffdb", "y": "\U0001f600"}


def test_invalid_utf8_in_json_is_replaced():
    body = otlp_body(otlp_span({"x": "MARK"})).replace(b"MARK", b"a\xffb")
    assert decode_traces(body, JSON).records[0].attributes == {"x": "a\ufffdb"}


def test_invalid_utf8_in_protobuf_is_replaced_and_the_batch_is_kept():
    body = to_protobuf(otlp_body(otlp_span({"x": "MARK", "n": 7}), otlp_span({"y": "fine"}, spanId="00" * 7 + "01")))
    decoded = decode_traces(body.replace(b"MARK", b"a\xffbc"), PROTOBUF)
    assert [record.attributes for record in decoded.records] == [{"x": "a\ufffdbc", "n": 7}, {"y": "fine"}]


def test_nul_characters_are_kept_in_values_and_replaced_in_the_name():
    record = decode_one({"x": "a\x00b"}, name="n\x00m")
    assert (record.name, record.attributes["x"]) == ("n\ufffdm", "a\x00b")


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ({"traceId": "00" * 16}, "all zeros"),
        ({"traceId": "abc"}, "trace id 'abc' is not 32 hex digits"),
        ({"spanId": ""}, "span id '' is not 16 hex digits"),
        ({"spanId": 12}, "span id"),
        ({"startTimeUnixNano": "soon"}, "startTimeUnixNano 'soon'"),
        ({"attributes": {"a": 1}}, "attributes are an object, not a list"),
        ({"attributes": [{"value": {"stringValue": "x"}}]}, "not an object with a key"),
        ({"attributes": [{"key": "k", "value": {"intValue": "many"}}]}, "intValue 'many'"),
        ({"status": "bad"}, "status is text"),
        ({"events": 5}, "events are a number"),
    ],
)
def test_a_bad_span_is_rejected_with_place_and_reason_and_the_rest_is_kept(override, reason):
    decoded = decode_traces(otlp_body(otlp_span(), otlp_span() | override, otlp_span(spanId="00" * 7 + "02")), JSON)
    assert len(decoded.records) == 2
    [message] = decoded.rejected
    assert message.startswith("resourceSpans[0].scopeSpans[0].spans[1]")
    assert reason in message


def test_a_bad_id_in_protobuf_is_rejected_with_place_and_reason():
    request = ParseDict(
        json.loads(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"x"}]}]}]}'), ExportTraceServiceRequest()
    )
    decoded = decode_traces(request.SerializeToString(), PROTOBUF)
    assert decoded.records == []
    assert "spans[0]" in decoded.rejected[0]
    assert "trace id" in decoded.rejected[0]


def test_a_span_that_is_no_object_is_rejected_alone():
    decoded = decode_traces(otlp_body("nonsense", otlp_span()), JSON)
    assert len(decoded.records) == 1
    assert "the span is text, not an object" in decoded.rejected[0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[]", "is a list"),
        (b'"x"', "is text"),
        (b'{"resourceSpans": {}}', "resourceSpans is an object, not a list"),
        (b'{"resourceSpans": [1]}', "resourceSpans[0] is a number"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": 3}]}]}', "scopeSpans[0].spans is a number"),
        (b"[" * 100_000, "nests too deep"),
        (b'{"a":' * 100_000, "nests too deep"),
    ],
)
def test_a_json_body_that_is_no_request_says_what_and_where(body, reason):
    with pytest.raises(DecodeError) as caught:
        decode_traces(body, JSON)
    assert reason in str(caught.value)


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"nonsense", b"\x0a\xff\x01x", b"<html></html>"])
def test_a_broken_protobuf_body_is_a_decode_error(body):
    with pytest.raises(DecodeError, match="not a protobuf ExportTraceServiceRequest"):
        decode_traces(body, PROTOBUF)


def test_an_unknown_content_type_is_a_decode_error_that_names_both_forms():
    with pytest.raises(DecodeError, match="application/x-protobuf or application/json"):
        decode_traces(b"", "text/plain")


@pytest.mark.parametrize(
    ("body", "content_type"), [(b"", PROTOBUF), (b"{}", JSON), (b'{"resourceSpans":[{"scopeSpans":[]}]}', JSON)]
)
def test_an_empty_request_is_fine(body, content_type):
    assert decode_traces(body, content_type).records == []


def test_a_value_nested_thousands_deep_rejects_its_span_only():
    deep = '{"arrayValue":{"values":[' * 300 + '{"stringValue":"x"}' + "]}}" * 300
    body = otlp_body(otlp_span({"x": "MARK"}), otlp_span(spanId="00" * 7 + "03"))
    body = body.replace(b'{"stringValue": "MARK"}', deep.encode())
    decoded = decode_traces(body, JSON)
    assert len(decoded.records) == 1
    assert "nests deeper" in decoded.rejected[0]


def test_json_text_nested_very_deep_stays_text():
    deep = "[" * 900 + "]" * 900
    record = decode_one({"openinference.span.kind": "TOOL", "input.value": deep})
    assert record.tool["arguments"] == deep
    assert sys.getrecursionlimit() > 500


def test_an_attribute_of_420000_characters_is_kept_whole():
    long = "x" * 420_000
    record = decode_one({"note": long})
    assert rebuild_attributes(record)["note"] == long


def test_logs_are_read_from_both_forms_and_those_without_a_span_are_left_out():
    record = {
        "traceId": TRACE_ID,
        "spanId": SPAN_ID,
        "observedTimeUnixNano": "7",
        "eventName": "e",
        "body": {"stringValue": "b"},
    }
    bodies = [record, {**record, "spanId": ""}, {"body": {"stringValue": "of no run"}}, {**record, "traceId": "xyz"}]
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": bodies}]}]}).encode()
    decoded = decode_logs(body, JSON)
    [log] = decoded.logs
    assert (log.trace_id, log.span_id, log.time_ns, log.event_name, log.body) == (TRACE_ID, SPAN_ID, 7, "e", "b")
    assert len(decoded.rejected) == 1
    encoded = {
        **record,
        "traceId": base64.b64encode(bytes.fromhex(TRACE_ID)).decode(),
        "spanId": base64.b64encode(bytes.fromhex(SPAN_ID)).decode(),
    }
    request = ParseDict({"resourceLogs": [{"scopeLogs": [{"logRecords": [encoded]}]}]}, ExportLogsServiceRequest())
    assert decode_logs(request.SerializeToString(), PROTOBUF).logs == decoded.logs


def test_the_older_attribute_event_name_is_read():
    log = {"traceId": TRACE_ID, "spanId": SPAN_ID, "attributes": pairs({"event.name": "gen_ai.user.message"})}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]}).encode()
    assert decode_logs(body, JSON).logs[0].event_name == "gen_ai.user.message"
