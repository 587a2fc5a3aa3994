"""Conventions as their documents state them, on spans that are not in the captured payloads."""

import json

import pytest

from tests.traces.conventions.test_conventions import exception, read
from tests.traces.otlp_bodies import otlp_body, otlp_span
from traces.otlp import decode_traces

ASKED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is my order A-1001? I wait for it since May."},
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_order", "arguments": '{"order_id": "A-1001"}'}}
TOOL = {
    "type": "function",
    "function": {"name": "get_order", "description": "Get an order by its id.", "parameters": {}},
}
LONG = "Your order A-1001 was handed to the carrier on Monday and arrives on Friday."


def said(messages):
    return [
        (message["role"], message["content"], [call["name"] for call in message.get("tool_calls", [])])
        for message in messages
    ]


# Langfuse ----------------------------------------------------------------------------------------------------------


def langfuse(kind, **attributes):
    named = {f"langfuse.observation.{name.replace('__', '.')}": value for name, value in attributes.items()}
    return {"langfuse.observation.type": kind, **named}


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ("generation", "llm"),
        ("span", "chain"),
        ("event", "event"),
        ("agent", "agent"),
        ("guardrail", "guardrail"),
        ("odd", "chain"),
    ],
)
def test_langfuse_types_are_kinds(sent, kind):
    assert read(langfuse(sent)).kind == kind


@pytest.mark.parametrize("request_form", ["object", "list"])
def test_langfuse_generations_have_messages_tools_model_and_usage(request_form):
    request = {"tools": [TOOL], "messages": ASKED} if request_form == "object" else ASKED
    record = read(
        langfuse(
            "generation",
            input=json.dumps(request),
            output=json.dumps({"role": "assistant", "content": None, "tool_calls": [CALL]}),
            model__name="gpt-4o-mini-2024-07-18",
            usage_details=json.dumps({"input": 24, "output": 26, "cache_read_input_tokens": 128, "output_reasoning_tokens": 12}),
            cost_details=json.dumps({"input": 0.001, "output": 0.002}),
            prompt__name="support", prompt__version=3,
        )
    )  # fmt: skip
    assert said(record.input_messages) == [("system", "Be brief.", []), ("user", ASKED[1]["content"], [])]
    assert said(record.output_messages) == [("assistant", None, ["get_order"])]
    assert record.available_tools == ([TOOL] if request_form == "object" else None)
    assert record.model == "gpt-4o-mini-2024-07-18"
    usage = record.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_tokens) == (
        152,
        38,
        128,
        12,
    )
    assert (usage.cost_usd, usage.cost_source) == (pytest.approx(0.003), "sent")
    assert (record.prompt["name"], record.prompt["version"]) == ("support", "3")
    assert record.unrecognised == []
    assert "langfuse.observation.input" in record.moved


def test_langfuse_usage_in_openais_names_includes_cached():
    details = {"prompt_tokens": 152, "completion_tokens": 38, "prompt_tokens_details": {"cached_tokens": 128}}
    usage = read(langfuse("generation", usage_details=json.dumps(details))).usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens) == (152, 38, 128)


def test_langfuse_costs_of_zero_are_unknown():
    assert (
        read(langfuse("generation", cost_details=json.dumps({"input": 0, "output": 0, "total": 0}))).usage.cost_usd
        is None
    )


def test_a_streamed_langfuse_answer_is_text():
    record = read(langfuse("generation", input=json.dumps(ASKED), output=LONG))
    assert said(record.output_messages) == [("assistant", LONG, [])]


def test_langfuse_says_errors_by_level_without_an_exception():
    record = read(langfuse("generation", level="ERROR", status_message="model not found"))
    assert (record.status, record.error_message) == ("error", "model not found")
    assert read(langfuse("span", level="WARNING", status_message="slow")).status == "unset"


