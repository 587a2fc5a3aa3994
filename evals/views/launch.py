"""The page that starts a comparison: dataset, candidates, graders, trials; what it would cost; and the start."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from accounts.access import ProjectRequest, current_user, project_page
from accounts.models import Role
from evals import tasks
from evals.forms import CODE_EXAMPLE, CandidateForm, CandidateFormSet, ComparisonForm, GraderForm, GraderFormSet
from evals.graders import build_grader, grader_kind
from evals.graders.base import BadConfig, SampleInput, Surroundings
from evals.models import Comparison
from evals.queries import launch as queries
from evals.queries.dataset_pages import input_text, reference_text
from evals.queries.datasets import revision_items
from evals.queries.report import letter_of
from evals.services.comparisons import BadComparison, CandidateSpec, create_comparison
from evals.services.graders import GraderSpec
from providers.registry import is_scripted, model_choices
from rubrics.queries import published_versions

Row = dict[str, Any]
FIELD_OF = {
    "judge": "judge_model",
    "source": "source",
    "input": "input",
    "reference": "reference",
    "operation": "operation",
}


class Launch:
    """The forms of the page, bound or not, made from one request."""

    def __init__(self, request: ProjectRequest) -> None:
        self.request = request
        self.project = request.project
        self.choices = model_choices(request.project)
        self.versions = published_versions(request.project)
        self.form: ComparisonForm
        self.candidates: Any
        self.graders: Any

    @property
    def grader_options(self) -> dict[str, Any]:
        return {"prefix": "grader", "form_kwargs": {"versions": self.versions}}

    def start(self, *, initial: Row, candidates: list[Row], graders: list[Row]) -> "Launch":
        """Fill the forms in without checking them."""
        self.form = ComparisonForm(self.project, initial=initial)
        self.candidates = CandidateFormSet(initial=candidates, prefix="candidate")
        self.graders = GraderFormSet(initial=graders, **self.grader_options)
        return self

    def bind(self, data: QueryDict) -> "Launch":
        """Fill the forms in from what was sent, to be checked."""
        self.form = ComparisonForm(self.project, data)
        self.candidates = CandidateFormSet(data, prefix="candidate")
        self.graders = GraderFormSet(data, **self.grader_options)
        return self

    def is_valid(self) -> bool:
        valid = [self.form.is_valid(), self.candidates.is_valid(), self.graders.is_valid()]
        if all(valid) and not len(self.graders.forms):
            self.form.add_error(None, "Choose at least one grader; without one there is nothing to compare.")
        return all(valid) and not self.form.errors

    def context(self) -> dict[str, Any]:
        """Return what the template shows; the estimate is made from whatever is filled in."""
        candidates, graders = row_values(self.candidates), row_values(self.graders)
        for place, form in enumerate(self.candidates.forms):
            form.letter = letter_of(place)
            form.shown_kind = candidates[place].get("kind") or "model"
            form.is_scripted = is_scripted(str(candidates[place].get("model") or ""))
        for place, form in enumerate(self.graders.forms):
            form.shown_kind = graders[place].get("kind") or "rubric"
        return {
            "form": self.form,
            "candidates": self.candidates,
            "graders": self.graders,
            "choices": self.choices,
            "has_rubrics": bool(self.versions),
            "has_datasets": bool(self.form.revisions),
            "estimate": self.estimate(candidates, graders),
        }

    def estimate(self, candidates: list[Row], graders: list[Row]) -> Any:
        """Return the estimate, or None while dataset or trials make no sense yet."""
        revision = self.form.revisions.get(whole(self.form["revision"].value()) or 0)
        trials = whole(self.form["trials"].value())
        unnamed = any(row.get("kind") == "model" and not str(row.get("model") or "").strip() for row in candidates)
        if revision is None or trials is None or not 1 <= trials <= 100 or unnamed:
            return None
        versions = {version.pk: version for version in self.versions}
        judges = [
            (str(row["judge_model"]).strip(), versions[chosen])
            for row in graders
            if row.get("kind") == "rubric"
            and row.get("judge_model")
            and (chosen := whole(row.get("rubric_version")) or 0) in versions
        ]
        return queries.estimate(
            self.project,
            revision=revision,
            trials=trials,
            candidates=[{**row, "model": row.get("model") or ""} for row in candidates],
            judges=judges,
        )


def whole(value: Any) -> int | None:
    text = str(value if value is not None else "").strip()
    return int(text) if text.isdecimal() and len(text) < 18 else None


def row_values(formset: Any) -> list[Row]:
    """Return the values of each form of a formset as shown, checked or not."""
    return [{name: form[name].value() for name in form.fields} for form in formset.forms]


def sent_rows(data: QueryDict, prefix: str, form: type[CandidateForm] | type[GraderForm], limit: int) -> list[Row]:
    """Return the rows that were sent, unchecked."""
    count = min(whole(data.get(f"{prefix}-TOTAL_FORMS")) or 0, limit)
    return [{name: data.get(f"{prefix}-{place}-{name}", "") for name in form.base_fields} for place in range(count)]


@require_http_methods(["GET", "POST"])
@project_page(Role.ENGINEER)
def comparison_new(request: ProjectRequest) -> HttpResponse:
    """Start a comparison. `?revision=` chooses the dataset, `?from=` a comparison to run again.

    A POST does what its `action` says: launch, estimate, or change the rows and show the page again.
    """
    launch = Launch(request)
    if request.method == "GET":
        return show(request, launch.start(**first_values(request, launch)))
    action = request.POST.get("action", "launch")
    if action == "launch":
        launch.bind(request.POST)
        if launch.is_valid():
            made = make_comparison(request, launch)
            if made is not None:
                address = reverse("evals:comparison", args=[request.project.slug, made.pk])
                return HttpResponseClientRedirect(address) if request.wants_partial else redirect(address)
        return show(request, launch, status=422)
    candidates = sent_rows(request.POST, "candidate", CandidateForm, 26)
    graders = sent_rows(request.POST, "grader", GraderForm, 20)
    change_rows(action, candidates, graders, judge=queries.default_judge(launch.choices))
    initial = {name: request.POST.get(name, "") for name in ComparisonForm.base_fields}
    launch.start(initial=initial, candidates=candidates, graders=graders)
    place = whole(action.partition(":")[2]) if action.startswith("try:") else None
    notice = None if place is None else try_code(launch, graders, place)
    if action == "estimate" and request.wants_partial:
        return render(request, "evals/_estimate.html", launch.context() | {"is_swap": True})
    return show(request, launch, notice=notice)


def show(request: ProjectRequest, launch: Launch, *, status: int = 200, notice: Row | None = None) -> HttpResponse:
    template = "evals/_comparison_form.html" if request.wants_partial else "evals/comparison_new.html"
    return render(request, template, launch.context() | {"notice": notice}, status=status)


def first_values(request: ProjectRequest, launch: Launch) -> dict[str, Any]:
    """Return what the form starts with."""
    initial: Row = {"trials": 1}
    judge = queries.default_judge(launch.choices)
    candidates = queries.default_candidates(launch.choices)
    graders = queries.default_graders(launch.versions, judge)
    again = (
        Comparison.objects.filter(project=request.project, pk=whole(request.GET.get("from")) or 0)
        .select_related("eval")
        .first()
    )
    if again is not None:
        candidates, graders = queries.rows_of(again)
        initial |= {
            "name": again.name,
            "revision": again.dataset_revision_id,
            "trials": again.trials,
            "ceiling_usd": again.ceiling_usd,
        }
    if request.GET.get("revision"):
        initial["revision"] = whole(request.GET["revision"])
    if not initial.get("revision"):
        newest = Comparison.objects.filter(project=request.project).order_by("-created_at").first()
        initial["revision"] = newest.dataset_revision_id if newest else None
    return {"initial": initial, "candidates": candidates, "graders": graders}


def change_rows(action: str, candidates: list[Row], graders: list[Row], *, judge: str) -> None:
    """Add or remove a row as the button said."""
    verb, _, what = action.partition(":")
    if verb == "add-candidate":
        prompts = (
            {name: candidates[-1][name] for name in ("system_prompt", "user_template")}
            if candidates and what == "model"
            else {}
        )
        candidates.append({"kind": what, **prompts})
    elif (
        verb == "remove-candidate"
        and (place := whole(what)) is not None
        and place < len(candidates)
        and len(candidates) > 1
    ):
        del candidates[place]
    elif verb == "add-grader":
        start: dict[str, Row] = {
            "rubric": {"judge_model": judge},
            "string_check": {
                "operation": "ilike",
                "input": "{{ sample.output_text }}",
                "reference": "{{ item.reference }}",
            },
            "python": {"source": CODE_EXAMPLE, "pass_threshold": 0.5},
        }
        graders.append({"kind": what, **start.get(what, {})})
    elif verb == "remove-grader" and (place := whole(what)) is not None and place < len(graders):
        del graders[place]


def try_code(launch: Launch, graders: list[Row], place: int) -> Row | None:
    """Run a code grader on the first item, with the item's reference as the answer, and say what it gave."""
    revision = launch.form.revisions.get(whole(launch.form["revision"].value()) or 0)
    if place >= len(graders):
        return None
    if revision is None:
        return {"tone": "bad", "title": "Choose a dataset first.", "place": place}
    item = revision_items(revision).first()
    content = item.content if item else {}
    answer = reference_text(content)
    row = graders[place]
    config = {"source": row.get("source", ""), "pass_threshold": number_or_none(row.get("pass_threshold"))}
    try:
        grader = build_grader("python", grader_kind("python").validate(config))
    except BadConfig as error:
        return {"tone": "bad", "title": "The code cannot be used.", "text": str(error), "place": place}
    sample = SampleInput(input=input_text(content), output_text=answer, model="the reference")
    result = async_to_sync(grader.grade)(sample, content, Surroundings())
    on = f"On the first item ({item.key if item else 'none'}), with its reference as the answer"
    if result.state != "ok":
        return {"tone": "warn", "title": f"{on}: no score.", "text": result.reason, "place": place}
    passed = "" if result.passed is None else " and passes" if result.passed else " and does not pass"
    return {
        "tone": "good",
        "title": f"{on}, it gives {result.value:g}{passed}.",
        "text": result.explanation,
        "place": place,
    }


