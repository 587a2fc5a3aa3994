"""Template tags for every page: icons, times, numbers with their units, score tiles. They know no model."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django import forms, template
from django.forms.boundfield import BoundField
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()
MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"


@register.simple_tag
@lru_cache(maxsize=256)  # a list draws the same few a hundred times
def icon(name: str, small: bool = False) -> SafeString:
    """Draw an icon of the sprite: `{% icon "ok" %}`. Decorative: put a word beside it."""
    return format_html('<svg class="i{}" aria-hidden="true"><use href="#i-{}"/></svg>', " i--s" if small else "", name)


def time_element(moment: datetime, style: str) -> SafeString:
    moment = moment.astimezone(UTC)
    utc = f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
    shown = {"time": f"{moment:%H:%M}", "date": f"{moment.day} {moment:%b}"}.get(
        style, f"{moment.day} {moment:%b}, {moment:%H:%M}"
    )
    return format_html(
        '<time datetime="{}" data-local="{}" title="{}">{}</time>', moment.isoformat(), style, utc, shown
    )


@register.simple_tag
def when(moment: datetime | None, style: str = "datetime") -> SafeString | str:
    """Show a datetime in the viewer's zone (JavaScript), UTC on hover. style: datetime, date, time, seconds or ago."""
    return time_element(moment, style) if moment else NONE


@register.simple_tag
def when_ns(ns: int | None, style: str = "datetime") -> SafeString | str:
    """As `when`, for nanoseconds since 1970. A time beyond the calendar is shown as its number."""
    if ns is None:
        return NONE
    try:
        return time_element(datetime.fromtimestamp(ns / 1e9, tz=UTC), style)
    except (OverflowError, ValueError, OSError):
        return str(ns)


@register.filter
def duration(ms: float | None) -> str:
    """Show milliseconds as people read them: 0.41 s, 14.82 s, 3 min 20 s. Unknown is a dash."""
    if ms is None:
        return NONE
    if ms < 0.5:
        return "0 ms" if ms == 0 else f"{ms:.2f} ms"
    if ms < 10:
        return f"{ms:.1f} ms"
    seconds = ms / 1000
    if seconds < 100:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


@register.filter
def compact(number: float | None) -> str:
    """Shorten a count: 940, 18.4k, 2.1M. Unknown is a dash."""
    if number is None:
        return NONE
    for size, unit in ((1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k")):
        if abs(number) >= size:
            divisor = 1000 if unit == "k" else size
            return f"{number / divisor:.1f}{unit}"
    return thousands(number)


@register.filter
def thousands(number: float | None) -> str:
    """Group a whole number: 18,402. Unknown is a dash."""
    return NONE if number is None else f"{number:,.0f}".replace("-", MINUS)


@register.filter
def money(usd: float | None, places: int = 4) -> str:
    """Show US dollars, four decimals per run and two in totals. Unknown is a dash, never 0."""
    if usd is None:
        return NONE
    if 0 < usd < 0.5 * 10**-places:
        return f"<${10**-places:.{places}f}"
    return f"${usd:,.{places}f}" if usd >= 0 else f"{MINUS}${-usd:,.{places}f}"


@register.filter
def decimals(value: float | None, places: int = 2) -> str:
    """Show a figure with a true minus sign. Unknown is a dash."""
    return NONE if value is None else f"{value:.{places}f}".replace("-", MINUS)


@register.filter
def signed(value: float | None, places: int = 2) -> str:
    """Show a difference with its sign: +0.42, −0.22."""
    return NONE if value is None else f"{value:+.{places}f}".replace("-", MINUS)


@register.filter
def percent(share: float | None) -> str:
    """Show a share of 1 as whole percent."""
    return NONE if share is None else f"{share * 100:.0f}%"


@register.filter
def step(value: float | None, scale: Any = None) -> int:
    """Map a score to the five steps of the ramp; `scale` is (min, max), by default 0 to 1. Unknown is 0."""
    if value is None:
        return 0
    low, high = scale or (0.0, 1.0)
    if high <= low:
        return 3
    return max(1, min(5, int(1.5 + 4 * (value - low) / (high - low))))


@register.simple_tag
def widget(field: BoundField) -> SafeString:
    """Draw a form field's control with the class of its kind: `{% widget form.name %}`."""
    control = field.field.widget
    if isinstance(control, forms.CheckboxInput):
        look = "check"
    elif isinstance(control, forms.Textarea):
        look = "textarea"
    elif isinstance(control, forms.RadioSelect | forms.CheckboxSelectMultiple):
        look = ""
    else:
        look = "select" if isinstance(control, forms.Select) else "input"
    given = control.attrs.get("class", "")
    return field.as_widget(attrs={"class": f"{look} {given}".strip()} if look else None)


@register.inclusion_tag("components/score.html")
def score(
    value: float | None, low: float = 0.0, high: float = 1.0, *, state: str = "ok", label: str = "", title: str = ""
) -> dict:
    """Draw a score tile: the number on its step of the ramp; dashed without one, hatched while it is waited for."""
    return {"value": value, "step": step(value, (low, high)), "state": state, "label": label, "title": title}
