"""Who&When: failed runs of several agents, with the agent and the step that people blamed. Pure.

`{"history": [{"content", "role", "name"?}], "question", "mistake_agent", "mistake_step", "mistake_reason", …}`. In runs made by hand the
speaker is in the role: `Orchestrator (thought)`, `Orchestrator (-> WebSurfer)`. Source: Zhang et al. 2025, "Which agent causes
task failures and when?".
"""

from collections.abc import Iterator
from typing import Any

from traces.conventions.messages import make_message
from traces.conventions.raw import read_text
from traces.formats.base import BadDocument, BadLine, FileContext, ImportedScore, ImportedTrace, span_id
from traces.formats.thread import Turn, spans_of_thread
from traces.readable import message_text
from traces.spans import SpanRecord

NAME = "who_and_when"
LABEL = "Who&When runs with the blamed step"
FACTS = ("mistake_agent", "mistake_step", "mistake_reason", "ground_truth", "level", "question_ID")
PEOPLE = {"human", "user_proxy"}
TERMINALS = {"computer_terminal", "computerterminal"}


def sniff(document: Any) -> bool:
    """Say whether a document is a run with a blamed step."""
    return isinstance(document, dict) and isinstance(document.get("history"), list) and "mistake_agent" in document


def read(place: str, document: dict[str, Any], context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the run of a document. Raises BadDocument, naming the message."""
    history = document["history"]
    question = read_text(document.get("question"))
    root = SpanRecord(
        trace_id=context.trace_id(NAME, document.get("question_ID"), question, history),
        span_id="",
        name="agent team",
        kind="agent",
        status="ok",
        agent_name="agent team",
        task=read_text(document.get("question_ID")),
        input=question or None,
        metadata={name: document[name] for name in FACTS if document.get(name) not in (None, "")},
        attributes={"system_prompt": document["system_prompt"]} if document.get("system_prompt") else {},
        convention=NAME,
    )
    root.metadata["source_file"] = context.stem
    root.span_id = span_id(root.trace_id, 0)
    turns: list[Turn] = []
    for number, item in enumerate(history, 1):
        if not isinstance(item, dict) or not isinstance(item.get("content"), str):
            raise BadDocument(f"history item {number} is not an object with a content")
        turns.append(read_turn(item))
    records = spans_of_thread(root, turns)
    root.output = turns[-1].message["content"] if turns and isinstance(turns[-1].message["content"], str) else None
    evidence = mark_mistake(records[1:], document)
    yield ImportedTrace(records, read_scores(document, evidence), place)


def read_turn(item: dict[str, Any]) -> Turn:
    """Return what one agent said; of a terminal, the result of what it ran; of the person, the question."""
    role = read_text(item.get("role"))
    speaker, _, note = role.partition(" (")
    speaker = read_text(item.get("name")) or speaker
    text = item["content"]
    attributes = {"history.role": role}
    if speaker.lower() in PEOPLE:
        return Turn(make_message("user", text), is_call=False, attributes=attributes)
    if speaker.lower() in TERMINALS:
        message = make_message("tool", text, name=speaker)
        return Turn(message, attributes=attributes, agent_name=speaker)
    content: Any = [{"type": "reasoning", "content": text}] if note.startswith("thought") else text
    attributes |= {"history.to": note.removeprefix("-> ").removesuffix(")")} if note.startswith("->") else {}
    message = make_message("assistant", content, name=speaker)
    title = role.replace("->", "→") if note else speaker
    return Turn(message, attributes=attributes, agent_name=speaker, title=title)


def mark_mistake(records: list[SpanRecord], document: dict[str, Any]) -> SpanRecord | None:
    """Put the blame on the span of the step that people named, and return it; the step counts from 0."""
    step = read_text(document.get("mistake_step"))
    if not (step.isascii() and step.isdigit() and int(step) < len(records)):
        return None
    record = records[int(step)]
    record.tags = ["mistake"]
    record.metadata = {"mistake_reason": read_text(document.get("mistake_reason"))}
    return record


def read_scores(document: dict[str, Any], blamed: SpanRecord | None) -> list[ImportedScore]:
    """Return the run's correctness, said to be wrong by people, with their reason and the blamed step."""
    sent = document.get("is_correct", document.get("is_corrected"))
    is_right = read_text(sent).lower() == "true"
    agent, step = read_text(document.get("mistake_agent")), read_text(document.get("mistake_step"))
    reason = read_text(document.get("mistake_reason"))
    evidence = []
    if blamed is not None:
        said = message_text(blamed.output_messages[0]) if blamed.output_messages else ""
        evidence = [{"quote": said[:200], "span_id": blamed.span_id, "found": True}]
    return [
        ImportedScore(
            name="is_correct",
            value=float(is_right),
            passed=is_right,
            label=f"mistake by {agent} at step {step}" if agent else "",
            explanation=reason,
            rater="Who&When annotators",
            evidence=evidence,
        )
    ]
