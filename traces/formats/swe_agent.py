"""SWE-agent trajectories (`.traj`): the history as the model saw it, and what each action gave back. Pure."""

from collections.abc import Iterator
from typing import Any

from traces.conventions.messages import make_call, make_message, read_chat_message
from traces.conventions.raw import read_amount, read_count, read_text
from traces.formats.base import BadDocument, BadLine, FileContext, ImportedTrace, span_id
from traces.formats.thread import Turn, spans_of_thread
from traces.spans import SpanRecord

NAME = "swe_agent"
LABEL = "SWE-agent trajectories (.traj)"


def sniff(document: Any) -> bool:
    """Say whether a document is a trajectory."""
    return isinstance(document, dict) and isinstance(document.get("trajectory"), list) and "info" in document


def read(place: str, document: dict[str, Any], context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the run of a trajectory. Raises BadDocument, naming the message."""
    steps = [step if isinstance(step, dict) else {} for step in document["trajectory"]]
    sent = document.get("history")
    history = sent if isinstance(sent, list) and sent else history_of(steps)
    root = read_root(document, context)
    turns: list[Turn] = []
    asked: list[str] = []  # ids of the actions that wait for what they give back
    done = 0
    for number, item in enumerate(history, 1):
        if not isinstance(item, dict) or not isinstance(item.get("role"), str):
            raise BadDocument(f"history item {number} is not an object with a role")
        if item["role"] == "assistant":
            message = read_answer(item, number)
            asked = [call["id"] for call in message.get("tool_calls", ())]
            turns.append(Turn(message))
            done += 1
        elif asked and item["role"] in ("user", "tool"):
            turns.append(Turn(make_message("tool", text_of(item), tool_call_id=asked.pop(0))))
        else:
            turns += [Turn(message, is_call=False) for message in read_chat_message(item)]
    if asked and 0 < done <= len(steps):  # the history ends with the last action
        observed = read_text(steps[done - 1].get("observation"))
        turns.append(Turn(make_message("tool", observed, tool_call_id=asked[0])))
    records = spans_of_thread(root, turns)
    for record, step in zip([one for one in records if one.kind == "tool"], steps, strict=False):
        took = read_amount(step.get("execution_time"))
        if took is not None:
            record.attributes["execution_time"] = took
    root.input = task_text(history) or root.input
    root.output = read_text((document.get("info") or {}).get("submission")) or root.output
    yield ImportedTrace(records, [], place)


def history_of(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a history made of the steps, where a trajectory has none."""
    history: list[dict[str, Any]] = []
    for step in steps:
        text = read_text(step.get("response")) or read_text(step.get("thought"))
        history.append({"role": "assistant", "content": text, "action": step.get("action")})
        history.append({"role": "user", "content": step.get("observation")})
    return history


def read_root(document: dict[str, Any], context: FileContext) -> SpanRecord:
    """Return the agent at the root: how it ended, what it cost."""
    info = document["info"] if isinstance(document["info"], dict) else {}
    status = read_text(info.get("exit_status"))
    stats = found if isinstance(found := info.get("model_stats"), dict) else {}
    root = SpanRecord(
        trace_id=context.trace_id(NAME, document["trajectory"], document.get("history"), status),
        span_id="",
        name="SWE-agent",
        kind="agent",
        status="ok",
        agent_name="SWE-agent",
        task=context.stem,
        environment="",
        metadata={"exit_status": status, "api_calls": stats.get("api_calls"), "source_file": context.stem},
        attributes={key: document[key] for key in ("environment", "replay_config") if document.get(key)},
        convention=NAME,
    )
    root.metadata = {key: value for key, value in root.metadata.items() if value not in (None, "", 0)}
    root.span_id = span_id(root.trace_id, 0)
    if status and not status.startswith("submitted"):
        root.status, root.error_message, root.error_type = "error", f"The run ended with {status}.", status
    root.usage.input_tokens = read_count(stats.get("tokens_sent")) or None
    root.usage.output_tokens = read_count(stats.get("tokens_received")) or None
    cost = read_amount(stats.get("instance_cost"))
    if cost:
        root.usage.cost_usd, root.usage.cost_source = cost, "sent"
    return root


def read_answer(item: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a model's answer with its action as a tool call, named by the command's first word."""
    message = read_chat_message({key: value for key, value in item.items() if key != "thought"})[-1]
    for place, call in enumerate(message.get("tool_calls", ())):
        call.setdefault("id", f"step_{number}_{place}")
    action = read_text(item.get("action"))
    if "tool_calls" not in message and action:
        name = action.split(None, 1)[0]
        message["tool_calls"] = [make_call(f"step_{number}", name, {"command": action})]
    return message


def text_of(item: dict[str, Any]) -> str:
    """Return the text of what an action gave back."""
    content = item.get("content")
    if isinstance(content, list):
        return "\n".join(read_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def task_text(history: list[dict[str, Any]]) -> str:
    """Return what the agent was asked: the last thing said to it before its first answer, demonstrations apart."""
    found = ""
    for item in history:
        if item["role"] == "assistant" and not item.get("is_demo"):
            break
        if item["role"] == "user" and not item.get("is_demo"):
            found = text_of(item)
    return found
