"""Score with a function `grade(sample, item)` in a sandbox: pydantic-monty, an interpreter in a process of its own.

The code sees no files, no network and no environment, and is stopped beyond its time, memory or output.
"""

import asyncio
import atexit
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pydantic_monty

from evals.graders.base import (
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
POLICY: pydantic_monty.OSPolicy = {"sleep": "zero", "random_start": {"seed": 0}}
MAX_EXPLANATION = 10_000
SAMPLE, ITEM = "markbook_sample__", "markbook_item__"

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
            return failed(str(error), duration_ms=(time.perf_counter() - begun) * 1000)
        result = self.read(answer)
        took_ms = (time.perf_counter() - begun) * 1000
        digest = digest_of(values["output_text"], item)
        return GradeResult(**{**vars(result), "duration_ms": took_ms, "input_digest": digest})

    def read(self, answer: Any) -> GradeResult:
        """Return what the function's answer means; anything but a finite number is a failed result that names it."""
        said: Any = {}
        if isinstance(answer, dict):
            said = answer
            if "score" not in said:
                return failed("grade() returned a dict without “score”.")
            if said["score"] is None:
                return skipped(text_of(said.get("rationale")) or "grade() returned no score.")
            answer = said["score"]
        if isinstance(answer, bool | int | float) and abs(answer) < 1e300 and math.isfinite(answer):
            value = float(answer)
        else:
            return failed(f"grade() returned {shown(answer)}, where a finite number is needed.")
        passed = said.get("passed")
        if passed is None:
            passed = self.pass_threshold is None or value >= self.pass_threshold
        elif not isinstance(passed, bool):
            return failed(f"grade() returned passed = {shown(passed)}, where true or false is needed.")
        label = said.get("label")
        return GradeResult(
            value=value,
            passed=passed,
            label=text_of(label)[:120],
            explanation=text_of(said.get("rationale") or said.get("explanation"))[:MAX_EXPLANATION],
        )


def shown(value: Any) -> str:
    """Name a value in an error, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def text_of(value: Any) -> str:
    return (
        "" if value is None else without_surrogates(value if isinstance(value, str) else str(value)).replace("\x00", "")
    )


class SandboxError(Exception):
    """The code did not give an answer; the text says why."""


class HalfCharacter(Exception):
    """A text with a lone surrogate, which the sandbox does not take."""


def check_source(source: str) -> None:
    """Raise BadConfig unless the source can be read by the sandbox and defines `grade` with two parameters.

    The source is run, in the sandbox, as far as its definitions.
    """
    try:
        with sandbox()[0].checkout(limits=LIMITS, os_policy=POLICY) as session:
            session.feed_run(source, print_callback=pydantic_monty.CollectString(OUTPUT_LIMIT_BYTES))
            is_there = session.feed_run(
                f"{SAMPLE} = None\ntry:\n    grade\n    {SAMPLE} = True\nexcept NameError:\n    pass\n{SAMPLE}"
            )
    except pydantic_monty.MontySyntaxError as error:
        raise BadConfig(f"The source cannot be read: {error}.", param="source") from None
    except pydantic_monty.MontyError as error:
        raise BadConfig(f"The source fails where it is defined: {error}.", param="source") from None
    if not is_there:
        raise BadConfig("The source must define `def grade(sample, item):`.", param="source")
    parameters = grade_parameters(source)
    if parameters is not None and parameters != 2:
        raise BadConfig(f"grade() takes {parameters} parameters; it needs two: sample and item.", param="source")


def grade_parameters(source: str) -> int | None:
    """Return how many positional parameters the last top-level `grade` takes; None where it is no plain function or takes *args."""
    import ast

    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "grade"]
    if not found or found[-1].args.vararg:
        return None
    return len(found[-1].args.posonlyargs) + len(found[-1].args.args)


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
        raise SandboxError(f"The sandbox was stopped: {error}") from None
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
