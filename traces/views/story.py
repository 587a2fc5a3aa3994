"""The story of a run, and how a project's runs are told and watched: the wording per tool, the budgets."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from accounts.access import ProjectRequest, current_user, project_page
from accounts.models import Role
from accounts.services import write_audit
from traces import queries
from traces.acts import Act, Run, read_run
from traces.list_queries import known_values
from traces.models import ReadingSettings, Signal, Trace
from traces.page_queries import LatestCall, latest_calls
from traces.pointers import parse_text
from traces.signals import DETECTORS
from traces.story import Story, tell_call, tell_story
from traces.views.trace import get_trace, head_context, scores_url

MAX_WORDING = 400  # characters of one sentence
MAX_TOOLS = 200
MAX_SAMPLES = 40  # tools shown with their latest call
BUDGET_LABELS = {
    "cost_usd": ("Cost, US dollars", "0.05"),
    "total_tokens": ("Tokens", "20000"),
    "duration_ms": ("Time, milliseconds", "60000"),
    "llm_call_count": ("Model calls", "20"),
    "tool_call_count": ("Tool calls", "20"),
}


def reading_of(project_pk: int) -> ReadingSettings:
    """Return a project's settings of reading; unsaved ones where it has none."""
    return ReadingSettings.objects.filter(pk=project_pk).first() or ReadingSettings(project_id=project_pk)


def story_of(trace: Trace) -> tuple[Story, Run]:
    """Return the story of a trace in its project's words, and the run that it tells."""
    run = read_run(queries.span_records(trace))
    customer = "The customer" if trace.session_id or trace.user_id else ""
    return tell_story(run, wording=reading_of(trace.project_id).wording, customer=customer), run


@require_GET
@project_page()
def trace_story(request: ProjectRequest, trace_id: str) -> HttpResponseBase:
    """Tell a trace in plain sentences; `?as=text` as text, for a ticket."""
    found = get_trace(request, trace_id)
    story, run = story_of(found)
    if request.GET.get("as") == "text":
        return HttpResponse(ticket(request, found, story), content_type="text/plain; charset=utf-8")
    doubts: dict[str, list[tuple[str, str]]] = {}
    for signal in Signal.objects.filter(trace=found).order_by("pk")[:200]:
        if signal.detector in DETECTORS:
            doubts.setdefault(signal.span_id, []).append((DETECTORS[signal.detector].label, signal.reason))
    context = {
        **head_context(request, found, "story"),
        "story": story,
        "lines": [(one, doubts.get(one.span_id, [])) for one in story.sentences],
        "ticket": ticket(request, found, story),
        "may_word": request.role.allows(Role.ENGINEER) and bool(run.calls),
        "scores_url": scores_url(request, found),
        "has_hidden_content": any(not record.content_recorded for record in run.records),
    }
    return render(request, "traces/trace_story.html", context)


def ticket(request: HttpRequest, trace: Trace, story: Story) -> str:
    """Return the story as text, with the address where the run can be seen."""
    address = request.build_absolute_uri(reverse("traces:trace", args=[trace.project.slug, trace.trace_id]))
    return f"{story.text}\n\nRun {trace.trace_id}: {address}\n"


# Wording and budgets ---------------------------------------------------------------------------------------------


class BudgetForm(forms.Form):
    """The most that a run may take; what passes it is suspected."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (label, sample) in BUDGET_LABELS.items():
            field = forms.FloatField if name == "cost_usd" else forms.IntegerField
            widget = forms.NumberInput(attrs={"placeholder": sample, "step": "any" if name == "cost_usd" else "1"})
            self.fields[name] = field(label=label, required=False, min_value=0, max_value=10**12, widget=widget)


@require_http_methods(["GET", "POST"])
@project_page()
def reading(request: ProjectRequest) -> HttpResponse:
    """Show and change how runs are told (a sentence per tool) and the budgets of a run. Engineers change it."""
    settings = reading_of(request.project.pk)
    may_change = request.role.allows(Role.ENGINEER)
    budget_form = BudgetForm(initial=settings.budgets)
    errors: dict[str, str] = {}
    if request.method == "POST":
        if not may_change:
            raise PermissionDenied(f"This needs the role engineer; yours is {request.role.label.lower()}.")
        budget_form = BudgetForm(request.POST)
        wording, errors = read_wording(request)
        if budget_form.is_valid() and not errors:
            given = {name: value for name, value in budget_form.cleaned_data.items() if value is not None}
            settings.wording, settings.budgets = wording, given
            settings.save()
            write_audit("reading.change", request.project.slug, project=request.project, user=current_user(request),
                         tools=sorted(wording), budgets=given)  # fmt: skip
            messages.success(
                request,
                "The wording and the budgets are saved. Runs that come in from now on are held against the budgets.",
            )
            return redirect("traces:reading", request.project.slug)
        settings.wording = {**settings.wording, **wording}
    tools = list(dict.fromkeys([*settings.wording, *known_values(request.project, "tool", limit=MAX_TOOLS)]))[
        :MAX_TOOLS
    ]
    calls = latest_calls(request.project, tools[:MAX_SAMPLES])
    context = {
        "rows": [
            tool_row(tool, settings.wording.get(tool, ""), errors.get(tool, ""), calls.get(tool)) for tool in tools
        ],
        "budget_form": budget_form,
        "may_change": may_change,
    }
    return render(request, "traces/reading.html", context, status=422 if request.method == "POST" else 200)


def read_wording(request: ProjectRequest) -> tuple[dict[str, str], dict[str, str]]:
    """Return the sentences that a form holds, by tool, and what is wrong with some."""
    wording: dict[str, str] = {}
    errors: dict[str, str] = {}
    for tool, text in zip(request.POST.getlist("tool"), request.POST.getlist("sentence"), strict=False):
        sentence = " ".join(text.replace("\0", "").split())
        name = tool.replace("\0", "")[:200]
        if not sentence or not name:
            continue
        wording[name] = sentence[:MAX_WORDING]
        if len(sentence) > MAX_WORDING:
            errors[name] = f"The sentence has {len(sentence)} characters; {MAX_WORDING} is the most."
        elif sentence.count("{") != sentence.count("}"):
            errors[name] = "A { or } is missing its partner."
    return wording, errors


def tool_row(tool: str, sentence: str, error: str, call: LatestCall | None) -> dict[str, Any]:
    """Return a tool with its sentence, the names that it may use, and how its latest call is told."""
    act = None if call is None else act_of(tool, call)
    places = [f"{{{key}}}" for key in act.arguments][:8] if act is not None and isinstance(act.arguments, dict) else []
    sample = ""
    if act is not None:
        sample = tell_call(act, {tool: sentence} if sentence else {}, at_ms=None, who="", times=1).text
    return {"tool": tool, "sentence": sentence, "error": error, "places": places, "sample": sample}


def act_of(tool: str, call: LatestCall) -> Act:
    """Return a call as the story tells it."""
    act = Act(
        "call",
        call.span_id,
        name=tool,
        arguments=parse_text(call.tool.get("arguments")),
        result=call.tool.get("result"),
    )
    act.has_result, act.has_span, act.is_error, act.error = act.result is not None, True, call.is_error, call.error
    return act
