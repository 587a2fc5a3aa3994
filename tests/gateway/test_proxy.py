import json

import pytest

from gateway.proxy import AnswerBody
from providers.models import Call, CallState, Provider
from tests.factories import make_key, make_project
from tests.stream_server import StreamServer
from traces.models import Trace
from traces.queries import span_records

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ASK = {"model": "any", "messages": [{"role": "user", "content": "Where is order FH-10234?"}]}
ASK_RESPONSES = {"model": "any", "instructions": "Be brief.", "input": "Where is order FH-10234?"}


@pytest.fixture
def server(settings):
    with StreamServer() as server:
        settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = server.base_url, "sk-provider-secret-0001"
        yield server


def post(client, body, path=CHAT, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body)
    return client.post(path, raw, content_type="application/json", headers=headers)


def read(response):
    return response.getvalue() if response.streaming else response.content


def only_record(recorder):
    recorder.flush()
    trace = Trace.objects.get()
    (record,) = span_records(trace)
    return trace, record


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "ask"), [(CHAT, ASK), (RESPONSES, ASK_RESPONSES)])
@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_passes_byte_for_byte_and_the_request_unchanged(client, project, server, path, ask, is_stream):
    raw = json.dumps({**ask, "stream": is_stream, "unheard_of": {"a": [1, "é"]}}, indent=3).encode()

    response = post(client, raw, path)

    assert read(response) == server.sent[-1]
    assert server.requests[-1].body == raw
    assert server.requests[-1].path == path
    assert response["x-request-id"] in ("req_123", "req_456")
    assert response["Content-Type"].startswith("text/event-stream" if is_stream else "application/json")


@pytest.mark.django_db
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_chat_completion_leaves_a_trace(client, project, server, held_recorder, is_stream):
    tools = [{"type": "function", "function": {"name": "get_order", "parameters": {}}}]
    body = {**ASK, "tools": tools, "temperature": 0.3, "stream": is_stream, "stream_options": {"include_usage": True}}

    read(post(client, body))
    trace, record = only_record(held_recorder)

    assert (trace.source, trace.status, trace.missing_root, trace.llm_call_count) == ("proxy", "ok", False, 1)
    assert record.kind == "llm"
    assert (record.model, record.provider) == ("any-2026", "default")
    assert record.input_messages == [{"role": "user", "content": "Where is order FH-10234?"}]
    assert record.output_messages == [{"role": "assistant", "content": "Where is order FH-10234?"}]
    assert record.available_tools == tools
    used = record.usage
    assert (used.input_tokens, used.output_tokens, used.cached_input_tokens, used.reasoning_tokens) == (12, 5, 4, 2)
    assert record.attributes["gen_ai.request.temperature"] == 0.3
    assert record.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert ("gen_ai.response.time_to_first_chunk" in record.attributes) == is_stream
    assert record.start_ns < record.end_ns


@pytest.mark.django_db
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_response_leaves_a_trace_with_its_reasoning(client, project, server, held_recorder, is_stream):
    read(post(client, {**ASK_RESPONSES, "stream": is_stream}, RESPONSES))
    _, record = only_record(held_recorder)

    assert [one["role"] for one in record.input_messages] == ["system", "user"]
    assert record.output_messages[0]["content"] == [{"type": "reasoning", "content": "Thinking it over."}]
    assert record.output_messages[1]["content"] == "Where is order FH-10234?"
    assert (record.usage.input_tokens, record.usage.cached_input_tokens, record.usage.reasoning_tokens) == (12, 4, 2)
    assert record.attributes["gen_ai.response.finish_reasons"] == ["completed"]


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "ask"), [(CHAT, ASK), (RESPONSES, ASK_RESPONSES)])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_tool_call_is_put_together(client, project, server, held_recorder, path, ask, is_stream):
    read(post(client, {**ask, "model": "calls-tool", "stream": is_stream}, path))
    _, record = only_record(held_recorder)

    call = {"id": "call_1", "name": "get_order", "arguments": {"order_id": "A-1"}}
    assert record.output_messages == [{"role": "assistant", "content": None, "tool_calls": [call]}]


