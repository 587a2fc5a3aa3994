"""Reads of the overview: what is here in figures, each with the query of the traces list that shows the runs behind it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db.models import Avg, Count, F, Max, Min, Q, QuerySet, Sum
from django.utils import timezone

from accounts.models import Project
from evals.models import Comparison, Dataset, Item, Score
from evals.queries.score_filter import written_name
from rubrics.models import Rubric, RubricVersion
from traces.models import Source, Status, Trace, TraceTerm

DAYS = 14
DAY_NS = 86_400 * 10**9
MAX_AGENTS = 8
MAX_WORTH_LOOK = 5
NOT_SAMPLES = "-source:eval"  # runs of the agents, without the answers that comparisons made


def day_ns(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9


@dataclass(frozen=True)
class Period:
    """Runs that started on the days from `start` up to `end` (UTC, left out). `cost_usd` is of the runs whose cost is known.

    `recovered`: those with a failed step that do not end in an error. `overview` counts separately the suspected silent failures.
    """

    start: date
    end: date
    runs: int = 0
    errors: int = 0
    recovered: int = 0
    cost_usd: float | None = None
    mean_ms: float | None = None

    @property
    def error_share(self) -> float | None:
        return self.errors / self.runs if self.runs else None

    @property
    def query(self) -> str:
        """Return the query of the traces list that finds these runs."""
        return f"after:{self.start} before:{self.end} {NOT_SAMPLES}"

    @property
    def error_query(self) -> str:
        return f"{self.query} status:error"

    @property
    def recovered_query(self) -> str:
        return f"{self.query} errors:>0 -status:error"

    @property
    def suspected_query(self) -> str:
        return f"{self.query} has:signal"


@dataclass(frozen=True)
class Day:
    """One bar of the chart."""

    day: date
    runs: int
    errors: int

    @property
    def query(self) -> str:
        return f"after:{self.day} before:{self.day + timedelta(days=1)} {NOT_SAMPLES}"


@dataclass(frozen=True)
class AgentRow:
    """One agent's runs in the period, and in the period before it."""

    name: str
    runs: int
    errors: int
    recovered: int
    cost_usd: float | None
    runs_before: int
    errors_before: int
    query: str

    @property
    def error_share(self) -> float:
        return self.errors / self.runs

    @property
    def error_percent(self) -> float:
        """The share of errors as the length of a bar, 0 to 100."""
        return round(100 * self.error_share, 1)

    @property
    def error_share_before(self) -> float | None:
        return self.errors_before / self.runs_before if self.runs_before else None


@dataclass(frozen=True)
class Step:
    """One thing to do next, or done. `url_name` is an address of the project; `action` is its link's words."""

    title: str
    text: str
    url_name: str
    action: str
    is_done: bool


@dataclass(frozen=True)
class Overview:
    """What the overview shows. `total` counts the runs of the window; where it has none, every run of the agents."""

    now: Period
    before: Period
    total: int
    older: int  # runs before the window, where the period before it has none
    low: int  # runs, of the `scored` ones that came with a score, that did not pass
    low_part: str  # what a query asks of the scores to find these, or empty
    scored: int
    samples: int  # answers of comparisons within the window, which are not counted as runs
    first_at_ns: int | None
    last_at_ns: int | None
    suspected: int  # runs of the period that a detector of silent failures suspects
    days: list[Day]
    agents: list[AgentRow]
    agent_count: int
    worth_look: list[Trace]
    comparisons: list[Comparison]
    comparison_count: int
    rubric_count: int
    published_count: int
    dataset_count: int
    item_count: int
    steps: list[Step]

    @property
    def low_query(self) -> str:
        """Return the query of the runs that did not pass; empty where none finds exactly these."""
        return f"{self.now.query if self.now.runs else NOT_SAMPLES} {self.low_part}" if self.low_part else ""

    @property
    def older_query(self) -> str:
        return f"before:{self.now.start} {NOT_SAMPLES}"

    @property
    def sample_query(self) -> str:
        return f"after:{self.now.start} before:{self.now.end} source:eval"

    @property
    def next_step(self) -> Step | None:
        return next((step for step in self.steps if not step.is_done), None)

    @property
    def last_day(self) -> date:
        return self.days[-1].day

    @property
    def busiest(self) -> int:
        return max((day.runs for day in self.days), default=0)


def agent_runs(project: Project) -> QuerySet[Trace]:
    return Trace.objects.filter(project=project).exclude(source=Source.EVAL)


def within(traces: QuerySet[Trace], start: date, end: date) -> QuerySet[Trace]:
    return traces.filter(sort_ns__gte=day_ns(start), sort_ns__lt=day_ns(end))


FAILED = Q(status=Status.ERROR)
RECOVERED = Q(error_count__gt=0) & ~FAILED


def period(traces: QuerySet[Trace], start: date, end: date) -> Period:
    figures = within(traces, start, end).aggregate(
        runs=Count("id"),
        errors=Count("id", filter=FAILED),
        recovered=Count("id", filter=RECOVERED),
        cost_usd=Sum("cost_usd"),
        mean_ms=Avg("duration_ms"),
    )
    return Period(start, end, **figures)


