"""Items × candidates, and one item's samples side by side."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Exists, OuterRef, Q

from evals.chat import last_text, plain_text
from evals.models import Comparison, Item, Run, Sample, SampleStatus, Score
from evals.queries.datasets import revision_items
from evals.queries.report import GraderHead, grader_heads, letter_of, primary_grader
from providers.registry import shown_model

PAGE = 100
TITLE = 200  # characters
TOLERANCE = 1e-9
SHOWS = ("all", "differ", "failures", "errors", "open")
PAIR_SHOWS = ("better", "worse", "equal")  # a candidate's mean against the baseline's


@dataclass
class Cell:
    """One candidate on one item, over its trials: mean of the scored ones, how many passed, and what has no score."""

    values: list[float] = field(default_factory=list)
    passed: int = 0
    judged: int = 0  # scores that say passed or not
    trials: int = 0
    failed: int = 0  # samples without an answer, or that the grader failed on
    skipped: int = 0
    open: int = 0

    @property
    def mean(self) -> float | None:
        return sum(self.values) / len(self.values) if self.values else None

    @property
    def state(self) -> str:
        """Return ok, waiting, failed, skipped or none, as a score tile shows it."""
        if self.values:
            return "ok"
        if self.open:
            return "waiting"
        return "failed" if self.failed else "skipped" if self.skipped else "none"

    @property
    def is_flaky(self) -> bool:
        """Say whether some trials passed and others did not."""
        return 0 < self.passed < self.judged


@dataclass(frozen=True)
class MatrixRow:
    """One item. `spread` is the largest difference of two candidates' means; None where fewer than two have one."""

    item_pk: int
    key: str
    number: int  # its place in the dataset, from 1
    bucket: str
    title: str
    cells: list[Cell]
    spread: float | None


@dataclass(frozen=True)
class Matrix:
    """A page of the matrix. `next_after` is the item to go on after; None on the last page. `counts` are items by filter."""

    grader: GraderHead | None
    letters: list[str]
    rows: list[MatrixRow]
    total: int
    next_after: int | None
    counts: dict[str, int]
    buckets: list[tuple[str, int]]
    show: str
    bucket: str
    sort: str
    pair: str = ""
    order: list[int] = field(default_factory=list)  # every item that the filters leave, in order


def comparison_matrix(
    comparison: Comparison,
    *,
    grader: int | None = None,
    show: str = "all",
    bucket: str = "",
    sort: str = "spread",
    pair: str = "",
    after: int | None = None,
    limit: int = PAGE,
) -> Matrix:
    """Return items × candidates on one grader version (the primary one unless given).

    show: all, differ (candidates' means differ), failures (a trial did not pass), errors (no answer, or the grader failed), open;
    with `pair`, a candidate's letter: better, worse or equal (its mean against the baseline's).
    sort: spread (most disagreement first) or position. `after` is the item key of the last row seen.
    """
    heads = grader_heads(comparison)
    head = next((entry for entry in heads if entry.pk == grader), None) or primary_grader(heads)
    runs = list(Run.objects.filter(comparison=comparison).order_by("position", "pk").values_list("pk", flat=True))
    cells = read_cells(runs, head.pk if head else 0)
    items = list(revision_items(comparison.dataset_revision).values_list("pk", "key", "bucket"))
    rows = [
        MatrixRow(
            pk,
            key,
            number,
            name,
            "",
            cells[pk] if pk in cells else [Cell() for _ in runs],
            spread_of(cells.get(pk, [])),
        )
        for number, (pk, key, name) in enumerate(items, 1)
    ]
    buckets = sorted(Counter(row.bucket for row in rows if row.bucket).items())
    inside = [row for row in rows if not bucket or row.bucket == bucket]
    counts = {name: sum(belongs(row, name) for row in inside) for name in SHOWS}
    letters = [letter_of(position) for position in range(len(runs))]
    place = letters.index(pair) if pair in letters[1:] else 0
    show = show if show in SHOWS or (show in PAIR_SHOWS and place) else "all"
    chosen = [row for row in inside if belongs(row, show, place)]
    if sort != "position":
        sort = "spread"
        chosen.sort(key=lambda row: (-1.0 if row.spread is None else row.spread, -row.number), reverse=True)
    start = next((place + 1 for place, row in enumerate(chosen) if row.item_pk == after), 0)
    page = chosen[start : start + limit]
    return Matrix(
        grader=head,
        letters=letters,
        rows=with_titles(page),
        total=len(chosen),
        next_after=page[-1].item_pk if page and start + limit < len(chosen) else None,
        counts=counts,
        buckets=buckets,
        show=show,
        bucket=bucket,
        sort=sort,
        pair=pair if show in PAIR_SHOWS else "",
        order=[row.item_pk for row in chosen],
    )