@pytest.mark.django_db
def test_who_it_belongs_to_comes_from_headers_and_then_from_the_body(client, project, server, held_recorder):
    metadata = {"session_id": "from-body", "channel": "web", "tags": "night, vip"}
    headers = {
        "X-Markbook-Session": "chat-7",
        "X-Markbook-Agent": "support",
        "X-Markbook-Task": "refund",
        "X-Markbook-Environment": "staging",
        "X-Markbook-Tags": "vip, caf%C3%A9",
    }

    response = post(client, {**ASK, "metadata": metadata, "user": "u-1"}, **headers)
    read(response)
    trace, _ = only_record(held_recorder)

    assert (trace.session_id, trace.user_id, trace.agent_name) == ("chat-7", "u-1", "support")
    assert (trace.task, trace.environment, trace.tags) == ("refund", "staging", ["café", "night", "vip"])
    assert trace.metadata["channel"] == "web"
    assert response["X-Markbook-Trace-Id"] == trace.trace_id
    assert not any(name.startswith("x-markbook") for name in server.requests[-1].headers)


@pytest.mark.django_db
def test_a_trace_context_makes_the_call_part_of_that_trace(client, project, server, held_recorder):
    read(post(client, ASK, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01"))
    trace, record = only_record(held_recorder)

    assert (trace.trace_id, record.parent_span_id) == ("ab" * 16, "cd" * 8)


@pytest.mark.django_db
@pytest.mark.parametrize("is_stream", [False, True])
def test_store_false_keeps_the_numbers_and_no_text(client, project, server, held_recorder, is_stream):
    body = {**ASK, "store": False, "stream": is_stream, "stream_options": {"include_usage": True}}
    read(post(client, body))
    trace, record = only_record(held_recorder)

    assert record.content_recorded is False
    assert record.input_messages == record.output_messages == []
    assert trace.input_tokens == 12
    assert "FH-10234" not in repr(record)


@pytest.mark.django_db
def test_record_off_forwards_and_keeps_no_trace_but_the_call_is_in_the_book(client, project, server, held_recorder):
    response = post(client, ASK, **{"X-Markbook-Record": "off"})
    assert response.status_code == 200
    read(response)
    held_recorder.flush()

    assert "X-Markbook-Trace-Id" not in response
    assert Trace.objects.count() == 0
    call = Call.objects.get()
    assert (call.state, call.input_tokens, call.subject) == ("answered", 12, "")


@pytest.mark.django_db
def test_a_call_is_in_the_book_before_it_is_sent(client, project, server, held_recorder):
    received, book = [], held_recorder.book

    def note(*args, **options):
        booking = book(*args, **options)
        received.append((len(server.requests), Call.objects.get().state))
        return booking

    held_recorder.book = note
    read(post(client, ASK))

    assert received == [(0, "started")]
    assert len(server.requests) == 1


@pytest.mark.django_db
def test_our_own_runner_is_not_recorded_twice(client, project, held_recorder):
    from accounts.access import internal_token

    body = {**ASK, "model": "demo/echo"}
    assert post(client, body, Authorization=f"Bearer {internal_token(project)}").status_code == 200

    assert held_recorder.entries == []


@pytest.mark.django_db
def test_a_refusal_passes_as_it_is_but_for_cookies(client, project, server, held_recorder):
    response = post(client, {**ASK, "model": "refuses"})
    trace, record = only_record(held_recorder)

    assert (response.status_code, response.content) == (429, server.sent[-1])
    assert response["Retry-After"] == "7"
    assert response["x-ratelimit-remaining-requests"] == "0"
    assert not response.cookies
    assert "Set-Cookie" not in response
    assert (trace.status, record.error_type, record.error_message) == ("error", "rate_limit_exceeded", "Slow down.")
    assert Call.objects.get().state == CallState.FAILED


@pytest.mark.django_db
def test_the_providers_key_goes_to_the_provider_and_nowhere_else(client, project, server, held_recorder):
    response = post(client, {**ASK, "model": "leaks-key"}, Authorization="Bearer sk-the-callers-own")
    _, record = only_record(held_recorder)

    assert server.requests[-1].headers["authorization"] == "Bearer sk-provider-secret-0001"
    assert response.status_code == 401
    assert b"sk-provider-secret-0001" not in response.content
    assert "sk-provider-secret-0001" not in repr(record) + Call.objects.get().error


@pytest.mark.django_db
def test_a_provider_that_is_down_is_a_502_that_says_so(client, project, settings, held_recorder):
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"

    response = post(client, ASK)
    trace, _ = only_record(held_recorder)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (502, "provider_unavailable", "server_error")
    assert "cannot be reached" in error["message"]
    assert trace.status == "error"
    assert Call.objects.get().state == CallState.FAILED


@pytest.mark.django_db
def test_a_provider_that_redirects_is_not_followed(client, project, server):
    response = post(client, {**ASK, "model": "redirects"})

    assert (response.status_code, response.json()["error"]["code"]) == (502, "provider_redirects")
    assert len(server.requests) == 1


@pytest.mark.django_db
def test_a_provider_without_the_responses_api_is_named(client, project, server, held_recorder):
    response = post(client, {**ASK_RESPONSES, "model": "no-responses"}, RESPONSES)

    assert (response.status_code, response.json()["error"]["code"]) == (404, "responses_not_supported")
    assert "/v1/chat/completions" in response.json()["error"]["message"]
    unknown = post(client, {**ASK_RESPONSES, "model": "unknown"}, RESPONSES)
    assert unknown.content == server.sent[-1]


@pytest.mark.django_db
@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_that_breaks_off_breaks_off_for_the_client_and_is_unknown_in_the_book(
    client, project, server, held_recorder, is_stream
):
    response = post(client, {**ASK, "model": "half", "stream": is_stream})
    with pytest.raises(ConnectionResetError):
        read(response)
    trace, record = only_record(held_recorder)

    assert trace.status == "error"
    assert "broke off" in record.error_message
    assert Call.objects.get().state == CallState.UNKNOWN


@pytest.mark.django_db
def test_a_client_that_leaves_in_the_middle_leaves_a_trace_that_says_so(client, project, server, held_recorder):
    response = post(client, {**ASK, "model": "slow", "stream": True})
    parts = iter(response.streaming_content)
    for _ in range(3):
        next(parts)
    response._iterator.close()  # as the server does; Django's test client keeps the database connection
    _, record = only_record(held_recorder)

    assert record.error_type == "client_disconnected"
    assert record.attributes["markbook.client_disconnected"] is True
    assert record.output_messages[0]["content"] in "Where is order FH-10234?"
    assert Call.objects.get().state == CallState.UNKNOWN


@pytest.mark.django_db
def test_a_slow_stream_is_passed_on_event_by_event(client, project, server):
    response = post(client, {**ASK, "model": "slow", "stream": True})

    assert len(list(response.streaming_content)) >= 6


@pytest.mark.django_db
def test_an_error_in_a_stream_fails_the_trace(client, project, server, held_recorder):
    read(post(client, {**ASK, "model": "error-in-stream", "stream": True}))
    _, record = only_record(held_recorder)

    assert (record.status, record.error_type, record.error_message) == (
        "error",
        "overloaded",
        "The server is overloaded",
    )


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["html", "gzip"])
def test_answers_of_other_forms_pass_and_are_told_in_the_trace(client, project, server, held_recorder, model):
    response = post(client, {**ASK, "model": model})

    assert read(response) == server.sent[-1]
    _, record = only_record(held_recorder)
    if model == "gzip":
        assert response["Content-Encoding"] == "gzip"
        assert record.output_messages[0]["content"] == "Where is order FH-10234?"
    else:
        assert "not JSON: Welcome" in record.error_message


@pytest.mark.django_db
@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 50_000, b'{"model": 7}', b'{"model": "a\\u0000"}'])
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_broken_body_is_a_400_and_goes_nowhere(client, project, server, held_recorder, raw, path):
    assert post(client, raw, path).status_code == 400
    assert server.requests == []
    assert held_recorder.entries == []


