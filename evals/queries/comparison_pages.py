"""What the comparison pages show beside the report: rows of the list, the scores table laid out, plots, and the drawer."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.cache import cache
from django.db.models import Count, Max, Q

from accounts.models import Project
from evals.charts import Chart, Series, against_chart, distribution_chart, reliability_chart
from evals.models import (
    CandidateKind,
    Comparison,
    GraderVersion,
    RaterKind,
    Run,
    Sample,
    SampleStatus,
    Score,
    ScoreState,
)
from evals.queries.matrix import SampleDetail, SampleShown, ScoreShown
from evals.queries.progress import comparison_status
from evals.queries.report import (
    CandidateFigures,
    ComparisonReport,
    CriterionFigures,
    GraderFigures,
    GraderHead,
    Pair,
    comparison_report,
    letter_of,
)
from evals.verdict import figure
from evals.word_diff import WordDiff, word_diff
from providers.registry import is_scripted, shown_model
from traces.models import Kind, Span

LIST_PAGE = 25
VERDICT_LIFE_S = 3600
MAX_OUTPUT = 60_000  # characters of an answer that the drawer shows and compares
MAX_TOOLS = 30

# The list --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComparisonRow:
    """A comparison as lists show it: status, verdict in a line, candidates with their letters."""

    comparison: Comparison
    status: str
    verdict: str
    candidates: list[tuple[str, str]]
    is_imported: bool = False
    failed: int = 0  # samples without an answer


def comparison_rows(comparisons: Sequence[Comparison]) -> list[ComparisonRow]:
    """Return the rows of comparisons already read. A verdict is worked out once and kept until a score or a status changes."""
    runs: dict[int, list[Run]] = defaultdict(list)
    found = Run.objects.filter(comparison__in=comparisons).select_related("candidate").order_by("position", "pk")
    for run in found.annotate(last_score=Max("scores")):
        runs[run.comparison_id or 0].append(run)
    failures = Sample.objects.filter(run__comparison__in=comparisons, status=SampleStatus.FAILED)
    failed = dict(failures.order_by().values_list("run__comparison").annotate(count=Count("pk")))
    rows = []
    for comparison in comparisons:
        mine = runs[comparison.pk]
        status = comparison_status([run.status for run in mine])
        stamp = max((run.last_score or 0 for run in mine), default=0)  # type: ignore[attr-defined]
        key = f"evals-verdict:{comparison.pk}:{status}:{stamp}:{failed.get(comparison.pk, 0)}"
        verdict = cache.get(key)
        if verdict is None:
            verdict = comparison_report(comparison).verdict.text
            cache.set(key, verdict, VERDICT_LIFE_S)
        candidates = [(letter_of(place), run.candidate.label) for place, run in enumerate(mine)]
        is_imported = any(run.imported is not None for run in mine)
        rows.append(ComparisonRow(comparison, status, verdict, candidates, is_imported, failed.get(comparison.pk, 0)))
    return rows


def comparison_page(project: Project, *, before: int | None) -> tuple[list[ComparisonRow], int | None]:
    """Return a page of comparisons, newest first, and the key `before` of the next page or None."""
    comparisons = Comparison.objects.filter(project=project).select_related("dataset_revision__dataset", "created_by")
    if before:
        comparisons = comparisons.filter(pk__lt=before)
    found = list(comparisons.order_by("-pk")[: LIST_PAGE + 1])
    page = found[:LIST_PAGE]
    return comparison_rows(page), page[-1].pk if len(found) > LIST_PAGE else None


# The page --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """An interval on the table's scale, in percent: left end, width, and the mean."""

    left: float
    width: float
    middle: float


@dataclass(frozen=True)
class Beside:
    """Another grader's mean in the table, with half the width of its interval."""

    figures: GraderFigures
    half: float | None


@dataclass(frozen=True)
class TableRow:
    """One candidate's row of the scores table."""

    candidate: CandidateFigures
    main: GraderFigures
    bar: Bar | None
    pair: Pair | None
    others: list[Beside]
    reliability: float | None = None  # pass^k at the table's k

    @property
    def tone(self) -> str:
        """Return good or bad where the difference is beyond chance, else nothing."""
        if self.pair is None or not self.pair.difference.is_sure:
            return ""
        return "good" if (self.pair.difference.value or 0) > 0 else "warn"


