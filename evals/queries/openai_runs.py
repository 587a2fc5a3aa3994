"""Counts of runs and results of samples as the OpenAI API tells them: a fixed number of queries for any number of runs."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import BigIntegerField, BooleanField, Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum, Value

from evals.models import Eval, EvalGrader, Run, Sample, SampleStatus, Score
from providers.models import Call, CallState


@dataclass
class RunFigures:
    """What became of a run's rows so far. `by_grader` is grader version -> (passed, failed); `usage` one entry for each model."""

    passed: int = 0
    failed: int = 0
    errored: int = 0
    by_grader: dict[int, tuple[int, int]] = field(default_factory=dict)
    usage: list[dict[str, Any]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.errored


def overall_scores(run_ids: Iterable[int]) -> QuerySet[Score]:
    """Return the current overall scores that graders of the runs' evals gave their finished samples."""
    return Score.objects.filter(
        run__in=list(run_ids), is_current=True, criterion="", sample__status=SampleStatus.DONE
    ).filter(Exists(EvalGrader.objects.filter(eval=OuterRef("run__eval"), grader_version=OuterRef("grader_version"))))


def run_figures(runs: list[Run]) -> dict[int, RunFigures]:
    """Return the figures of runs by their key. A row passes when every grader passed it; a grader without a verdict did not."""
    figures = {run.pk: RunFigures() for run in runs}
    done: dict[int, int] = {}
    failed: dict[int, int] = {}
    passes: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for what, run, version, passed, count in counted(figures):
        if what == "verdict":
            passes[run, version][0 if passed is True else 1] += count
        elif what == "unpassed":
            failed[run] = count
        elif what == SampleStatus.DONE:
            done[run] = count
        else:
            figures[run].errored = count
    for (run, version), (good, bad) in passes.items():
        figures[run].by_grader[version] = (good, bad)
    for run, count in done.items():
        figures[run].failed = failed.get(run, 0)
        figures[run].passed = count - figures[run].failed
        if not figures[run].by_grader:  # nothing graded is never a pass
            figures[run].failed, figures[run].passed = count, 0
    for run, entries in usage_of_runs(figures).items():
        figures[run].usage = entries
    return figures


def counted(runs: Iterable[int]) -> QuerySet[Any, tuple[Any, ...]]:
    """Return (what, run, grader version, passed, count) of runs: samples by state, verdicts, and samples that a grader did not pass.

    One statement, so that all are of one moment while a worker is at the runs.
    """
    columns = ("what", "run", "version", "verdict", "n")
    nobody = {"version": Value(None, BigIntegerField()), "verdict": Value(None, BooleanField())}
    scores = overall_scores(runs)
    verdicts = scores.values("run").annotate(
        what=Value("verdict"), version=F("grader_version"), verdict=F("passed"), n=Count("pk")
    )
    unpassed = scores.exclude(passed=True).values("run")
    unpassed = unpassed.annotate(what=Value("unpassed"), **nobody, n=Count("sample", distinct=True))
    samples = Sample.objects.filter(run__in=list(runs), status__in=[SampleStatus.DONE, SampleStatus.FAILED])
    ended = samples.values("run").annotate(what=F("status"), **nobody, n=Count("pk"))
    parts = [part.order_by().values_list(*columns) for part in (verdicts, unpassed, ended)]
    return parts[0].union(*parts[1:], all=True)


def usage_of_runs(runs: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
    """Return what each model answered in runs, judges included, from the book of calls."""
    jobs = {f"run:{pk}": pk for pk in runs}
    calls = Call.objects.filter(job__in=list(jobs), state=CallState.ANSWERED)
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in (
        calls.values("job", "model")
        .annotate(
            n=Count("pk"), input=Sum("input_tokens"), output=Sum("output_tokens"), cached=Sum("cached_input_tokens")
        )
        .order_by("job", "model")
    ):
        given, made = row["input"] or 0, row["output"] or 0
        found[jobs[row["job"]]].append(
            {
                "model_name": row["model"],
                "invocation_count": row["n"],
                "prompt_tokens": given,
                "completion_tokens": made,
                "total_tokens": given + made,
                "cached_tokens": row["cached"] or 0,
            }
        )
    return found


def finished_samples(run: Run) -> QuerySet[Sample]:
    """Return the samples of a run that are output items: graded, or without an answer for good."""
    return Sample.objects.filter(
        run=run, status__in=[SampleStatus.DONE, SampleStatus.FAILED], finished_at__isnull=False
    )


def with_outcome(samples: QuerySet[Sample], outcome: str) -> QuerySet[Sample]:
    """Return those samples that passed every grader (`pass`), did not (`fail`), or errored (`error`)."""
    if outcome == "error":
        return samples.filter(status=SampleStatus.FAILED)
    words = Score.objects.filter(
        sample=OuterRef("pk"),
        is_current=True,
        criterion="",
        grader_version__eval_graders__eval=OuterRef("run__eval"),
    )
    bad = words.filter(Q(passed=False) | Q(passed=None))
    graded = samples.filter(status=SampleStatus.DONE)
    if outcome == "pass":
        return graded.filter(Exists(words)).exclude(Exists(bad))
    return graded.filter(Exists(bad) | ~Exists(words))


def scores_of_samples(samples: Iterable[Sample]) -> dict[int, dict[int, list[Score]]]:
    """Return the current scores of samples: sample -> grader version -> the overall score, then its parts."""
    found: dict[int, dict[int, list[Score]]] = defaultdict(lambda: defaultdict(list))
    rows = Score.objects.filter(sample__in=[sample.pk for sample in samples], is_current=True)
    for score in rows.order_by("sample", "grader_version", "criterion", "pk"):
        found[score.sample_id or 0][score.grader_version_id].append(score)
    return found


def graders_of(evals: Iterable[Eval]) -> dict[int, list[EvalGrader]]:
    """Return the graders of evals in their order, by eval."""
    found: dict[int, list[EvalGrader]] = defaultdict(list)
    rows = EvalGrader.objects.filter(eval__in=[chosen.pk for chosen in evals]).select_related(
        "grader_version__grader", "grader_version__rubric_version__rubric"
    )
    for row in rows.order_by("position", "pk"):
        found[row.eval_id].append(row)
    return found


def stride_of(run: Run) -> int:
    """Return by how much the numbers of two trials of one item differ, so that every sample of a run has its own."""
    if run.trials == 1:
        return 0
    last = Sample.objects.filter(run=run).aggregate(last=Max("item__position"))["last"]
    return (last or 0) + 1
