"""Score with a function `grade(sample, item)` in a sandbox: pydantic-monty, an interpreter in a process of its own.

The code sees no files, no network and no environment, and is stopped beyond its time, memory or output.
"""

import asyncio
import atexit
import math
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pydantic_monty

from evals.graders.base import (
    PYTHON_ERROR,
    SANDBOX_ERROR,
    BadConfig,
    Door,
    GradeResult,
    SampleInput,
    Surroundings,
    digest_of,
    failed,
    optional_number,
    refuse_unknown,
    required_text,
    skipped,
)
from evals.graders.python_source import Needs, grade_parameters, instead_of, needs_of
from rubrics.standard import Standard

TIME_LIMIT_S = 10.0
MEMORY_LIMIT_BYTES = 256 * 1024 * 1024
OUTPUT_LIMIT_BYTES = 64 * 1024
LIMITS: pydantic_monty.ResourceLimits = {
    "max_feed_duration_secs": TIME_LIMIT_S,
    "max_memory": MEMORY_LIMIT_BYTES,
    "max_recursion_depth": 400,
    "max_suspensions": 1000,
}
CHECK_LIMITS: pydantic_monty.ResourceLimits = {
    "max_feed_duration_secs": 2.0
}  # of a source's definitions, when it is made
POLICY: pydantic_monty.OSPolicy = {"sleep": "zero", "random_start": {"seed": 0}}
MAX_EXPLANATION = 10_000
SAMPLE, ITEM = "markbook_sample__", "markbook_item__"
MODULES = (  # found by trying; a test holds the list against the sandbox
    "asyncio",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "functools",
    "hashlib",
    "itertools",
    "json",
    "math",
    "os",
    "pathlib",
    "posixpath",
    "random",
    "re",
    "sys",
    "time",
    "tomllib",
    "typing",
    "unicodedata",
)
NOT_SUPPORTED = re.compile(r"does not (?:yet )?support (?:the )?(.+?)\.?$", re.MULTILINE)

pool_lock = threading.Lock()
pools: dict[int, tuple[pydantic_monty.Monty, ThreadPoolExecutor]] = {}  # by process id: a forked process needs its own


class PythonGrader:
    """`source` defines `grade(sample, item)`; it returns a number, or {"score", "passed", "rationale"}."""

    kind: ClassVar[str] = "python"
    title: ClassVar[str] = "Python"
    is_judge = False

    @classmethod
    def validate(cls, config: dict[str, Any], *, door: Door = "native") -> dict[str, Any]:
        refuse_unknown(config, {"source", "pass_threshold", "image_tag"})
        source = required_text(config, "source")
        check_source(source)
        return {"source": source, "pass_threshold": optional_number(config, "pass_threshold", 0.5)}

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None:
        self.config = config
        self.pass_threshold: float | None = config["pass_threshold"]

    scale = (0.0, 1.0)
    rater = "code"
    models: tuple[str, ...] = ()

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        values = sample.as_dict()
        begun = time.perf_counter()
        _, threads = sandbox()
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(threads, run_sandboxed, self.config["source"], values, item or {})
        except SandboxError as error:
            took_ms = (time.perf_counter() - begun) * 1000
            return failed(str(error), problem=error.problem, duration_ms=took_ms)
        result = self.read(answer)
        took_ms = (time.perf_counter() - begun) * 1000
        digest = digest_of(values.get("output_text"), item)
        return GradeResult(**{**vars(result), "duration_ms": took_ms, "input_digest": digest})

    def read(self, answer: Any) -> GradeResult:
        """Return what the function's answer means; anything but a finite number is a failed result that names it."""
        said: Any = {}
        if isinstance(answer, dict):
            said = answer
            if "score" not in said:
                return failed("grade() returned a dict without “score”.", problem=PYTHON_ERROR)
            if said["score"] is None:
                return skipped(text_of(said.get("rationale")) or "grade() returned no score.")
            answer = said["score"]
        if isinstance(answer, bool | int | float) and abs(answer) < 1e300 and math.isfinite(answer):
            value = float(answer)
        else:
            return failed(f"grade() returned {shown(answer)}, where a finite number is needed.", problem=PYTHON_ERROR)
        passed = said.get("passed")
        if passed is None:
            passed = self.pass_threshold is None or value >= self.pass_threshold
        elif not isinstance(passed, bool):
            return failed(
                f"grade() returned passed = {shown(passed)}, where true or false is needed.", problem=PYTHON_ERROR
            )
        label = said.get("label")
        return GradeResult(
            value=value,
            passed=passed,
            label=text_of(label)[:120],
            explanation=text_of(said.get("rationale") or said.get("explanation"))[:MAX_EXPLANATION],
        )


def shown(value: Any) -> str:
    """Name a value in an error, shortened."""
    try:
        text = repr(value)
    except ValueError:  # Python writes out no whole number of more than 4,300 digits
        return "a very large number"
    return text if len(text) <= 80 else f"{text[:80]}…"


