"""Sessions and agents: what many runs come to together. Pure, but for reading the rows.

Figures are of the newest `CAP` runs of a range, as those of the traces list; a page says so where there are more. Unknown is None, and
every average has its count.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from accounts.models import Project
from traces.histogram import sparkline, utc
from traces.list_queries import CAP
from traces.models import Source, Status, Trace, TraceTerm

DAY_NS = 86_400 * 1_000_000_000
NOT_NAMED = ""


class RunRow(NamedTuple):
    """What a roll-up needs of a run; the field names are those of `Trace`."""

    pk: int
    sort_ns: int
    status: str
    error_count: int
    duration_ms: float | None
    total_tokens: int | None
    cost_usd: float | None
    model_names: list[str]
    agent_name: str
    agent_id: str
    session_id: str
    user_id: str
    version: str
    release: str
    environment: str
    start_ns: int | None
    end_ns: int | None

    @property
    def agent(self) -> str:
        return self.agent_name or self.agent_id


@dataclass
class Rollup:
    """Some runs together. Each average has its count beside it: `timed`, `counted`, `costed`."""

    name: str
    runs: int = 0
    errors: int = 0
    suspected: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    timed: int = 0
    tokens: int | None = None
    counted: int = 0
    cost_usd: float | None = None
    costed: int = 0
    first_ns: int = 0
    last_ns: int = 0
    models: list[tuple[str, int]] = field(default_factory=list)
    versions: list[tuple[str, int]] = field(default_factory=list)
    agents: list[tuple[str, int]] = field(default_factory=list)
    users: list[tuple[str, int]] = field(default_factory=list)
    cost_line: str = ""
    first_pk: int = 0
    title: str = ""

    @property
    def error_share(self) -> float | None:
        return self.errors / self.runs if self.runs else None

    @property
    def cost_each_usd(self) -> float | None:
        return self.cost_usd / self.costed if self.costed and self.cost_usd is not None else None


@dataclass(frozen=True)
class Rollups:
    """Roll-ups in order, the number of runs that they are of, and whether there were more."""

    rows: list[Rollup]
    runs: int
    is_partial: bool


def read_rows(
    project: Project, *, since_ns: int | None = None, with_evals: bool = False, **where: Any
) -> tuple[list[RunRow], bool]:
    """Return the newest runs of a project, at most CAP, and whether there were more. Evaluations only where asked for."""
    traces = Trace.objects.filter(project=project, **where)
    if not with_evals:
        traces = traces.exclude(source=Source.EVAL)
    if since_ns is not None:
        traces = traces.filter(sort_ns__gte=since_ns)
    rows = list(map(RunRow._make, traces.order_by("-sort_ns", "-pk").values_list(*RunRow._fields)[: CAP + 1]))
    return rows[:CAP], len(rows) > CAP


def suspected_of(rows: Iterable[RunRow], project: Project) -> set[int]:
    """Return the keys of runs that signals suspect, among some rows."""
    pks = [row.pk for row in rows]
    if not pks:
        return set()
    terms = TraceTerm.objects.filter(project=project, key="signal", trace__gte=min(pks), trace__lte=max(pks))
    return set(terms.values_list("trace_id", flat=True)) & set(pks)


def roll_up(rows: Iterable[RunRow], name_of: Callable[[RunRow], str], suspected: set[int]) -> list[Rollup]:
    """Group runs by a name, in the order of the newest run of each. Rows come newest first."""
    groups: dict[str, list[RunRow]] = defaultdict(list)
    for row in rows:
        groups[name_of(row)].append(row)
    return [summarise(name, group, suspected) for name, group in groups.items()]


def summarise(name: str, rows: list[RunRow], suspected: set[int]) -> Rollup:
    """Return what some runs, newest first, come to."""
    durations = sorted(row.duration_ms for row in rows if row.duration_ms is not None)
    tokens = [row.total_tokens for row in rows if row.total_tokens is not None]
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    low, high = rows[-1].sort_ns, rows[0].sort_ns
    cost = RunRow._fields.index("cost_usd")
    return Rollup(
        name,
        runs=len(rows),
        errors=sum(row.status == Status.ERROR for row in rows),
        suspected=sum(row.pk in suspected for row in rows),
        p50_ms=quantile(durations, 0.5),
        p95_ms=quantile(durations, 0.95),
        timed=len(durations),
        tokens=sum(tokens) if tokens else None,
        counted=len(tokens),
        cost_usd=math.fsum(costs) if costs else None,
        costed=len(costs),
        first_ns=low,
        last_ns=high,
        models=most_common(model for row in rows for model in row.model_names),
        versions=most_common(row.version or row.release for row in rows),
        agents=most_common(row.agent for row in rows),
        users=most_common(row.user_id for row in rows),
        cost_line=sparkline(
            [tuple(row) for row in rows],
            low,
            high,
            RunRow._fields.index("sort_ns"),
            lambda part: math.fsum(row[cost] for row in part if row[cost] is not None),
        )
        if costs and high > low
        else "",
        first_pk=rows[-1].pk,
    )


def most_common(values: Iterable[str], *, most: int = 20) -> list[tuple[str, int]]:
    return [(value, count) for value, count in Counter(value for value in values if value).most_common(most)]


def quantile(ordered: list[float], share: float) -> float | None:
    """Return the nearest-rank quantile of an ordered list, or None of an empty one."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def agents(project: Project, *, since_ns: int | None = None, with_evals: bool = False) -> Rollups:
    """Return the agents of a project, the one that ran last first; runs without an agent come last."""
    rows, is_partial = read_rows(project, since_ns=since_ns, with_evals=with_evals)
    found = roll_up(rows, lambda row: row.agent, suspected_of(rows, project))
    found.sort(key=lambda one: one.name == NOT_NAMED)
    return Rollups(found, len(rows), is_partial)


