"""τ-bench result files: a list of runs with `task_id`, `reward`, `info` and `traj` (OpenAI chat messages). Pure.

They give no times, no tokens and no model: times stay unknown, and the model is read from a file name in the usual forms.
"""

import re
from collections.abc import Iterator
from typing import Any

from traces.conventions.messages import read_chat_messages
from traces.conventions.raw import read_text
from traces.formats.base import BadDocument, BadLine, FileContext, ImportedScore, ImportedTrace, read_number, span_id
from traces.formats.thread import Turn, spans_of_thread
from traces.spans import SpanRecord

NAME = "tau_bench"
LABEL = "τ-bench results"
FILE_NAMES = (
    re.compile(r"^(?:tool-calling|act|react|few-shot)-(?P<model>.+?)-\d+(?:\.\d+)?_range_"),
    re.compile(r"^(?P<model>[^_]+)_(?P<domain>retail|airline|telecom)(?:_|$)"),
)


def sniff(document: Any) -> bool:
    """Say whether a document is one run."""
    return isinstance(document, dict) and "traj" in document and ("reward" in document or "task_id" in document)


def read(place: str, document: dict[str, Any], context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the run of a document. Raises BadDocument."""
    trajectory = document["traj"]
    if not isinstance(trajectory, list) or not all(isinstance(item, dict) and "role" in item for item in trajectory):
        raise BadDocument("traj is not a list of messages with roles")
    info = document.get("info")
    info = info if isinstance(info, dict) else {}
    model, domain = read_file_name(context.stem)
    task, trial = read_text(document.get("task_id")), document.get("trial")
    trace_id = context.trace_id("tau", task, trial, document.get("reward"), trajectory)
    metadata = {
        "trial": trial,
        "domain": domain,
        "source_file": context.stem,
        "user_cost_usd": read_number(info.get("user_cost")),
    }
    root = SpanRecord(
        trace_id=trace_id,
        span_id=span_id(trace_id, 0),
        name=f"{domain or 'benchmark'} task {task}".strip(),
        kind="agent",
        status="error" if info.get("error") else "ok",
        agent_name=f"{domain} agent".strip(),
        task=task,
        version=context.stem,
        metadata={key: value for key, value in metadata.items() if value not in (None, "")},
        attributes={f"tau.{key}": info[key] for key in ("task", "reward_info", "source") if info.get(key) is not None},
        convention=NAME,
    )
    if root.status == "error":
        root.error_message = root.status_message = read_text(info["error"]) or "The run broke."
    turns = [
        Turn(
            message,
            model=model if message["role"] == "assistant" else "",
            is_call=message["role"] == "assistant",
            failed=message["role"] == "tool"
            and isinstance(message["content"], str)
            and message["content"].startswith("Error:"),
        )
        for message in read_chat_messages(trajectory)
    ]
    yield ImportedTrace(spans_of_thread(root, turns), read_scores(document, info), place)


def read_file_name(stem: str) -> tuple[str, str]:
    """Return the model and the domain that a file's name gives, "" where it gives none."""
    for pattern in FILE_NAMES:
        found = pattern.match(stem)
        if found:
            parts = found.groupdict()
            return parts["model"], parts.get("domain") or ""
    return "", ""


def read_scores(document: dict[str, Any], info: dict[str, Any]) -> list[ImportedScore]:
    """Return the reward, kept as the fraction that it is."""
    reward = read_number(document.get("reward"))
    if reward is None:
        return []
    sent = info.get("reward_info")
    inner = sent.get("info") if isinstance(sent, dict) else None
    detail: dict[str, Any] = inner if isinstance(inner, dict) else {}
    words = ", ".join(f"{key} {value}" for key, value in detail.items() if isinstance(value, (bool, int, float, str)))
    return [ImportedScore("reward", reward, abs(reward - 1) < 1e-6, words)]
