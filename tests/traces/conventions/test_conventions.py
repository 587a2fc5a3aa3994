import json

import pytest

from tests.traces.otlp_bodies import otlp_body, otlp_span
from traces.conventions import rebuild_attributes
from traces.conventions.common import fold_exceptions
from traces.otlp import decode_traces


def read(attributes=None, *, scope=None, resource=None, **overrides):
    body = otlp_body(otlp_span(attributes, **overrides), scope=scope, resource=resource)
    decoded = decode_traces(body, "application/json")
    assert decoded.rejected == []
    record = decoded.records[0]
    assert rebuild_attributes(record) == (attributes or {}) or has_equal_json(rebuild_attributes(record), attributes)
    return record


def has_equal_json(left, right):
    def unfold(value):
        if isinstance(value, str) and value[:1] in ("{", "["):
            try:
                return unfold(json.loads(value))
            except ValueError:
                return value
        if isinstance(value, dict):
            return {key: unfold(item) for key, item in value.items()}
        return [unfold(item) for item in value] if isinstance(value, list) else value

    return unfold(left) == unfold(right)


def openinference(kind="LLM", **attributes):
    return {"openinference.span.kind": kind, **attributes}


def flat(side, *messages):
    found = {}
    for place, message in enumerate(messages):
        for key, value in message.items():
            found[f"llm.{side}_messages.{place}.message.{key}"] = value
    return found


def exception(kind="ValueError", text="broke", **more):
    values = {"exception.type": kind, "exception.message": text, **more}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    return {"name": "exception", "timeUnixNano": "5", "attributes": attributes}


# Kind ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({}, "chain"),
        ({"http.request.method": "GET"}, "chain"),
        ({"tool.name": "f"}, "tool"),
        ({"openinference.span.kind": "AGENT"}, "agent"),
        ({"openinference.span.kind": "RERANKER"}, "reranker"),
        ({"openinference.span.kind": "SOMETHING NEW"}, "chain"),
        ({"openinference.span.kind": "TOOL", "gen_ai.operation.name": "chat"}, "tool"),
        ({"gen_ai.operation.name": "chat"}, "llm"),
        ({"gen_ai.operation.name": "embeddings"}, "embedding"),
        ({"gen_ai.operation.name": "invoke_workflow"}, "chain"),
        ({"gen_ai.operation.name": "retrieval"}, "retriever"),
        ({"gen_ai.operation.name": "brand_new"}, "chain"),
        ({"gen_ai.request.model": "m"}, "llm"),
    ],
)
def test_the_kind_follows_from_the_convention(attributes, kind):
    assert read(attributes).kind == kind


def test_attributes_that_no_rule_reads_are_listed_and_kept():
    record = read(openinference("LLM", **{"my.own": 1, "llm.provider": "openai"}))
    assert record.unrecognised == ["my.own"]
    assert record.attributes["my.own"] == 1


# Messages --------------------------------------------------------------------------------------------------------


def test_flattened_messages_are_ordered_by_number():
    sent = flat("input", *({"role": "user", "content": f"text {number}"} for number in range(12)))
    record = read(openinference(**dict(sorted(sent.items()))))
    assert [message["content"] for message in record.input_messages] == [f"text {number}" for number in range(12)]
    assert not any(name.startswith("llm.input_messages") for name in record.attributes)


def test_gaps_in_the_numbers_and_fields_that_messages_do_not_keep_stay_as_attributes():
    sent = {
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.7.message.role": "HUMAN",
        "llm.input_messages.7.message.content": "x",
        "llm.input_messages.7.message.mood": "fine",
        "llm.input_messages.x.message.role": "odd",
    }
    record = read(openinference(**sent))
    assert [message["role"] for message in record.input_messages] == ["user", "user"]
    assert record.attributes["llm.input_messages.7.message.mood"] == "fine"


def test_tool_calls_have_objects_where_the_arguments_parse_and_text_where_not():
    stem = "tool_calls.{}.tool_call."
    message = {"role": "assistant"}
    texts = ['{"a": 1}', "{broken", '{"a":  1}', '{"a":12345678901234567890123}', "[1]"]
    for place, text in enumerate(texts):
        message[stem.format(place) + "id"] = f"c{place}"
        message[stem.format(place) + "function.name"] = "f"
        message[stem.format(place) + "function.arguments"] = text
    record = read(openinference(**flat("output", message)))
    arguments = [call["arguments"] for call in record.output_messages[0]["tool_calls"]]
    assert arguments[:3] == [{"a": 1}, "{broken", {"a": 1}]
    assert arguments[4] == "[1]"


