"""Testing criteria: from what is sent to a grader's settings, and back. Pure, but for the rubric that a criterion may name."""

import uuid
from dataclasses import dataclass
from typing import Any

from accounts.models import Project
from evals.graders import REGISTRY, grader_kind
from evals.graders.base import BadConfig
from evals.openai_api.reading import BadRequest, one_of, required_words
from evals.queries.rubric_choice import published_version
from rubrics.models import RubricVersion

MAX_NAME = 300
MAX_CRITERIA = 100
IGNORED = {"python": ("image_tag",)}  # sent by every client, and of no meaning here


@dataclass(frozen=True)
class ReadCriterion:
    """A testing criterion ready to be kept: its settings for the grader, and itself as it is answered, without its id."""

    name: str
    kind: str
    config: dict[str, Any]
    checked: dict[str, Any]  # the same, complete
    answered: dict[str, Any]
    models: tuple[str, ...] = ()
    rubric_version: RubricVersion | None = None


def read_criteria(value: Any, project: Project) -> list[ReadCriterion]:
    """Return the testing criteria of an eval. Raises BadRequest naming the place."""
    if not isinstance(value, list) or not value:
        raise BadRequest("`testing_criteria` must be a list of at least one grader.", param="testing_criteria")
    if len(value) > MAX_CRITERIA:
        raise BadRequest(
            f"`testing_criteria` has {len(value)} graders; at most {MAX_CRITERIA} are taken.", param="testing_criteria"
        )
    return [read_criterion(entry, f"testing_criteria[{place}]", project) for place, entry in enumerate(value)]


def read_criterion(
    value: Any, place: str, project: Project, *, needs_name: bool = True, needs_threshold: bool = True
) -> ReadCriterion:
    """Return one grader as it is asked for. Raises BadRequest naming the place."""
    if not isinstance(value, dict):
        raise BadRequest(f"`{place}` must be an object with a type.", param=place)
    kind = one_of(value.get("type"), REGISTRY, f"{place}.type")
    name = value.get("name")
    if needs_name or name is not None:
        name = required_words(value, "name", place)
        if len(name) > MAX_NAME:
            raise BadRequest(
                f"`{place}.name` has {len(name)} characters; at most {MAX_NAME} fit.", param=f"{place}.name"
            )
    if kind == "text_similarity" and needs_threshold and value.get("pass_threshold") is None:
        raise BadRequest(
            f"`{place}.pass_threshold` is required: the score from which a row passes.", param=f"{place}.pass_threshold"
        )
    apart = ("type", "name", "id", *IGNORED.get(kind, ()))
    config = {key: entry for key, entry in value.items() if key not in apart and entry is not None}
    version = None
    if kind == "rubric":
        version, config = read_rubric(config, place, project)
    try:
        checked = grader_kind(kind).validate(config, door="openai")
        models = models_of(kind, checked, version)
    except BadConfig as error:
        raise BadRequest(f"{place}: {error}", param=f"{place}.{error.param}" if error.param else place) from None
    return ReadCriterion(name or kind, kind, config, checked, answered(value), models, version)


def models_of(kind: str, config: dict[str, Any], version: RubricVersion | None) -> tuple[str, ...]:
    """Return the models that a grader asks. Raises BadConfig."""
    if version is not None:
        return (str(config["judge"]),)
    return tuple(grader_kind(kind)(config).models)


def read_rubric(config: dict[str, Any], place: str, project: Project) -> tuple[RubricVersion, dict[str, Any]]:
    """Return the rubric version that a criterion of our own kind names, and the grader's settings. Raises BadRequest."""
    slug = required_words(config, "rubric", place)
    number = config.get("version")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise BadRequest(f"`{place}.version` must be a whole number.", param=f"{place}.version")
    version = published_version(project, slug, number)
    if version is None:
        which = f"version {number} of the rubric" if number is not None else "published rubric"
        raise BadRequest(f"There is no {which} {slug[:60]!r} in this project.", param=f"{place}.rubric")
    rest = {name: value for name, value in config.items() if name not in ("rubric", "version", "model")}
    if config.get("model") is not None:
        rest["judge"] = required_words(config, "model", place)
    return version, rest


# Answering -------------------------------------------------------------------------------------------------------


def answered(criterion: dict[str, Any]) -> dict[str, Any]:
    """Return a criterion as it is answered: messages in `input` have their type, and text becomes a part."""
    return {name: answered_messages(value) if name == "input" else value for name, value in criterion.items()}


def answered_messages(messages: Any) -> Any:
    """Return messages as they are answered; what is no list of messages stays as it is."""
    if not isinstance(messages, list):
        return messages
    return [answered_message(message) for message in messages]


def answered_message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    if isinstance(content, str):
        content = {"type": "input_text", "text": content}
    return {"type": "message", **message, "content": content}


def fresh_criterion_id(name: str) -> str:
    """Return a new id for a criterion: its name and a UUID."""
    return f"{name}-{uuid.uuid4()}"


def criterion_id_at(name: str, eval_public_id: str, position: int) -> str:
    """Return the id of a criterion that was made in the pages: it follows from its place, so that it is always the same."""
    return f"{name}-{uuid.uuid5(uuid.NAMESPACE_OID, f'{eval_public_id}:{position}')}"