def test_langfuse_trace_facts_are_read_from_any_span():
    record = read(
        langfuse("span", metadata='{"a": 1}')
        | {
            "langfuse.trace.name": "refund chat", "langfuse.trace.tags": ["refund", "vip"], "langfuse.trace.metadata.plan": '"pro"',
            "langfuse.observation.metadata.step": "2", "langfuse.release": "v7", "langfuse.version": "3",
            "langfuse.environment": "staging", "langfuse.session.id": "s-1", "langfuse.user.id": "u-1",
            "langfuse.internal.as_root": True,
        },
        parentSpanId="1122334455667788",
    )  # fmt: skip
    assert record.trace_name == "refund chat"
    assert record.tags == ["refund", "vip"]
    assert record.metadata == {"a": 1, "plan": "pro", "step": "2"}
    assert (record.release, record.version, record.environment) == ("v7", "3", "staging")
    assert (record.session_id, record.user_id) == ("s-1", "u-1")
    assert record.is_root


def test_an_observed_function_gives_its_named_arguments():
    record = read(
        langfuse("tool", input='{"args": [], "kwargs": {"order_id": "A-1"}}', output='"shipped"'), name="get_order"
    )
    assert record.tool == {"name": "get_order", "call_id": None, "arguments": {"order_id": "A-1"}, "result": "shipped"}


def test_langfuse_around_a_genai_span_leaves_its_messages_to_genai():
    parts = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}])
    record = read(
        langfuse("generation", level="DEFAULT") | {"gen_ai.operation.name": "chat", "gen_ai.input.messages": parts}
    )
    assert record.convention == "langfuse"
    assert said(record.input_messages) == [("user", "Hi", [])]


# LangSmith ---------------------------------------------------------------------------------------------------------


def langsmith(kind, **attributes):
    return {"langsmith.span.kind": kind, "gen_ai.operation.name": "chat" if kind == "llm" else "chain", **attributes}


def test_langsmith_model_calls_have_the_request_and_the_answer_whole():
    answer = {"choices": [{"message": {"role": "assistant", "content": LONG}}]}
    usage = {
        "input_tokens": 152,
        "output_tokens": 38,
        "input_token_details": {"cache_read": 64},
        "output_token_details": {"reasoning": 12},
    }
    record = read(
        langsmith(
            "llm",
            **{
                "gen_ai.prompt": json.dumps({"messages": ASKED, "tools": [TOOL], "model": "gpt-4o-mini"}),
                "gen_ai.completion": json.dumps(answer), "gen_ai.system": "openai",
                "langsmith.metadata.usage_metadata": json.dumps(usage), "gen_ai.usage.input_tokens": 152,
            },
        )
    )  # fmt: skip
    assert said(record.input_messages)[1][0] == "user"
    assert said(record.output_messages) == [("assistant", LONG, [])]
    assert record.provider == "openai"
    found = record.usage
    assert (found.input_tokens, found.output_tokens, found.cached_input_tokens, found.reasoning_tokens) == (
        152,
        38,
        64,
        12,
    )


def test_langchain_messages_are_read_out_of_their_serialised_form():
    def dumped(name, **fields):
        return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": fields}

    call = {"name": "get_order", "args": {"order_id": "A-1"}, "id": "c1", "type": "tool_call"}
    given = [[dumped("SystemMessage", content="Be brief."), dumped("HumanMessage", content="Where?", type="human")]]
    answer = {"generations": [[{"text": "", "message": dumped("AIMessage", content="", tool_calls=[call], type="ai")}]]}
    record = read(
        langsmith("llm", **{"gen_ai.prompt": json.dumps({"messages": given}), "gen_ai.completion": json.dumps(answer)})
    )
    assert [message[0] for message in said(record.input_messages)] == ["system", "user"]
    assert said(record.output_messages) == [("assistant", "", ["get_order"])]


def test_langsmiths_project_is_no_session_and_langchain_no_provider():
    record = read(
        langsmith(
            "chain",
            **{
                "langsmith.trace.session_name": "my-project", "gen_ai.system": "langchain", "langsmith.span.tags": "refund, test",
                "langsmith.metadata.thread_id": "t-1", "langsmith.metadata.user_id": "u-1", "langsmith.metadata.plan": "pro",
                "langsmith.metadata.LANGSMITH_PROJECT": "my-project", "gen_ai.completion": '{"output": "done"}',
            },
        )
    )  # fmt: skip
    assert (record.session_id, record.user_id, record.provider) == ("t-1", "u-1", "")
    assert record.tags == ["refund", "test"]
    assert record.metadata["plan"] == "pro"
    assert not any("LANGSMITH" in name for name in record.metadata)
    assert (record.kind, record.output) == ("chain", "done")