def read_cells(runs: list[int], grader: int) -> dict[int, list[Cell]]:
    """Return the cells of each item, one for each run."""
    places = {run: place for place, run in enumerate(runs)}
    cells: dict[int, list[Cell]] = defaultdict(lambda: [Cell() for _ in runs])
    samples = Sample.objects.filter(run__in=runs).values_list("run", "item", "status")
    for run, item, status in samples.iterator(chunk_size=5000):
        cell = cells[item][places[run]]
        cell.trials += 1
        cell.failed += status == SampleStatus.FAILED
        cell.open += status in SampleStatus.open()
    scores = Score.objects.filter(run__in=runs, grader_version=grader, criterion="", is_current=True)
    for run, item, state, value, passed in scores.values_list(
        "run", "sample__item", "state", "value", "passed"
    ).iterator(chunk_size=5000):
        cell = cells[item][places[run]]
        if state == "ok" and value is not None:
            cell.values.append(value)
            cell.judged += passed is not None
            cell.passed += passed is True
        elif state == "failed":
            cell.failed += 1
        else:
            cell.skipped += 1
    return cells


def spread_of(cells: list[Cell]) -> float | None:
    means = [cell.mean for cell in cells if cell.mean is not None]
    return max(means) - min(means) if len(means) > 1 else None


def belongs(row: MatrixRow, show: str, place: int = 0) -> bool:
    """Say whether a row is shown under a filter; `place` is the candidate that better, worse and equal are about."""
    if show in PAIR_SHOWS:
        baseline, mean = row.cells[0].mean, row.cells[place].mean
        if baseline is None or mean is None:
            return False
        gain = mean - baseline
        return show == ("better" if gain > TOLERANCE else "worse" if gain < -TOLERANCE else "equal")
    if show == "differ":
        return (row.spread or 0.0) > TOLERANCE
    if show == "failures":
        return any(cell.passed < cell.judged for cell in row.cells)
    if show == "errors":
        return any(cell.failed for cell in row.cells)
    if show == "open":
        return any(cell.open for cell in row.cells)
    return True


def with_titles(rows: list[MatrixRow]) -> list[MatrixRow]:
    """Return rows with what their items ask, read for these only."""
    contents = dict(Item.objects.filter(pk__in=[row.item_pk for row in rows]).values_list("pk", "content"))
    return [
        MatrixRow(
            row.item_pk, row.key, row.number, row.bucket, item_title(contents[row.item_pk]), row.cells, row.spread
        )
        for row in rows
    ]


def item_title(content: Any) -> str:
    """Return what an item asks in one line: the last user message, else its input, else its first text."""
    if not isinstance(content, dict):
        return plain_text(content)[:TITLE]
    messages: Any = content.get("messages")
    given: Any = content.get("input")
    text = last_text(messages, "user") if is_messages(messages) else ""
    if not text:
        text = last_text(given, "user") if is_messages(given) else plain_text(given)
    if not text:
        text = next((value for value in content.values() if isinstance(value, str) and value), "")
    return " ".join(text.split())[:TITLE]


def is_messages(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(message, dict) for message in value)


# One item, side by side ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreShown:
    """A score as the drawer shows it, with its rubric's parts."""

    score: Score
    grader: GraderHead
    parts: list[Score]


@dataclass(frozen=True)
class SampleShown:
    """One candidate's sample of an item and trial."""

    letter: str
    label: str
    model: str
    sample: Sample
    trace_id: str
    scores: list[ScoreShown]