def suspected_count(project: Project, now: Period) -> int:
    """Count the runs of a period that a detector of silent failures suspects: as `has:signal` finds them."""
    terms = TraceTerm.objects.filter(project=project, key="signal").exclude(trace__source=Source.EVAL)
    of_period = terms.filter(trace__sort_ns__gte=day_ns(now.start), trace__sort_ns__lt=day_ns(now.end))
    return of_period.aggregate(n=Count("trace", distinct=True))["n"]


def overview(project: Project, *, today: date | None = None) -> Overview:
    """Read the overview of the last 14 days (UTC, today included) and the 14 before. The number of queries is fixed."""
    today = today or timezone.now().astimezone(UTC).date()
    end = today + timedelta(days=1)
    start = end - timedelta(days=DAYS)
    traces = agent_runs(project)
    now, before = period(traces, start, end), period(traces, start - timedelta(days=DAYS), start)
    # Counting everything is slow among millions of traces, and only said where nothing is recent.
    total, older, first_at_ns, last_at_ns = now.runs, 0, None, None
    if not (now.runs and before.runs):
        past = traces.filter(sort_ns__lt=day_ns(start)) if total else traces
        totals = past.aggregate(total=Count("id"), first=Min("sort_ns"), last=Max("sort_ns"))
        first_at_ns, last_at_ns = totals["first"], totals["last"]
        total, older = (total, totals["total"]) if total else (totals["total"], 0)
    low, scored, low_part = low_scores(project, *((day_ns(start), day_ns(end)) if now.runs else (None, None)))
    suspected = suspected_count(project, now) if now.runs else 0
    samples = within(Trace.objects.filter(project=project, source=Source.EVAL), start, end).count()
    agents = agent_rows(traces, now, before) if now.runs else []
    rubric_count = Rubric.objects.filter(project=project, archived_at=None).count()
    published = (
        RubricVersion.objects.filter(rubric__project=project, rubric__archived_at=None)
        .exclude(frozen_at=None)
        .values("rubric")
        .distinct()
        .count()
    )
    dataset_count = Dataset.objects.filter(project=project, is_implicit=False).count()
    comparisons = Comparison.objects.filter(project=project)
    comparison_count = comparisons.count()
    return Overview(
        now=now,
        before=before,
        total=total,
        older=older,
        suspected=suspected,
        low=low,
        low_part=low_part,
        scored=scored,
        samples=samples,
        first_at_ns=first_at_ns,
        last_at_ns=last_at_ns,
        days=day_rows(traces, start, end),
        agents=agents[:MAX_AGENTS],
        agent_count=len(agents),
        worth_look=worth_look(traces, start, end),
        comparisons=list(comparisons.select_related("dataset_revision__dataset").order_by("-created_at", "-id")[:3]),
        comparison_count=comparison_count,
        rubric_count=rubric_count,
        published_count=published,
        dataset_count=dataset_count,
        item_count=Item.objects.filter(dataset__project=project, valid_to=None).count(),
        steps=steps(has_traces=total > 0, published=published, datasets=dataset_count, comparisons=comparison_count),
    )


LOW = Q(passed=False) | Q(passed=None, value__lte=0)  # of those that say no pass, zero and below is none
HIGH = Q(passed=True) | Q(passed=None, value__gt=0)


def low_scores(project: Project, start_ns: int | None, end_ns: int | None) -> tuple[int, int, str]:
    """Return how many runs did not pass, how many came with a score, and what a query asks of the scores to find the former, if it can."""
    scores = Score.objects.filter(project=project, is_current=True, criterion="", state="ok")
    scores = scores.exclude(trace=None).exclude(trace__source=Source.EVAL)
    if start_ns is not None and end_ns is not None:
        scores = scores.filter(trace__sort_ns__gte=start_ns, trace__sort_ns__lt=end_ns)
    own = scores.filter(run=None)
    found = own.aggregate(scored=Count("trace", distinct=True), low=Count("trace", distinct=True, filter=LOW))
    return found["low"], found["scored"], low_query(scores) if found["low"] else ""


def low_query(scores: QuerySet[Score]) -> str:
    """Return `score.NAME:<=X` for every grader with runs that did not pass; empty where no X parts them from all others of its scores.

    A grader's versions may pass at different values, and a comparison over recorded runs leaves scores that are counted there.
    """
    ends: dict[str, tuple[float | None, float | None]] = {}
    rows = scores.order_by().values_list("grader_version__grader__name")
    own = Q(run=None)
    for name, top, bottom in rows.annotate(
        top=Max("value", filter=LOW & own), bottom=Min("value", filter=HIGH | ~own)
    ).values_list("grader_version__grader__name", "top", "bottom"):
        known = ends.get(written_name(name), (None, None))
        ends[written_name(name)] = (
            max((one for one in (top, known[0]) if one is not None), default=None),
            min((one for one in (bottom, known[1]) if one is not None), default=None),
        )
    parts = []
    for name, (top, bottom) in sorted(ends.items()):
        if top is None:
            continue
        text = f"{top:.6f}".rstrip("0").rstrip(".")
        if not name or top < 0 or not top <= float(text) < (bottom if bottom is not None else top + 1):
            return ""
        parts.append(f"score.{name}:<={text}")
    return f"({' OR '.join(parts)})" if len(parts) > 1 else "".join(parts)


