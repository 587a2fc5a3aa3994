"""What every convention shares: errors, precedence of names across conventions, what a span is called. Pure."""

from functools import lru_cache
from typing import Any

from traces.conventions.moved import move_value
from traces.conventions.raw import RawSpan, parse_json, parse_value, read_text
from traces.spans import SpanRecord

# Field precedence, first present and non-empty; "metadata.x" looks into the span's `metadata` object.
SESSION = (
    "gen_ai.conversation.id",
    "session.id",
    "langfuse.session.id",
    "traceloop.association.properties.session_id",
    "langsmith.metadata.session_id",
    "langsmith.metadata.thread_id",
    "langsmith.metadata.conversation_id",
    "ai.telemetry.metadata.sessionId",
    "ai.settings.context.sessionId",
)
USER = (
    "user.id",
    "langfuse.user.id",
    "enduser.id",
    "traceloop.association.properties.user_id",
    "langsmith.metadata.user_id",
    "ai.telemetry.metadata.userId",
    "ai.settings.context.userId",
)
# Who answered goes before what a convention found elsewhere (`mlflow.llm.model` is JSON), and that before who was asked.
ANSWERED = (
    "gen_ai.response.model",
    "ai.response.model",
    "langfuse.observation.model.name",
    "llm.response.model_name",
    "llm.model_name",
)
REQUESTED = (
    "gen_ai.request.model",
    "llm.request.model_name",
    "ai.model.id",
    "embedding.model_name",
    "reranker.model_name",
)
AGENT_NAME = ("gen_ai.agent.name", "agent.name", "inference.agent_name", "ai.telemetry.functionId")
AGENT_ID = ("gen_ai.agent.id", "agent.id", "inference.agent_id")
WORKFLOW = ("gen_ai.workflow.name", "agent.workflow.name", "traceloop.workflow.name")
TASK = ("markbook.task", "task.id")
ENVIRONMENT = ("deployment.environment.name", "deployment.environment", "langfuse.environment")
NAMES = frozenset(
    SESSION + USER + ANSWERED + REQUESTED + AGENT_NAME + AGENT_ID + WORKFLOW + TASK + ENVIRONMENT
    + ("error.type", "error.message", "gen_ai.agent.version", "markbook.sent_end_ns", "markbook.placeholder_span_id")
)  # fmt: skip
STACK = "Traceback (most recent call last)"
KINDS = frozenset(
    (
        "agent",
        "llm",
        "tool",
        "retriever",
        "embedding",
        "reranker",
        "guardrail",
        "evaluator",
        "prompt",
        "chain",
        "handoff",
        "event",
    )
)


def first_text(attributes: dict[str, Any], names: tuple[str, ...]) -> str:
    """Return the first present, non-empty value of some names as text, or ""."""
    for name in names:
        if name in attributes and (text := read_text(attributes[name])):
            return text
    return ""


# What `fill_shared` reads, in the order in which it takes them.
SHARED = (ANSWERED, REQUESTED, AGENT_NAME, AGENT_ID, SESSION, USER, WORKFLOW, TASK, ENVIRONMENT)


