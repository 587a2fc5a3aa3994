"""What a grader gets, what it gives back, and what one is. Pure: no rows, no Django."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from rubrics.standard import Standard


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

    def as_dict(self) -> dict[str, Any]:
        """Return the names and values as templates and Python graders see them; `output_json` only where the answer is JSON."""
        values = dict(vars(self))
        if values["output_json"] is None:
            del values["output_json"]
        return values


@dataclass(frozen=True)
class GradeResult:
    """One grader's word. `value` is None unless `state` is ok; `reason` then says why. `criteria` are a rubric's parts.

    `evidence` is [{"quote", "span_id" or None, "found"}].
    """

    state: str = "ok"
    value: float | None = None
    label: str = ""
    passed: bool | None = None
    explanation: str = ""
    evidence: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""
    criterion: str = ""
    rater: str = "code"
    input_digest: str = ""
    duration_ms: float | None = None
    cost_usd: float | None = None
    criteria: tuple["GradeResult", ...] = ()


def failed(reason: str, **fields: Any) -> GradeResult:
    """Return the result of a grader that broke."""
    return GradeResult(state="failed", reason=reason, **fields)


def skipped(reason: str, **fields: Any) -> GradeResult:
    """Return the result of a grader that lacks what it needs."""
    return GradeResult(state="skipped", reason=reason, **fields)


@dataclass(frozen=True)
class Answered:
    """A judge's answer as the caller's client gives it."""

    text: str
    cost_usd: float | None = None
    duration_ms: float | None = None


class JudgeUnavailable(Exception):
    """The judge gave no answer; the text says why."""


AskJudge = Callable[..., Awaitable[Answered]]  # (model, messages, sampling, response_format) or JudgeUnavailable
FindEarlier = Callable[[str], Awaitable[list[GradeResult] | None]]  # a digest in, the overall result and its parts out


@dataclass(frozen=True)
class Surroundings:
    """What a grader may use besides its settings. Code graders need none of it."""

    ask: AskJudge | None = None
    find_earlier: FindEarlier | None = None  # absent: always ask anew


class Grader(Protocol):
    """One kind of grader with one frozen set of settings."""

    kind: ClassVar[str]
    title: ClassVar[str]  # as people read it
    is_judge: ClassVar[bool]

    @classmethod
    def validate(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Return the settings complete and in order. Raises BadConfig."""
        ...

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None: ...

    @property
    def scale(self) -> tuple[float, float]: ...

    @property
    def pass_threshold(self) -> float | None: ...

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
