"""A recorded run as an OTLP request, in one of two conventions, as an instrumented agent would send it. Pure."""

import json
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from demo.recorder import Recorder, Setting, Step
from demo.shop import tool_definitions

TOOLS = tool_definitions()
OPENINFERENCE_KINDS = {
    "agent": "AGENT",
    "llm": "LLM",
    "tool": "TOOL",
    "retriever": "RETRIEVER",
    "guardrail": "GUARDRAIL",
}
GENAI_OPERATIONS = {"agent": "invoke_agent", "llm": "chat", "tool": "execute_tool", "retriever": "retrieval"}


def as_request(run: Recorder) -> bytes:
    """Return the run as the body of POST /v1/traces, in protobuf."""
    setting = run.setting
    resource = {
        "service.name": setting.agent_id,
        "service.version": setting.release,
        "deployment.environment.name": setting.environment,
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": "python",
    }
    spans = ResourceSpans()
    spans.resource.attributes.extend(pairs(resource))
    scope = spans.scope_spans.add()
    scope.scope.name = f"markbook.demo.{setting.convention}"
    attributes_of = openinference if setting.convention == "openinference" else genai
    for step in run.steps:
        scope.spans.append(as_span(step, setting, attributes_of(step, setting)))
    return ExportTraceServiceRequest(resource_spans=[spans]).SerializeToString()


def as_span(step: Step, setting: Setting, attributes: dict[str, Any]) -> Span:
    """Return one span. A tool that raised has an exception event and the status ERROR."""
    span = Span(
        trace_id=bytes.fromhex(setting.trace_id),
        span_id=bytes.fromhex(step.span_id),
        parent_span_id=bytes.fromhex(step.parent_id),
        name=step.name,
        kind=Span.SPAN_KIND_CLIENT if step.kind == "llm" else Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=step.start_ns,
        end_time_unix_nano=step.end_ns,
        attributes=pairs(attributes),
    )
    if step.error:
        kind, message = step.error
        span.status.code, span.status.message = Status.STATUS_CODE_ERROR, f"{kind}: {message}"
        event = span.events.add(name="exception", time_unix_nano=step.end_ns)
        event.attributes.extend(pairs({"exception.type": kind, "exception.message": message}))
    else:
        span.status.code = Status.STATUS_CODE_OK
    return span


def whole_run(setting: Setting) -> dict[str, Any]:
    """Return what an agent span says of its run."""
    return {
        "session.id": setting.session_id,
        "user.id": setting.user_id,
        "agent.id": setting.agent_id,
        "agent.name": setting.agent_name,
        "metadata": json.dumps(setting.metadata | {"topic": setting.topic}),
        "tag.tags": setting.tags,
    }


def openinference(step: Step, setting: Setting) -> dict[str, Any]:
    """Return a step's attributes in the OpenInference convention."""
    attributes: dict[str, Any] = {"openinference.span.kind": OPENINFERENCE_KINDS[step.kind]}
    if step.kind == "agent":
        attributes |= whole_run(setting) if not step.parent_id else {"agent.name": step.name}
    if step.kind == "llm":
        prompt, completion, cached = step.tokens
        attributes |= {
            "llm.model_name": step.model,
            "llm.provider": "markbook-demo",
            "llm.invocation_parameters": json.dumps({"model": step.model, "temperature": 0.2}),
            "llm.token_count.prompt": prompt,
            "llm.token_count.completion": completion,
            "llm.token_count.total": prompt + completion,
        }
        if cached:
            attributes["llm.token_count.prompt_details.cache_read"] = cached
        for index, message in enumerate(step.thread[: step.seen]):
            attributes |= flat_message(f"llm.input_messages.{index}.message", message)
        attributes |= flat_message("llm.output_messages.0.message", step.answer or {})
        for index, tool in enumerate(TOOLS):
            attributes[f"llm.tools.{index}.tool.json_schema"] = json.dumps(tool)
    if step.tool:
        attributes |= {
            "tool.name": step.tool["name"],
            "tool_call.id": step.tool["call_id"],
            "input.value": json.dumps(step.tool["arguments"]),
            "input.mime_type": "application/json",
        }
        if step.tool["result"] is not None:
            attributes |= {"output.value": json.dumps(step.tool["result"]), "output.mime_type": "application/json"}
    elif step.given or step.result:
        attributes |= {"input.value": step.given, "input.mime_type": "text/plain", "output.value": step.result}
    return attributes