@dataclass(frozen=True)
class ScoreTable:
    """The scores table on one grader: its scale's ends as drawn, and a row for each candidate."""

    grader: GraderHead
    low: float
    high: float
    rows: list[TableRow]
    others: list[GraderHead]
    criteria: list[tuple[str, list[CriterionFigures]]]  # of a rubric: name, and the figures of each candidate
    k: int = 0  # of pass^k; 0: there is none


def score_table(report: ComparisonReport, grader: GraderHead) -> ScoreTable:
    """Lay out the scores table; the intervals share one scale, cut to the quarters of the grader's own that they need."""
    figures = [candidate.figures(grader.pk) for candidate in report.candidates]
    low, high = shown_scale(figures, grader.scale)
    others = [head for head in report.graders if head.pk != grader.pk]
    k = reliable_trials(report, figures)
    rows = []
    for candidate, main in zip(report.candidates, figures, strict=True):
        beside = []
        for head in others:
            entry = candidate.figures(head.pk)
            known = entry.ci_low is not None and entry.ci_high is not None
            beside.append(Beside(entry, ((entry.ci_high or 0) - (entry.ci_low or 0)) / 2 if known else None))
        rows.append(
            TableRow(
                candidate,
                main,
                bar_of(main, low, high),
                report.pair(candidate.letter, grader.pk),
                beside,
                main.reliability(k),
            )
        )
    parts = [row.main.criteria for row in rows]
    criteria = [(column[0].name, list(column)) for column in zip(*parts, strict=True)] if parts else []
    return ScoreTable(grader, low, high, rows, others, criteria, k)


def reliable_trials(report: ComparisonReport, figures: list[GraderFigures]) -> int:
    """Return the k of pass^k that the candidates can be compared at; 0 with one trial an item, or without a verdict.

    Where every sample was tried it is the number of trials, over the items that have them all. Before that, or where it was
    stopped, it is the number that every item of every candidate has.
    """
    known = [entry for entry in figures if entry.pass_hat_k]
    if report.trials < 2 or not known:
        return 0
    counts = report.progress.counts
    if counts.done + counts.failed == counts.total and any(
        entry.reliability(report.trials) is not None for entry in known
    ):
        return report.trials
    fewest = min(entry.whole_trials for entry in known)
    return fewest if fewest > 1 else 0  # pass^1 is the pass rate


def shown_scale(figures: list[GraderFigures], scale: tuple[float, float]) -> tuple[float, float]:
    """Return the part of a scale, in quarters of it, that holds every interval."""
    ends = [end for entry in figures for end in (entry.ci_low, entry.ci_high, entry.mean) if end is not None]
    quarter = (scale[1] - scale[0]) / 4
    if not ends or quarter <= 0:
        return scale
    low = scale[0] + quarter * math.floor((min(ends) - scale[0]) / quarter + 1e-9)
    high = scale[0] + quarter * math.ceil((max(ends) - scale[0]) / quarter - 1e-9)
    return (low, high) if high > low else (max(scale[0], low - quarter), min(scale[1], high + quarter))


def bar_of(figures: GraderFigures, low: float, high: float) -> Bar | None:
    if figures.mean is None or high <= low:
        return None

    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 1)

    left = place(figures.ci_low if figures.ci_low is not None else figures.mean)
    right = place(figures.ci_high if figures.ci_high is not None else figures.mean)
    return Bar(left, round(right - left, 1), place(figures.mean))


def best_pair(report: ComparisonReport, grader: GraderHead) -> Pair | None:
    """Return the pair that the cards are about: the strongest candidate against the baseline, the do-nothing floor left out."""
    pairs = [pair for pair in report.pairs if pair.grader.pk == grader.pk]
    floor = {candidate.letter for candidate in report.candidates if candidate.kind == CandidateKind.NOTHING}
    contenders = [pair for pair in pairs if pair.b not in floor] or pairs
    return max(
        contenders, key=lambda pair: -math.inf if pair.difference.value is None else pair.difference.value, default=None
    )