def test_a_langsmith_exception_is_an_error_under_an_ok_status():
    text = "ValueError('order not found')\n\nTraceback (most recent call last):\n  File ..."
    record = read(langsmith("tool"), status={"code": 1}, events=[exception("Exception", text)])
    assert (record.status, record.error_message) == ("error", "ValueError('order not found')")


# Pydantic AI and Logfire -------------------------------------------------------------------------------------------


def test_a_pydantic_agent_has_its_history_split_at_its_first_own_answer():
    history = [
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Hello"}]},
        {"role": "user", "parts": [{"type": "text", "content": "Where is A-1?"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "get_order", "arguments": '{"id": "A-1"}'}],
        },
        {
            "role": "user",
            "parts": [{"type": "tool_call_response", "id": "c1", "name": "get_order", "result": "Friday"}],
        },
        {"role": "assistant", "parts": [{"type": "text", "content": LONG}]},
    ]
    record = read(
        {
            "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support", "pydantic_ai.all_messages": json.dumps(history),
            "pydantic_ai.new_message_index": 2, "final_result": LONG, "gen_ai.aggregated_usage.input_tokens": 304,
            "gen_ai.aggregated_usage.output_tokens": 76, "model_name": "gpt-4o-mini", "metadata": '{"plan": "pro"}',
        },
        scope={"name": "pydantic-ai", "version": "2"},
    )  # fmt: skip
    assert [message["role"] for message in record.input_messages] == ["user", "assistant", "user"]
    assert [message["role"] for message in record.output_messages] == ["assistant", "tool", "assistant"]
    assert record.output is None
    assert record.usage.input_tokens == 304
    assert (record.kind, record.agent_name, record.metadata) == ("agent", "support", {"plan": "pro"})
    assert record.unrecognised == []


def test_a_pydantic_call_has_its_cost_its_tools_and_its_reasoning():
    tool = {"name": "get_order", "description": "", "parameters_json_schema": {}}
    record = read(
        {
            "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.details.reasoning_tokens": 4,
            "operation.cost": 0.5, "model_request_parameters": json.dumps({"function_tools": [tool]}),
        },
        scope={"name": "pydantic-ai"},
    )  # fmt: skip
    assert (record.usage.cost_usd, record.usage.cost_source, record.usage.reasoning_tokens) == (0.5, "sent", 4)
    assert record.available_tools == [tool]