def test_contents_are_parts_and_a_single_text_part_is_text():
    one = {"role": "user", "contents.0.message_content.type": "text", "contents.0.message_content.text": "hi"}
    two = {
        **one,
        "contents.1.message_content.type": "image",
        "contents.1.message_content.image.image.url": "https://example.com/a.png",
    }
    record = read(openinference(**flat("input", one, two)))
    assert record.input_messages[0]["content"] == "hi"
    assert [part["type"] for part in record.input_messages[1]["content"]] == ["text", "uri"]


def test_a_message_with_content_and_contents_uses_one():
    message = {
        "role": "user",
        "content": "hi",
        "contents.0.message_content.type": "text",
        "contents.0.message_content.text": "hi",
    }
    assert read(openinference(**flat("input", message))).input_messages == [{"role": "user", "content": "hi"}]


def test_a_request_that_repeats_the_messages_is_kept_once():
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Grüße"}]
    request = {"model": "m", "messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]}
    for text in (
        json.dumps(request),
        json.dumps(request, ensure_ascii=False),
        json.dumps(request, separators=(",", ":")),
    ):
        record = read(
            openinference(**flat("input", *messages), **{"input.value": text, "input.mime_type": "application/json"})
        )
        assert "input.value" not in record.attributes
        assert "Be short" not in json.dumps(record.moved, ensure_ascii=False)
        assert rebuild_attributes(record)["input.value"] == text
        assert record.available_tools == request["tools"]


def test_a_request_in_another_writing_stays_as_it_was():
    text = json.dumps({"messages": [{"role": "user", "content": "x"}]}, indent=3)
    record = read(openinference(**flat("input", {"role": "user", "content": "x"}), **{"input.value": text}))
    assert record.attributes["input.value"] == text


def test_messages_only_in_the_request_and_the_answer_are_read_from_there():
    request = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    answer = {"choices": [{"message": {"role": "assistant", "content": "y"}}]}
    record = read(openinference(**{"input.value": json.dumps(request), "output.value": json.dumps(answer)}))
    assert record.input_messages == [{"role": "user", "content": "x"}]
    assert record.output_messages == [{"role": "assistant", "content": "y"}]
    assert record.model == "m"


def test_a_list_sent_whole_wins_over_flattened_messages():
    whole = [{"role": "user", "content": "whole"}]
    record = read(
        openinference(**{"llm.input_messages": json.dumps(whole)}, **flat("input", {"role": "user", "content": "flat"}))
    )
    assert record.input_messages == whole


GENAI_INPUT = [
    {"role": "user", "parts": [{"type": "text", "content": "Hi"}]},
    {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "Hm"},
            {"type": "tool_call", "id": "c", "name": "f", "arguments": {"a": 1}},
        ],
    },
    {
        "role": "tool",
        "parts": [
            {"type": "tool_call_response", "id": "c", "response": {"n": 1}},
            {"type": "tool_call_response", "id": "d", "response": "x"},
        ],
    },
]


@pytest.mark.parametrize("as_text", [True, False])
def test_genai_messages_are_read_as_text_and_as_values(as_text):
    sent = json.dumps(GENAI_INPUT) if as_text else GENAI_INPUT
    record = read({"gen_ai.operation.name": "chat", "gen_ai.input.messages": sent})
    user, call, first, second = record.input_messages
    assert user == {"role": "user", "content": "Hi"}
    assert call["content"] == [{"type": "reasoning", "content": "Hm"}]
    assert call["tool_calls"] == [{"id": "c", "name": "f", "arguments": {"a": 1}}]
    assert (first["tool_call_id"], json.loads(first["content"])) == ("c", {"n": 1})
    assert (second["tool_call_id"], second["content"]) == ("d", "x")
    assert "gen_ai.input.messages" not in record.attributes