@dataclass(frozen=True)
class Card:
    """One fact above the table: what it is, the value, and what stands below it."""

    title: str
    value: str
    below: str
    unit: str = ""


def cards(report: ComparisonReport, grader: GraderHead) -> list[Card]:
    """Return four facts of the best pair, or of the only candidate; none where the pair has nothing in common."""
    pair = best_pair(report, grader)
    if not report.candidates or (pair is not None and pair.difference.value is None):
        return []
    a = report.candidates[0]
    b = report.by_letter[pair.b] if pair else a
    ours, theirs = b.figures(grader.pk), a.figures(grader.pk)
    threshold = "" if grader.pass_threshold is None else f"score {grader.pass_threshold:g} or more"
    k = reliable_trials(report, [candidate.figures(grader.pk) for candidate in report.candidates])
    reliability = reliability_card(k, report.trials, theirs, ours) if k > 1 else time_card(a, b)
    if pair is None:
        return [
            Card(grader.name, two(ours.mean), interval(ours.ci_low, ours.ci_high) or ours.counts),
            Card(
                "Pass rate",
                share(ours.pass_rate),
                f"{ours.passes} of {ours.pass_n} outputs" if ours.pass_n else "No threshold is set",
                threshold,
            ),
            reliability,
            Card(
                "Cost per sample",
                money(b.cost_per_sample_usd),
                "of the answers" if b.cost_per_sample_usd is not None else "No price is known",
            ),
        ]
    difference = pair.difference
    return [
        Card(
            f"{grader.name}, {pair.b} minus {pair.a}",
            signed(difference.value),
            interval(difference.low, difference.high) or f"on {difference.items} items",
        ),
        Card(
            "Pass rate",
            arrow(share(theirs.pass_rate), share(ours.pass_rate)),
            points(theirs.pass_rate, ours.pass_rate),
            threshold,
        ),
        reliability,
        Card(
            "Cost per sample",
            arrow(money(a.cost_per_sample_usd), money(b.cost_per_sample_usd)),
            cost_words(a.cost_per_sample_usd, b.cost_per_sample_usd),
        ),
    ]


MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"