def text_of(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else shown(value) if isinstance(value, int) else str(value)
    return without_surrogates(text).replace("\x00", "")


class SandboxError(Exception):
    """The code did not give an answer; the text says why, `problem` whether the code or the sandbox ended it."""

    def __init__(self, message: str, problem: str = PYTHON_ERROR) -> None:
        super().__init__(message)
        self.problem = problem


class HalfCharacter(Exception):
    """A text with a lone surrogate, which the sandbox does not take."""


def check_source(source: str) -> None:
    """Raise BadConfig unless the sandbox can read the source, has what it uses, and it defines `grade` with two parameters.

    The source is run, in the sandbox, as far as its definitions. What its functions import or name is looked for there too, so that it
    is refused now and not at every row.
    """
    try:
        with sandbox()[0].checkout(limits={**LIMITS, **CHECK_LIMITS}, os_policy=POLICY) as session:
            refuse_what_is_missing(session, needs_of(source))
            session.feed_run(source, print_callback=pydantic_monty.CollectString(OUTPUT_LIMIT_BYTES))
            is_there = session.feed_run(
                f"{SAMPLE} = None\ntry:\n    grade\n    {SAMPLE} = True\nexcept NameError:\n    pass\n{SAMPLE}"
            )
    except pydantic_monty.MontySyntaxError as error:
        raise BadConfig(f"The source cannot be read: {error}.", param="source") from None
    except pydantic_monty.MontyError as error:
        said = str(error)
        lacks = NOT_SUPPORTED.search(said)
        if lacks:
            raise BadConfig(
                f"The sandbox does not know {lacks.group(1)}; write it another way.", param="source"
            ) from None
        raise BadConfig(f"The source fails where it is defined: {said}.", param="source") from None
    if not is_there:
        raise BadConfig("The source must define `def grade(sample, item):`.", param="source")
    parameters = grade_parameters(source)
    if parameters is not None and parameters != 2:
        raise BadConfig(f"grade() takes {parameters} parameters; it needs two: sample and item.", param="source")


def refuse_what_is_missing(session: Any, needs: Needs) -> None:
    """Raise BadConfig for an import or a built-in name that the sandbox does not have: each is tried there."""
    for line, number in needs.imports.items():
        try:
            session.feed_run(f"{line}\n")
        except pydantic_monty.MontyError as error:
            module = line.split()[1]
            text = f"Line {number}, “{line}”: {said_of(error)} in the sandbox. {instead_of(module)}".strip()
            raise BadConfig(f"{text} The modules there: {', '.join(MODULES)}.", param="source") from None
    for name, number in needs.names.items():
        try:
            session.feed_run(f"{name}\n")
        except pydantic_monty.MontyError:
            raise BadConfig(f"Line {number}: the sandbox has no {name}.", param="source") from None


def said_of(error: pydantic_monty.MontyError) -> str:
    """Return an error's last line, without the name of its class."""
    text = str(error).strip().splitlines()[-1].partition(": ")[2] or str(error)
    return text.removesuffix(" (unknown location)")


def run_sandboxed(source: str, sample: dict[str, Any], item: dict[str, Any]) -> Any:
    """Run grade(sample, item) and return its answer. Raises SandboxError."""
    try:
        return run_once(source, sample, item)
    except HalfCharacter:
        # Half a character cannot enter the sandbox: it is shown as a question mark there.
        return run_once(without_surrogates(source), without_surrogates(sample), without_surrogates(item))


def run_once(source: str, sample: dict[str, Any], item: dict[str, Any]) -> Any:
    printed = pydantic_monty.CollectString(OUTPUT_LIMIT_BYTES)
    inputs = {SAMPLE: sample, ITEM: item}
    try:
        with sandbox()[0].checkout(limits=LIMITS, os_policy=POLICY) as session:
            return session.feed_run(f"{source}\n\ngrade({SAMPLE}, {ITEM})", inputs=inputs, print_callback=printed)
    except pydantic_monty.MontyCrashedError as error:
        raise SandboxError(f"The sandbox was stopped: {error}", SANDBOX_ERROR) from None
    except pydantic_monty.MontyRuntimeError as error:
        if "surrogates not allowed" in str(error):
            raise HalfCharacter from None
        raise SandboxError(in_words(error)) from None
    except pydantic_monty.MontyError as error:
        raise SandboxError(f"grade() failed: {error}") from None
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise SandboxError(f"A value could not enter or leave the sandbox: {error}") from None


def in_words(error: pydantic_monty.MontyRuntimeError) -> str:
    """Say what stopped the code, with its line."""
    text = error.display("type-msg")
    if text.startswith("TimeoutError: feed time limit"):
        return f"grade() was stopped after {TIME_LIMIT_S:g} s."
    if text.startswith("MemoryError: memory limit"):
        memory, printed = MEMORY_LIMIT_BYTES // 1024 // 1024, OUTPUT_LIMIT_BYTES // 1024
        return f"grade() was stopped: it took more than {memory} MB, or printed more than {printed} kB."
    frames = error.traceback()
    line = f" (line {frames[-1].line})" if frames else ""
    return f"grade() failed: {text}{line}"[:2000]


def without_surrogates(value: Any) -> Any:
    """Return a JSON value with every half character replaced by a question mark."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [without_surrogates(part) for part in value]
    if isinstance(value, dict):
        return {without_surrogates(name): without_surrogates(part) for name, part in value.items()}
    return value


def sandbox() -> tuple[pydantic_monty.Monty, ThreadPoolExecutor]:
    """Return this process's pool of sandbox workers and the threads that wait for them; both are made on first use."""
    with pool_lock:
        if os.getpid() not in pools:
            count = max(1, min(4, os.cpu_count() or 1))
            pool = pydantic_monty.Monty(min_processes=1, max_processes=count, request_timeout=TIME_LIMIT_S + 5)
            pool.__enter__()
            pools[os.getpid()] = (pool, ThreadPoolExecutor(count, thread_name_prefix="sandbox"))
        return pools[os.getpid()]


@atexit.register
def close_sandbox() -> None:
    """End this process's sandbox workers."""
    found = pools.pop(os.getpid(), None)
    if found is not None:
        found[0].__exit__(None, None, None)
