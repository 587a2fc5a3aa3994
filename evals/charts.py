"""The plots of a comparison as plain data for plotly, each with the table of the same numbers. Pure.

Colours are token names of the stylesheet (`token:--s1`); static/js/charts.js puts in what they are in the reader's theme.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
MARKS = {"A": "square", "B": "circle", "C": "diamond", "D": "triangle-up", "E": "pentagon", "F": "star"}


@dataclass(frozen=True)
class Series:
    """One candidate's figures on one grader. `scores` are of single samples; cost and latency are per sample (US dollars, ms)."""

    letter: str
    label: str
    scores: Sequence[float] = ()
    mean: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    pass_hat_k: Sequence[float | None] = ()


@dataclass(frozen=True)
class Chart:
    """`figure` is plotly's {data, layout}; `columns` and `rows` are the same numbers as text; `summary` says them in a sentence."""

    id: str
    title: str
    subtitle: str
    summary: str
    figure: dict[str, Any]
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)

    @property
    def script_id(self) -> str:
        """The id of the element that carries the figure."""
        return f"chart-{self.id}"


def token(name: str) -> str:
    return f"token:--{name}"


def candidate_colour(letter: str) -> str:
    """Return the colour token of a candidate's mark; letters after F have the neutral one."""
    return token(f"cand-{letter.lower()}") if letter in MARKS else token("ink-2")


def ramp_step(value: float, scale: tuple[float, float]) -> int:
    """Map a score to the five steps of the ramp (design system, section 3)."""
    low, high = scale
    return 3 if high <= low else max(1, min(5, math.floor(1.5 + 4 * (value - low) / (high - low))))


def step_names(scale: tuple[float, float]) -> list[str]:
    """Name the five steps: the values themselves on a 1 to 5 scale, else the range of scores that each takes."""
    low, high = scale
    if (low, high) == (1.0, 5.0):
        return ["1", "2", "3", "4", "5"]
    edges = [low + (high - low) * (step + 0.5) / 4 for step in range(4)]
    bounds = [low, *edges, high]
    return [f"{number(left)} to {number(right)}" for left, right in pairwise(bounds)]


def number(value: float | None, places: int = 2) -> str:
    return NONE if value is None else f"{value:.{places}f}".replace("-", MINUS)


def money(value: float | None) -> str:
    return NONE if value is None else f"${value:.4f}"


def share(value: float | None) -> str:
    return NONE if value is None else f"{value * 100:.0f}%"


MARKED_TRIALS = 20  # more trials are a line without marks, which would hide each other