def test_the_first_pydantic_version_sends_messages_as_a_list_of_events():
    events = [
        {"event.name": "gen_ai.system.message", "role": "system", "content": "Be brief."},
        {"event.name": "gen_ai.user.message", "role": "user", "content": "Where?"},
        {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": LONG}},
    ]
    record = read({"gen_ai.operation.name": "chat", "events": json.dumps(events)}, scope={"name": "pydantic-ai"})
    assert [message["role"] for message in record.input_messages] == ["system", "user"]
    assert said(record.output_messages) == [("assistant", LONG, [])]
    tool = read(
        {"tool_arguments": '{"id": 1}', "tool_response": "found", "gen_ai.tool.name": "find"},
        scope={"name": "pydantic-ai"},
    )
    assert (tool.kind, tool.tool["arguments"], tool.tool["result"]) == ("tool", {"id": 1}, "found")


def test_logfires_message_is_the_title_and_a_log_is_an_event():
    record = read({"logfire.span_type": "log", "logfire.msg": "started 1", "logfire.tags": ["a"]}, name="started {n}")
    assert (record.kind, record.display_name, record.tags) == ("event", "started 1", ["a"])


def test_a_pending_span_is_the_first_version_of_the_span_that_it_stands_for():
    sent = {"logfire.span_type": "pending_span", "logfire.pending_parent_id": "00000000000000aa", "logfire.msg": "run"}
    span = otlp_span(sent, name="run (pending)", parentSpanId="1122334455667788")
    [record] = decode_traces(otlp_body(span), "application/json").records
    assert (record.span_id, record.parent_span_id, record.end_ns) == ("1122334455667788", "00000000000000aa", None)
    assert record.attributes == {**sent, "markbook.placeholder_span_id": "aabbccddeeff0011"}


# The older GenAI forms -----------------------------------------------------------------------------------------------


def test_messages_that_came_as_span_events_are_read():
    def event(name, **values):
        attributes = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
        return {"name": name, "timeUnixNano": "5", "attributes": attributes}

    record = read(
        {"gen_ai.system": "openai", "gen_ai.operation.name": "chat"},
        events=[
            event("gen_ai.system.message", content="Be brief."),
            event("gen_ai.user.message", content="Where?"),
            event("gen_ai.choice", index="0", message=json.dumps({"role": "assistant", "content": LONG})),
            event("gen_ai.content.completion.chunk", content="Yo"),
        ],
    )
    assert [message["role"] for message in record.input_messages] == ["system", "user"]
    assert said(record.output_messages) == [("assistant", LONG, [])]
    whole = read(
        {"gen_ai.system": "openai", "gen_ai.operation.name": "chat"},
        events=[
            event("gen_ai.content.prompt", **{"gen_ai.prompt": json.dumps(ASKED)}),
            event(
                "gen_ai.content.completion",
                **{"gen_ai.completion": json.dumps([{"role": "assistant", "content": LONG}])},
            ),
        ],
    )
    assert said(whole.output_messages) == [("assistant", LONG, [])]
    assert len(whole.input_messages) == 2


def test_flattened_prompts_are_ordered_by_number_and_leave_the_attributes():
    sent = {"llm.request.type": "chat", "gen_ai.system": "Anthropic"}
    for number in range(12):
        sent |= {f"gen_ai.prompt.{number}.role": "user", f"gen_ai.prompt.{number}.content": f"message {number}"}
    record = read(sent | {"gen_ai.completion.0.content": LONG, "gen_ai.completion.0.finish_reason": "stop"})
    assert [message["content"] for message in record.input_messages] == [f"message {number}" for number in range(12)]
    assert said(record.output_messages) == [("assistant", LONG, [])]
    assert (record.kind, record.provider) == ("llm", "anthropic")
    assert not any(name.startswith("gen_ai.prompt") for name in record.attributes)


# Vercel and Traceloop ----------------------------------------------------------------------------------------------


def test_version_7_of_vercels_sdk_speaks_genai_with_its_own_settings():
    record = read(
        {
            "gen_ai.operation.name": "agent_step", "ai.settings.context.sessionId": "s-1", "ai.settings.context.userId": "u-1",
            "ai.settings.context.plan": "pro", "ai.usage.outputTokenDetails.reasoningTokens": 12, "gen_ai.usage.output_tokens": 34,
        },
        scope={"name": "gen_ai"},
    )  # fmt: skip
    assert (record.kind, record.session_id, record.user_id, record.metadata) == ("chain", "s-1", "u-1", {"plan": "pro"})
    assert (record.usage.output_tokens, record.usage.reasoning_tokens) == (34, 12)


def test_vercels_history_has_tool_calls_and_results_as_parts():
    history = [
        {"role": "user", "content": [{"type": "text", "text": "Where?"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "find", "input": {"id": 1}}],
        },
        {
            "role": "tool",
            "content": [
                {"type": "tool-result", "toolCallId": "c1", "output": {"type": "json", "value": {"at": "depot"}}}
            ],
        },
    ]
    record = read(
        {
            "ai.operationId": "ai.streamText.doStream", "ai.prompt.messages": json.dumps(history), "ai.response.text": LONG,
            "ai.response.reasoning": "They wait.", "ai.usage.promptTokens": 7, "ai.usage.completionTokens": 3,
            "ai.model.provider": "amazon-bedrock", "ai.model.id": "nova",
        }
    )  # fmt: skip
    assert [(message["role"], message.get("tool_call_id")) for message in record.input_messages] == [
        ("user", None), ("assistant", None), ("tool", "c1"),
    ]  # fmt: skip
    assert json.loads(record.input_messages[2]["content"]) == {"at": "depot"}
    assert [part["type"] for part in record.output_messages[0]["content"]] == ["reasoning", "text"]
    assert (record.usage.input_tokens, record.usage.output_tokens) == (7, 3)
    assert (record.kind, record.provider, record.model) == ("llm", "amazon-bedrock", "nova")


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("ai.embed.doEmbed", "embedding"),
        ("ai.embed", "chain"),
        ("ai.generateObject.doGenerate", "llm"),
        ("ai.rerank.doRerank", "reranker"),
    ],
)
def test_vercels_operations_are_kinds(operation, kind):
    assert read({"ai.operationId": operation}).kind == kind


