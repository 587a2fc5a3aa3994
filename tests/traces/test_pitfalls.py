"""The pitfalls of Catalyst's spans and Halo's lines, one test each, by their numbers. 20, 23 and 24 have theirs in other files too."""

import gzip
import io
import json
import re

import pytest

from tests.factories import make_key
from tests.traces.otlp_bodies import SPAN_ID, TRACE_ID, otlp_body, otlp_span
from traces.acts import read_run
from traces.citations import Piece, pieces_of
from traces.conventions.common import fold_exceptions
from traces.formats import BadLine, read_traces
from traces.models import Span, Trace
from traces.otlp import decode_traces
from traces.people import add_note
from traces.signals import find_signals

CATALYST = {"name": "catalyst_tracing", "version": "0.1.11"}
CHILD_ID = "0011223344556677"


def send(client, *spans, key="", path="/v1/traces", **envelope):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = otlp_body(*spans, scope=CATALYST, **envelope)
    return client.post(path, body, content_type="application/json", headers=headers)


def fetch(client, trace_id=TRACE_ID):
    response = client.get(f"/api/traces/{trace_id}")
    assert response.status_code == 200
    return response.json()


def read(*spans):
    decoded = decode_traces(otlp_body(*spans, scope=CATALYST), "application/json")
    assert decoded.rejected == []
    return decoded.records


def agent(**attributes):
    return otlp_span(
        {"openinference.span.kind": "AGENT", "agent.id": "desk", "agent.name": "Desk", **attributes}, name="Desk.run"
    )


def call(span_id=CHILD_ID, kind="LLM", *, parent=SPAN_ID, start="1780000000100000000", **attributes):
    return otlp_span(
        {"openinference.span.kind": kind, **attributes}, spanId=span_id, parentSpanId=parent, startTimeUnixNano=start
    )


def exception(stack):
    values = {"exception.type": "ValueError", "exception.message": "broke", "exception.stacktrace": stack}
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    return {"name": "exception", "timeUnixNano": "5", "attributes": pairs}


@pytest.mark.django_db
def test_1_ids_in_base64_and_in_hex_are_one_trace(client, project):
    send(client, otlp_span(traceId="ASNFZ4mrze8BI0VniavN7w==", spanId="qrvM3e7/ABE="))
    send(client, otlp_span(), call())
    assert [trace.trace_id for trace in Trace.objects.all()] == [TRACE_ID]
    assert set(Span.objects.values_list("span_id", flat=True)) == {SPAN_ID, CHILD_ID}


def test_2_named_and_numeric_kinds_and_codes_are_equal():
    named = otlp_span(kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_ERROR", "message": "x"})
    assert read(named) == read(otlp_span(kind=3, status={"code": 2, "message": "x"}))


def test_3_integers_beyond_2_to_53_are_exact():
    span = otlp_span()
    span["attributes"] = [
        {"key": f"n{n}", "value": {"intValue": one}} for n, one in enumerate(["9007199254740993", 9007199254740993])
    ]
    [record] = read(span)
    assert list(record.attributes.values()) == [9007199254740993] * 2


@pytest.mark.django_db
def test_4_children_before_their_root_wait_under_a_missing_parent(client, project):
    send(client, call())
    assert fetch(client)["missing_root"] is True
    assert "not received" in client.get(f"/p/default/traces/{TRACE_ID}").content.decode()
    send(client, agent())
    found = fetch(client)
    assert (found["missing_root"], found["name"], found["span_count"]) == (False, "Desk.run", 2)


@pytest.mark.django_db
def test_5_a_session_on_the_root_alone_is_the_traces(client, project):
    send(client, agent(**{"session.id": "chat-77"}), call())
    found = fetch(client)
    assert [span["session_id"] for span in found["spans"]] == ["chat-77", "chat-77"]
    assert [trace["trace_id"] for trace in client.get("/api/traces?q=session:chat-77").json()["data"]] == [TRACE_ID]


def test_6_twelve_flat_messages_are_in_the_order_of_their_numbers():
    flat = {
        f"llm.input_messages.{n}.message.{key}": value
        for n in range(12)
        for key, value in (("role", "user"), ("content", f"m{n}"))
    }
    assert [message["content"] for message in read(call(**flat))[0].input_messages] == [f"m{n}" for n in range(12)]


def test_7_a_responses_input_list_is_separate_turns():
    turns = json.dumps(
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Where?"},
        ]
    )
    flat = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": turns}
    assert [message["role"] for message in read(call(**flat))[0].input_messages] == ["user", "assistant", "user"]


@pytest.mark.django_db
def test_8_ok_but_not_finalised_is_no_clean_run(client, project):
    records = read(
        otlp_span(
            {"openinference.span.kind": "AGENT", "agent.finalized": False, "agent.outcome": "partial"},
            status={"code": 1},
        )
    )
    assert records[0].metadata["agent_outcome"] == "partial"
    assert "unfinished" in find_signals(read_run(records))


def test_9_two_equal_exceptions_next_to_each_other_are_one_with_the_longest_stack():
    [record] = read(otlp_span(events=[exception("short"), exception("a longer stack")], status={"code": 2}))
    [folded] = fold_exceptions(record.events)
    assert folded["count"] == 2
    assert folded["attributes"]["exception.stacktrace"] == "a longer stack"


@pytest.mark.django_db
def test_10_an_agents_totals_are_not_added_to_its_calls(client, project):
    counts = {"llm.token_count.prompt": 10, "llm.token_count.completion": 2}
    sums = {"llm.token_count.prompt": 20, "llm.token_count.completion": 4}
    send(client, agent(**sums), call(**counts), call("2222222222222222", **counts))
    usage = fetch(client)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (20, 4)


