"""Changes of rubrics: drafts, publishing, freezing. A frozen version never changes again."""

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from accounts.models import Project, User
from rubrics.lint import problems
from rubrics.models import Criterion, Level, Rubric, RubricVersion
from rubrics.queries import standard_of, with_criteria
from rubrics.standard import Standard


class CannotChange(ValueError):
    """The change is not allowed; the text says why and what to do."""


@transaction.atomic
def create_rubric(
    project: Project, *, name: str, standard: Standard, user: User | None = None, slug: str = ""
) -> Rubric:
    """Create a rubric with its first draft. The slug is made from the name, with a number where it is taken."""
    base = slugify(slug or name)[:50] or "rubric"
    slug, number = base, 1
    while Rubric.objects.filter(project=project, slug=slug).exists():
        number += 1
        slug = f"{base}-{number}"
    rubric = Rubric.objects.create(project=project, slug=slug, name=name)
    save_draft(rubric, standard, user=user)
    return rubric


@transaction.atomic
def save_draft(rubric: Rubric, standard: Standard, *, user: User | None = None, note: str = "") -> RubricVersion:
    """Write the rubric's draft, made where there is none. Frozen versions stay as they are."""
    Rubric.objects.select_for_update().get(pk=rubric.pk)
    if standard.name and standard.name != rubric.name:
        rubric.name = standard.name
        rubric.save(update_fields=["name"])
    draft = rubric.versions.filter(frozen_at=None).first()
    if draft is None:
        last = rubric.versions.order_by("-number").first()
        draft = RubricVersion(rubric=rubric, number=last.number + 1 if last else 1)
    draft.mode, draft.instructions, draft.pass_threshold = standard.mode, standard.instructions, standard.pass_threshold
    draft.created_by, draft.note = user or draft.created_by, note[:300]
    draft.digest = standard.digest()
    draft.save()
    draft.criteria.all().delete()
    for position, text in enumerate(standard.criteria):
        criterion = Criterion.objects.create(
            version=draft,
            key=text.key,
            name=text.name,
            description=text.description,
            layer=text.layer,
            weight=text.weight,
            position=position,
        )
        Level.objects.bulk_create(
            Level(
                criterion=criterion, value=level.value, label=level.label, meaning=level.meaning, example=level.example
            )
            for level in text.levels
        )
    return draft


@transaction.atomic
def publish_version(rubric: Rubric, *, user: User | None = None, note: str = "") -> RubricVersion:
    """Freeze the rubric's draft. Raises CannotChange where there is none, or where it is not fit to be used."""
    draft = with_criteria(rubric.versions.filter(frozen_at=None)).first()
    if draft is None:
        raise CannotChange(f'Rubric "{rubric.name}" has no draft to publish; edit it first.')
    blocking = [problem.text for problem in problems(standard_of(draft)) if problem.blocks]
    if blocking:
        raise CannotChange(f'Rubric "{rubric.name}" v{draft.number} cannot be published yet: {" ".join(blocking)}')
    if note:
        draft.note = note[:300]
    draft.created_by = user or draft.created_by
    return freeze(draft)


def freeze(version: RubricVersion) -> RubricVersion:
    """Freeze a version for good; a frozen one stays as it is. Called on publishing and on first use."""
    if not version.is_frozen:
        version.frozen_at = timezone.now()
        version.save(update_fields=["frozen_at", "note", "created_by"])
    return version


@transaction.atomic
def discard_draft(rubric: Rubric) -> None:
    """Delete the draft. Raises CannotChange where it is all that the rubric has."""
    if not rubric.versions.exclude(frozen_at=None).exists():
        raise CannotChange(f'The draft is all that rubric "{rubric.name}" has; archive the rubric instead.')
    rubric.versions.filter(frozen_at=None).delete()


def archive_rubric(rubric: Rubric) -> None:
    """Take a rubric out of lists and choices; its versions and their scores stay."""
    rubric.archived_at = timezone.now()
    rubric.save(update_fields=["archived_at"])
