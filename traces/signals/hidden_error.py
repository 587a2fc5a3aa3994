"""A result that looks like an error under a status that says ok."""

from traces.acts import Run
from traces.result_errors import error_in
from traces.signals.base import MAX_EACH, Detector, Limits, Suspicion, needs_results


def find(run: Run, limits: Limits) -> list[Suspicion]:
    """Return the calls whose result holds an error although nothing reported one."""
    found = []
    for call in run.calls:
        if call.is_error or not call.has_result:
            continue
        reason = error_in(call.result)
        if reason:
            found.append(Suspicion(call.span_id, f"{call.name} reported ok, but its result says {reason}"))
    return found[:MAX_EACH]


DETECTOR = Detector(
    name="hidden_error",
    label="Hidden error",
    help="A tool reported ok, and its result looks like an error.",
    version=1,
    layer="outcome",
    find=find,
    blind=needs_results,
)