@pytest.mark.parametrize(
    "item",
    [
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "f", "arguments": '{"a":1}'}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "result": "older name"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c", "name": "f"}, {"type": "text", "content": "after"}],
        },
        {"role": "user", "parts": [{"type": "blob", "mime_type": "image/png", "modality": "image", "content": "aaaa"}]},
        {"role": "user", "parts": []},
        {"role": "user", "parts": ["bare"]},
        {"role": "user", "content": "chat form"},
        {"parts": [{"type": "text", "content": "no role"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "x"}], "finish_reason": "stop", "name": None},
        {"role": "user", "parts": [{"type": "text", "content": None}]},
        "no object",
    ],
)
def test_genai_messages_of_any_shape_come_back_equal(item):
    for sent in ([item], [GENAI_INPUT[0], item, GENAI_INPUT[0]]):
        read({"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(sent)})
        read({"gen_ai.operation.name": "chat", "gen_ai.output.messages": json.dumps(sent)})


def test_system_instructions_come_first_and_are_not_said_twice():
    instructions = json.dumps([{"type": "text", "content": "Be short."}])
    both = {"gen_ai.operation.name": "chat", "gen_ai.system_instructions": instructions}
    apart = read({**both, "gen_ai.input.messages": json.dumps(GENAI_INPUT[:1])})
    assert [message["role"] for message in apart.input_messages] == ["system", "user"]
    assert set(apart.moved) == {"gen_ai.system_instructions", "gen_ai.input.messages"}
    twice = [{"role": "system", "parts": [{"type": "text", "content": "Be short."}]}, *GENAI_INPUT[:1]]
    assert len(read({**both, "gen_ai.input.messages": json.dumps(twice)}).input_messages) == 2


def test_openinference_messages_win_and_genai_fills_what_is_missing():
    attributes = openinference(
        **flat("input", {"role": "user", "content": "theirs"}),
        **{
            "gen_ai.input.messages": json.dumps(GENAI_INPUT[:1]),
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.response.model": "answered",
            "llm.model_name": "asked",
        },
    )
    record = read(attributes)
    assert record.convention == "openinference"
    assert record.input_messages == [{"role": "user", "content": "theirs"}]
    assert record.usage.input_tokens == 7
    assert record.model == "answered"


def test_content_that_was_not_recorded_is_said_so():
    assert not read({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}).content_recorded
    assert not read({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f"}).content_recorded
    assert not read(
        openinference("TOOL", **{"input.value": "__REDACTED__", "output.value": "__REDACTED__"})
    ).content_recorded
    assert not read(openinference("LLM", **{"input.value": "__REDACTED__"})).content_recorded
    assert read(openinference("CHAIN")).content_recorded


# Tools -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "arguments"),
    [
        ('{"order_id": "A-1"}', {"order_id": "A-1"}),
        ("A-1001", "A-1001"),
        ('{"args": [], "sanitize_inputs_outputs": true, "kwargs": {"x": 1}}', {"x": 1}),
        ('{"args": [1], "kwargs": {"x": 1}}', {"args": [1], "kwargs": {"x": 1}}),
    ],
)
def test_tool_arguments_are_unwrapped(sent, arguments):
    record = read(
        openinference("TOOL", **{"tool.name": "f", "input.value": sent, "input.mime_type": "application/json"})
    )
    assert record.tool["arguments"] == arguments


@pytest.mark.parametrize(
    ("sent", "result"),
    [
        ("plain text", "plain text"),
        ('{"a": [1]}', {"a": [1]}),
        ('"quoted"', "quoted"),
        ('{"type": "tool", "data": {"content": "inner", "tool_call_id": "c9"}}', "inner"),
    ],
)
def test_tool_results_are_unwrapped(sent, result):
    assert read(openinference("TOOL", **{"output.value": sent})).tool["result"] == result


def test_a_tool_without_a_name_is_called_by_its_span():
    assert read(openinference("TOOL"), name="lookup").tool["name"] == "lookup"
    record = read({"gen_ai.operation.name": "execute_tool"}, name="execute_tool lookup")
    assert record.tool["name"] == "lookup"


def test_a_tool_spans_arguments_and_result_are_kept_once():
    record = read(openinference("TOOL", **{"input.value": '{"a":1}', "output.value": "done"}))
    assert (record.input, record.output) == (None, None)
    assert not {"input.value", "output.value"} & set(record.attributes)


# Errors ----------------------------------------------------------------------------------------------------------


def test_the_exceptions_text_wins_over_the_status_message():
    record = read(status={"code": 2, "message": "ValueError: broke\nTraceback …"}, events=[exception()])
    assert (record.status, record.error_type, record.error_message) == ("error", "ValueError", "broke")
    assert record.status_message.startswith("ValueError: broke")


@pytest.mark.parametrize(
    ("overrides", "attributes", "status"),
    [
        ({"status": {"code": 1}}, {}, "ok"),
        ({}, {}, "unset"),
        ({"events": [exception()]}, {}, "error"),
        ({"status": {"code": 1}, "events": [exception()]}, {}, "error"),
        ({"status": {"code": 1}, "events": [exception(**{"exception.escaped": "False"})]}, {}, "ok"),
        ({"events": [exception(**{"exception.escaped": "False"})]}, {}, "error"),
        ({}, {"error.type": "timeout"}, "error"),
    ],
)
def test_what_makes_a_span_an_error(overrides, attributes, status):
    assert read(attributes, **overrides).status == status


def test_an_error_type_alone_is_the_text_too():
    record = read({"error.type": "timeout"})
    assert (record.error_type, record.error_message) == ("timeout", "timeout")


def test_equal_exceptions_next_to_each_other_are_one_with_the_longest_stack():
    events = read(
        events=[
            exception(**{"exception.stacktrace": "short"}),
            exception(**{"exception.stacktrace": "much longer"}),
            exception("Other"),
        ]
    ).events
    assert len(events) == 3
    first, other = fold_exceptions(events)
    assert (first["count"], first["attributes"]["exception.stacktrace"]) == (2, "much longer")
    assert other["attributes"]["exception.type"] == "Other"


# Who and how much ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "session"),
    [
        ({"session.id": "s"}, "s"),
        ({"gen_ai.conversation.id": "c", "session.id": "s"}, "c"),
        ({"session.id": "[Scrubbed due to 'session']"}, ""),
        ({"session.id": "[Scrubbed due to 'session']", "traceloop.association.properties.session_id": "t"}, "t"),
        ({"session.id": "  "}, ""),
        ({"session.id": 42}, "42"),
        (openinference("AGENT", metadata='{"thread_id": "from metadata"}'), "from metadata"),
        ({"input.value": '{"session_id": "an argument"}'}, ""),
    ],
)
def test_the_session_is_the_first_name_that_holds_a_real_value(attributes, session):
    assert read(attributes).session_id == session


def test_a_free_label_on_an_agent_is_no_provider():
    assert read(openinference("AGENT", **{"gen_ai.system": "internal"})).provider == ""
    assert read({"gen_ai.operation.name": "invoke_agent", "gen_ai.system": "langchain"}).provider == ""
    assert read({"gen_ai.operation.name": "chat", "gen_ai.system": "openai"}).provider == "openai"


def test_an_agent_without_a_name_is_called_by_its_span():
    assert read(openinference("AGENT"), name="refunds").agent_name == "refunds"
    assert read({"gen_ai.operation.name": "invoke_agent"}, name="invoke_agent refunds").agent_name == "refunds"
    assert read(openinference("AGENT", **{"agent.name": "A", "agent.id": "a-1"})).agent_id == "a-1"


def test_environment_and_release_come_from_the_resource_in_old_and_new_spelling():
    assert read(resource={"deployment.environment": "staging"}).environment == "staging"
    record = read(
        resource={"deployment.environment.name": "live", "deployment.environment": "old", "service.version": "1.4"}
    )
    assert (record.environment, record.release) == ("live", "1.4")
    assert read().environment == ""


def test_catalysts_own_version_is_no_release():
    scope = {"name": "catalyst_tracing", "version": "0.1.11"}
    assert read(scope=scope, resource={"service.version": "0.1.11"}).release == ""
    assert read(scope=scope, resource={"service.version": "1.4.0"}).release == "1.4.0"


def test_tokens_and_cost_are_read_as_sent():
    record = read(
        openinference(
            **{
                "llm.token_count.prompt": 100,
                "llm.token_count.completion": "20",
                "llm.token_count.prompt_details.cache_read": 60.0,
                "llm.token_count.completion_details.reasoning": 5,
                "llm.cost.prompt": 0.25,
                "llm.cost.completion": 0.5,
            }
        )
    )
    usage = record.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_tokens) == (
        100,
        20,
        60,
        5,
    )
    assert (usage.cost_usd, usage.cost_source) == (0.75, "sent")


@pytest.mark.parametrize("value", [True, -1, 1.5, "many", "", None, "1" * 40, [1]])
def test_counts_that_are_none_are_left_out(value):
    assert read({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": value}).usage.input_tokens is None


def test_token_details_that_were_not_sent_are_unknown_rather_than_zero():
    usage = read({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5}).usage
    assert (usage.cached_input_tokens, usage.reasoning_tokens, usage.cost_usd) == (None, None, None)


def test_prompt_template_tags_and_metadata_are_read():
    record = read(
        openinference(
            **{
                "llm.prompt_template.template": "Hi {x}",
                "llm.prompt_template.version": "v2",
                "llm.prompt_template.variables": '{"x": 1}',
                "tag.tags": ["a", "b"],
                "metadata": '{"plan": "pro"}',
            }
        )
    )
    assert record.prompt == {"name": "", "version": "v2", "template": "Hi {x}", "variables": {"x": 1}}
    assert (record.tags, record.metadata) == (["a", "b"], {"plan": "pro"})


# Catalyst --------------------------------------------------------------------------------------------------------

CATALYST = {"name": "catalyst_tracing.openai", "version": "0.1.11"}


def test_an_agents_outcome_is_metadata():
    record = read(
        openinference("AGENT", **{"agent.outcome": "partial", "agent.finalized": False, "tags": ["pilot"]}),
        scope=CATALYST,
    )
    assert record.metadata == {"agent_outcome": "partial", "agent_finalized": False}
    assert record.tags == ["pilot"]


def test_a_responses_input_list_in_one_message_is_unfolded_into_turns():
    items = [
        {"role": "user", "content": "Order 7?"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"id": 7}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sent"},
    ]
    record = read(openinference(**flat("input", {"role": "user", "content": json.dumps(items)})), scope=CATALYST)
    assert [message["role"] for message in record.input_messages] == ["user", "assistant", "tool"]
    assert record.input_messages[1]["tool_calls"][0]["arguments"] == {"id": 7}


def test_a_users_own_json_list_is_not_taken_for_turns():
    text = '[{"sku": 1}, {"sku": 2}]'
    record = read(openinference(**flat("input", {"role": "user", "content": text})), scope=CATALYST)
    assert record.input_messages == [{"role": "user", "content": text}]


def test_raw_anthropic_usage_adds_cached_tokens_to_the_input():
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 3}
    record = read(openinference(**{"llm.usage": json.dumps(usage)}), scope=CATALYST)
    assert (record.usage.input_tokens, record.usage.cached_input_tokens, record.usage.cache_write_tokens) == (
        103,
        90,
        3,
    )


def test_json_mime_type_on_plain_text_is_text():
    record = read(openinference("AGENT", **{"input.value": "Where is it?", "input.mime_type": "application/json"}))
    assert record.input == "Where is it?"


def test_null_attributes_are_no_values():
    record = read(openinference("LLM", **{"session.id": None, "llm.model_name": None, "llm.token_count.prompt": None}))
    assert (record.session_id, record.model, record.usage.input_tokens) == ("", "", None)


# Retrieval, embedding, reranking ---------------------------------------------------------------------------------


def test_retrieved_documents_are_the_output():
    stem = "retrieval.documents.{}.document."
    sent = {stem.format(10) + "content": "ten", stem.format(9) + "content": "nine", stem.format(9) + "score": 0.5}
    record = read(openinference("RETRIEVER", **{"input.value": "q"}, **sent))
    assert record.output == [{"content": "nine", "score": 0.5}, {"content": "ten"}]


def test_an_embeddings_text_and_a_rerankers_query_are_the_input():
    assert read(openinference("EMBEDDING", **{"embedding.embeddings.0.embedding.text": "refunds"})).input == "refunds"
    assert (
        read(openinference("RERANKER", **{"reranker.query": "refunds", "reranker.model_name": "r"})).input == "refunds"
    )


@pytest.mark.parametrize(
    "items",
    [
        [{"parts": [{"type": "text", "content": "no role"}]}],
        [
            {"parts": [{"type": "text", "content": "no role"}]},
            {"role": "user", "parts": [{"type": "text", "content": "b"}]},
        ],
        [
            {"role": "user", "parts": [], "content": "both"},
            {"role": "user", "parts": [{"type": "text", "content": "b"}]},
        ],
        [{"role": "user", "content": "not in parts"}, {"role": "user", "parts": [{"type": "text", "content": "b"}]}],
        [
            {"role": "user", "parts": [{"type": "text", "content": "a"}], "extra": 1},
            {"role": "User", "parts": []},
            "text",
            3,
        ],
    ],
)
def test_messages_in_parts_come_back_as_they_were_sent(items):
    read({"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(items)})  # which compares
    chat = [{key: value for key, value in item.items() if key != "parts"} for item in items if isinstance(item, dict)]
    read(openinference(**{"input.value": json.dumps({"messages": [*chat, *items], "model": "m"})}))
