"""The page that starts a comparison: dataset, candidates, graders, trials; what it would cost; and the start."""

from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from accounts.access import ProjectRequest, current_user, project_page
from accounts.models import Role
from evals import tasks
from evals.candidates import BadItem, messages_for
from evals.chat import NotAMessage, plain_text
from evals.forms import CandidateForm, CandidateFormSet, ComparisonForm, GraderForm, GraderFormSet
from evals.grader_rows import (
    KINDS,
    WITHIN_FORMULA,
    Row,
    config_of,
    field_of,
    named_by,
    names_of,
    variable_of,
    variables_of,
    whole,
)
from evals.graders import build_grader, grader_kind
from evals.graders.base import BadConfig, Grader, GradeResult
from evals.models import Candidate, Comparison, DatasetRevision
from evals.queries import launch as queries
from evals.queries.datasets import revision_items
from evals.queries.report import letter_of
from evals.queries.variables import Lack, lacking
from evals.services.comparisons import BadComparison, CandidateSpec, create_comparison
from evals.services.graders import GraderSpec
from evals.services.trial import sample_to_try, try_grader
from evals.templating import MissingVariable
from providers.registry import UnknownModel, is_scripted, model_choices, resolve
from rubrics.models import RubricVersion
from rubrics.queries import published_versions, standard_of

TAKEN = "The name “{}” belongs to a grader of another kind; choose another name."


PREVIEW_CHARS = 1_500  # of one message


