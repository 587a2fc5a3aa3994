"""Logs of Inspect (`.json`, `.eval`): a run a sample, with its calls' times and tokens, and its scores. Pure.

A `.eval` file is a zip of `header.json` and `samples/*.json`; `read_archive` makes it the document that a `.json` log is.
"""

import io
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from traces.conventions.messages import read_chat_message
from traces.conventions.raw import read_count, read_text
from traces.conventions.usage import read_usage
from traces.formats.base import BadDocument, BadLine, FileContext, ImportedScore, ImportedTrace, parse_line, span_id
from traces.formats.thread import Turn, read_time, spans_of_thread
from traces.spans import SpanRecord, Usage

NAME = "inspect_ai"
LABEL = "Inspect logs (.json, .eval)"
MAX_ARCHIVE = 1024**3  # bytes of all files of an archive that are read
LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
ATTACHMENT = "attachment://"


def sniff(document: Any) -> bool:
    """Say whether a document is a log."""
    return isinstance(document, dict) and isinstance(document.get("eval"), dict) and "version" in document


def read_archive(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Give the log of a `.eval` archive as one document, or what is wrong with it."""
    try:
        with zipfile.ZipFile(io.BytesIO(stream.read(MAX_ARCHIVE))) as archive:
            names = archive.namelist()
            if sum(info.file_size for info in archive.infolist()) > MAX_ARCHIVE:
                yield "the archive", BadLine("the archive", f"it unpacks to more than {MAX_ARCHIVE // 1024**2} MiB")
                return
            head = next((name for name in ("header.json", "_journal/start.json") if name in names), None)
            if head is None:
                yield "the archive", BadLine("the archive", "a zip without header.json is no Inspect log")
                return
            document = parse_line(archive.read(head), head)
            if isinstance(document, dict):
                found = sorted(name for name in names if name.startswith("samples/") and name.endswith(".json"))
                read = [parse_line(archive.read(name), name) for name in found]
                bad = [one for one in read if isinstance(one, BadLine)]
                yield from ((one.place, one) for one in bad)
                document = {"version": 2, **document, "samples": [one for one in read if not isinstance(one, BadLine)]}
            yield "the archive", document
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        yield "the archive", BadLine("the archive", f"it cannot be unpacked: {error}")


def read(place: str, document: dict[str, Any], context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the runs of a log, sample by sample."""
    samples = document.get("samples")
    if not isinstance(samples, list) or not samples:
        raise BadDocument("the log has no samples")
    for number, sample in enumerate(samples, 1):
        if not isinstance(sample, dict) or not isinstance(sample.get("messages"), list):
            yield BadLine(f"{place}, sample {number}", "it is not an object with messages")
            continue
        yield read_sample(f"{place}, sample {number}", sample, document["eval"], context)


def read_sample(place: str, sample: dict[str, Any], head: dict[str, Any], context: FileContext) -> ImportedTrace:
    """Return the run of one sample."""
    sample = attach(sample)
    task = read_text(head.get("task"))
    root = SpanRecord(
        trace_id=context.trace_id(NAME, head.get("eval_id") or head.get("run_id"), head.get("task_id"), sample),
        span_id="",
        name=task or "sample",
        kind="agent",
        status="ok",
        agent_name=task,
        task=f"{task}/{read_text(sample.get('id'))}",
        convention=NAME,
    )
    root.span_id = span_id(root.trace_id, 0)
    root.metadata = read_metadata(sample, head, context)
    events = [event for event in sample.get("events") or [] if isinstance(event, dict)]
    times = [at for event in events if (at := read_time(event.get("timestamp"))) is not None]
    if times:
        root.start_ns, root.end_ns = min(times), max(times)
    calls = {message_id: event for event in events if (message_id := answer_id(event))}
    tools = {read_text(event.get("id")): event for event in events if event.get("event") == "tool"}
    turns = [turn for item in sample["messages"] if isinstance(item, dict) for turn in read_turns(item, calls, tools)]
    at_ns = root.start_ns
    for turn in turns:  # what has no event of its own (the question) was said when the one before it was
        turn.at_ns = at_ns = (turn.at_ns or at_ns) if root.start_ns is not None else None
    offered = next((event["tools"] for event in calls.values() if isinstance(event.get("tools"), list)), None)
    records = spans_of_thread(root, turns, tools=offered or None)
    given = sample.get("input")
    root.input = given if isinstance(given, str) else root.input
    if not any(record.usage.input_tokens is not None for record in records):
        root.usage = sum_usage(sample.get("model_usage"))
    error = sample.get("error")
    if isinstance(error, dict):
        root.status, root.error_message = "error", read_text(error.get("message")) or "The sample failed."
    return ImportedTrace(records, read_scores(sample), place)


def attach(sample: dict[str, Any]) -> dict[str, Any]:
    """Return a sample with its attachments in the places that name them."""
    attachments = sample.get("attachments")
    if not isinstance(attachments, dict) or not attachments:
        return sample

    def put(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(ATTACHMENT):
            return attachments.get(value[len(ATTACHMENT) :], value)
        if isinstance(value, list):
            return [put(inner) for inner in value]
        return {key: put(inner) for key, inner in value.items()} if isinstance(value, dict) else value

    return {**sample, "messages": put(sample["messages"]), "scores": put(sample.get("scores"))}


def read_metadata(sample: dict[str, Any], head: dict[str, Any], context: FileContext) -> dict[str, Any]:
    """Return what is known of a sample and its log."""
    found = {
        "sample_id": sample.get("id"),
        "epoch": sample.get("epoch"),
        "target": sample.get("target") or None,
        "solver": head.get("solver"),
        "eval_id": head.get("eval_id") or head.get("run_id"),
        "source_file": context.stem,
        **(sample["metadata"] if isinstance(sample.get("metadata"), dict) else {}),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def answer_id(event: dict[str, Any]) -> str:
    """Return the id of the message that a model event gave, or ""."""
    output = event.get("output") if event.get("event") == "model" else None
    choices = output.get("choices") if isinstance(output, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    return read_text(message.get("id")) if isinstance(message, dict) else ""


def read_turns(item: dict[str, Any], calls: dict[str, Any], tools: dict[str, Any]) -> list[Turn]:
    """Return the turns of a message, with the time and tokens of the event that made it."""
    sent = item.get("tool_calls")
    if isinstance(sent, list):
        item = {**item, "tool_calls": [rename_call(call) for call in sent if isinstance(call, dict)]}
    error = found_error if isinstance(found_error := item.get("error"), dict) else {}
    failed = bool(error) and item.get("role") == "tool"
    if failed and read_text(error.get("message")):
        item = {**item, "content": read_text(error["message"])}
    name = read_text(item.get("function")) if item.get("role") == "tool" else ""
    found: list[Turn] = []
    for message in read_chat_message(item):
        if name:
            message["name"] = name
        turn = Turn(message, failed=failed)
        event = calls.get(read_text(item.get("id"))) if message["role"] == "assistant" else None
        event = tools.get(read_text(message.get("tool_call_id"))) if message["role"] == "tool" else event
        if event is not None:
            turn.start_ns = read_time(event.get("timestamp"))
            turn.at_ns = read_time(event.get("completed")) or turn.start_ns
        if message["role"] == "assistant":
            turn.is_call = read_text(item.get("source")) in ("", "generate")
            output = event.get("output") if event is not None else None
            output = output if isinstance(output, dict) else {}
            turn.usage = read_usage(output.get("usage"))
            turn.model = read_text(output.get("model")) or read_text(item.get("model"))
        found.append(turn)
    return found


def rename_call(call: dict[str, Any]) -> dict[str, Any]:
    """Return a tool call in OpenAI's names: Inspect calls the name `function`."""
    function = call.get("function")
    if isinstance(function, str):
        return {"id": call.get("id"), "function": {"name": function, "arguments": call.get("arguments")}}
    return call


def sum_usage(sent: Any) -> Usage:
    """Return the tokens of all models of a sample."""
    total = Usage()
    for one in sent.values() if isinstance(sent, dict) else ():
        usage = read_usage(one)
        for name in ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens"):
            count = read_count(getattr(usage, name))
            if count is not None:
                setattr(total, name, (getattr(total, name) or 0) + count)
    return total


def read_scores(sample: dict[str, Any]) -> list[ImportedScore]:
    """Return a sample's scores: letters as figures, and each figure of a score that has several."""
    sent = sample.get("scores") or ({"score": sample["score"]} if isinstance(sample.get("score"), dict) else {})
    found: list[ImportedScore] = []
    for name, score in sent.items() if isinstance(sent, dict) else ():
        if not isinstance(score, dict):
            continue
        values = score.get("value")
        for key, value in values.items() if isinstance(values, dict) else (("", values),):
            number = read_value(value)
            if number is None:
                continue
            low, high = min(0.0, number), max(1.0, number)
            found.append(
                ImportedScore(
                    name=f"{name}.{key}" if key else name,
                    value=number,
                    passed=number >= 1.0 if isinstance(value, (str, bool)) else None,
                    explanation=read_text(score.get("explanation")),
                    label=value if isinstance(value, str) else "",
                    scale=(low, high),
                    pass_threshold=1.0 if isinstance(value, (str, bool)) else None,
                )
            )
    return found


def read_value(value: Any) -> float | None:
    """Return a score's value as a figure: Inspect's letters, a number, true or false; None for anything else."""
    if isinstance(value, str):
        return LETTERS.get(value)
    return float(value) if isinstance(value, (bool, int, float)) else None