def flat_message(prefix: str, message: dict[str, Any]) -> dict[str, Any]:
    """Return a chat message as flattened attributes."""
    flat: dict[str, Any] = {f"{prefix}.role": message.get("role", "assistant")}
    if message.get("content") is not None:
        flat[f"{prefix}.content"] = message["content"]
    if message.get("tool_call_id"):
        flat[f"{prefix}.tool_call_id"] = message["tool_call_id"]
    for index, call in enumerate(message.get("tool_calls") or []):
        at = f"{prefix}.tool_calls.{index}.tool_call"
        flat |= {
            f"{at}.id": call["id"],
            f"{at}.function.name": call["name"],
            f"{at}.function.arguments": json.dumps(call["arguments"]),
        }
    return flat


def genai(step: Step, setting: Setting) -> dict[str, Any]:
    """Return a step's attributes in the OpenTelemetry GenAI convention."""
    attributes: dict[str, Any] = {}
    if step.kind in GENAI_OPERATIONS:
        attributes["gen_ai.operation.name"] = GENAI_OPERATIONS[step.kind]
    else:
        attributes["openinference.span.kind"] = OPENINFERENCE_KINDS[step.kind]
    if step.kind == "agent":
        whole = whole_run(setting)
        attributes |= {
            "gen_ai.agent.id": setting.agent_id,
            "gen_ai.agent.name": setting.agent_name,
            "gen_ai.conversation.id": setting.session_id,
            "user.id": setting.user_id,
            "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": step.given}]}]),
            "gen_ai.output.messages": json.dumps(
                [{"role": "assistant", "parts": [{"type": "text", "content": step.result}]}]
            ),
        } | {"metadata": whole["metadata"], "tag.tags": whole["tag.tags"]}
    if step.kind == "llm":
        prompt, completion, cached = step.tokens
        attributes |= {
            "gen_ai.provider.name": "markbook-demo",
            "gen_ai.request.model": step.model,
            "gen_ai.response.model": step.model,
            "gen_ai.request.temperature": 0.2,
            "gen_ai.usage.input_tokens": prompt,
            "gen_ai.usage.output_tokens": completion,
            "gen_ai.input.messages": json.dumps([parts_message(message) for message in step.thread[: step.seen]]),
            "gen_ai.output.messages": json.dumps([parts_message(step.answer or {}) | {"finish_reason": "stop"}]),
            "gen_ai.tool.definitions": json.dumps([{"type": "function", **tool["function"]} for tool in TOOLS]),
        }
        if cached:
            attributes["gen_ai.usage.cache_read.input_tokens"] = cached
    if step.tool:
        attributes |= {
            "gen_ai.tool.name": step.tool["name"],
            "gen_ai.tool.call.id": step.tool["call_id"],
            "gen_ai.tool.call.arguments": json.dumps(step.tool["arguments"]),
        }
        if step.tool["result"] is not None:
            attributes["gen_ai.tool.call.result"] = json.dumps(step.tool["result"])
    elif step.kind == "retriever":
        attributes |= {"gen_ai.retrieval.query.text": step.given, "output.value": step.result}
    elif step.kind == "guardrail":
        attributes |= {"input.value": step.given, "output.value": step.result}
    if step.error:
        attributes["error.type"] = step.error[0]
    return attributes


def parts_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a chat message in the form of the GenAI convention."""
    if message.get("role") == "tool":
        part = {"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}
        return {"role": "tool", "parts": [part]}
    parts = [{"type": "text", "content": message["content"]}] if message.get("content") is not None else []
    parts += [
        {"type": "tool_call", "id": call["id"], "name": call["name"], "arguments": call["arguments"]}
        for call in message.get("tool_calls") or []
    ]
    return {"role": message.get("role", "assistant"), "parts": parts}


def pairs(attributes: dict[str, Any]) -> list[KeyValue]:
    """Return attributes as OTLP key-value pairs."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def any_value(value: Any) -> AnyValue:
    """Return a value as OTLP's AnyValue."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    return AnyValue(string_value=str(value))
