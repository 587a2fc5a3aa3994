"""The kinds of graders, by name. One file each; a new kind is a new entry here."""

from typing import Any

from evals.graders.base import BadConfig, Grader
from evals.graders.label_model import LabelModel
from evals.graders.multi import Multi
from evals.graders.python import PythonGrader
from evals.graders.rubric import RubricJudge
from evals.graders.score_model import ScoreModel
from evals.graders.string_check import StringCheck
from evals.graders.text_similarity import TextSimilarity
from rubrics.standard import Standard

REGISTRY: dict[str, type[Grader]] = {
    kind.kind: kind for kind in (StringCheck, TextSimilarity, PythonGrader, RubricJudge, ScoreModel, LabelModel, Multi)
}
IMPORTED = "imported"  # the kind of graders whose scores came with the data: nothing here can run them


def grader_kind(kind: str) -> type[Grader]:
    """Return the kind of this name. Raises BadConfig with the names that there are."""
    if kind not in REGISTRY:
        raise BadConfig(f"There is no grader of kind {kind!r}; there are {', '.join(REGISTRY)}.", param="kind")
    return REGISTRY[kind]


def build_grader(kind: str, config: dict[str, Any], *, standard: Standard | None = None) -> Grader:
    """Return a grader ready to score. Raises BadConfig."""
    return grader_kind(kind)(config, standard=standard)


def judge_of(kind: str, config: Any) -> str:
    """Return the model that judges by these settings, several joined by commas; empty where none does."""
    if not isinstance(config, dict):
        return ""
    if kind == RubricJudge.kind:
        return str(config.get("judge") or "")
    if kind in (ScoreModel.kind, LabelModel.kind):
        return str(config.get("model") or "")
    parts = config.get("graders")
    if kind == Multi.kind and isinstance(parts, list):
        judges = (judge_of(str(part.get("type")), part) for part in parts if isinstance(part, dict))
        return ", ".join(dict.fromkeys(judge for judge in judges if judge))[:200]
    return ""