def test_11_json_mime_type_on_plain_text_is_text():
    [record] = read(agent(**{"input.value": "Where is parcel 9?", "input.mime_type": "application/json"}))
    assert record.input == "Where is parcel 9?"


def test_12_streaming_as_text_is_known_and_listed_nowhere_as_odd():
    [record] = read(call(**{"llm.streaming": "true"}))
    assert record.attributes["llm.streaming"] == "true"
    assert record.unrecognised == []


def test_13_an_error_in_the_output_of_an_ok_tool_is_a_suspicion_and_no_error():
    tool = call(
        kind="TOOL",
        **{"tool.name": "track", "input.value": '{"parcel": 9}', "output.value": '{"error": "carrier timeout"}'},
    )
    tool["status"] = {"code": 1}
    records = read(agent(), tool)
    assert [record.status for record in records] == ["unset", "ok"]
    assert "hidden_error" in find_signals(read_run(records))


def test_14_the_same_call_twice_is_told():
    said = {"tool.name": "track", "input.value": '{"parcel": 9}', "output.value": "x"}
    tools = [call(f"{n}" * 16, "TOOL", start=f"178000000{n}100000000", **said) for n in (1, 2, 3)]
    assert "repeated_call" in find_signals(read_run(read(agent(), *tools)))


@pytest.mark.django_db
def test_15_a_missing_environment_is_no_choice(client, project):
    send(client, agent(), resource={"deployment.environment": "staging"})
    send(client, otlp_span(traceId="ab" * 16))
    values = client.get("/p/default/query-completions?add=environment:").content.decode()
    assert values.count("data-text=") == 1
    assert "staging" in values
    assert fetch(client, "ab" * 16)["environment"] is None


def test_16_to_18_lines_of_any_ids_packed_or_not_with_one_bad_one():
    def line(span_id, parent=""):
        return json.dumps(
            {"trace_id": "t-1", "span_id": span_id, "parent_span_id": parent, "name": "x", "attributes": {}}
        ).encode()

    lines = [line(f"word-{n}", "e661b435ae4f4e708348f5e2") for n in range(98)] + [
        line("e661b435ae4f4e708348f5e2", SPAN_ID)
    ]
    for pack in (bytes, gzip.compress):
        found = list(read_traces(io.BytesIO(pack(b"\n".join([*lines, b"{broken", line(SPAN_ID)]))), name="x.jsonl"))
        bad = [one for one in found if isinstance(one, BadLine)]
        records = [record for one in found if not isinstance(one, BadLine) for record in one.records]
        assert [one.place for one in bad] == ["line 100"]
        assert len(records) == 100
        assert {record.parent_span_id for record in records} == {"e661b435ae4f4e708348f5e2", SPAN_ID, ""}


@pytest.mark.django_db
def test_19_the_same_batch_twice_has_no_span_twice(client, project):
    for _ in range(2):
        assert send(client, agent(), call()).status_code == 200
    assert Span.objects.count() == 2


@pytest.mark.django_db
def test_20_a_huge_value_is_cut_in_lists_and_whole_in_the_span(client, project):
    text = "".join(f"{number} " for number in range(80_000))[:420_000]
    send(client, agent(**{"input.value": text}))
    assert len(client.get("/api/traces").json()["data"][0]["input"]) <= 500
    assert len(client.get("/p/default/traces").content) < 200_000
    assert fetch(client)["spans"][0]["input"] == text


def test_21_null_attributes_are_no_values():
    span = agent()
    span["attributes"] += [{"key": "session.id", "value": {}}, {"key": "output.value", "value": None}]
    [record] = read(span)
    assert (record.session_id, record.output) == ("", None)


@pytest.mark.django_db
def test_22_a_tag_for_an_unknown_trace_in_a_note_is_marked_as_not_found(client, project):
    send(client, otlp_span())
    missing = "f" * 32
    text = f"See [trace:{TRACE_ID.upper()}], `[span:{TRACE_ID}:{SPAN_ID}]`, [trace:{missing}] and [span:{TRACE_ID}:{'e' * 16}]."
    add_note(Trace.objects.get(), text)
    page = client.get(f"/p/{project.slug}/traces/{TRACE_ID}").content.decode()
    said = page[page.index('<p class="prewrap"') :].partition("</p>")[0]
    assert re.findall(r'href="(/[^"]+)"', said) == [
        f"/p/{project.slug}/traces/{TRACE_ID}",
        f"/p/{project.slug}/traces/{TRACE_ID}?span={SPAN_ID}",
    ]
    assert said.count("not found</span>") == 2
    assert "no such trace" in said
    assert "no such span" in said
    assert "`" not in said


@pytest.mark.parametrize(
    "text",
    [
        "```\n[trace:ab]\n```",
        "~~~\n[trace:ab]",
        "`see [trace:ab]`",
        "[[trace:ab]](https://x.test)",
        "[trace:ab](https://x.test)",
        "[trace:xyz] [trace:] [span:ab] ab",
    ],
)
def test_22_what_is_no_tag_is_text(text):
    assert pieces_of(text) == [Piece(text)]


@pytest.mark.django_db
def test_23_a_wrong_key_is_401_and_nothing_is_stored(client, project, login_on):
    assert send(client, agent(), key="mb-wrong").status_code == 401
    assert send(client, agent()).status_code == 401
    assert Span.objects.count() == 0
    assert send(client, agent(), key=make_key(project)).status_code == 200


@pytest.mark.django_db
def test_24_an_endpoint_that_has_the_path_already_still_receives(client, project):
    assert send(client, agent(), path="/v1/traces/v1/traces").status_code == 200
    assert Span.objects.count() == 1
