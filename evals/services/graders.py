"""Graders and their frozen versions."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.db import IntegrityError, transaction

from accounts.models import Project
from evals.graders import IMPORTED, BadConfig, build_grader, grader_kind
from evals.graders.base import Door, GradeResult, SampleInput, Surroundings, digest_of, skipped
from evals.graders.base import Grader as GraderWithConfig
from evals.models import Grader, GraderVersion
from rubrics.models import RubricVersion
from rubrics.queries import standard_of, with_criteria
from rubrics.services import freeze
from rubrics.standard import Standard


@dataclass(frozen=True)
class GraderSpec:
    """A grader as it is asked for. `rubric_version` is needed by the kind `rubric` only, and frozen on use."""

    name: str
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    rubric_version: RubricVersion | None = None
    is_gate: bool = False
    door: Door = "native"


@transaction.atomic
def ensure_grader_version(project: Project, spec: GraderSpec) -> GraderVersion:
    """Return the frozen version with exactly these settings; the same settings give the same version.

    Raises BadConfig for settings that cannot be used, or for a name that a grader of another kind has.
    """
    name = spec.name.strip()[:120]
    if not name:
        raise BadConfig("The grader has no name.", param="name")
    config = grader_kind(spec.kind).validate(spec.config, door=spec.door)
    version, standard = spec.rubric_version, None
    if version is not None:
        if version.rubric.project_id != project.pk:
            raise BadConfig("The rubric version belongs to another project.", param="rubric_version")
        version = with_criteria(RubricVersion.objects.filter(pk=version.pk)).get()
        freeze(version)
        standard = standard_of(version)
    grader = build_grader(spec.kind, config, standard=standard)
    digest = digest_of(spec.kind, config, standard.digest() if standard else "")
    row = grader_row(project, name, spec.kind)
    found = row.versions.filter(digest=digest).first()
    if found is not None:
        return found
    low, high = grader.scale
    last = row.versions.order_by("-number").first()
    return GraderVersion.objects.create(
        grader=row,
        number=last.number + 1 if last else 1,
        config=config,
        digest=digest,
        rubric_version=version,
        scale_min=low,
        scale_max=high,
        pass_threshold=grader.pass_threshold,
    )


def grader_row(project: Project, name: str, kind: str) -> Grader:
    """Return the project's grader of this name, locked; made where there is none. Raises BadConfig where it is of another kind."""
    grader, _ = Grader.objects.get_or_create(project=project, name=name, defaults={"kind": kind})
    grader = Grader.objects.select_for_update().get(pk=grader.pk)
    if grader.kind != kind:
        raise BadConfig(
            f"The name “{name}” belongs to a grader of kind {grader.kind}; choose another name.", param="name"
        )
    return grader


def imported_grader(
    project: Project, name: str, *, scale: tuple[float, float] = (0.0, 1.0), pass_threshold: float | None = 1.0
) -> GraderVersion:
    """Return the grader version for scores that come with imported data, for example a benchmark's reward."""
    config = {"scale": list(scale), "pass_threshold": pass_threshold}
    digest = digest_of(IMPORTED, config)
    for _ in range(2):
        found = GraderVersion.objects.filter(grader__project=project, grader__name=name, digest=digest).first()
        if found is not None:
            return found
        try:
            with transaction.atomic():
                row = grader_row(project, name, IMPORTED)
                return GraderVersion.objects.create(
                    grader=row,
                    number=row.versions.count() + 1,
                    config=config,
                    digest=digest,
                    scale_min=scale[0],
                    scale_max=scale[1],
                    pass_threshold=pass_threshold,
                )
        except IntegrityError:
            continue  # another process made it meanwhile
    return GraderVersion.objects.get(grader__project=project, grader__name=name, digest=digest)


class KeptScores:
    """A grader whose scores came with imported data. It has no word on anything new, and says so."""

    kind: ClassVar[str] = IMPORTED
    title: ClassVar[str] = "Imported scores"
    is_judge = False
    models: tuple[str, ...] = ()
    rater = "code"

    @classmethod
    def validate(cls, config: dict[str, Any], *, door: Door = "native") -> dict[str, Any]:
        raise BadConfig("Imported scores come with a file; no such grader can be made.", param="kind")

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None:
        low, high = config.get("scale") or (0.0, 1.0)
        self.scale = (float(low), float(high))
        self.pass_threshold: float | None = config.get("pass_threshold")

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        return skipped("Its scores came with imported data; nothing here can run it.")


def ready_grader(version: GraderVersion) -> GraderWithConfig:
    """Return a stored version ready to score; an imported one skips every sample, since nothing here can run it. Raises BadConfig."""
    if version.grader.kind == IMPORTED:
        return KeptScores(version.config)
    rubric = version.rubric_version
    standard = (
        standard_of(with_criteria(RubricVersion.objects.filter(pk=rubric.pk)).get()) if rubric is not None else None
    )
    return build_grader(version.grader.kind, version.config, standard=standard)
