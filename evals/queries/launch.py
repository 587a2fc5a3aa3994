"""Reads for launching a comparison: what to start the form with, and what a run would ask and cost."""

from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.db.models import Avg

from accounts.models import Project
from evals.estimate import ANSWER_TOKENS, Asked, Estimate, Judge, estimate_comparison
from evals.grader_rows import rows_from
from evals.models import Candidate, CandidateKind, Comparison, DatasetRevision, Grader
from evals.queries.datasets import revision_items
from providers.models import Call, CallState
from providers.prices import price_usd
from providers.registry import ModelChoice, aliases_of, is_scripted, model_choices
from rubrics.models import RubricVersion
from rubrics.queries import standard_of
from rubrics.standard import as_text

MEASURED_ITEMS = 200  # items whose length is read for the estimate
NOT_CANDIDATES = ("demo/judge", "demo/echo")


def default_candidates(choices: Sequence[ModelChoice]) -> list[dict[str, Any]]:
    """Return the rows that an empty form starts with: the first two models, real ones before scripted ones."""
    models = [
        choice.name
        for choice in sorted(choices, key=lambda choice: choice.is_scripted)
        if choice.name not in NOT_CANDIDATES
    ]
    return [{"kind": CandidateKind.MODEL, "model": model} for model in [*models, "", ""][:2]]


def default_judge(choices: Sequence[ModelChoice]) -> str:
    """Return the judge of the settings, else the scripted one, else nothing."""
    names = [choice.name for choice in choices]
    return settings.JUDGE_MODEL or ("demo/judge" if "demo/judge" in names else "")


def default_graders(versions: Sequence[RubricVersion], judge: str) -> list[dict[str, Any]]:
    """Return the grader that an empty form starts with: the newest version of the first rubric, else none."""
    return [{"kind": "rubric", "rubric_version": versions[0].pk, "judge_model": judge}] if versions else []


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as the form has it."""
    sampling = {
        name: candidate.sampling[name]
        for name in ("temperature", "top_p", "max_tokens", "seed")
        if name in candidate.sampling
    }
    return {
        "kind": candidate.kind,
        "label": candidate.label,
        "model": candidate.model,
        "system_prompt": candidate.system_prompt,
        "user_template": candidate.user_template,
        **sampling,
    }


def rows_of(comparison: Comparison) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the candidates and graders of a comparison as the form has them, to run it again."""
    candidates = [
        candidate_row(run.candidate) for run in comparison.runs.select_related("candidate").order_by("position")
    ]
    graders = []
    placed = comparison.eval.eval_graders.select_related("grader_version__grader").order_by("position", "id")
    for place in placed:
        version = place.grader_version
        *parts, row = rows_from(version.grader.kind, version.grader.name, version.config)
        graders += [*parts, row | {"is_gate": place.is_gate, "rubric_version": version.rubric_version_id}]
    return candidates, graders


def grader_kinds(project: Project) -> dict[str, str]:
    """Return the kind of each of the project's graders by name."""
    return dict(Grader.objects.filter(project=project).values_list("name", "kind"))


def answer_tokens(project: Project, models: Sequence[str]) -> dict[str, int]:
    """Return the mean length of the answers that each model gave in this project, where it gave any."""
    answered = Call.objects.filter(project=project, purpose="generate", state=CallState.ANSWERED, model__in=models)
    rows = answered.values("model").annotate(tokens=Avg("output_tokens"))
    return {row["model"]: int(row["tokens"]) for row in rows if row["tokens"] is not None}


def mean_item_chars(revision: DatasetRevision) -> int:
    """Return the mean length of the first items of a revision, as JSON."""
    lengths = [
        len(str(content)) for content in revision_items(revision).values_list("content", flat=True)[:MEASURED_ITEMS]
    ]
    return sum(lengths) // len(lengths) if lengths else 0


def price_in(project: Project) -> Callable[[str, int, int], float | None]:
    """Return a function that prices a call of this project."""
    providers = {choice.name: choice.provider for choice in model_choices(project)}
    aliases = aliases_of(project)

    def price(model: str, input_tokens: int, output_tokens: int) -> float | None:
        answering = aliases.get(model, model)
        return price_usd(answering, input_tokens, output_tokens, 0, provider=providers.get(answering, ""))

    return price


def estimate(
    project: Project,
    *,
    revision: DatasetRevision,
    trials: int,
    candidates: Sequence[dict[str, Any]],
    judges: Sequence[tuple[str, RubricVersion]],
    prompts: Sequence[tuple[str, int]] = (),
) -> Estimate:
    """Say how many calls a comparison would make, and about what they would cost. Candidates are rows of the form.

    `judges` mark by a rubric, `prompts` are judges with the length of a prompt of their own.
    """
    models = [row["model"].strip() if row.get("kind") == CandidateKind.MODEL else "" for row in candidates]
    tokens = answer_tokens(project, [model for model in models if model])
    asked = [
        Asked(
            model,
            len(row.get("system_prompt") or "") + len(row.get("user_template") or ""),
            tokens.get(model, ANSWER_TOKENS) if row.get("kind") != CandidateKind.NOTHING else 0,
        )
        for row, model in zip(candidates, models, strict=True)
    ]
    marked = [Judge(model, chars) for model, chars in prompts]
    for model, version in judges:
        standard = standard_of(version)
        marked.append(Judge(model, len(as_text(standard)), len(standard.criteria)))
    return estimate_comparison(
        items=revision.item_count,
        item_chars=mean_item_chars(revision),
        trials=trials,
        candidates=asked,
        judges=marked,
        price=price_in(project),
        is_scripted=is_scripted,
    )
