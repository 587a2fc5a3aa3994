"""Grading many recorded runs: choose by what, see how many, start; then how far it is."""

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Avg
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts.access import ProjectRequest, current_user, project_page
from accounts.models import Project, Role
from evals import tasks
from evals.graders import IMPORTED, BadConfig
from evals.models import GraderVersion, Grading, RunStatus
from evals.queries.launch import default_judge
from evals.services.graders import GraderSpec, ensure_grader_version, ready_grader
from evals.services.gradings import BadGrading, cancel_grading, count_matching, start_grading
from providers.models import Call
from providers.registry import is_scripted, model_choices
from rubrics.queries import published_versions
from traces.models import MAX_ID

MOST_CHOSEN = 200  # by their ids; more are found by a query
RUBRIC, GRADER = "rubric", "grader"


class GradingForm(forms.Form):
    """By what to grade: a published rubric with the model that judges, or a grader that was used before."""

    by = forms.ChoiceField(label="Grade by", choices=[])
    judge = forms.CharField(
        max_length=200,
        required=False,
        label="Judge",
        help_text="The model that reads each run; for rubrics only. A grader that was used before keeps its own.",
        widget=forms.TextInput(attrs={"list": "models", "autocomplete": "off"}),
    )

    def __init__(self, project: Project, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.project = project
        rubrics = published_versions(project)
        self.rubrics = {f"{RUBRIC}-{version.pk}": version for version in rubrics}
        used = GraderVersion.objects.filter(grader__project=project).exclude(grader__kind=IMPORTED)
        newest = {version.grader_id: version for version in used.select_related("grader").order_by("number")}
        self.graders = {
            f"{GRADER}-{version.pk}": version for version in sorted(newest.values(), key=lambda one: one.grader.name)
        }
        groups = [
            ("Rubrics", [(key, f"{one.rubric.name} v{one.number}") for key, one in self.rubrics.items()]),
            ("Graders used before", [(key, grader_words(one)) for key, one in self.graders.items()]),
        ]
        self.fields["by"].choices = [group for group in groups if group[1]]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        data["judge"] = (data.get("judge") or "").replace("\0", "").strip()
        if data.get("by", "") in self.rubrics and not data["judge"]:
            self.add_error("judge", "Name the model that judges.")
        return data

    def version(self) -> GraderVersion:
        """Return the frozen version that was chosen. Raises BadConfig."""
        chosen = self.cleaned_data["by"]
        if chosen in self.graders:
            return self.graders[chosen]
        rubric = self.rubrics[chosen]
        spec = GraderSpec(rubric.rubric.name, RUBRIC, {"judge": self.cleaned_data["judge"]}, rubric)
        return ensure_grader_version(self.project, spec)


def grader_words(version: GraderVersion) -> str:
    """Name a grader that was used before, with the model that it asks."""
    models = models_of(version)
    return f"{version}, judged by {models[0]}" if models else f"{version}, without a model"


def models_of(version: GraderVersion) -> tuple[str, ...]:
    """Return the models that a grader asks, none where it cannot be set up any more."""
    try:
        return tuple(ready_grader(version).models)
    except (BadConfig, LookupError, ValueError):
        return ()


@require_POST
@project_page(Role.ENGINEER)
def grade_traces(request: ProjectRequest) -> HttpResponse:
    """Ask by what the chosen runs (`trace`, or `all` with `q`) are to be graded, say how many they are, and start with `by`."""
    query, problem, count = chosen_query(request), "", 0
    try:
        count = count_matching(request.project, query)
    except BadGrading as error:
        problem = str(error)
    choices = model_choices(request.project)
    asked = "by" in request.POST
    form = GradingForm(request.project, request.POST if asked else None, initial={"judge": default_judge(choices)})
    if asked and not problem and form.is_valid():
        try:
            version = form.version()
            found = start_grading(request.project, query=query, version=version, user=current_user(request))
        except (BadGrading, BadConfig) as error:
            form.add_error(None, str(error))
        else:
            tasks.look.delay_on_commit()
            return redirect("evals:grading", request.project.slug, found.pk)
    context = {
        "form": form,
        "query": query,
        "count": count,
        "problem": problem,
        "choices": choices,
        "has_choice": bool(form.rubrics or form.graders),
        "costs": judge_costs(request.project, count),
        "recent": Grading.objects.filter(project=request.project)
        .select_related("grader_version__grader")
        .order_by("-pk")[:5],
    }
    return render(request, "evals/grading_new.html", context, status=422 if asked or problem else 200)


def chosen_query(request: ProjectRequest) -> str:
    """Return the query of the runs that a form names: by `q` all that match, or by their ids."""
    if request.POST.get("all") or "trace" not in request.POST:
        return request.POST.get("q", "").replace("\0", "")
    ids = [one for one in request.POST.getlist("trace") if one and len(one) <= MAX_ID and "\0" not in one]
    quoted = (one if one.isalnum() else '"' + one.replace('"', "") + '"' for one in ids[:MOST_CHOSEN])
    return "id:" + ",".join(quoted)


def judge_costs(project: Project, count: int) -> list[tuple[str, float]]:
    """Return what so many calls of each judge would cost at the mean of its calls so far, dearest first; without a known cost, none."""
    calls = Call.objects.filter(project=project, purpose="judge").exclude(cost_usd=None)
    means = calls.order_by().values("model").annotate(mean=Avg("cost_usd")).values_list("model", "mean")
    return sorted(((model, mean * count) for model, mean in means), key=lambda one: -one[1])[:5]


@require_GET
@project_page()
def grading(request: ProjectRequest, pk: int) -> HttpResponse:
    """Show how far a grading is; a fragment of it asks again while it goes on."""
    rows = Grading.objects.select_related("grader_version__grader", "user")
    found = get_object_or_404(rows, pk=pk, project=request.project)
    models = models_of(found.grader_version)
    context = {
        "grading": found,
        "is_active": found.status in RunStatus.active(),
        "percent": min(100, round(100 * found.looked_at / max(1, found.asked))),
        "models": models,
        "is_scripted": any(is_scripted(model) for model in models),
        "may_change": request.role.allows(Role.ENGINEER),
    }
    return render(request, "evals/_grading.html" if request.wants_partial else "evals/grading.html", context)


@require_POST
@project_page(Role.ENGINEER)
def cancel(request: ProjectRequest, pk: int) -> HttpResponse:
    """Stop a grading."""
    found = get_object_or_404(Grading, pk=pk, project=request.project)
    if cancel_grading(found):
        messages.success(request, "Stopped. The scores that were given are kept.")
    return redirect("evals:grading", request.project.slug, found.pk)
