import json

from gateway.attribution import read_attribution
from gateway.streams import assemble_chat, assemble_response, read_events
from tests.stream_server import chat_events, completion, response_events

ASK = {"model": "any", "messages": []}
TEXT = "Your order is on its way; it comes on Monday."


def test_events_are_read_with_any_line_end_and_over_several_lines():
    raw = b': hello\r\ndata: {"a":\r\ndata: 1}\r\n\r\nevent: x\ndata:{"b":2}\n\ndata: [DONE]\n\ndata: {"cut'

    assert list(read_events(raw)) == [{"a": 1}, {"b": 2}, "[DONE]"]


def test_a_chat_stream_is_the_completion_that_it_stands_for():
    assembled = assemble_chat(b"".join(chat_events({**ASK, "stream_options": {"include_usage": True}}, TEXT)))
    whole = completion(ASK, TEXT)

    assert assembled.is_whole
    assert assembled.body["choices"][0]["message"]["content"] == whole["choices"][0]["message"]["content"]
    assert assembled.body["usage"] == whole["usage"]


def test_a_chat_stream_cut_anywhere_gives_what_came():
    events = list(chat_events(ASK, TEXT))
    for count in range(len(events)):
        assembled = assemble_chat(b"".join(events[:count]))
        text = (assembled.body["choices"] or [{"message": {"content": ""}}])[0]["message"]["content"] or ""
        assert TEXT.startswith(text)
        assert assembled.is_whole == (count >= len(events) - 1)


def test_two_tool_calls_of_one_stream_stay_apart():
    def part(index, **function):
        delta = {"tool_calls": [{"index": index, "id": f"call_{index}", "function": function}]}
        return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n".encode()

    raw = (
        part(0, name="a", arguments="{")
        + part(1, name="b", arguments="[")
        + part(0, arguments="}")
        + part(1, arguments="]")
    )
    calls = assemble_chat(raw).body["choices"][0]["message"]["tool_calls"]

    assert [(call["function"]["name"], call["function"]["arguments"]) for call in calls] == [("a", "{}"), ("b", "[]")]


def test_a_response_stream_cut_in_the_middle_gives_the_text_that_came():
    events = list(response_events(ASK, TEXT))
    assembled = assemble_response(b"".join(events[:6]))

    assert not assembled.is_whole
    assert assembled.body["id"].startswith("resp_")
    text = assembled.body["output"][1]["content"][0]["text"]
    assert text
    assert TEXT.startswith(text)
    assert assemble_response(b"".join(events)).is_whole


def test_hostile_streams_do_not_raise():
    for raw in (
        b'data: 5\n\ndata: {"choices": 7}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [5, {}]}}]}\n\n',
        b"\xff",
    ):
        assemble_chat(raw)
    for raw in (b'data: {"output_index": 1, "item": {}}\n\n', b'data: {"type": "error", "error": 5}\n\n', b"data:\n\n"):
        assemble_response(raw)


def test_attribution_takes_headers_before_metadata_and_refuses_nonsense():
    body = {"metadata": {"session_id": 5, "user_id": True, "tags": ["a", {}, 3]}, "conversation": {"id": "conv_1"}}
    found = read_attribution({"x-markbook-user": "caf\xc3\xa9", "traceparent": f"00-{'0' * 32}-{'1' * 16}-01"}, body)

    assert (found.session_id, found.user_id, found.tags) == ("5", "café", ["a", "3"])
    assert found.trace_id == ""
    assert read_attribution({}, {"metadata": 7, "conversation": "conv_2"}).session_id == "conv_2"
