"""The run cost, or took, more than it was allowed to."""

from traces.acts import Run
from traces.signals.base import Detector, Limits, Suspicion

FIGURES = {  # name -> words, unit before, unit after, digits
    "cost_usd": ("cost", "$", "", 4),
    "total_tokens": ("tokens", "", "", 0),
    "duration_ms": ("time", "", " ms", 0),
    "llm_call_count": ("model calls", "", "", 0),
    "tool_call_count": ("tool calls", "", "", 0),
}
# What a sender may say of a run's own limits, in its metadata.
SENT = {
    "budget_usd": "cost_usd",
    "max_cost_usd": "cost_usd",
    "token_budget": "total_tokens",
    "max_total_tokens": "total_tokens",
    "max_turns": "llm_call_count",
    "max_llm_calls": "llm_call_count",
    "max_tool_calls": "tool_call_count",
    "timeout_ms": "duration_ms",
}


def budgets(run: Run, limits: Limits) -> dict[str, float]:
    """Return the budgets of a run: those of its project, and the stricter of these and its own."""
    found = {name: value for name, value in limits.budgets.items() if name in FIGURES}
    for record in run.roots:
        for key, name in SENT.items():
            value = record.metadata.get(key)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
                found[name] = min(found.get(name, value), value)
    return found


def find(run: Run, limits: Limits) -> list[Suspicion]:
    """Return the budgets that a run passed, at its root."""
    found = []
    for name, most in budgets(run, limits).items():
        value = limits.figures.get(name)
        if value is not None and value > most and run.records:
            words, before, after, digits = FIGURES[name]
            place = (run.roots or run.records)[0].span_id
            reason = f"It took {before}{value:,.{digits}f}{after} of {words}; the budget is {before}{most:,.{digits}f}{after}"
            found.append(
                Suspicion(place, reason.replace(f" of {words}", f" {words}") if not (before or after) else reason)
            )
    return found


def blind(run: Run, limits: Limits) -> str:
    known = budgets(run, limits)
    if not known:
        return "No budget is set for this project, and the run names none."
    return (
        ""
        if any(limits.figures.get(name) is not None for name in known)
        else "The trace has none of the figures that a budget is set for."
    )


DETECTOR = Detector(
    name="budget",
    label="Over budget",
    help="The run took more money, tokens, time or calls than it was allowed.",
    version=1,
    layer="cost",
    find=find,
    blind=blind,
)
