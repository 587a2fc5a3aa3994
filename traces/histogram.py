"""The bars above the traces list: buckets of time, their geometry, and a sentence that says the same. Pure."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NS = 1_000_000_000
MINUTE, HOUR, DAY = 60, 3600, 86_400
STEPS = (
    1, 5, 15, MINUTE, 2 * MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, DAY, 2 * DAY,
    7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 364 * DAY, 3640 * DAY,
)  # fmt: skip
MOST_BARS = 98
WIDTH, HEIGHT = 840, 50
POINTS = 14  # of a spark line
NAMES = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second"))


@dataclass(frozen=True)
class Bar:
    """One bucket: where it starts (ns), how many runs and errors, and its rectangle in a box of WIDTH × HEIGHT."""

    start_ns: int
    runs: int
    errors: int
    x: float
    width: float
    y: float
    height: float
    error_y: float
    error_height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """Bars over a stretch of time; `ticks` are (left in %, ns) for the axis."""

    bars: list[Bar]
    low_ms: int
    high_ms: int
    step_ms: int
    step_name: str
    tick_style: str
    ticks: list[tuple[float, int]]
    summary: str


def bucket_step(low: int, high: int) -> int:
    """Return the length of a bucket in ns, so that no more than MOST_BARS cover the stretch."""
    for step in STEPS:
        if high // (step * NS) - low // (step * NS) < MOST_BARS:
            return step * NS
    return (high - low) // MOST_BARS + 1


def step_name(step: int) -> str:
    """Say a bucket's length: hour, 2 hours, 15 minutes."""
    seconds = step // NS
    size, name = next(((size, name) for size, name in NAMES if seconds >= size), (1, "second"))
    count = round(seconds / size)
    return name if count == 1 else f"{count:,} {name}s"


def utc(ns: int) -> datetime | None:
    """Return the UTC time of ns since 1970, or None beyond the calendar."""
    try:
        return datetime.fromtimestamp(ns / NS, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None


def utc_text(ns: int) -> str:
    """Write a time in UTC for a sentence: 17 Jun, 02:14; the year only where it is not this one."""
    moment = utc(ns)
    return f"{moment.day} {moment:%b %Y, %H:%M}" if moment else str(ns)


def draw_histogram(low: int, high: int, step: int, runs: Counter[int], errors: Counter[int]) -> Histogram:
    """Lay out the bars of buckets counted from `low`, a multiple of `step`. Counts outside the stretch are left out."""
    count = max(1, (high - low) // step + 1)
    most = max(1, *(runs[place] for place in range(count)))
    slot = WIDTH / count
    gap = min(2.0, slot * 0.2)
    bars = []
    for place in range(count):
        number, failed = runs[place], errors[place]
        tall = max(1.0, number / most * (HEIGHT - 2)) if number else 0.0
        red = min(tall, max(1.0, failed / most * (HEIGHT - 2))) if failed else 0.0
        words = f"{utc_text(low + place * step)} UTC: {number:,} run{'' if number == 1 else 's'}"
        bars.append(
            Bar(
                start_ns=low + place * step,
                runs=number,
                errors=failed,
                x=round(place * slot + gap / 2, 2),
                width=round(max(0.5, slot - gap), 2),
                y=round(HEIGHT - tall, 2),
                height=round(tall, 2),
                error_y=round(HEIGHT - red, 2),
                error_height=round(red, 2),
                title=words + (f", {failed:,} with errors" if failed else ""),
            )
        )
    return Histogram(
        bars=bars,
        low_ms=low // 1_000_000,
        high_ms=(low + count * step) // 1_000_000,
        step_ms=step // 1_000_000,
        step_name=step_name(step),
        tick_style="time" if count * step <= 2 * DAY * NS else "date",
        ticks=axis_ticks(low, count, step),
        summary=summarise(bars, step),
    )


def axis_ticks(low: int, count: int, step: int, *, most: int = 7) -> list[tuple[float, int]]:
    """Place up to `most` labels at starts of buckets, at whole days where a day is a number of buckets."""
    per_day = DAY * NS // step if step <= DAY * NS else 0
    every = max(1, -(-count // most))
    first = 0
    if per_day and count > 2 * per_day:
        every = max(per_day, -(-every // per_day) * per_day)
        first = -(low // step) % per_day
    return [(round(place / count * 100, 2), low + place * step) for place in range(first, count, every)]


def summarise(bars: list[Bar], step: int) -> str:
    """Say in a sentence what the bars show, for those who do not see them."""
    total = sum(bar.runs for bar in bars)
    failed = sum(bar.errors for bar in bars)
    text = f"Runs per {step_name(step)}: {total:,} in all, {failed:,} with errors."
    peak = max(bars, key=lambda bar: bar.runs)
    if peak.runs:
        text += f" Most runs: {peak.runs:,} from {utc_text(peak.start_ns)} UTC."
    worst = max(bars, key=lambda bar: bar.errors)
    if worst.errors:
        text += f" Most errors: {worst.errors:,} from {utc_text(worst.start_ns)} UTC."
    return text


def sparkline(
    rows: list[tuple[Any, ...]],
    low: int,
    high: int,
    time: int,
    measure: Callable[[list[tuple[Any, ...]]], float | None],
) -> str:
    """Draw a measure over time as an SVG path in a box of 100 × 22; empty where fewer than two stretches have a value.

    `time` is the place of the ns in a row; `measure` gets the rows of one stretch (never none) and may answer None.
    """
    parts: list[list[tuple[Any, ...]]] = [[] for _ in range(POINTS)]
    span = max(1, high - low + 1)
    for row in rows:
        parts[min(POINTS - 1, (row[time] - low) * POINTS // span)].append(row)
    values = [measure(part) if part else None for part in parts]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    floor, top = min(known), max(known)
    height = (top - floor) or 1.0
    points = []
    for place, value in enumerate(values):
        if value is not None:
            points.append(f"{place * 100 / (POINTS - 1):.1f} {20 - (value - floor) / height * 18:.1f}")
    return "M" + " L".join(points)
