"""The report of a comparison: every figure that a page, a file or a program shows, in frozen dataclasses."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from django.db.models import Avg, Count, Sum

from evals.graders import IMPORTED, judge_of
from evals.models import CandidateKind, Comparison, EvalGrader, GraderVersion, Run, Sample, SampleStatus, Score
from evals.queries.progress import Counts, Progress, comparison_progress
from evals.queries.trouble import Trouble, find_trouble
from evals.statistics import (
    Difference,
    histogram,
    mean_with_interval,
    paired_difference,
    pass_curves,
    percentile,
    wilson_over_items,
    with_holm,
)
from evals.verdict import Side, Verdict, figure, interval, pair_verdict
from providers.models import Call
from providers.registry import is_scripted, shown_model

FEW_ITEMS = 10
REASON_CHARS = 300  # of the reason in the verdict
BINS = 10


def letter_of(position: int) -> str:
    """Return a candidate's letter: A to Z, then AA, AB, …"""
    name = ""
    position += 1
    while position:
        position, rest = divmod(position - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


@dataclass(frozen=True)
class CriterionFigures:
    """One criterion of a rubric, for one candidate."""

    key: str
    name: str
    scale: tuple[float, float]
    n: int
    mean: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True)
class GraderHead:
    """A grader of the comparison, without figures."""

    pk: int  # of the grader version
    name: str
    kind: str
    version: int
    is_judge: bool
    is_gate: bool
    scale: tuple[float, float]
    pass_threshold: float | None
    rater: str
    is_scripted: bool = False
    answered_by: str = ""  # the model that answered where `rater` is an old name

    @property
    def shown_rater(self) -> str:
        return shown_model(self.rater, self.answered_by)


