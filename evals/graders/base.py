"""What a grader gets, what it gives back, and what one is. Pure: no rows, no Django."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol

from rubrics.standard import Standard

Door = Literal["native", "openai"]  # where settings come from: our own pages, files and commands, or /v1

# What kept a grader from a value, for programs: empty where the text alone says it.
INVALID_VARIABLE = "invalid_variable"  # a template names what the sample or the item does not have
PYTHON_ERROR = "python_error"  # the code raised, or gave what is no score
SANDBOX_ERROR = "sandbox_error"  # the code was stopped, or the sandbox died
JUDGE_UNAVAILABLE = "judge_unavailable"  # no answer came
JUDGE_REFUSAL = "judge_refusal"  # the judge's model refused
JUDGE_ANSWER = "judge_answer"  # an answer came that says no score or label
FORMULA_ERROR = "formula_error"  # the formula has no value here


class BadConfig(ValueError):
    """A grader's settings that cannot be used. `param` names the place, the text says why and what to do."""

    def __init__(self, message: str, *, param: str = "") -> None:
        super().__init__(message)
        self.param = param


@dataclass
class SampleInput:
    """What graders see as `sample.*` (design, section 6): the whole of one attempt, recorded or generated."""

    input: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    tool_results: list[dict[str, Any]] = field(default_factory=list)
    available_tools: list[Any] = field(default_factory=list)
    output_text: str = ""
    output_json: Any = None
    output_tools: list[dict[str, Any]] = field(default_factory=list)
    choices: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    duration_ms: float | None = None
    error: dict[str, Any] | None = None
    model: str = ""
    trace_id: str = ""
    given: dict[str, Any] | None = None  # a row's own sample, complete: then graders see exactly this

    def as_dict(self) -> dict[str, Any]:
        """Return the names and values as templates and Python graders see them; `output_json` only where the answer is JSON."""
        if self.given is not None:
            return dict(self.given)
        values = {name: value for name, value in vars(self).items() if name != "given"}
        if values["output_json"] is None:
            del values["output_json"]
        return values


@dataclass(frozen=True, kw_only=True)
class Word:
    """What any rater says. `value` is None unless `state` is ok; `reason` then says why, and `problem` names the sort of reason.

    `evidence` is [{"quote", "span_id" or None, "found"}]. `call` is what was asked of a model and what it said, as JSON: {"messages",
    "text", "model", "finish_reason", "usage", "sampling"}, where it is kept.
    """

    state: str = "ok"
    value: float | None = None
    label: str = ""
    passed: bool | None = None
    explanation: str = ""
    evidence: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""
    problem: str = ""
    criterion: str = ""
    rater: str = "code"
    input_digest: str = ""
    duration_ms: float | None = None
    cost_usd: float | None = None
    call: dict[str, Any] | None = None
    answered_by: str = ""  # the model that answers where `rater` is an old name


WORD_FIELDS = tuple(entry.name for entry in fields(Word))


@dataclass(frozen=True, kw_only=True)
class GradeResult(Word):
    """One grader's word. `criteria` are a rubric's criteria, or the graders within a `multi`, under their names."""

    criteria: tuple["GradeResult", ...] = ()


def failed(reason: str, **fields: Any) -> GradeResult:
    """Return the result of a grader that broke."""
    return GradeResult(state="failed", reason=reason, **fields)


def skipped(reason: str, **fields: Any) -> GradeResult:
    """Return the result of a grader that lacks what it needs."""
    return GradeResult(state="skipped", reason=reason, **fields)


@dataclass(frozen=True)
class Answered:
    """A judge's answer as the caller's client gives it; `model` as the endpoint reported it."""

    text: str
    cost_usd: float | None = None
    duration_ms: float | None = None
    model: str = ""
    finish_reason: str = ""
    refusal: str = ""
    usage: dict[str, int | None] = field(default_factory=dict)


class JudgeUnavailable(Exception):
    """The model gave no answer; the text says why."""


@dataclass(frozen=True)
class Embedded:
    """Vectors as the caller's client gives them, one for each text."""

    vectors: list[list[float]]
    cost_usd: float | None = None
    duration_ms: float | None = None


AskJudge = Callable[..., Awaitable[Answered]]  # (model, messages, sampling, response_format) or JudgeUnavailable
Embed = Callable[..., Awaitable[Embedded]]  # (model, texts) or JudgeUnavailable
FindEarlier = Callable[[str], Awaitable[list[GradeResult] | None]]  # a digest in, the overall result and its parts out


@dataclass(frozen=True)
class Surroundings:
    """What a grader may use besides its settings. Graders without `models` need none of it."""

    ask: AskJudge | None = None
    embed: Embed | None = None
    find_earlier: FindEarlier | None = None  # absent: always ask anew


class Grader(Protocol):
    """One kind of grader with one frozen set of settings."""

    kind: ClassVar[str]
    title: ClassVar[str]  # as people read it
    is_judge: bool  # a model's opinion decides, in whole or in part

    @classmethod
    def validate(cls, config: dict[str, Any], *, door: Door = "native") -> dict[str, Any]:
        """Return the settings complete and in order. Raises BadConfig, also for what `/v1` (door `openai`) does not know."""
        ...

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None: ...

    @property
    def scale(self) -> tuple[float, float]: ...

    @property
    def pass_threshold(self) -> float | None: ...

    @property
    def models(self) -> tuple[str, ...]:
        """Name the models that it asks; they must be known when it is made."""
        ...

    @property
    def rater(self) -> str:
        """Name who scores: `code`, or the judge's model."""
        ...

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        """Score one sample. Never raises for what a sample, an item or a judge can do: that is a failed or skipped result."""
        ...


def digest_of(*parts: Any) -> str:
    """Return 32 hex digits that identify the given JSON values."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def required_text(config: dict[str, Any], name: str, *, limit: int = 256_000, may_be_empty: bool = False) -> str:
    """Return a text of the settings. Raises BadConfig where it is missing, no text, empty or too long."""
    value = config.get(name)
    if not isinstance(value, str):
        raise BadConfig(f"{name} is missing or not a text.", param=name)
    if not value.strip() and not may_be_empty:
        raise BadConfig(f"{name} is empty.", param=name)
    if len(value.encode("utf-8", "surrogatepass")) > limit:
        raise BadConfig(f"{name} is longer than {limit:,} bytes.", param=name)
    if "\x00" in value:
        raise BadConfig(f"{name} holds a NUL character.", param=name)
    return value


def optional_number(config: dict[str, Any], name: str, default: float | None) -> float | None:
    """Return a finite number of the settings. Raises BadConfig for anything else."""
    value = config.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        raise BadConfig(f"{name} must be a number, not {value!r}.", param=name)
    return float(value)


def refuse_unknown(config: dict[str, Any], known: set[str]) -> None:
    """Raise BadConfig for a setting that this kind does not have."""
    unknown = sorted(set(config) - known)
    if unknown:
        raise BadConfig(f"There is no setting {unknown[0]!r}; there are {', '.join(sorted(known))}.", param=unknown[0])
