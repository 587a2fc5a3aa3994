"""What stands in a trace's head beside its own figures: suspicions, and what people say of it."""

from typing import Any

from django import template
from django.template import Context

from accounts.access import current_user
from accounts.models import Role
from pages.templatetags.pages import duration
from traces import columns, people
from traces.models import Signal, SignalCheck, Trace
from traces.pointers import as_text
from traces.signals import DETECTORS

register = template.Library()


@register.inclusion_tag("traces/_trace_signals.html", takes_context=True)
def trace_signals(context: Context, trace: Trace) -> dict[str, Any]:
    """Show the suspicions of a trace with their places, and what it cannot show: two queries."""
    check = SignalCheck.objects.filter(pk=trace.pk).first()
    found = list(Signal.objects.filter(trace=trace).order_by("pk")[:200])
    return {
        "project": context["project"],
        "trace": trace,
        "signals": [(DETECTORS[one.detector], one) for one in found if one.detector in DETECTORS],
        "blind": [(DETECTORS[name].label, reason) for name, reason in check.blind.items() if name in DETECTORS]
        if check
        else [],
        "is_waiting": check is None or (check.is_pending and not check.version),
    }


@register.inclusion_tag("traces/_trace_people.html", takes_context=True)
def trace_people(context: Context, trace: Trace) -> dict[str, Any]:
    """Show the notes and tags that people gave a trace, with the form for more: two queries."""
    request = context["request"]
    return {
        "request": request,
        "project": context["project"],
        "trace": trace,
        "chosen": context.get("chosen") or "",
        "may_write": request.role.allows(Role.REVIEWER),
        "is_admin": request.role.allows(Role.ADMIN),
        "user": current_user(request),
        "csrf_token": context.get("csrf_token"),
        **people.said_of(trace),
    }


@register.inclusion_tag("traces/_saved_views.html", takes_context=True)
def saved_views(
    context: Context, query_text: str, time_range: str, sort: str, shown: tuple[str, ...]
) -> dict[str, Any]:
    """Show the views of the list that the person sees, and the field that keeps the shown one under a name: one query."""
    request = context["request"]
    found = list(people.views_of(request.project, current_user(request))[:100])
    chosen = request.GET.get("view", "")
    return {
        "request": request,
        "project": context["project"],
        "views": [
            (one, people.view_url(request.project, one), str(one.pk) == chosen and one.query == query_text)
            for one in found
        ],
        "query_text": query_text,
        "range_name": time_range,
        "sort": sort,
        "columns": columns.asked_for(shown),
        "may_share": request.role.allows(Role.REVIEWER),
        "is_admin": request.role.allows(Role.ADMIN),
        "user": current_user(request),
    }


@register.filter
def signal_label(name: str) -> str:
    """Return what a detector's suspicion is called."""
    return DETECTORS[name].label if name in DETECTORS else name


@register.filter
def signed_duration(ms: float) -> str:
    """Show a difference of time with its sign."""
    return ("+" if ms > 0 else "\N{MINUS SIGN}" if ms < 0 else "") + duration(abs(ms))


@register.filter
def signed_count(number: float) -> str:
    """Show a difference of whole numbers with its sign and thousands."""
    return f"{number:+,.0f}".replace("-", "\N{MINUS SIGN}")


@register.filter
def as_line(value: Any) -> str:
    """Return a value as text in one line."""
    return " ".join(as_text(value)[:2000].split())