def day_rows(traces: QuerySet[Trace], start: date, end: date) -> list[Day]:
    """Count runs and failed runs of each day (UTC); days without any are there with zero."""
    counted = (
        within(traces, start, end)
        .annotate(day=F("sort_ns") / DAY_NS)
        .order_by("day")
        .values("day")
        .annotate(runs=Count("id"), errors=Count("id", filter=FAILED))
    )
    found = {int(day): (runs, errors) for day, runs, errors in counted.values_list("day", "runs", "errors")}
    first = day_ns(start) // DAY_NS
    return [
        Day(start + timedelta(days=number), *found.get(first + number, (0, 0))) for number in range((end - start).days)
    ]


@dataclass(frozen=True)
class Bar:
    """A day's place in the chart, which is 100 high: `top` and `height` of all runs, `error_height` of the failed ones."""

    day: Day
    x: int
    top: float
    height: float
    error_top: float
    error_height: float


def bars(days: list[Day]) -> list[Bar]:
    """Lay out the chart: a bar of width 8 every 10 units; a day with any run is at least 1.5 high."""
    highest = max((day.runs for day in days), default=0) or 1
    rows = []
    for place, day in enumerate(days):
        height = max(1.5, 100 * day.runs / highest) if day.runs else 0.0
        error_height = max(1.5, 100 * day.errors / highest) if day.errors else 0.0
        rows.append(
            Bar(
                day,
                10 * place + 1,
                round(100 - height, 2),
                round(height, 2),
                round(100 - error_height, 2),
                round(error_height, 2),
            )
        )
    return rows


def agent_rows(traces: QuerySet[Trace], now: Period, before: Period) -> list[AgentRow]:
    """Count the runs of each agent in both periods, most runs first."""
    old = {name: (runs, errors) for name, runs, errors, _, _ in by_agent(within(traces, before.start, before.end))}
    rows = []
    for name, runs, errors, recovered, cost_usd in by_agent(within(traces, now.start, now.end)):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        condition = f'agent:"{escaped}"' if name else "-has:agent"
        past = old.get(name, (0, 0))
        rows.append(AgentRow(name, runs, errors, recovered, cost_usd, *past, f"{now.query} {condition}"))
    return sorted(rows, key=lambda row: (-row.runs, row.name))


def by_agent(traces: QuerySet[Trace]) -> list[tuple[str, int, int, int, float | None]]:
    """Return (agent, runs, failed, fine with a failed step, cost) of each agent, in no order."""
    figures = (
        traces.order_by()
        .values("agent_name")
        .annotate(
            runs=Count("id"),
            errors=Count("id", filter=FAILED),
            recovered=Count("id", filter=RECOVERED),
            usd=Sum("cost_usd"),
        )
    )
    return list(figures.values_list("agent_name", "runs", "errors", "recovered", "usd"))


def worth_look(traces: QuerySet[Trace], start: date, end: date) -> list[Trace]:
    """Return the newest failed runs, then the newest with a failed step under a run that says it went well."""
    recent = within(traces, start, end)
    failed = list(recent.filter(FAILED).order_by("-sort_ns", "-id")[:MAX_WORTH_LOOK])
    wanted = max(MAX_WORTH_LOOK - len(failed), 2)
    recovered = list(recent.filter(RECOVERED).order_by("-sort_ns", "-id")[:wanted])
    return [*failed[: MAX_WORTH_LOOK - len(recovered)], *recovered]


def steps(*, has_traces: bool, published: int, datasets: int, comparisons: int) -> list[Step]:
    """Return the loop as steps, in order, each done or to do."""
    return [
        Step(
            "Send traces", "Point an agent here, or import a file: each run becomes a trace to read.", "traces:send",
            "Send traces", has_traces,
        ),
        Step(
            "Write a rubric", "Say what good means, level by level. People and judges then mark by the same text.",
            "rubrics:rubric_list", "Write a rubric", published > 0,
        ),
        Step(
            "Collect a dataset", "Choose runs in the traces list, or bring a file of cases.", "evals:dataset_new",
            "Make a dataset", datasets > 0,
        ),
        Step(
            "Compare candidates", "Run two or more models or prompts over the dataset and see who does better, and where.",
            "evals:comparison_new", "Compare candidates", comparisons > 0,
        ),
    ]  # fmt: skip


def dataset_without_comparison(project: Project) -> Dataset | None:
    """Return the newest dataset that no comparison used, or None."""
    used = Comparison.objects.filter(project=project).values("dataset_revision__dataset")
    datasets = Dataset.objects.filter(project=project, is_implicit=False)
    return datasets.exclude(pk__in=used).order_by("-created_at", "-id").first()