def test_a_traceloop_prompt_and_properties_are_read():
    record = read(
        {
            "traceloop.span.kind": "workflow", "traceloop.entity.name": "refund", "traceloop.prompt.key": "support",
            "traceloop.prompt.version": 2, "traceloop.prompt.template": "Hi {name}", "traceloop.prompt.template_variables": '{"name": "A"}',
            "traceloop.association.properties.session_id": "s-1", "traceloop.association.properties.plan": "pro",
            "traceloop.entity.input": '{"inputs": {"question": "Where?"}, "tags": [], "kwargs": {}}',
        },
        name="refund.workflow",
    )  # fmt: skip
    assert record.prompt == {"name": "support", "version": "2", "template": "Hi {name}", "variables": {"name": "A"}}
    assert (record.session_id, record.metadata, record.input) == ("s-1", {"plan": "pro"}, {"question": "Where?"})
    assert (record.display_name, record.kind, record.agent_name) == ("refund", "chain", "")


# MLflow ------------------------------------------------------------------------------------------------------------


def test_mlflow_values_are_decoded_once():
    record = read(
        {
            "mlflow.spanType": '"LLM"', "mlflow.spanInputs": json.dumps({"messages": ASKED}), "mlflow.spanOutputs": f'"{LONG}"',
            "mlflow.llm.model": '"m-2024"', "mlflow.llm.provider": '"openai"', "mlflow.llm.cost": '{"total_cost": 0.25}',
            "mlflow.trace.session": '"s-1"', "mlflow.traceTag.channel": "web",
        }
    )  # fmt: skip
    assert (record.model, record.provider, record.usage.cost_usd, record.session_id) == (
        "m-2024",
        "openai",
        0.25,
        "s-1",
    )
    assert said(record.output_messages) == [("assistant", LONG, [])]
    assert record.metadata == {"channel": "web"}


@pytest.mark.parametrize(
    ("sent", "kind"), [("CHAT_MODEL", "llm"), ("MEMORY", "chain"), ("UNKNOWN", "chain"), ("RERANKER", "reranker")]
)
def test_mlflow_types_are_kinds(sent, kind):
    assert read({"mlflow.spanType": json.dumps(sent)}).kind == kind


# Frameworks in OpenInference ---------------------------------------------------------------------------------------


def test_a_stack_in_a_status_stays_there_and_the_text_goes_before():
    stack = "ValueError('no order')Traceback (most recent call last):\n  File x\nValueError: no order"
    record = read({"openinference.span.kind": "CHAIN"}, status={"code": 2, "message": stack})
    assert (record.error_message, record.status_message) == ("ValueError('no order')", stack)


def test_smolagents_wrapper_of_arguments_is_taken_off():
    sent = {"args": [], "sanitize_inputs_outputs": True, "kwargs": {"order_id": "A-1"}}
    record = read(
        {"openinference.span.kind": "TOOL", "tool.name": "get_order", "input.value": json.dumps(sent)},
        name="SimpleTool",
    )
    assert (record.tool["name"], record.tool["arguments"]) == ("get_order", {"order_id": "A-1"})


def test_documents_that_repeat_messages_are_kept_once_in_any_dialect():
    sent = json.dumps({"messages": ASKED, "tools": [TOOL]}, separators=(",", ":"))
    record = read({"mlflow.spanType": '"LLM"', "mlflow.spanInputs": sent})
    assert "mlflow.spanInputs" in record.moved
    assert ASKED[1]["content"] not in json.dumps(record.moved) + json.dumps(record.attributes)