@pytest.mark.django_db
def test_hostile_values_are_recorded(client, project, server, held_recorder):
    text = "NUL \u0000, <script>alert(1)</script>, \u202ertl, " + "long " * 50_000
    deep = json.loads("[" * 90 + "]" * 90)
    body = {"model": "any", "messages": [{"role": "user", "content": text}], "metadata": {"a\u0000b": deep}, "n": "x"}

    response = post(client, body, **{"X-Markbook-Session": "s" * 5000, "X-Markbook-Tags": "," * 400})
    assert read(response) == server.sent[-1]
    trace, record = only_record(held_recorder)

    assert record.input_messages[0]["content"] == text
    assert len(trace.session_id) == 200


@pytest.mark.django_db
def test_the_projects_own_provider_is_asked(client, project, held_recorder, settings):
    with StreamServer() as own:
        Provider.objects.create(project=project, name="office", base_url=own.base_url, model_names=["qwen*"])
        read(post(client, {**ASK, "model": "qwen-max"}))
    trace, record = only_record(held_recorder)

    assert own.requests[0].headers.get("authorization") is None
    assert record.provider == "office"
    call = Call.objects.get()
    assert (call.provider, call.purpose, call.state, call.input_tokens) == ("office", "proxy", CallState.ANSWERED, 12)
    assert call.subject == f"trace:{trace.trace_id}"


