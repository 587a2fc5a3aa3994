"""Two runs side by side."""

from typing import Any, cast
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from accounts.access import ProjectRequest, project_page
from traces import page_queries, queries
from traces.acts import read_run
from traces.alignment import MAX_ACTS, ONLY_A, ONLY_B, Alignment, align, alone, fold
from traces.models import Trace
from traces.recent import Recent

MAX_ROWS = 400  # steps that are drawn; the rest is a page further
KEPT_FROM = 500  # spans of both runs together from which their alignment is kept: shorter ones are fast
ALIGNMENTS = Recent(size=2, seconds=60)
FIGURES = (
    ("duration_ms", "Latency"),
    ("total_tokens", "Tokens"),
    ("cost_usd", "Cost"),
    ("llm_call_count", "Model calls"),
    ("tool_call_count", "Tool calls"),
    ("error_count", "Errors"),
)


@require_GET
@project_page()
def compare_runs(request: ProjectRequest) -> HttpResponse:
    """Show the runs `a` and `b` aligned by step; `all=1` unfolds what agrees, `from` begins at a step."""
    ids = {side: request.GET.get(side, "").strip()[:200] for side in ("a", "b")}
    traces = {side: page_queries.find_trace(request.project, one) if one else None for side, one in ids.items()}
    missing = [
        f"There is no run {ids[side]!r} in this project." for side in ("a", "b") if ids[side] and traces[side] is None
    ]
    context: dict[str, Any] = {"ids": ids, "missing": missing}
    a, b = traces["a"], traces["b"]
    if a is None or b is None:
        return render(request, "traces/compare_runs.html", context, status=404 if missing else 200)
    alignment = alignment_of(a, b)
    context |= {
        "a": a,
        "b": b,
        "figures": [figure(name, label, a, b) for name, label in FIGURES],
        "left_out": alignment.left_out if any(alignment.left_out) else None,
        "max_acts": MAX_ACTS,
        "alone": [alone(alignment, ONLY_A), alone(alignment, ONLY_B)],
        "same_count": alignment.count("same"),
        "changed_count": alignment.count("changed"),
        **stretches(request, alignment),
        "swap_url": f"{reverse('traces:compare_runs', args=[request.project.slug])}?{urlencode({'a': b.trace_id, 'b': a.trace_id})}",
    }
    return render(request, "traces/compare_runs.html", context)


def alignment_of(a: Trace, b: Trace) -> Alignment:
    """Return two runs aligned. Those with many spans are read once for the pages of their steps, unless spans have arrived."""
    is_large = a.span_count + b.span_count >= KEPT_FROM
    runs = (a, b)
    key = tuple((run.pk, run.span_count, page_queries.change_count(run)) for run in runs) if is_large else None
    kept = ALIGNMENTS.get(key) if key else None
    if kept is not None:
        return cast(Alignment, kept)
    made = align(read_run(queries.span_records(a)), read_run(queries.span_records(b)))
    if key:
        ALIGNMENTS.put(key, made)
    return made


def figure(name: str, label: str, a: Trace, b: Trace) -> dict[str, Any]:
    """Return a figure of both runs and the difference; None where one does not know it."""
    left, right = getattr(a, name), getattr(b, name)
    difference = right - left if left is not None and right is not None else None
    return {"name": name, "label": label, "a": left, "b": right, "difference": difference}


def stretches(request: ProjectRequest, alignment: Alignment) -> dict[str, Any]:
    """Return the stretches to draw, at most MAX_ROWS steps of them, and the address of the next ones."""
    text = request.GET.get("from", "")
    first = int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else 1
    shown, count, later = [], 0, 0
    unfold = request.GET.get("all") == "1"
    for stretch in fold(alignment):
        pairs = [
            (stretch.first + place, pair) for place, pair in enumerate(stretch.pairs) if stretch.first + place >= first
        ]
        if not pairs:
            continue
        if stretch.is_folded and not unfold:
            shown.append({"is_folded": True, "pairs": pairs, "count": len(pairs)})
            continue
        room = MAX_ROWS - count
        shown.append({"is_folded": False, "pairs": pairs[:room]})
        count += len(pairs[:room])
        if len(pairs) > room or count >= MAX_ROWS:
            later = pairs[room][0] if len(pairs) > room else pairs[-1][0] + 1
            break
    kept = {key: request.GET[key] for key in ("a", "b", "all") if key in request.GET}
    more = later and later <= len(alignment.pairs)
    return {
        "stretches": shown,
        "parting": None if alignment.parting is None else alignment.parting + 1,
        "step_count": len(alignment.pairs),
        "later_url": "?" + urlencode({**kept, "from": later}) if more else "",
        "unfold_url": "?" + urlencode({**kept, "all": "1"})
        if not unfold and any(one["is_folded"] for one in shown)
        else "",
        "fold_url": "?" + urlencode({key: value for key, value in kept.items() if key != "all"}) if unfold else "",
    }
