"""`score.NAME:<3` in the query of the traces list: traces by a current score of a grader."""

import re
from typing import Any

from django.db.models import Exists, OuterRef, Q

from accounts.models import Project
from evals.models import Grader, Score, ScoreState
from traces.filters import any_of, number_filter
from traces.search import Condition, Key, Kind


def written_name(name: str) -> str:
    """Return a grader's name as it stands in a query: small letters, with - for what cannot stand there."""
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-")


def score_names(project: Project) -> list[str]:
    """Return the names of the project's graders as they stand in a query."""
    return sorted({written_name(name) for name in project.graders.values_list("name", flat=True)} - {""})


def score_filter(condition: Condition, project: Any) -> Q:
    """Return the filter of a condition on a score: the overall one, current and not failed, of any rater."""
    wanted = written_name(condition.name)
    graders = [
        pk
        for pk, name in Grader.objects.filter(project=project).values_list("pk", "name")
        if written_name(name) == wanted
    ]
    value = any_of(condition.values, lambda one: number_filter("value", condition.operator, one))
    own = Score.objects.filter(
        value,
        trace=OuterRef("pk"),
        grader_version__grader__in=graders,
        criterion="",
        is_current=True,
        state=ScoreState.OK,
    )
    return Q(Exists(own))


SCORE = Key(
    "score.", Kind.NUMBER, "A grader's score", aliases=("scores.",), sample="score.correctness:<3", build=score_filter, names=score_names
)  # fmt: skip