@pytest.mark.django_db
def test_a_key_decides_the_project(client, login_on, server, held_recorder):
    mine, theirs = make_project(), make_project()
    key = make_key(mine, scopes=("write",))

    assert post(client, ASK).status_code == 401
    read(post(client, ASK, Authorization=f"Bearer {key}"))
    held_recorder.flush()

    assert Trace.objects.filter(project=mine).count() == 1
    assert not Trace.objects.filter(project=theirs).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("is_stream", [False, True])
def test_scripted_models_speak_the_responses_api(client, project, held_recorder, is_stream):
    tool = {"type": "function", "name": "get_order", "parameters": {"properties": {"order_id": {"type": "string"}}}}
    body = {"model": "demo/careful", "instructions": "Help.", "input": "Where is order FH-10234?", "tools": [tool]}

    answer = read(post(client, {**body, "stream": is_stream}, RESPONSES)).decode()
    _, record = only_record(held_recorder)

    assert "function_call" in answer
    assert record.output_messages[0]["tool_calls"][0]["name"] == "get_order"
    assert record.usage.cost_source == "priced"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "x", "tools": 5}, "tools"),
        ({"input": "x", "instructions": 5}, "instructions"),
    ],
)
def test_scripted_models_refuse_a_wrong_responses_request_by_place(client, project, body, param):
    response = post(client, {"model": "demo/echo", **body}, RESPONSES)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.django_db
def test_a_recorder_that_fails_does_not_reach_the_caller(client, project, server):
    import os

    from gateway import recorder

    class Broken:
        def put(self, entry):
            raise RuntimeError("out of memory")

    recorder.Current.recorder, recorder.Current.pid = Broken(), os.getpid()
    response = post(client, ASK)

    assert read(response) == server.sent[-1]


def test_an_answer_that_is_closed_before_its_first_chunk_is_told():
    from gateway.attribution import Attribution
    from gateway.exchange import CLIENT_LEFT, Exchange

    exchange = Exchange("/chat/completions", {}, Attribution(), "m", "p", 1, "t", "s")
    told = []
    AnswerBody(exchange, iter([b"x"]), lambda: told.append(exchange.ending)).close()

    assert told == [CLIENT_LEFT]