@lru_cache(maxsize=4096)
def sent_names(present: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    """Return the names of SHARED that are among those present. Spans of one SDK have the same ones."""
    return tuple(tuple(name for name in names if name in present) for names in SHARED)


def fill_shared(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what has one precedence across conventions: model, agent, session, user, task, environment, version."""
    attributes = raw.attributes
    resource = raw.origin.get("resource") or {}
    answered, requested, agent_name, agent_id, session, user, workflow, task, environment = sent_names(
        frozenset(NAMES & attributes.keys())
    )
    record.model = first_text(attributes, answered) or record.model or first_text(attributes, requested)
    record.agent_name = first_text(attributes, agent_name) or record.agent_name
    record.agent_id = first_text(attributes, agent_id) or record.agent_id
    record.session_id = first_text(attributes, session) or record.session_id
    record.user_id = first_text(attributes, user) or record.user_id
    record.workflow_name = first_text(attributes, workflow) or record.workflow_name
    record.task = first_text(attributes, task) or record.task
    record.environment = first_text(attributes, environment) or first_text(resource, ENVIRONMENT)
    record.version = record.version or read_text(attributes.get("gen_ai.agent.version"))
    metadata = record.metadata
    if metadata:
        record.session_id = record.session_id or first_text(metadata, ("session_id", "thread_id"))
        record.user_id = record.user_id or first_text(metadata, ("user_id",))
        if record.kind == "agent":
            record.agent_name = record.agent_name or read_text(metadata.get("lc_agent_name"))
    if record.kind == "agent" and not record.agent_name:
        record.agent_name = record.name.removeprefix("invoke_agent ").removeprefix("create_agent ").strip()


def fill_error(raw: RawSpan, record: SpanRecord) -> None:
    """Set status, type and text of an error.

    A span failed by its status, by an `exception` event (unless its status is ok and the exception did not escape), by
    `error.type`, or by Langfuse's level. The text is the exception's, else the status message, else Langfuse's, else `error.message`,
    else the type. A stack that follows the text of a status (LangGraph) stays in the status message.
    """
    attributes = raw.attributes
    exceptions = [event["attributes"] for event in raw.events if event["name"] == "exception"] if raw.events else []
    error_type = read_text(attributes.get("error.type"))
    handled = raw.status_code == 1 and all(
        read_text(found.get("exception.escaped")).lower() == "false" for found in exceptions
    )
    failed = (
        raw.status_code == 2
        or bool(error_type)
        or (bool(exceptions) and not handled)
        or attributes.get("langfuse.observation.level") == "ERROR"
    )
    record.status = "error" if failed else ("ok" if raw.status_code == 1 else "unset")
    record.status_message = raw.status_message
    if not failed:
        return
    texts = [without_stack(read_text(found.get("exception.message"))) for found in exceptions]
    types = [read_text(found.get("exception.type")) for found in exceptions]
    record.error_type = next(filter(None, types), "") or error_type or record.error_type
    record.error_message = (
        next(filter(None, texts), "")
        or without_stack(raw.status_message)
        or read_text(attributes.get("langfuse.observation.status_message"))
        or read_text(attributes.get("error.message"))
        or record.error_type
    )
    record.status_message = record.status_message or record.error_message


def without_stack(text: str) -> str:
    """Return an error's text without the stack that some SDKs put behind it."""
    return text.partition(STACK)[0].strip() or text if STACK in text else text


# Tool calls ------------------------------------------------------------------------------------------------------


def call_tool(
    record: SpanRecord, *, name: str, arguments: Any, result: Any, places: tuple[str, str], call_id: str = ""
) -> None:
    """Make a span's tool call of arguments and result as sent under two names, unwrapped where a framework wrapped them."""
    if record.tool is not None:
        return
    given, answered = unwrap_arguments(parse_value(arguments)), parse_value(result)
    answer = unwrap_result(answered)
    if answer is not answered and isinstance(answered, dict):
        inner = answered.get("data") or answered.get("kwargs") or answered
        call_id = call_id or (read_text(inner.get("tool_call_id")) if isinstance(inner, dict) else "")
    record.tool = {"name": name, "call_id": call_id or None, "arguments": given, "result": answer}
    for place, field, sent in ((places[0], "arguments", arguments), (places[1], "result", result)):
        if sent is not None:
            move_value(record, place, f"tool.{field}", sent, record.tool[field])


def unwrap_arguments(found: Any) -> Any:
    """Return the arguments alone: named ones where all are, out of `{"args", "kwargs"}` (Python's decorators) or a callback's `inputs`."""
    if not isinstance(found, dict) or not isinstance(named := found.get("kwargs"), dict):
        return found
    if set(found) <= {"args", "kwargs", "sanitize_inputs_outputs"}:  # the last: smolagents
        args = found.get("args")
        if not args:
            return named
        return (args[0] if len(args) == 1 else args) if isinstance(args, list) and not named else found
    return found["inputs"] if isinstance(found.get("inputs"), dict) and found["inputs"] else found


def unwrap_result(found: Any) -> Any:
    """Return a tool's result alone, out of LangChain's message around it."""
    if not isinstance(found, dict):
        return found
    if set(found) == {"output", "kwargs"}:
        return unwrap_result(parse_value(found["output"]))
    for inner in (found.get("data"), found.get("kwargs") if "lc" in found else None):
        if isinstance(inner, dict) and "content" in inner:
            return parse_value(inner["content"])
    if "content" in found and found.get("type") == "tool" and "tool_call_id" in found:
        return parse_value(found["content"])
    return found


def fold_exceptions(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events with neighbouring exceptions of equal type and text as one: its `count`, and the longest stack text."""
    folded: list[dict[str, Any]] = []
    for event in events:
        last = folded[-1] if folded else None
        if last is not None and event["name"] == last["name"] == "exception":
            mine, theirs = event["attributes"], last["attributes"]
            if all(mine.get(key) == theirs.get(key) for key in ("exception.type", "exception.message")):
                stacks = [str(found.get("exception.stacktrace") or "") for found in (theirs, mine)]
                attributes = {**theirs, "exception.stacktrace": max(stacks, key=len)}
                folded[-1] = {**last, "attributes": attributes, "count": last.get("count", 1) + 1}
                continue
        folded.append(event)
    return folded


def read_object(value: Any) -> dict[str, Any]:
    """Return an object given as value or as JSON text; an empty one for anything else."""
    found = parse_json(value)
    return found if isinstance(found, dict) else {}


def read_words(value: Any) -> list[str]:
    """Return a list of words given as array, as JSON text, or as text with commas."""
    found = parse_json(value)
    if isinstance(found, list):
        return [text for item in found if (text := read_text(item))]
    return [text for part in read_text(value).split(",") if (text := part.strip())]