@dataclass(frozen=True)
class Preview:
    """What a candidate is asked for the first item, as (role, text); `left_out` messages are not shown. `problem`: why it cannot be."""

    letter: str
    key: str
    messages: list[tuple[str, str]] = field(default_factory=list)
    left_out: int = 0
    problem: str = ""


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
        if all(valid) and not any(not form.cleaned_data["is_part"] for form in self.graders.forms):
            self.form.add_error(None, "Choose at least one grader; without one there is nothing to compare.")
        return all(valid) and not self.form.errors

    @property
    def versions_by_pk(self) -> dict[int, RubricVersion]:
        return {version.pk: version for version in self.versions}

    def grader_names(self, rows: list[Row]) -> list[str]:
        """Return the names of grader rows, made up where none was typed."""
        rubrics = {version.pk: version.rubric.name for version in self.versions}
        return names_of(rows, taken=queries.grader_kinds(self.project), rubrics=rubrics)

    def ready_grader(self, rows: list[Row], place: int, names: list[str]) -> Grader:
        """Return the grader of a row, ready to score. Raises BadConfig, also for a model that nobody answers."""
        kind = str(rows[place].get("kind"))
        config = grader_kind(kind).validate(config_of(rows, place, names))
        standard = None
        if kind == "rubric":
            version = self.versions_by_pk.get(whole(rows[place].get("rubric_version")) or 0)
            if version is None:
                raise BadConfig("Choose a published version of a rubric.", param="rubric_version")
            standard = standard_of(version)
        grader = build_grader(kind, config, standard=standard)
        for model in grader.models:
            try:
                resolve(self.project, model)
            except UnknownModel as error:
                raise BadConfig(str(error), param="embedding_model" if kind == "text_similarity" else "model") from None
        return grader

    def context(self) -> dict[str, Any]:
        """Return what the template shows; the estimate is made from whatever is filled in."""
        candidates, graders = row_values(self.candidates), row_values(self.graders)
        for place, form in enumerate(self.candidates.forms):
            form.letter = letter_of(place)
            form.shown_kind = candidates[place].get("kind") or "model"
            form.is_scripted = is_scripted(str(candidates[place].get("model") or ""))
        names = self.grader_names(graders)
        variables = variables_of(graders, names)
        has_formula = any(row.get("kind") == "multi" for row in graders)
        for form, row, name in zip(self.graders.forms, graders, names, strict=True):
            form.shown_kind = row.get("kind") or "rubric"
            form.about = KINDS.get(form.shown_kind)
            if form.shown_kind == "multi":
                form["formula"].help_text = (
                    f"Can name {', '.join(variables)}."
                    if variables
                    else "There is nothing yet that it could name: add a check, a similarity, code, or a score or label by a model."
                )
            form.variable = variable_of(name) if has_formula and form.shown_kind in WITHIN_FORMULA else ""
        return {
            "form": self.form,
            "candidates": self.candidates,
            "graders": self.graders,
            "grader_kinds": KINDS,
            "choices": self.choices,
            "has_rubrics": bool(self.versions),
            "has_datasets": bool(self.form.revisions),
            "estimate": self.estimate(candidates, graders),
            "lacks": [lack.words for lack in self.lacking()],
            "previews": self.previews(candidates),
        }

    @property
    def revision(self) -> DatasetRevision | None:
        return self.form.revisions.get(whole(self.form["revision"].value()) or 0)

    def lacking(self) -> list[Lack]:
        """Return the variables that items of the chosen dataset lack."""
        if self.revision is None:
            return []
        candidates, graders = row_values(self.candidates), row_values(self.graders)
        texts = [
            (f"candidate:{place}:{name}", str(row.get(name) or ""))
            for place, row in enumerate(candidates)
            if (row.get("kind") or "model") == "model"
            for name in ("system_prompt", "user_template")
        ]
        for place, row in enumerate(graders):
            kind = KINDS.get(str(row.get("kind")))
            shown = [name for line in kind.lines for name in line] if kind else []
            texts += [
                (f"grader:{place}:{name}", str(row.get(name) or ""))
                for name in ("input", "reference", "instructions", "prompt")
                if name in shown
            ]
        return lacking(self.revision, texts)

    def form_at(self, param: str) -> Any:
        """Return the form of a candidate or grader that a name such as `grader:0:prompt` leads to."""
        which, place, _ = param.split(":")
        return (self.candidates if which == "candidate" else self.graders).forms[int(place)]

    @staticmethod
    def field_at(param: str) -> str:
        return param.split(":")[2]

    def previews(self, candidates: list[Row]) -> list[Preview]:
        """Return what each model would be asked for the first item, with the variables filled in."""
        item = revision_items(self.revision).first() if self.revision is not None else None
        if item is None:
            return []
        found = []
        for place, row in enumerate(candidates):
            if (row.get("kind") or "model") != "model":
                continue
            texts = {name: str(row.get(name) or "") for name in ("system_prompt", "user_template")}
            try:
                asked = messages_for(Candidate(kind="model", **texts), item.content)
                shown = [(message["role"], plain_text(message.get("content"))[:PREVIEW_CHARS]) for message in asked]
                found.append(
                    Preview(
                        letter_of(place),
                        item.key,
                        shown[:2] + shown[-1:] if len(shown) > 3 else shown,
                        max(0, len(shown) - 3),
                    )
                )
            except (MissingVariable, NotAMessage, BadItem) as error:
                found.append(Preview(letter_of(place), item.key, problem=str(error)))
        return found

    def estimate(self, candidates: list[Row], graders: list[Row]) -> Any:
        """Return the estimate, or None while dataset or trials make no sense yet."""
        revision = self.form.revisions.get(whole(self.form["revision"].value()) or 0)
        trials = whole(self.form["trials"].value())
        unnamed = any(row.get("kind") == "model" and not str(row.get("model") or "").strip() for row in candidates)
        if revision is None or trials is None or not 1 <= trials <= 100 or unnamed:
            return None
        versions = self.versions_by_pk
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
            prompts=self.prompts(graders),
        )

    def prompts(self, graders: list[Row]) -> list[tuple[str, int]]:
        """Return the judges with prompts of their own and the length of these, once for each time that a row is asked."""
        variables = variables_of(graders, self.grader_names(graders))
        named = [variables.get(name) for row in graders for name in named_by(row)]
        return [
            (
                str(row["judge_model"]).strip(),
                len(str(row.get("prompt") or "")) + len(str(row.get("instructions") or "")),
            )
            for place, row in enumerate(graders)
            if row.get("kind") in ("score_model", "label_model") and row.get("judge_model")
            for _ in range(named.count(place) + (0 if row.get("is_part") else 1))
        ]


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
    notice = None if place is None else try_row(launch, graders, place)
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
        known = KINDS.get(what)
        start = {**known.start, **({"judge_model": judge} if known.asks_judge else {})} if known else {}
        if what == "multi":
            variables = variables_of(graders, names_of(graders))
            start["formula"] = " + ".join(f"{1 / len(variables):.2g} * {name}" for name in variables)
        graders.append({"kind": what, **start})
    elif verb == "remove-grader" and (place := whole(what)) is not None and place < len(graders):
        del graders[place]