def number_or_none(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def grader_spec(form: GraderForm) -> GraderSpec:
    """Return the grader of a checked form."""
    data = form.cleaned_data
    kind = data["kind"]
    if kind == "rubric":
        version = form.versions[data["rubric_version"]]
        return GraderSpec(
            data["name"] or version.rubric.name, kind, {"judge": data["judge_model"].strip()}, version, data["is_gate"]
        )
    if kind == "string_check":
        config = {name: data[name] for name in ("input", "reference", "operation")}
        words = {"eq": "Exact match", "ne": "Differs", "like": "Contains", "ilike": "Contains, any case"}
        return GraderSpec(data["name"] or words[data["operation"]], kind, config, None, data["is_gate"])
    config = {"source": data["source"], "pass_threshold": data["pass_threshold"]}
    return GraderSpec(data["name"] or "Code", kind, config, None, data["is_gate"])


def make_comparison(request: ProjectRequest, launch: Launch) -> Comparison | None:
    """Create the comparison and wake a worker. None, with the errors on the forms, where something cannot be used."""
    specs = []
    for form in launch.graders.forms:
        spec = grader_spec(form)
        try:
            grader_kind(spec.kind).validate(spec.config)
        except BadConfig as error:
            form.add_error(FIELD_OF.get(error.param), str(error))
        specs.append(spec)
    if any(form.errors for form in launch.graders.forms):
        return None
    data = launch.form.cleaned_data
    candidates = [
        CandidateSpec(
            model=form.cleaned_data["model"].strip(),
            kind=form.cleaned_data["kind"],
            label=form.cleaned_data["label"],
            system_prompt=form.cleaned_data["system_prompt"],
            user_template=form.cleaned_data["user_template"],
            sampling=form.sampling(),
        )
        for form in launch.candidates.forms
    ]
    try:
        made = create_comparison(
            request.project,
            name=data["name"],
            revision=launch.form.revisions[data["revision"]],
            candidates=candidates,
            graders=specs,
            trials=data["trials"],
            ceiling_usd=data["ceiling_usd"],
            user=current_user(request),
        )
    except (BadComparison, BadConfig) as error:
        launch.form.add_error(error.param if error.param in launch.form.fields else None, str(error))
        return None
    tasks.look.delay_on_commit()
    messages.success(request, f"{made.name} is running.")
    return made
