"""Reads of the rubrics room."""

from dataclasses import dataclass

from django.db.models import Prefetch

from accounts.models import Project
from rubrics.models import Criterion, Layer, Rubric, RubricVersion
from rubrics.standard import CriterionText, LevelText, Standard


def standard_of(version: RubricVersion) -> Standard:
    """Return a version as plain values, for the judge, the form and the diff. Queries unless criteria were prefetched."""
    return Standard(
        name=version.rubric.name,
        number=version.number,
        mode=version.mode,
        instructions=version.instructions,
        pass_threshold=version.pass_threshold,
        criteria=tuple(
            CriterionText(
                key=criterion.key,
                name=criterion.name,
                description=criterion.description,
                layer=criterion.layer,
                weight=criterion.weight,
                levels=tuple(
                    LevelText(level.value, level.label, level.meaning, level.example)
                    for level in criterion.levels.all()
                ),
            )
            for criterion in version.criteria.all()
        ),
    )


def published_versions(project: Project) -> list[RubricVersion]:
    """Return the frozen versions of the project's rubrics, newest of each rubric first, ready for `standard_of`."""
    versions = RubricVersion.objects.filter(rubric__project=project, rubric__archived_at=None).exclude(frozen_at=None)
    return list(with_criteria(versions).order_by("rubric__name", "-number"))


def with_criteria(versions):  # type: ignore[no-untyped-def]  # a QuerySet of RubricVersion in, the same out
    """Prefetch what `standard_of` reads."""
    return versions.select_related("rubric").prefetch_related(
        Prefetch("criteria", Criterion.objects.prefetch_related("levels"))
    )


@dataclass(frozen=True)
class RubricRow:
    """A rubric as the list shows it."""

    rubric: Rubric
    latest: RubricVersion | None
    draft: RubricVersion | None
    standard: Standard | None

    @property
    def layers(self) -> list[str]:
        """Return what the criteria look at, in words."""
        return [Layer(layer).label for layer in self.standard.layers] if self.standard else []


def rubric_rows(project: Project) -> list[RubricRow]:
    """Return the project's rubrics by name, each with its newest frozen version and its draft."""
    rubrics = Rubric.objects.filter(project=project, archived_at=None).order_by("name")
    versions = with_criteria(RubricVersion.objects.filter(rubric__in=rubrics)).order_by("number")
    latest: dict[int, RubricVersion] = {}
    drafts: dict[int, RubricVersion] = {}
    for version in versions:
        (latest if version.is_frozen else drafts)[version.rubric_id] = version
    rows = []
    for rubric in rubrics:
        shown = latest.get(rubric.pk) or drafts.get(rubric.pk)
        rows.append(
            RubricRow(rubric, latest.get(rubric.pk), drafts.get(rubric.pk), standard_of(shown) if shown else None)
        )
    return rows


def version_list(rubric: Rubric) -> list[RubricVersion]:
    """Return every version of a rubric, newest first."""
    return list(with_criteria(rubric.versions.select_related("created_by")).order_by("-number"))
