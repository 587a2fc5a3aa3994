"""The same tool called again with the same arguments, to the same result."""

from collections import defaultdict
from itertools import pairwise

from traces.acts import Act, Run, canonical
from traces.result_errors import error_in, shorten
from traces.signals.base import MAX_EACH, Detector, Limits, Suspicion, needs_calls
from traces.signals.unmade_action import READER


def outcome(call: Act) -> str:
    """Return what a call came to, for telling whether a second one came to the same."""
    if not call.has_result:
        return "error" if call.is_error else ""
    return canonical(call.result)


def find(run: Run, limits: Limits) -> list[Suspicion]:
    """Return calls that repeat one before, by the same agent.

    A different result is no repetition: that is waiting, or a retry. Nor is a look after something was changed in between.
    """
    groups: dict[tuple[str, str], list[tuple[Act, int]]] = defaultdict(list)
    changes = 0  # calls so far that may have changed something
    for call in run.calls:
        if call.arguments is not None and (call.arguments not in ("", {}) or call.has_result):  # None: not recorded
            groups[call.agent_name if call.is_sub_agent else "", call.key].append((call, changes))
        is_done = not call.is_error and not (call.has_result and error_in(call.result))
        changes += is_done and not READER.match(call.name)
    found = []
    for same in groups.values():
        first = same[0][0]
        own = not READER.match(first.name)  # such a call counts as a change itself
        alike = [
            call
            for (before, then), (call, now) in pairwise(same)
            if outcome(call) == outcome(before) and now - then <= (own and outcome(before) != "error")
        ]
        if alike:
            times = "twice" if len(alike) == 1 else f"{len(alike) + 1} times"
            words = f" with {shorten(canonical(first.arguments), 120)}" if first.arguments else ""
            others = tuple(dict.fromkeys(call.span_id for call, _ in same if call is not alike[0]))
            found.append(
                Suspicion(alike[0].span_id, f"{first.name} was called {times}{words}, to the same result", others)
            )
    return found[:MAX_EACH]


DETECTOR = Detector(
    name="repeated_call",
    label="Repeated call",
    help="A tool was called again with the same arguments and gave the same result.",
    version=1,
    layer="trajectory",
    find=find,
    blind=needs_calls,
)
