"""Rubric versions by name, for programs that name one."""

from accounts.models import Project
from rubrics.models import RubricVersion


def published_version(project: Project, slug: str, number: int | None) -> RubricVersion | None:
    """Return a published version of the rubric of this slug, the newest where no number is given; None where there is none."""
    versions = RubricVersion.objects.filter(rubric__project=project, rubric__slug=slug).exclude(frozen_at=None)
    if number is not None:
        versions = versions.filter(number=min(number, 2**31 - 1))
    return versions.order_by("-number").first()
