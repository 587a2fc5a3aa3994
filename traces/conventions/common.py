"""What every convention shares: errors, precedence of names across conventions, what a span is called. Pure."""

from typing import Any

from traces.conventions.raw import RawSpan, parse_json, read_text
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
MODEL = (
    "gen_ai.response.model",
    "ai.response.model",
    "langfuse.observation.model.name",
    "llm.response.model_name",
    "llm.model_name",
    "mlflow.llm.model",
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
ENVIRONMENT = ("deployment.environment.name", "deployment.environment")
NAMES = frozenset(
    SESSION + USER + MODEL + AGENT_NAME + AGENT_ID + WORKFLOW + TASK + ENVIRONMENT
    + ("error.type", "error.message", "gen_ai.agent.version", "markbook.sent_end_ns")
)  # fmt: skip
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


def fill_shared(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what has one precedence across conventions: model, agent, session, user, task, environment, version."""
    attributes = raw.attributes
    resource = raw.origin.get("resource") or {}
    record.model = first_text(attributes, MODEL) or record.model
    record.agent_name = first_text(attributes, AGENT_NAME) or record.agent_name
    record.agent_id = first_text(attributes, AGENT_ID) or record.agent_id
    record.session_id = first_text(attributes, SESSION) or record.session_id
    record.user_id = first_text(attributes, USER) or record.user_id
    record.workflow_name = first_text(attributes, WORKFLOW) or record.workflow_name
    record.task = first_text(attributes, TASK) or record.task
    record.environment = first_text(attributes, ENVIRONMENT) or first_text(resource, ENVIRONMENT)
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

    A span failed by its status, by an `exception` event (unless its status is ok and the exception did not escape), or by
    `error.type`. The text is the exception's, else the status message, else `error.message`, else the type.
    """
    attributes = raw.attributes
    exceptions = [event["attributes"] for event in raw.events if event["name"] == "exception"] if raw.events else []
    error_type = read_text(attributes.get("error.type"))
    handled = raw.status_code == 1 and all(
        read_text(found.get("exception.escaped")).lower() == "false" for found in exceptions
    )
    failed = raw.status_code == 2 or bool(error_type) or (bool(exceptions) and not handled)
    record.status = "error" if failed else ("ok" if raw.status_code == 1 else "unset")
    record.status_message = raw.status_message
    if not failed:
        return
    texts = [read_text(found.get("exception.message")) for found in exceptions]
    types = [read_text(found.get("exception.type")) for found in exceptions]
    record.error_type = next(filter(None, types), "") or error_type or record.error_type
    record.error_message = (
        next(filter(None, texts), "")
        or raw.status_message
        or read_text(attributes.get("error.message"))
        or record.error_type
    )
    record.status_message = record.status_message or record.error_message


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