@dataclass(frozen=True)
class GraderFigures:
    """One grader's word on one candidate. Averages count each item once; `n` scores over `items` items."""

    grader: GraderHead
    n: int
    items: int
    failed: int
    skipped: int
    waiting: int
    mean: float | None
    ci_low: float | None
    ci_high: float | None
    pass_n: int
    passes: int
    pass_rate: float | None
    pass_low: float | None
    pass_high: float | None
    pass_hat_k: list[float | None]
    pass_at_k: list[float | None]
    bins: list[tuple[float, float, int]]
    item_means: list[float]
    criteria: list[CriterionFigures]
    whole_trials: int = 0  # trials that every item with a verdict has

    def reliability(self, k: int) -> float | None:
        """Return pass^k; None where no item has k trials."""
        return self.pass_hat_k[k - 1] if 0 < k <= len(self.pass_hat_k) else None

    @property
    def counts(self) -> str:
        """Say in words what the mean rests on: 38 scored, 2 failed."""
        parts = [f"{self.n} scored"]
        parts += [
            f"{count} {word}"
            for count, word in ((self.failed, "failed"), (self.skipped, "skipped"), (self.waiting, "waiting"))
            if count
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class CandidateFigures:
    """One candidate of the comparison. Costs are of its answers; what its judges cost stands apart. None: not known."""

    letter: str
    run: Run
    label: str
    model: str
    kind: str
    is_scripted: bool
    is_baseline: bool
    status: str
    samples: Counts
    skipped: int  # samples done where every grader skipped
    cost_usd: float | None
    cost_per_sample_usd: float | None
    judge_cost_usd: float | None
    p50_ms: float | None
    p95_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    graders: list[GraderFigures]
    answered_by: str = ""  # the model that answered where `model` is an old name
    is_imported: bool = False

    @property
    def shown_model(self) -> str:
        return shown_model(self.model, self.answered_by)

    def figures(self, grader_pk: int) -> GraderFigures:
        return next(entry for entry in self.graders if entry.grader.pk == grader_pk)


@dataclass(frozen=True)
class Pair:
    """A candidate against the baseline on one grader."""

    a: str
    b: str
    grader: GraderHead
    difference: Difference
    verdict: Verdict


@dataclass(frozen=True)
class ComparisonReport:
    """Everything about a comparison but its single samples."""

    comparison: Comparison
    status: str
    dataset_name: str
    dataset_slug: str
    revision: int
    item_count: int
    trials: int
    baseline: str
    is_final: bool
    progress: Progress
    graders: list[GraderHead]
    candidates: list[CandidateFigures]
    pairs: list[Pair]
    verdict: Verdict
    primary: GraderHead | None
    warnings: list[str] = field(default_factory=list)
    trouble: Trouble | None = None

    @cached_property
    def by_letter(self) -> dict[str, CandidateFigures]:
        return {candidate.letter: candidate for candidate in self.candidates}

    def pair(self, letter: str, grader_pk: int) -> Pair | None:
        """Return a candidate's pair with the baseline on a grader; None for the baseline itself."""
        return next((pair for pair in self.pairs if pair.b == letter and pair.grader.pk == grader_pk), None)


@dataclass
class Tally:
    """What one grader (or criterion) said of one run, by item."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    passes: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    failed: int = 0
    skipped: int = 0


def grader_heads(comparison: Comparison) -> list[GraderHead]:
    """Return the comparison's graders in the eval's order."""
    rows = EvalGrader.objects.filter(eval=comparison.eval_id).select_related("grader_version__grader")
    aliases: dict[str, str] = {}
    for used in Run.objects.filter(comparison=comparison).values_list("aliases", flat=True):
        aliases.update(used)
    return [head_of(row.grader_version, is_gate=row.is_gate, aliases=aliases) for row in rows]


def head_of(version: GraderVersion, *, is_gate: bool = False, aliases: dict[str, str] | None = None) -> GraderHead:
    judge = judge_of(version.grader.kind, version.config)
    answered_by = (aliases or {}).get(judge, "")
    return GraderHead(
        pk=version.pk,
        name=version.grader.name,
        kind=version.grader.kind,
        version=version.number,
        is_judge=bool(judge),
        is_gate=is_gate,
        scale=(version.scale_min, version.scale_max),
        pass_threshold=version.pass_threshold,
        rater=judge or ("imported" if version.grader.kind == IMPORTED else "code"),
        is_scripted=bool(judge) and is_scripted(answered_by or judge),
        answered_by=answered_by,
    )


def read_tallies(runs: Iterable[int]) -> dict[tuple[int, int, str], Tally]:
    """Return what was said, by (run, grader version, criterion)."""
    tallies: dict[tuple[int, int, str], Tally] = defaultdict(Tally)
    rows = Score.objects.filter(run__in=list(runs), is_current=True).order_by("sample__trial", "pk")
    columns = ("run", "grader_version", "criterion", "sample__item", "state", "value", "passed")
    for run, version, criterion, item, state, value, passed in rows.values_list(*columns).iterator(chunk_size=5000):
        tally = tallies[run, version, criterion]
        if state == "failed":
            tally.failed += 1
        elif state == "skipped":
            tally.skipped += 1
        elif value is not None:
            tally.values[str(item)].append(value)
            if passed is not None:
                tally.passes[str(item)].append(passed)
    return tallies


def grader_figures(
    head: GraderHead, run: Run, tallies: dict[tuple[int, int, str], Tally], answered: int
) -> GraderFigures:
    """Return one grader's figures on one run. `answered`: samples that have an answer to grade."""
    tally = tallies.get((run.pk, head.pk, ""), Tally())
    mean = mean_with_interval(tally.values, scale=head.scale)
    hat, at = pass_curves(tally.passes)
    passes, pass_n = sum(map(sum, tally.passes.values())), sum(map(len, tally.passes.values()))
    wilson = wilson_over_items(tally.passes)
    values = [value for trials in tally.values.values() for value in trials]
    return GraderFigures(
        grader=head,
        n=mean.scores,
        items=mean.items,
        failed=tally.failed,
        skipped=tally.skipped,
        waiting=max(0, answered - mean.scores - tally.failed - tally.skipped),
        mean=mean.value,
        ci_low=mean.low,
        ci_high=mean.high,
        pass_n=pass_n,
        passes=passes,
        pass_rate=hat[0] if hat else None,
        pass_low=wilson[0] if wilson else None,
        pass_high=wilson[1] if wilson else None,
        pass_hat_k=hat,
        pass_at_k=at,
        bins=histogram(values, low=head.scale[0], high=head.scale[1], bins=BINS),
        item_means=[sum(trials) / len(trials) for trials in tally.values.values() if trials],
        criteria=[],
        whole_trials=min((len(trials) for trials in tally.passes.values() if trials), default=0),
    )


def criterion_figures(
    version: GraderVersion, run: Run, tallies: dict[tuple[int, int, str], Tally]
) -> list[CriterionFigures]:
    """Return the figures of a rubric's criteria on one run, in the rubric's order."""
    if version.rubric_version is None:
        return []
    figures = []
    for criterion in version.rubric_version.criteria.all():
        levels = [level.value for level in criterion.levels.all()]
        scale = (min(levels), max(levels)) if levels else (0.0, 1.0)
        mean = mean_with_interval(tallies.get((run.pk, version.pk, criterion.key), Tally()).values, scale=scale)
        figures.append(
            CriterionFigures(criterion.key, criterion.name, scale, mean.scores, mean.value, mean.low, mean.high)
        )
    return figures


def comparison_report(comparison: Comparison) -> ComparisonReport:
    """Return the whole report: figures of each candidate, differences from the baseline, the verdict, and what to be wary of."""
    progress = comparison_progress(comparison)
    heads = grader_heads(comparison)
    runs = [row.run for row in progress.runs]
    tallies = read_tallies(run.pk for run in runs)
    versions = {
        version.pk: version
        for version in GraderVersion.objects.filter(pk__in=[head.pk for head in heads])
        .select_related("rubric_version")
        .prefetch_related("rubric_version__criteria__levels")
    }
    usage = answer_usage([run.pk for run in runs])
    judged = judge_costs([run.pk for run in runs])
    candidates = []
    for position, row in enumerate(progress.runs):
        run, candidate = row.run, row.run.candidate
        answered = row.counts.done + row.counts.answered
        answered_by = run.aliases.get(candidate.model, "")
        figures = [
            replace(
                grader_figures(head, run, tallies, answered),
                criteria=criterion_figures(versions[head.pk], run, tallies),
            )
            for head in heads
        ]
        used = usage.get(run.pk, Usage())
        candidates.append(
            CandidateFigures(
                letter=letter_of(position),
                run=run,
                label=candidate.label,
                model=candidate.model,
                kind=candidate.kind,
                is_scripted=bool(candidate.model) and is_scripted(answered_by or candidate.model),
                is_baseline=position == 0,
                status=run.status,
                samples=row.counts,
                skipped=min((entry.skipped for entry in figures), default=0),
                cost_usd=used.cost_usd,
                cost_per_sample_usd=used.mean_cost_usd,
                judge_cost_usd=judged.get(run.pk),
                p50_ms=used.p50_ms,
                p95_ms=used.p95_ms,
                input_tokens=used.input_tokens,
                output_tokens=used.output_tokens,
                graders=figures,
                answered_by=answered_by,
                is_imported=run.imported is not None,
            )
        )
    is_final = not progress.is_active and progress.counts.pending + progress.counts.answered == 0
    pairs = compare_pairs(heads, candidates, tallies, is_final)
    primary = primary_grader(heads)
    revision = comparison.dataset_revision
    has_failed = progress.counts.failed or any(entry.failed for one in candidates for entry in one.graders)
    trouble = find_trouble(comparison, total=progress.counts.total) if has_failed else None
    return ComparisonReport(
        comparison=comparison,
        status=progress.status,
        dataset_name=revision.dataset.name,
        dataset_slug=revision.dataset.slug,
        revision=revision.number,
        item_count=revision.item_count,
        trials=comparison.trials,
        baseline=letter_of(0),
        is_final=is_final,
        progress=progress,
        graders=heads,
        candidates=candidates,
        pairs=pairs,
        verdict=headline(primary, candidates, pairs, is_final, trouble),
        primary=primary,
        trouble=trouble,
        warnings=warnings_of(candidates, heads, progress, pairs),
    )


@dataclass(frozen=True)
class Usage:
    """Cost, latency and tokens of the answers of a run."""

    cost_usd: float | None = None
    mean_cost_usd: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


def answer_usage(runs: list[int]) -> dict[int, Usage]:
    """Return what the answers of each run took."""
    answered = Sample.objects.filter(run__in=runs, status__in=[SampleStatus.ANSWERED, SampleStatus.DONE])
    durations: dict[int, list[float]] = defaultdict(list)
    for run, duration in answered.exclude(duration_ms=None).values_list("run", "duration_ms"):
        durations[run].append(duration or 0.0)
    rows = answered.values("run").annotate(
        usd=Sum("cost_usd"),
        mean=Avg("cost_usd"),
        tokens_in=Sum("input_tokens"),
        tokens_out=Sum("output_tokens"),
        priced=Count("cost_usd"),
    )
    return {
        row["run"]: Usage(
            cost_usd=row["usd"],
            mean_cost_usd=row["mean"],
            p50_ms=percentile(durations[row["run"]], 0.5),
            p95_ms=percentile(durations[row["run"]], 0.95),
            input_tokens=row["tokens_in"],
            output_tokens=row["tokens_out"],
        )
        for row in rows
    }


def judge_costs(runs: list[int]) -> dict[int, float]:
    """Return what the judges of each run cost; runs without a priced judge call are absent."""
    calls = (
        Call.objects.filter(job__in=[f"run:{pk}" for pk in runs], purpose="judge")
        .values("job")
        .annotate(usd=Sum("cost_usd"))
    )
    return {int(row["job"].removeprefix("run:")): row["usd"] for row in calls if row["usd"] is not None}


def compare_pairs(
    heads: list[GraderHead],
    candidates: list[CandidateFigures],
    tallies: dict[tuple[int, int, str], Tally],
    is_final: bool,
) -> list[Pair]:
    """Return each candidate against the baseline on each grader; p-values are adjusted over all of them."""
    if not candidates:
        return []
    baseline = candidates[0]
    keys = [(candidate, head) for candidate in candidates[1:] for head in heads]
    differences = with_holm(
        [
            paired_difference(
                tallies.get((baseline.run.pk, head.pk, ""), Tally()).values,
                tallies.get((candidate.run.pk, head.pk, ""), Tally()).values,
            )
            for candidate, head in keys
        ]
    )
    return [
        Pair(
            a=baseline.letter,
            b=candidate.letter,
            grader=head,
            difference=difference,
            verdict=pair_verdict(
                difference,
                a=side_of(baseline),
                b=side_of(candidate),
                grader=head.name,
                scale=head.scale,
                final=is_final,
            ),
        )
        for (candidate, head), difference in zip(keys, differences, strict=True)
    ]


def side_of(candidate: CandidateFigures) -> Side:
    return Side(candidate.letter, candidate.cost_per_sample_usd, candidate.p95_ms)


def primary_grader(heads: list[GraderHead]) -> GraderHead | None:
    """Return the grader that the verdict is about: the first rubric, else the first judge, else the first."""
    rubric = next((head for head in heads if head.kind == "rubric"), None)
    return rubric or next((head for head in heads if head.is_judge), heads[0] if heads else None)


def headline(
    primary: GraderHead | None,
    candidates: list[CandidateFigures],
    pairs: list[Pair],
    is_final: bool,
    trouble: Trouble | None = None,
) -> Verdict:
    """Return the comparison's verdict: that of the strongest candidate against the baseline on the primary grader."""
    if primary is None or not candidates:
        return Verdict("There is nothing to compare.")
    if is_final and trouble is not None and not any(one.figures(primary.pk).n for one in candidates):
        return nothing_scored(primary, trouble)
    if (
        is_final
        and not any(one.figures(primary.pk).n for one in candidates)
        and any(one.samples.cancelled for one in candidates)
    ):
        return Verdict(f"It was stopped before anything was scored on {primary.name}.")
    if len(candidates) == 1:
        return single_verdict(candidates[0], primary, is_final)
    floor = {candidate.letter for candidate in candidates if candidate.kind == CandidateKind.NOTHING}
    about = [pair for pair in pairs if pair.grader.pk == primary.pk]
    contenders = [pair for pair in about if pair.b not in floor] or about
    best = max(contenders, key=lambda pair: -9e99 if pair.difference.value is None else pair.difference.value)
    verdict = best.verdict
    if not is_final:
        return verdict
    worse = [
        f"{best.b} is worse on {pair.grader.name} ({figure(pair.difference.value or 0.0)})."
        for pair in pairs
        if pair.b == best.b
        and pair.grader.pk != primary.pk
        and pair.difference.is_clear
        and (pair.difference.value or 0) < 0
        and (best.difference.value or 0) > 0
    ]
    return replace(verdict, trade_off=" ".join([part for part in (verdict.trade_off, *worse) if part]))


def nothing_scored(primary: GraderHead, trouble: Trouble) -> Verdict:
    """Return the sentence for a comparison that is over without a single score: what failed, and the most common reason."""
    reason = trouble.reasons[0].text[:REASON_CHARS]
    if trouble.failed >= trouble.total:
        return Verdict(f"Every sample failed, so there is nothing to compare. {ended(reason)}")
    if trouble.is_all:
        return Verdict(f"Every sample failed or could not be scored on {primary.name}. {ended(reason)}")
    return Verdict(f"Nothing was scored on {primary.name}. {ended(trouble.headline)} {ended(reason)}")


def ended(text: str) -> str:
    """Return a sentence with an end."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def single_verdict(candidate: CandidateFigures, primary: GraderHead, is_final: bool) -> Verdict:
    """Return the sentence for a comparison of one candidate: its mean, what it rests on, and its pass rate."""
    entry = candidate.figures(primary.pk)
    if entry.mean is None:
        return Verdict(f"{candidate.letter} has no score on {primary.name}{'' if is_final else ' yet'}.")
    between = (
        f", {interval(entry.ci_low, entry.ci_high)}" if entry.ci_low is not None and entry.ci_high is not None else ""
    )
    rate = f" {entry.pass_rate:.0%} pass." if entry.pass_rate is not None else ""
    so_far = "" if is_final else " so far"
    items = f"{entry.items} item{'s' if entry.items != 1 else ''}"
    sentence = f"{candidate.letter} scores {figure(entry.mean, signed=False)} on {primary.name}{so_far} ({items}{between}).{rate}"
    return Verdict(sentence, trade_off="" if is_final else "The result is not final.")


def warnings_of(
    candidates: list[CandidateFigures], heads: list[GraderHead], progress: Progress, pairs: list[Pair]
) -> list[str]:
    """Return what a reader should know before trusting the figures, in plain sentences."""
    found = []
    for candidate in candidates:
        if candidate.samples.failed:
            found.append(
                f"{candidate.letter}: {candidate.samples.failed} of {candidate.samples.total} samples failed and are in no average."
            )
        for entry in candidate.graders:
            if entry.failed:
                many = entry.failed > 1
                found.append(
                    f"{candidate.letter}: {entry.grader.name} failed on {entry.failed} sample{'s' if many else ''}; "
                    f"{'they are' if many else 'it is'} in no average."
                )
            if entry.skipped and not entry.n:
                found.append(
                    f"{candidate.letter}: {entry.grader.name} skipped every sample, {entry.skipped} in all; its drawer says why."
                )
            if entry.n and entry.skipped > entry.n:
                found.append(
                    f"{candidate.letter}: {entry.grader.name} skipped {entry.skipped} samples and scored only {entry.n}."
                )
    if progress.spending.unpriced_calls:
        found.append(
            f"The price of {progress.spending.unpriced_calls} calls is not known; costs"
            f"{' and the ceiling' if progress.ceiling_usd else ''} leave them out."
        )
    if progress.spending.unsure_calls and not progress.is_active:
        found.append(f"{progress.spending.unsure_calls} calls were cut off and may have been charged.")
    scripted = [candidate.letter for candidate in candidates if candidate.is_scripted]
    if scripted:
        found.append(f"{', '.join(scripted)}: scripted models, made for the demo.")
    found += [f"The judge of {head.name} is scripted, made for the demo." for head in heads if head.is_scripted]
    items = max((entry.items for candidate in candidates for entry in candidate.graders), default=0)
    if 0 < items < FEW_ITEMS:
        found.append(f"Only {items} items are scored: only large differences can show.")
    if len(pairs) > 1:
        unsure = [pair for pair in pairs if pair.difference.is_clear and not pair.difference.is_sure]
        found += [
            f"{pair.b} against {pair.a} on {pair.grader.name}: clear alone, but not after correction for {len(pairs)} tests."
            for pair in unsure
        ]
    return found
