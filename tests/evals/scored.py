"""Comparisons whose scores are given, for tests of pages: no model is asked."""

from typing import Any

from django.utils import timezone

from accounts.models import Project
from evals import services
from evals.models import Comparison, RaterKind, Run, Sample, Score
from evals.services import CandidateSpec, GraderSpec

CHECK = GraderSpec("Right", "python", {"source": "def grade(sample, item):\n    return 1.0", "pass_threshold": 0.5})


def make_scored(
    project: Project, values: list[list[Any]], *, trials: int = 1, status: str = "finished", **fields: Any
) -> Comparison:
    """Make a comparison with one row of `values` for each candidate, one value for each item, trial 1 to the last alike.

    A value is a score from 0 to 1, "failed" (no answer), "broken" (the grader failed), "skipped", or None (still waiting).
    """
    rows = [
        {"key": f"k{n}", "input": f"ask {n}", "bucket": "Even" if n % 2 == 0 else "Odd"} for n in range(len(values[0]))
    ]
    dataset = services.create_dataset(project, name="Cases", items=rows)
    candidates = fields.pop("candidates", [CandidateSpec(model=f"model-{n}") for n in range(len(values))])
    comparison = services.create_comparison(
        project,
        **{
            "name": "Test",
            "revision": dataset.revisions.get(),
            "candidates": candidates,
            "graders": [CHECK],
            "trials": trials,
            **fields,
        },
    )
    version = comparison.eval.eval_graders.get().grader_version
    for run, given in zip(comparison.runs.order_by("position"), values, strict=True):
        for sample in run.samples.select_related("item"):
            value = given[int(sample.item.key[1:])]
            fill(sample, run, value, version)
        Run.objects.filter(pk=run.pk).update(status=status, started_at=timezone.now(), finished_at=timezone.now())
    return comparison


def fill(sample: Sample, run: Run, value: Any, version: Any) -> None:
    if value is None:
        return
    answered = value != "failed"
    Sample.objects.filter(pk=sample.pk).update(
        status="done" if answered else "failed",
        output_text=f"answer of {run.name} <b>to</b> {sample.item.key}" if answered else "",
        error="" if answered else "The provider answered 503.",
        duration_ms=1000.0 * (run.position + 1),
        cost_usd=0.01 if answered else None,
        finished_at=timezone.now(),
    )
    if not answered:
        return
    state = {"broken": "failed", "skipped": "skipped"}.get(value, "ok") if isinstance(value, str) else "ok"
    Score.objects.create(
        project=run.project,
        sample=sample,
        run=run,
        target=f"sample:{sample.pk}",
        grader_version=version,
        rater_kind=RaterKind.CODE,
        rater="code",
        state=state,
        value=value if state == "ok" else None,
        passed=value >= 0.5 if state == "ok" else None,
        explanation="because <i>so</i>" if state == "ok" else "",
        reason="" if state == "ok" else "It broke.",
        evidence=[
            {"quote": "answer of", "span_id": None, "found": True},
            {"quote": "made up", "span_id": None, "found": False},
        ],
    )