def sessions(project: Project, *, since_ns: int | None = None, with_evals: bool = False, most: int = 200) -> Rollups:
    """Return the sessions of the newest runs, the one with the newest run first, each with what was asked first."""
    rows, is_partial = read_rows(project, since_ns=since_ns, with_evals=with_evals, session_id__gt="")
    found = roll_up(rows, lambda row: row.session_id, suspected_of(rows, project))
    shown = found[:most]
    asked = dict(Trace.objects.filter(pk__in=[one.first_pk for one in shown]).values_list("pk", "input_preview"))
    for one in shown:
        one.title = " ".join(asked.get(one.first_pk, "").split())
    return Rollups(shown, sum(one.runs for one in shown), is_partial or len(found) > most)


@dataclass(frozen=True)
class AgentPage:
    """One agent: all its runs together, and the same by day, model and version."""

    total: Rollup
    days: list[Rollup]
    models: list[Rollup]
    versions: list[Rollup]
    environments: list[tuple[str, int]]
    is_partial: bool
    most_cost: float
    most_runs: int


def agent_page(
    project: Project, name: str, *, since_ns: int | None = None, with_evals: bool = False
) -> AgentPage | None:
    """Return one agent's figures, or None where it has no run in the range."""
    rows, is_partial = read_rows(project, since_ns=since_ns, with_evals=with_evals, agent_name=name)
    unnamed, is_more = read_rows(project, since_ns=since_ns, with_evals=with_evals, agent_name="", agent_id=name)
    if unnamed:  # as the list of agents counts them
        both = sorted([*rows, *unnamed], key=lambda row: (-row.sort_ns, -row.pk))
        rows, is_partial = both[:CAP], is_partial or is_more or len(both) > CAP
    if not rows:
        return None
    suspected = suspected_of(rows, project)
    days = roll_up(rows, lambda row: str(row.sort_ns // DAY_NS), suspected)
    for day in days:
        moment = utc(int(day.name) * DAY_NS)
        day.title = f"{moment.day} {moment:%b %Y}" if moment is not None else day.name
    return AgentPage(
        total=summarise(name, rows, suspected),
        days=days,
        models=by_model(rows, suspected),
        versions=roll_up(
            [row for row in rows if row.version or row.release], lambda row: row.version or row.release, suspected
        ),
        environments=most_common(row.environment for row in rows),
        is_partial=is_partial,
        most_cost=max((day.cost_usd or 0.0 for day in days), default=0.0),
        most_runs=max((day.runs for day in days), default=0),
    )


def by_model(rows: list[RunRow], suspected: set[int]) -> list[Rollup]:
    """Return the runs by model; a run of several models counts under each."""
    groups: dict[str, list[RunRow]] = defaultdict(list)
    for row in rows:
        for model in dict.fromkeys(map(str, row.model_names)):
            groups[model].append(row)
    found = [summarise(name, group, suspected) for name, group in groups.items()]
    return sorted(found, key=lambda one: -one.runs)