def try_row(launch: Launch, graders: list[Row], place: int) -> Row | None:
    """Run a grader on an answer to the first item and say what it gave."""
    if place >= len(graders):
        return None
    revision = launch.form.revisions.get(whole(launch.form["revision"].value()) or 0)
    item = revision_items(revision).select_related("source_trace").first() if revision is not None else None
    if item is None:
        return {"tone": "bad", "title": "Choose a dataset first: a grader is tried on its first item.", "place": place}
    try:
        grader = launch.ready_grader(graders, place, launch.grader_names(graders))
    except BadConfig as error:
        return {"tone": "bad", "title": "The grader cannot be used yet.", "text": str(error), "place": place}
    sample, what = sample_to_try(item, grader)
    return told(try_grader(launch.project, grader, sample, item.content), item.key, what) | {"place": place}


def told(result: GradeResult, key: str, what: str) -> Row:
    """Return what a grader gave as a note."""
    on = f"On the first item ({key}), with {what} as the answer"
    if result.state != "ok" or result.value is None:
        return {"tone": "warn", "title": f"{on}: no score.", "text": result.reason}
    label = f" (“{result.label}”)" if result.label else ""
    passed = "" if result.passed is None else " and passes" if result.passed else " and does not pass"
    return {"tone": "good", "title": f"{on}, it gives {result.value:.4g}{label}{passed}.", "text": result.explanation}


def grader_specs(launch: Launch) -> list[GraderSpec] | None:
    """Return the graders of checked forms. None, with the errors on the forms, where something cannot be used."""
    forms = launch.graders.forms
    rows = [dict(form.cleaned_data) for form in forms]  # an error takes its field out of the original
    names = launch.grader_names(rows)
    kinds = queries.grader_kinds(launch.project)
    named = {name for row in rows for name in named_by(row)}
    specs = []
    for place, (form, row, name) in enumerate(zip(forms, rows, names, strict=True)):
        kind = row["kind"]
        if name in names[:place]:
            form.add_error("name", f"Another grader here is called “{name}” too.")
        elif kinds.get(name, kind) != kind and not row["is_part"]:
            form.add_error("name", TAKEN.format(name))
        if row["is_part"] and variable_of(name) not in named:
            form.add_error("is_part", f"No formula here names {variable_of(name)}.")
        try:
            launch.ready_grader(rows, place, names)
        except BadConfig as error:
            form.add_error(field_of(kind, error.param) or None, str(error))
            continue
        if not row["is_part"]:
            version = launch.versions_by_pk[row["rubric_version"]] if kind == "rubric" else None
            specs.append(GraderSpec(name, kind, config_of(rows, place, names), version, row["is_gate"]))
    return None if any(form.errors for form in forms) else specs


def make_comparison(request: ProjectRequest, launch: Launch) -> Comparison | None:
    """Create the comparison and wake a worker. None, with the errors on the forms, where something cannot be used."""
    specs = grader_specs(launch)
    if specs is None:
        return None
    data = launch.form.cleaned_data
    found = launch.lacking()
    for lack in found:
        if lack.is_everywhere:
            launch.form_at(lack.param).add_error(launch.field_at(lack.param), lack.words)
    if any(lack.is_everywhere for lack in found):
        return None
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
    for lack in found:
        messages.warning(request, lack.words)
    return made