@dataclass(frozen=True)
class SampleDetail:
    """An item with the samples of one trial side by side, and the items before and after it in the dataset."""

    item: Item
    title: str
    trial: int
    trials: int
    samples: list[SampleShown]


def sample_detail(comparison: Comparison, item_pk: int, *, trial: int = 1) -> SampleDetail | None:
    """Return one item's samples side by side; None where the comparison has no such item or trial."""
    heads = {head.pk: head for head in grader_heads(comparison)}
    order = list(heads)
    samples = list(
        Sample.objects.filter(run__comparison=comparison, item=item_pk, trial=trial)
        .select_related("run__candidate", "trace", "item")
        .order_by("run__position", "run")
    )
    if not samples:
        return None
    scores: dict[int, list[Score]] = defaultdict(list)
    for score in Score.objects.filter(sample__in=samples, is_current=True).order_by("pk"):
        scores[score.sample_id or 0].append(score)
    positions = {
        pk: place
        for place, pk in enumerate(
            Run.objects.filter(comparison=comparison).order_by("position", "pk").values_list("pk", flat=True)
        )
    }
    return SampleDetail(
        item=samples[0].item,
        title=item_title(samples[0].item.content),
        trial=trial,
        trials=comparison.trials,
        samples=[
            SampleShown(
                letter=letter_of(positions[sample.run_id]),
                label=sample.run.candidate.label,
                model=shown_model(sample.run.candidate.model, sample.run.aliases.get(sample.run.candidate.model, "")),
                sample=sample,
                trace_id=sample.trace.trace_id if sample.trace else "",
                scores=shown_scores(scores[sample.pk], heads, order),
            )
            for sample in samples
        ],
    )


def shown_scores(scores: list[Score], heads: dict[int, GraderHead], order: list[int]) -> list[ScoreShown]:
    """Return overall scores in the graders' order, each with its parts."""
    overall = [score for score in scores if not score.criterion and score.grader_version_id in heads]
    overall.sort(key=lambda score: order.index(score.grader_version_id))
    return [
        ScoreShown(
            score,
            heads[score.grader_version_id],
            [
                part
                for part in scores
                if part.criterion and part.grader_version_id == score.grader_version_id and part.rater == score.rater
            ],
        )
        for score in overall
    ]


@dataclass(frozen=True)
class FailingCase:
    """A sample that did not pass, with the grader and the reason."""

    letter: str
    label: str
    item_key: str
    trial: int
    grader: str
    reason: str
    public_id: str


def failing_cases(comparison: Comparison, *, limit: int = 100) -> list[FailingCase]:
    """Return samples without an answer, then scores that failed or did not pass, by candidate and item.

    A grader that skipped is named where no other one settled the sample: that is why it has no verdict.
    """
    letters = {
        pk: letter_of(position)
        for position, pk in enumerate(
            Run.objects.filter(comparison=comparison).order_by("position", "pk").values_list("pk", flat=True)
        )
    }
    broken = Sample.objects.filter(run__comparison=comparison, status=SampleStatus.FAILED).select_related("run", "item")
    cases = [
        FailingCase(letters[row.run_id], row.run.name, row.item.key, row.trial, "no answer", row.error, row.public_id)
        for row in broken.order_by("run__position", "item__position", "trial")[:limit]
    ]
    overall = Score.objects.filter(run__comparison=comparison, is_current=True, criterion="")
    settled = Score.objects.filter(sample=OuterRef("sample"), is_current=True, criterion="", passed=False)
    skipped = Q(state="skipped") & ~Exists(settled)
    scores = overall.filter(Q(passed=False) | Q(state="failed") | skipped)
    for score in scores.select_related("run", "sample__item", "grader_version__grader").order_by(
        "run__position", "sample__item__position", "sample__trial", "pk"
    )[: limit - len(cases)]:
        if score.run is None or score.sample is None:
            continue
        cases.append(
            FailingCase(
                letters[score.run.pk],
                score.run.name,
                score.sample.item.key,
                score.sample.trial,
                score.grader_version.grader.name,
                score.reason or score.explanation,
                score.sample.public_id,
            )
        )
    return cases