def two(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    return NONE if value is None else figure(value)


def share(value: float | None) -> str:
    return NONE if value is None else f"{value:.0%}"


def money(value: float | None) -> str:
    if value is not None and 0 < value < 0.00005:
        return "<$0.0001"
    return NONE if value is None else f"${value:.4f}"


def arrow(before: str, after: str) -> str:
    return before if before == after == NONE else f"{before} → {after}"


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"95% CI {two(low)} to {two(high)}"


def points(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return "No threshold is set" if before is None and after is None else ""
    change = round(100 * after) - round(100 * before)
    return "the same" if change == 0 else f"{change:+d} point{'s' if abs(change) != 1 else ''}".replace("-", MINUS)


def reliability_card(k: int, trials: int, before: GraderFigures, after: GraderFigures) -> Card:
    """Show pass^k from the baseline to the candidate; alone where they are the same one."""
    mine = share(after.reliability(k))
    value = mine if before is after else arrow(share(before.reliability(k)), mine)
    below = "both trials pass" if trials == k == 2 else f"all {k} trials pass"
    return Card(
        f"Reliability, pass^{k}", value, below if k == trials else f"{k} of {trials} trials were run on every item"
    )


def time_card(before: CandidateFigures, after: CandidateFigures) -> Card:
    """Show the median time of an answer."""
    mine = seconds(after.p50_ms)
    slow = "" if after.p95_ms is None else f"{after.letter}: the slowest 5% take {seconds(after.p95_ms)} or more"
    return Card("Time of an answer, p50", mine if before is after else arrow(seconds(before.p50_ms), mine), slow)


def seconds(ms: float | None) -> str:
    return NONE if ms is None else "0 ms" if ms == 0 else f"{ms / 1000:.2f} s"


def cost_words(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return "No price is known" if before is None and after is None else ""
    if before == 0:
        return "the same" if after == 0 else ""
    change = after / before - 1
    if abs(change) < 0.005:
        return "the same"
    return f"{abs(change):.0%} {'less' if change < 0 else 'more'}"


# Plots -----------------------------------------------------------------------------------------------------------


def score_values(report: ComparisonReport, grader: GraderHead) -> dict[int, list[float]]:
    """Return every score of a grader by run."""
    values: dict[int, list[float]] = defaultdict(list)
    rows = Score.objects.filter(
        run__in=[candidate.run.pk for candidate in report.candidates],
        grader_version=grader.pk,
        criterion="",
        is_current=True,
        state=ScoreState.OK,
    ).exclude(value=None)
    for run, value in rows.values_list("run", "value").iterator(chunk_size=5000):
        if run is not None and value is not None:
            values[run].append(value)
    return values


def charts(report: ComparisonReport, grader: GraderHead) -> list[Chart]:
    """Return the plots that these figures allow, in the order of the page."""
    values = score_values(report, grader)
    series = []
    for candidate in report.candidates:
        figures = candidate.figures(grader.pk)
        series.append(
            Series(
                candidate.letter,
                candidate.label,
                values[candidate.run.pk],
                figures.mean,
                figures.ci_low,
                figures.ci_high,
                candidate.cost_per_sample_usd,
                candidate.p50_ms,
                figures.pass_hat_k,
            )
        )
    drawn = [
        distribution_chart(series, grader=grader.name, scale=grader.scale),
        against_chart(series, grader=grader.name, axis_name="cost", scale=grader.scale),
        against_chart(series, grader=grader.name, axis_name="latency", scale=grader.scale),
        reliability_chart(series, grader=grader.name),
    ]
    return [chart for chart in drawn if chart is not None]


# The drawer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrialTile:
    """One trial's score of a candidate on the grader shown."""

    trial: int
    value: float | None
    state: str
    passed: bool | None


@dataclass(frozen=True)
class ToolUsed:
    """A tool call of a sample's trace."""

    name: str
    failed: bool


@dataclass(frozen=True)
class PartShown:
    """A criterion's score with its name and scale."""

    name: str
    scale: tuple[float, float]
    score: Score


@dataclass(frozen=True)
class GraderWord:
    """One grader's word on a sample, with the parts of a rubric."""

    grader: GraderHead
    score: Score
    parts: list[PartShown]

    @property
    def rater(self) -> str:
        """Name who scored: the model, and the one that answered for it; code; or who did where the data came from."""
        if self.score.rater_kind == RaterKind.IMPORTED:
            return f"imported ({self.score.rater})" if self.score.rater not in ("", "imported") else "imported"
        return shown_model(self.score.rater, self.score.answered_by)

    @property
    def is_scripted(self) -> bool:
        return is_scripted(self.score.answered_by or self.score.rater)


@dataclass(frozen=True)
class SideShown:
    """One candidate's sample in the drawer, with its trials and its tools."""

    sample: SampleShown
    words: list[GraderWord]
    trials: list[TrialTile]
    tools: list[ToolUsed]
    more_tools: int
    output: str
    is_cut: bool

    @property
    def passed(self) -> int:
        return sum(tile.passed is True for tile in self.trials)

    @property
    def judged(self) -> int:
        return sum(tile.passed is not None for tile in self.trials)

    @property
    def mean(self) -> float | None:
        values = [tile.value for tile in self.trials if tile.value is not None]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Versus:
    """The drawer: one or two candidates on one item and trial, or two trials of one candidate (`is_trials`)."""

    detail: SampleDetail
    sides: list[SideShown]
    diff: WordDiff | None
    pairs: list[tuple[str, str]]
    is_trials: bool = False


def versus(
    comparison: Comparison,
    detail: SampleDetail,
    *,
    pair: str,
    grader: GraderHead | None,
    against: SampleDetail | None = None,
) -> Versus:
    """Put two samples of an item side by side: of the candidates in `pair` (`a,b`; letters that are not there fall back to A and B), or,
    with another trial `against`, of the first of them in both trials.
    """
    by_letter = {shown.letter: shown for shown in detail.samples}
    letters = [letter for letter in pair.upper().split(",") if letter in by_letter]
    chosen = [by_letter[letter] for letter in list(dict.fromkeys([*letters, *by_letter]))[:2]]
    if against is not None:
        chosen = [chosen[0], *(shown for shown in against.samples if shown.letter == chosen[0].letter)]
    tiles = trial_tiles(comparison, detail.item.pk, grader)
    traces = [shown.sample.trace_id for shown in chosen if shown.sample.trace_id]
    tools: dict[int, list[ToolUsed]] = defaultdict(list)
    spans = Span.objects.filter(trace__in=traces, kind=Kind.TOOL).order_by("start_ns", "position", "id")
    for trace, name, tool, status in spans.values_list("trace_id", "name", "tool_name", "status"):
        tools[trace].append(ToolUsed(tool or name, status == "error"))
    criteria = criteria_of({entry.grader.pk for shown in chosen for entry in shown.scores})
    sides = []
    for shown in chosen:
        used = tools.get(shown.sample.trace_id or 0, [])
        output = shown.sample.output_text
        sides.append(
            SideShown(
                shown,
                [grader_word(entry, criteria) for entry in shown.scores],
                tiles.get(shown.sample.run_id, []),
                used[:MAX_TOOLS],
                max(0, len(used) - MAX_TOOLS),
                output[:MAX_OUTPUT],
                len(output) > MAX_OUTPUT,
            )
        )
    both = len(sides) == 2 and all(side.output for side in sides)
    all_letters = list(by_letter)
    return Versus(
        detail,
        sides,
        word_diff(sides[0].output, sides[1].output) if both else None,
        [(a, b) for place, a in enumerate(all_letters) for b in all_letters[place + 1 :]],
        is_trials=against is not None and len(sides) == 2,
    )


Criteria = dict[tuple[int, str], tuple[str, tuple[float, float]]]


def criteria_of(versions: set[int]) -> Criteria:
    """Return name and scale of each criterion, by grader version and key."""
    found: Criteria = {}
    rows = GraderVersion.objects.filter(pk__in=versions).exclude(rubric_version=None).select_related("rubric_version")
    for version in rows.prefetch_related("rubric_version__criteria__levels"):
        for criterion in version.rubric_version.criteria.all() if version.rubric_version else ():
            levels = [level.value for level in criterion.levels.all()]
            found[version.pk, criterion.key] = (criterion.name, (min(levels), max(levels)) if levels else (0.0, 1.0))
    return found


def grader_word(shown: ScoreShown, criteria: Criteria) -> GraderWord:
    parts = []
    for part in shown.parts:
        name, scale = criteria.get((shown.grader.pk, part.criterion), (part.criterion, shown.grader.scale))
        parts.append(PartShown(name, scale, part))
    return GraderWord(shown.grader, shown.score, parts)


def trial_tiles(comparison: Comparison, item: int, grader: GraderHead | None) -> dict[int, list[TrialTile]]:
    """Return each run's trials of an item with their scores on a grader."""
    scores = {
        score.sample_id: score
        for score in Score.objects.filter(
            sample__run__comparison=comparison,
            sample__item=item,
            grader_version=grader.pk if grader else 0,
            criterion="",
            is_current=True,
        )
    }
    tiles: dict[int, list[TrialTile]] = defaultdict(list)
    samples = Sample.objects.filter(run__comparison=comparison, item=item).order_by("run", "trial")
    for pk, run, trial, status in samples.values_list("pk", "run", "trial", "status"):
        score = scores.get(pk)
        if score is not None:
            tiles[run].append(TrialTile(trial, score.value, score.state, score.passed))
        else:
            state = "failed" if status == "failed" else "none" if status in ("done", "cancelled") else "waiting"
            tiles[run].append(TrialTile(trial, None, state, None))
    return tiles


def has_failures(comparison: Comparison) -> bool:
    """Say whether something failed that can be tried again."""
    samples = Sample.objects.filter(run__comparison=comparison)
    failed = Q(status="failed") | Q(
        scores__state=ScoreState.FAILED, scores__is_current=True, scores__criterion="", status="done"
    )
    return samples.filter(failed).exists()
