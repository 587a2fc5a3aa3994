"""Whatever a client puts under a known name, decoding keeps it and reading does not break."""

import io
import json
import random

import orjson
import pytest

from tests.traces.otlp_bodies import otlp_body, otlp_span
from traces.conventions import CONVENTIONS, plain, rebuild_attributes
from traces.conventions.common import NAMES
from traces.conversation import conversation
from traces.formats import read_traces
from traces.formats.native import write_trace
from traces.formats.otlp_writer import write_request
from traces.otlp import LogItem, apply_logs, decode_traces
from traces.steps import steps

VALUES = [
    None, "", " ", 0, -1, 2**63 - 1, 1.5, True, [], {}, [None], [[]], [{}], {"a": None}, "null", "[]", "{}", "[1]", '{"a": 1}', '"x"',
    "[[[[]]]]", '[{"role": 1}]', '[{"role": "user"}]', '[{"role": null, "content": 5}]', '[{"role": "user", "content": [1, null, {}]}]',
    '[{"role": "assistant", "tool_calls": [1, {}, {"function": 3}, {"function": {"name": 1, "arguments": 2}}]}]',
    '[{"role": "assistant", "tool_calls": 7, "function_call": 3}]',
    '[{"parts": [{"type": "tool_call"}, {"type": "tool_call_response"}, {"type": "text"}, 3, null]}]',
    '[{"parts": 3, "role": {}}]', '{"messages": [1], "input": 2, "tools": {"a": 1}}', '{"messages": [{"role": "user", "content": "x"}]}',
    '{"messages": null, "choices": [null, {"message": 3}], "output": [3, {"type": "reasoning", "summary": [1]}]}',
    '[{"type": "function_call", "name": null}, {"type": "message"}]', '[{"type": "tool_result", "content": {}}]',
    '{"kwargs": 3, "args": null}', '{"content": null, "type": "tool", "tool_call_id": 4}', '{"data": {"content": [1]}}',
    "\x00", "<script>", "\u202eabc", "x" * 10_000, "__REDACTED__", "[Scrubbed due to 'x']", '{"a": 1e999}', '{"n": NaN}', '{"a":1,"a":2}',
    '[{"role":"user","content":[{"type":"image_url","image_url":"data:image/png;base64,aa"},{"type":"image","source":{"data":1}}]}]',
]  # fmt: skip
FLAT = [
    "llm.input_messages.0.message.role", "llm.input_messages.0.message.content", "llm.input_messages.00.message.content",
    "llm.input_messages.0.message.tool_calls.0.tool_call.id", "llm.input_messages.0.message.tool_calls.0.tool_call.function.name",
    "llm.input_messages.0.message.tool_calls.0.tool_call.function.arguments", "llm.input_messages.1.message.tool_call_id",
    "llm.input_messages.1.message.name", "llm.input_messages.0.message.contents.0.message_content.type",
    "llm.input_messages.0.message.contents.0.message_content.text", "llm.input_messages.0.message.function_call_name",
    "llm.input_messages.0.message.contents.1.message_content.image.image.url", "llm.output_messages.0.message.role",
    "llm.output_messages.0.message.content", "llm.input_messages.99999999.message.role", "llm.input_messages.-1.message.role",
    "llm.input_messages..message.role", "llm.input_messages.0", "llm.tools.0.tool.json_schema", "llm.tools.x", "llm.tools",
    "llm.input_messages", "llm.output_messages", "retrieval.documents.0.document.content", "retrieval.documents.0.document.metadata",
    "embedding.embeddings.0.embedding.text", "reranker.query", "reranker.output_documents.0.document.id",
    "llm.prompt_template.template", "llm.prompt_template.variables", "llm.token_count.prompt", "llm.cost.total",
    "gen_ai.usage.input_tokens", "llm.usage",
]  # fmt: skip
KINDS = ["LLM", "TOOL", "AGENT", "RETRIEVER", "EMBEDDING", "CHAIN"]
ALL_NAMES = sorted({*NAMES, *plain.NAMES, *FLAT, *(name for convention in CONVENTIONS for name in convention.NAMES)})


def unfolded(value):
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except ValueError:
            return value
    return value


def check(attributes, **overrides):
    body = otlp_body(otlp_span(attributes, **overrides), scope={"name": "catalyst_tracing", "version": "1"})
    decoded = decode_traces(body, "application/json")
    assert decoded.rejected == []
    [record] = decoded.records
    rebuilt = rebuild_attributes(record)
    assert rebuilt == attributes or {k: unfolded(v) for k, v in rebuilt.items()} == {
        k: unfolded(v) for k, v in attributes.items()
    }
    orjson.dumps(record)
    orjson.dumps([conversation([record]), steps([record])])
    orjson.dumps(write_request([record]))
    line = orjson.dumps(write_trace([record]))
    [again] = read_traces(io.BytesIO(line))
    assert again.records == [record]
    apply_logs(record, [LogItem(record.trace_id, record.span_id, 1, "gen_ai.choice", attributes, attributes)])


@pytest.mark.parametrize("name", ALL_NAMES)
def test_any_value_under_a_known_name_is_kept_and_read(name):
    for value in VALUES:
        check({"openinference.span.kind": "LLM", name: value})
        check({"gen_ai.operation.name": "chat", name: value})
    for value in VALUES[::3]:
        for kind in KINDS[1:]:
            check({"openinference.span.kind": kind, name: value})
        check({"gen_ai.operation.name": "execute_tool", name: value})
        check({name: value})


@pytest.mark.parametrize("seed", range(15))
def test_any_mixture_of_known_names_is_kept_and_read(seed):
    dice = random.Random(seed)
    for _ in range(20):
        names = [*dice.sample(ALL_NAMES, 12), "openinference.span.kind", "gen_ai.operation.name"]
        attributes = {name: dice.choice(VALUES) for name in names}
        attributes["openinference.span.kind"] = dice.choice(KINDS)
        check(attributes, status={"code": dice.choice([0, 1, 2])}, name=json.dumps(dice.choice(VALUES))[:40])
