"""The pages of the rubrics: list, editor, versions with their text diff."""

from dataclasses import dataclass, replace

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import ProjectRequest, current_user, project_page
from accounts.models import Role
from rubrics import queries, services
from rubrics.diff import DiffLine, diff_lines
from rubrics.forms import RubricForm, apply_action, read_form
from rubrics.judging import judge_messages
from rubrics.lint import Problem, problems
from rubrics.models import Layer, Rubric, RubricVersion
from rubrics.standard import CriterionText, Standard, as_text, standard_from
from rubrics.starters import SCALE_NAMES, STARTERS, scale_of

LAYER_HINTS = {
    Layer.OUTCOME: "Was the task done?",
    Layer.TOOL_SELECTION: "Right tool?",
    Layer.TOOL_ARGUMENTS: "Valid values?",
    Layer.TRAJECTORY: "No wasted steps?",
    Layer.RECOVERY: "Failures handled?",
}
LAYERS = [(layer.value, layer.label, LAYER_HINTS[layer]) for layer in Layer]
PLACEHOLDER = {
    "messages": [{"role": "user", "content": "… what the customer wrote …"}],
    "reference": "… the reference …",
}
PLACEHOLDER_SAMPLE = {
    "output_text": "… what the candidate answered …",
    "steps": [{"type": "message", "content": "… each step …"}],
}


@dataclass(frozen=True)
class CriterionFields:
    """A criterion as the form draws it."""

    index: int
    criterion: CriterionText
    scale: str
    problems: list[Problem]

    @property
    def prefix(self) -> str:
        return f"c{self.index}"


@require_GET
@project_page()
def rubric_list(request: ProjectRequest) -> HttpResponse:
    """List the rubrics."""
    return render(request, "rubrics/rubric_list.html", {"rows": queries.rubric_rows(request.project)})


@require_http_methods(["GET", "POST"])
@project_page(Role.ENGINEER)
def rubric_new(request: ProjectRequest) -> HttpResponse:
    """Start a rubric: from a template, or blank."""
    if request.method == "POST":
        starter = STARTERS.get(request.POST.get("starter", ""), STARTERS["blank"])
        standard = standard_from(starter)
        name = request.POST.get("name", "").replace("\0", "").strip()[:120] or standard.name
        standard = replace(standard, name=name)
        rubric = services.create_rubric(request.project, name=name, standard=standard, user=current_user(request))
        return redirect("rubrics:rubric", request.project.slug, rubric.slug)
    return render(request, "rubrics/rubric_new.html", {"starters": STARTERS})


@require_http_methods(["GET", "POST"])
@project_page()
def rubric_page(request: ProjectRequest, slug: str) -> HttpResponse:
    """Show the editor; on POST save the draft, publish it, or change the form as a button asks."""
    rubric = find_rubric(request, slug)
    versions = queries.version_list(rubric)
    can_edit = request.role.allows(Role.ENGINEER)
    if request.method == "POST":
        if not can_edit:
            return render(request, "rubrics/rubric.html", editor_context(request, rubric, versions), status=403)
        return rubric_post(request, rubric, versions)
    return render(request, "rubrics/rubric.html", editor_context(request, rubric, versions))


def rubric_post(request: ProjectRequest, rubric: Rubric, versions: list[RubricVersion]) -> HttpResponse:
    """Do what the pressed button says."""
    action = request.POST.get("action", "save")
    form = read_form(request.POST)
    if action == "discard":
        try:
            services.discard_draft(rubric)
        except services.CannotChange as error:
            messages.error(request, str(error))
        return redirect("rubrics:rubric", request.project.slug, rubric.slug)
    if action not in ("save", "publish"):
        changed = replace(form, standard=apply_action(form.standard, action), errors={})
        return render(request, "rubrics/rubric.html", editor_context(request, rubric, versions, changed))
    if form.errors:
        return render(request, "rubrics/rubric.html", editor_context(request, rubric, versions, form), status=422)
    draft = services.save_draft(rubric, form.standard, user=current_user(request), note=form.note)
    if action == "publish":
        try:
            services.publish_version(rubric, user=current_user(request), note=form.note)
        except services.CannotChange as error:
            blocked = replace(form, errors={"publish": str(error)})
            context = editor_context(request, rubric, queries.version_list(rubric), blocked)
            return render(request, "rubrics/rubric.html", context, status=422)
        messages.success(request, f"Published v{draft.number}. It cannot change any more.")
        return redirect("rubrics:rubric_version", request.project.slug, rubric.slug, draft.number)
    messages.success(request, f"Draft v{draft.number} saved.")
    return redirect("rubrics:rubric", request.project.slug, rubric.slug)


