"""τ²-bench result files: one document with `info`, `tasks` and `simulations`. Pure.

Trace = simulation, span = message or tool call, score = reward with its checks. The simulated user's own calls and cost are
kept apart from the agent's: on the event of each user message, and as `user_cost_usd` of the run.
"""

from collections.abc import Iterator
from typing import Any

from traces.conventions.messages import make_message, read_chat_message
from traces.conventions.raw import read_amount, read_count, read_text
from traces.formats.base import BadDocument, BadLine, FileContext, ImportedScore, ImportedTrace, read_number, span_id
from traces.formats.thread import Turn, read_time, spans_of_thread
from traces.spans import SpanRecord, Usage

NAME = "tau2_bench"
LABEL = "τ²-bench results"
CLEAN_ENDS = {"user_stop", "agent_stop", "transfer", ""}
CHECKS = (
    ("communicate_checks", "met", "info"),
    ("nl_assertions", "met", "nl_assertion"),
    ("env_assertions", "met", "env_assertion"),
)


def sniff(document: Any) -> bool:
    """Say whether a document is a results file, or one simulation of it."""
    if not isinstance(document, dict):
        return False
    return isinstance(document.get("simulations"), list) or ("reward_info" in document and "messages" in document)


def read(place: str, document: dict[str, Any], context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the simulations of a document, one trace each."""
    if "simulations" not in document:
        yield read_simulation(place, document, context)
        return
    context.document = {key: value for key, value in document.items() if key != "simulations"}
    for number, simulation in enumerate(document["simulations"], 1):
        where = f"simulation {number}"
        try:
            yield read_simulation(where, simulation, context)
        except BadDocument as error:
            yield BadLine(where, str(error))


def read_simulation(place: str, simulation: Any, context: FileContext) -> ImportedTrace:
    """Return one simulation as a trace. Raises BadDocument."""
    if not isinstance(simulation, dict) or not isinstance(simulation.get("messages"), list):
        raise BadDocument("a simulation needs an object with a list of messages")
    info = context.document.get("info")
    info = info if isinstance(info, dict) else {}
    agent, user, environment = (
        part if isinstance(part := info.get(key), dict) else {}
        for key in ("agent_info", "user_info", "environment_info")
    )
    task, trial = read_text(simulation.get("task_id")), simulation.get("trial")
    sent_id = read_text(simulation.get("id"))
    identity = ["tau2", sent_id or simulation["messages"], task, trial]
    trace_id = context.trace_id(*identity)
    domain, reason = read_text(environment.get("domain_name")), read_text(simulation.get("termination_reason"))
    model = read_text(agent.get("llm"))
    start_ns = read_time(simulation.get("start_time"))
    metadata = {
        "trial": trial,
        "domain": domain,
        "termination_reason": reason,
        "simulation_id": sent_id,
        "source_file": context.stem,
        "seed": simulation.get("seed"),
        "user_model": read_text(user.get("llm")),
        "user_cost_usd": read_amount(simulation.get("user_cost")),
    }
    root = SpanRecord(
        trace_id=trace_id,
        span_id=span_id(trace_id, 0),
        name=f"{domain or 'simulation'} task {task}".strip(),
        kind="agent",
        start_ns=start_ns,
        end_ns=read_time(simulation.get("end_time")) if start_ns is not None else None,
        status="ok" if reason in CLEAN_ENDS else "error",
        agent_name=read_text(agent.get("implementation")) or "agent",
        task=task,
        version=context.stem,
        metadata={key: value for key, value in metadata.items() if value not in (None, "")},
        attributes={
            key: value
            for key, value in {
                "tau2.agent_cost_usd": read_amount(simulation.get("agent_cost")),
                "tau2.llm_args": agent.get("llm_args"),
                "tau2.task": find_task(context, task),
                "tau2.reward_info": simulation.get("reward_info"),
            }.items()
            if value is not None
        },
        convention=NAME,
    )
    if root.status == "error":
        root.error_type, root.error_message = reason, f"The simulation ended by {reason}."
        root.status_message = root.error_message
    tools = environment.get("tool_defs")
    turns = [turn for item in simulation["messages"] for turn in read_turns(item, model)]
    records = spans_of_thread(root, turns, tools=tools if isinstance(tools, list) and tools else None)
    return ImportedTrace(records, read_scores(simulation.get("reward_info")), place)


def find_task(context: FileContext, task: str) -> Any:
    """Return the task's own text and expected actions, as the file gives them."""
    tasks = context.document.get("tasks")
    found = tasks if isinstance(tasks, list) else []
    return next((item for item in found if isinstance(item, dict) and read_text(item.get("id")) == task), None)


def read_turns(item: Any, model: str) -> Iterator[Turn]:
    """Give the turns of one message; several tool results may come in one. Raises BadDocument."""
    if not isinstance(item, dict) or not isinstance(item.get("role"), str):
        raise BadDocument("a message is not an object with a role")
    if isinstance(item.get("tool_messages"), list):
        for inner in item["tool_messages"]:
            yield from read_turns(inner, model)
        return
    role, at_ns = item["role"], read_time(item.get("timestamp"))
    if role == "tool":
        content = item.get("content")
        message = make_message(
            "tool",
            content if isinstance(content, str) or content is None else read_text(content),
            tool_call_id=item.get("id"),
        )
        is_agents = item.get("requestor") in (None, "assistant")
        yield Turn(message, at_ns, is_call=False, is_seen=is_agents, failed=bool(item.get("error")))
        return
    sent = item.get("usage")
    usage = sent if isinstance(sent, dict) else {}
    cost = read_amount(item.get("cost"))
    tokens = read_count(usage.get("prompt_tokens")), read_count(usage.get("completion_tokens"))
    message = read_chat_message({key: item.get(key) for key in ("role", "content", "tool_calls")})[-1]
    if role == "assistant":
        # the greeting is the benchmark's own: no model was asked for it
        is_call = bool(usage) or item.get("raw_data") is not None or bool(item.get("tool_calls"))
        counted = Usage(tokens[0], tokens[1], cost_usd=cost, cost_source="sent" if cost is not None else "")
        yield Turn(message, at_ns, model, counted if is_call else Usage(), is_call=is_call)
        return
    spent = {"tau2.user_cost_usd": cost, "tau2.user_input_tokens": tokens[0], "tau2.user_output_tokens": tokens[1]}
    attributes = {key: value for key, value in spent.items() if value is not None}
    yield Turn(message, at_ns, is_call=False, is_seen=not message.get("tool_calls"), attributes=attributes)


def read_scores(found: Any) -> list[ImportedScore]:
    """Return the reward and its checks as scores."""
    if not isinstance(found, dict):
        return []
    scores: list[ImportedScore] = []
    reward = read_number(found.get("reward"))
    if reward is not None:
        parts = found.get("reward_breakdown")
        parts = parts if isinstance(parts, dict) else {}
        words = ", ".join(f"{name} {value}" for name, value in parts.items())
        scores.append(ImportedScore("reward", reward, abs(reward - 1) < 1e-6, words))
    check = found.get("db_check")
    if isinstance(check, dict) and (value := read_number(check.get("db_reward"))) is not None:
        matched = bool(check.get("db_match"))
        words = "The database ended as expected." if matched else "The database did not end as expected."
        scores.append(ImportedScore("db_check", value, matched, words))
    actions = found.get("action_checks")
    if isinstance(actions, list) and actions:
        scores.append(score_checks("action_checks", [read_action(item) for item in actions]))
    for name, key, words in CHECKS:
        items = [item for item in found.get(name) or [] if isinstance(item, dict)]
        if items:
            scores.append(
                score_checks(name, [(bool(item.get(key)), read_text(item.get(words)) or "check") for item in items])
            )
    return scores


def read_action(item: Any) -> tuple[bool, str]:
    """Return whether an expected action was taken, and the action in words."""
    item = item if isinstance(item, dict) else {}
    action = item.get("action")
    action = action if isinstance(action, dict) else {}
    arguments = action.get("arguments")
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) if isinstance(arguments, dict) else ""
    return bool(item.get("action_match")), f"{action.get('name', 'action')}({shown})"


def score_checks(name: str, checks: list[tuple[bool, str]]) -> ImportedScore:
    """Return the share of checks that hold, with the others named."""
    missed = [words for held, words in checks if not held]
    words = f"{len(checks) - len(missed)} of {len(checks)} hold." + (f" Missing: {'; '.join(missed)}" if missed else "")
    return ImportedScore(name, (len(checks) - len(missed)) / len(checks), not missed, words)