def base_layout(**extra: Any) -> dict[str, Any]:
    """Return the layout that every plot shares: no title, no background, small margins, ours for fonts and lines."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": token("sans"), "size": 11, "color": token("ink-3")},
        "margin": {"l": 44, "r": 16, "t": 8, "b": 36},
        "height": 216,
        "showlegend": False,
        "hoverlabel": {
            "bgcolor": token("raised"),
            "bordercolor": token("line-strong"),
            "font": {"color": token("ink")},
        },
        **extra,
    }


def axis(**extra: Any) -> dict[str, Any]:
    return {
        "gridcolor": token("line"),
        "linecolor": token("line-strong"),
        "zeroline": False,
        "fixedrange": True,
        **extra,
    }


def distribution_chart(series: Sequence[Series], *, grader: str, scale: tuple[float, float]) -> Chart | None:
    """Draw the share of outputs on each step of the ramp, one bar a candidate. None where nothing has a score."""
    scored = [one for one in series if one.scores]
    if not scored:
        return None
    names = step_names(scale)
    shares: dict[str, list[float]] = {}
    for one in scored:
        steps = [ramp_step(score, scale) for score in one.scores]
        shares[one.letter] = [steps.count(step) / len(steps) for step in range(1, 6)]
    letters = [one.letter for one in scored]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": names[step - 1],
            "y": letters,
            "x": [shares[letter][step - 1] for letter in letters],
            "text": [share(shares[letter][step - 1]) if shares[letter][step - 1] >= 0.08 else "" for letter in letters],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
            "textfont": {"color": token(f"s{step}-ink"), "size": 11},
            "marker": {"color": token(f"s{step}"), "line": {"color": token("surface"), "width": 1.5}},
            "hovertemplate": f"%{{y}}: %{{x:.0%}} scored {names[step - 1]}<extra></extra>",
        }
        for step in range(1, 6)
    ]
    layout = base_layout(
        barmode="stack",
        bargap=0.36,
        height=max(150, 64 + 50 * len(letters)),
        margin={"l": 28, "r": 20, "t": 4, "b": 28},
        xaxis=axis(range=[0, 1.0001], tickformat=".0%", dtick=0.25, showgrid=False),
        yaxis=axis(autorange="reversed", showgrid=False, tickfont={"size": 13, "color": token("ink")}),
    )
    counts = {len(one.scores) for one in scored}
    counted = f"{counts.pop()} outputs each" if len(counts) == 1 else f"{min(counts)} to {max(counts)} outputs each"
    best = [
        f"{one.letter} has {share(shares[one.letter][4])} on the highest step and {share(shares[one.letter][0])} on the lowest"
        for one in scored
    ]
    return Chart(
        "distribution",
        "Score distribution",
        f"{grader}, {counted}",
        f"Share of outputs at each score. {'; '.join(best)}.",
        {"data": data, "layout": layout},
        ["Candidate", "Outputs", *names],
        [[one.letter, str(len(one.scores)), *(share(value) for value in shares[one.letter])] for one in scored],
    )


def against_chart(
    series: Sequence[Series], *, grader: str, axis_name: str, scale: tuple[float, float] | None = None
) -> Chart | None:
    """Draw mean score with its interval against cost or latency per sample. `axis_name` is cost or latency. None without points."""
    is_cost = axis_name == "cost"
    points = [(one, one.cost_usd if is_cost else one.latency_ms) for one in series if one.mean is not None]
    known = [(one, at) for one, at in points if at is not None]
    if not known:
        return None
    data = []
    for one, at in known:
        mean = one.mean or 0.0
        shown_at = at if is_cost else at / 1000
        data.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "name": one.letter,
                "x": [shown_at],
                "y": [mean],
                "text": [one.letter],
                "textposition": "middle right",
                "textfont": {"color": token("ink"), "size": 12},
                "marker": {
                    "color": candidate_colour(one.letter),
                    "symbol": MARKS.get(one.letter, "circle-open"),
                    "size": 12,
                },
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [max(0.0, (one.ci_high if one.ci_high is not None else mean) - mean)],
                    "arrayminus": [max(0.0, mean - (one.ci_low if one.ci_low is not None else mean))],
                    "color": candidate_colour(one.letter),
                    "thickness": 1.5,
                    "width": 4,
                },
                "hovertemplate": f"{one.letter}: {number(mean)} ({number(one.ci_low)} to {number(one.ci_high)})<br>"
                f"{money(at) if is_cost else number(at / 1000) + ' s'}<extra></extra>",
            }
        )
    known_means = [one.mean or 0.0 for one, _ in known]
    spread = [at if is_cost else at / 1000 for _, at in known]
    widest = max(spread) or (0.001 if is_cost else 1.0)
    layout = base_layout(
        xaxis=axis(
            title={"text": "US dollars per sample" if is_cost else "Median seconds per sample", "standoff": 6},
            exponentformat="none",
            tickprefix="$" if is_cost else "",
            ticksuffix="" if is_cost else " s",
            range=[-widest * 0.06, widest * 1.12],
            nticks=6,
        ),
        yaxis=axis(title={"text": html.escape(grader[:40])}, nticks=6, **value_range(known_means, scale)),
        margin={"l": 52, "r": 20, "t": 8, "b": 42},
    )
    told = [
        f"{one.letter} {number(one.mean)} at {money(at) if is_cost else number(at / 1000) + ' s'}" for one, at in known
    ]
    unknown = [one.letter for one, at in points if at is None]
    missing = f" Not known for {', '.join(unknown)}." if unknown else ""
    return Chart(
        f"against-{axis_name}",
        f"Score against {axis_name}",
        "Bars show the 95% CI." + missing,
        f"{grader} against {axis_name} per sample: {'; '.join(told)}.{missing}",
        {"data": data, "layout": layout},
        ["Candidate", grader, "95% CI", "Cost" if is_cost else "p50"],
        [
            [
                one.letter,
                number(one.mean),
                f"{number(one.ci_low)} to {number(one.ci_high)}",
                (money(at) if is_cost else NONE if at is None else f"{at / 1000:.2f} s"),
            ]
            for one, at in points
        ],
    )


def value_range(means: Sequence[float], scale: tuple[float, float] | None) -> dict[str, Any]:
    """Return the range of an axis of scores: the scale, with a little room, where all points are the same; else what fits them."""
    if scale is None or scale[1] <= scale[0] or max(means) - min(means) > 1e-9:
        return {}
    room = (scale[1] - scale[0]) * 0.06
    return {"range": [scale[0] - room, scale[1] + room]}


def reliability_chart(series: Sequence[Series], *, grader: str) -> Chart | None:
    """Draw pass^k, the chance that k trials in a row all pass, for k from 1. None with fewer than two trials."""
    drawn = [one for one in series if len(one.pass_hat_k) > 1 and any(value is not None for value in one.pass_hat_k)]
    if not drawn:
        return None
    trials = max(len(one.pass_hat_k) for one in drawn)
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers" if trials <= MARKED_TRIALS else "lines",
            "name": one.letter,
            "x": list(range(1, len(one.pass_hat_k) + 1)),
            "y": list(one.pass_hat_k),
            "line": {"color": candidate_colour(one.letter), "width": 2},
            "marker": {
                "color": candidate_colour(one.letter),
                "symbol": MARKS.get(one.letter, "circle-open"),
                "size": 9,
            },
            "hovertemplate": f"{one.letter}: %{{y:.0%}} pass %{{x}} times out of %{{x}}<extra></extra>",
        }
        for one in drawn
    ]
    layout = base_layout(
        xaxis=axis(
            title={"text": "Trials in a row, k", "standoff": 6},
            dtick=max(1, -(-trials // 10)),
            tick0=1 if trials <= 10 else 0,
            tickangle=0,
            range=[0.8, trials + 0.2],
        ),
        yaxis=axis(tickformat=".0%", range=[0, 1.05], dtick=0.25),
        margin={"l": 44, "r": 16, "t": 8, "b": 42},
    )
    told = [f"{one.letter} from {share(one.pass_hat_k[0])} to {share(one.pass_hat_k[-1])}" for one in drawn]
    return Chart(
        "reliability",
        "Reliability, pass^k",
        f"Chance that k trials of one item all pass {grader}",
        f"pass^k for k from 1 to {trials}: {'; '.join(told)}.",
        {"data": data, "layout": layout},
        ["Candidate", *(f"k = {k}" for k in range(1, trials + 1))],
        [
            [one.letter, *(share(value) for value in one.pass_hat_k), *[NONE] * (trials - len(one.pass_hat_k))]
            for one in drawn
        ],
    )