@require_POST
@project_page()
def rubric_preview(request: ProjectRequest, slug: str) -> HttpResponse:
    """Show what the judge would read, and the remarks, for the form as typed."""
    find_rubric(request, slug)
    return render(request, "rubrics/_prompt_preview.html", preview_context(read_form(request.POST).standard))


@require_POST
@project_page(Role.ENGINEER)
def rubric_archive(request: ProjectRequest, slug: str) -> HttpResponse:
    """Take a rubric out of lists; its versions and scores stay."""
    rubric = find_rubric(request, slug)
    services.archive_rubric(rubric)
    messages.success(request, f"“{rubric.name}” is archived. Its scores stay.")
    return redirect("rubrics:rubric_list", request.project.slug)


@require_GET
@project_page()
def rubric_version(request: ProjectRequest, slug: str, number: int) -> HttpResponse:
    """Show one version as its readers see it, and what changed against another (`?diff=v1`, by default the one before)."""
    rubric = find_rubric(request, slug)
    versions = queries.version_list(rubric)
    version = next((version for version in versions if version.number == number), None)
    if version is None:
        raise Http404(f"Rubric {rubric.name!r} has no version {number}.")
    other = compared_with(request, versions, number)
    standard = queries.standard_of(version)
    context = {
        "rubric": rubric,
        "version": version,
        "versions": versions,
        "standard": standard,
        "fields": criterion_fields(standard, []),
        "other": other,
        "layers": LAYERS,
        "diff": version_diff(other, version),
        **preview_context(standard),
    }
    return render(request, "rubrics/rubric_version.html", context)


def find_rubric(request: ProjectRequest, slug: str) -> Rubric:
    """Return the project's rubric, or raise Http404."""
    rubric = Rubric.objects.filter(project=request.project, slug=slug).first()
    if rubric is None:
        raise Http404(f"There is no rubric {slug!r} in this project.")
    return rubric


def compared_with(request: HttpRequest, versions: list[RubricVersion], number: int) -> RubricVersion | None:
    """Return the version named by `?diff=v7`, else the one before `number`, else None."""
    asked = request.GET.get("diff", "").removeprefix("v")
    if asked.isascii() and asked.isdigit() and len(asked) < 10:
        return next((version for version in versions if version.number == int(asked)), None)
    return next((version for version in versions if version.number < number), None)


def version_diff(old: RubricVersion | None, new: RubricVersion) -> list[DiffLine]:
    """Return the text diff of two versions; empty without an older one."""
    return diff_lines(as_text(queries.standard_of(old)), as_text(queries.standard_of(new))) if old else []


def criterion_fields(standard: Standard, found: list[Problem]) -> list[CriterionFields]:
    """Return the criteria as the form draws them, with their remarks."""
    return [
        CriterionFields(
            index,
            criterion,
            scale_of([level.value for level in criterion.levels]),
            [problem for problem in found if problem.place == criterion.key],
        )
        for index, criterion in enumerate(standard.criteria)
    ]


def preview_context(standard: Standard) -> dict[str, object]:
    """Return what the prompt preview and the remarks need."""
    prompt = judge_messages(standard, sample=PLACEHOLDER_SAMPLE, item=PLACEHOLDER)
    words = sum(len(message["content"].split()) for message in prompt)
    return {"prompt": prompt, "prompt_words": words, "problems": problems(standard)}


def editor_context(
    request: ProjectRequest, rubric: Rubric, versions: list[RubricVersion], form: RubricForm | None = None
) -> dict[str, object]:
    """Return the editor's context: the form as typed, else the draft, else the newest version to start a draft from."""
    draft = next((version for version in versions if not version.is_frozen), None)
    latest = next((version for version in versions if version.is_frozen), None)
    start = draft or latest
    standard = form.standard if form else queries.standard_of(start) if start else Standard(rubric.name, 0)
    preview = preview_context(standard)
    number = draft.number if draft else (versions[0].number + 1 if versions else 1)
    return {
        "rubric": rubric,
        "versions": versions,
        "draft": draft,
        "latest": latest,
        "number": number,
        "standard": standard,
        "note": form.note if form else (draft.note if draft else ""),
        "errors": form.errors if form else {},
        "fields": criterion_fields(standard, problems(standard)),
        "layers": LAYERS,
        "scales": SCALE_NAMES.items(),
        "can_edit": request.role.allows(Role.ENGINEER),
        "other": latest if draft else None,
        "diff": diff_lines(as_text(queries.standard_of(latest)), as_text(standard)) if latest else [],
        **preview,
    }
