"""A scripted agent's run as it happens: a clock, a thread of messages, and the spans that they leave. Pure and deterministic."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

MS = 1_000_000  # nanoseconds


@dataclass
class Step:
    """One span of a run. `seen` is how many messages of the thread a model call was given; times in nanoseconds."""

    span_id: str
    parent_id: str
    kind: str
    name: str
    start_ns: int
    end_ns: int = 0
    model: str = ""
    thread: list[dict[str, Any]] = field(default_factory=list)
    seen: int = 0
    answer: dict[str, Any] | None = None
    tool: dict[str, Any] | None = None
    given: str = ""
    result: str = ""
    error: tuple[str, str] | None = None
    tokens: tuple[int, int, int] = (0, 0, 0)


@dataclass
class Setting:
    """What is true of a whole run: who, where, which agent in which release."""

    trace_id: str
    agent_id: str
    agent_name: str
    release: str
    environment: str
    session_id: str
    user_id: str
    topic: str
    model: str
    tags: list[str]
    metadata: dict[str, Any]
    system: str
    convention: str


class Recorder:
    """Run a scripted agent: each method takes its time on the clock and leaves a span."""

    def __init__(
        self, setting: Setting, rng: Random, start_ns: int, *, thread: list[dict[str, Any]] | None = None
    ) -> None:
        self.setting, self.rng, self.clock = setting, rng, start_ns
        self.thread = thread if thread is not None else [{"role": "system", "content": setting.system}]
        self.steps: list[Step] = []
        self.parents: list[str] = []
        self.pace = {"demo/careful": 1.5, "demo/brisk": 0.8, "demo/terse": 0.45}.get(setting.model, 1.0)

    def wait(self, ms: float) -> None:
        """Let time pass."""
        self.clock += int(ms * MS)

    def open(self, kind: str, name: str, **fields: Any) -> Step:
        """Start a span under the one that is open."""
        span_id = f"{self.rng.getrandbits(64) or 1:016x}"
        step = Step(span_id, self.parents[-1] if self.parents else "", kind, name, self.clock, **fields)
        self.steps.append(step)
        return step

    def close(self, step: Step, ms: float) -> Step:
        """End a span after `ms` milliseconds."""
        self.wait(ms)
        step.end_ns = self.clock
        return step

    @contextmanager
    def inside(self, kind: str, name: str, **fields: Any) -> Iterator[Step]:
        """Open a span and put what follows under it."""
        step = self.open(kind, name, **fields)
        self.parents.append(step.span_id)
        yield step
        self.parents.pop()
        self.wait(self.rng.uniform(2, 12))
        step.end_ns = self.clock

    def customer(self, text: str) -> None:
        """Add what the customer wrote."""
        self.thread.append({"role": "user", "content": text})

    def model_call(self, text: str | None, calls: list[dict[str, Any]] | None = None, *, name: str = "") -> Step:
        """Ask the model: its answer is text, or tool calls. The answer joins the thread."""
        step = self.open("llm", name or f"chat {self.setting.model}", model=self.setting.model, thread=self.thread)
        step.seen = len(self.thread)
        answer: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            answer["tool_calls"] = calls
        size = sum(len(str(message.get("content") or "")) for message in self.thread) // 4 + 60
        written = len(text or "") // 4 + sum(len(str(call["arguments"])) // 3 + 14 for call in calls or [])
        step.tokens = (size, written, size // 2 if len(self.thread) > 4 else 0)
        step.answer = answer
        self.thread.append(answer)
        return self.close(step, self.pace * (260 + 14 * written) * self.rng.uniform(0.8, 1.5))

    def use_tool(
        self, name: str, arguments: dict[str, Any], result: Any, *, error: tuple[str, str] | None = None, ms: float = 0
    ) -> Step:
        """Have the model choose a tool, and run it. `error` is (type, message) where the tool raises."""
        import json

        call_id = f"call_{self.rng.getrandbits(48):012x}"
        self.model_call(None, [{"id": call_id, "name": name, "arguments": arguments}])
        step = self.open(
            "tool", name, tool={"name": name, "call_id": call_id, "arguments": arguments, "result": result}, error=error
        )
        self.close(step, ms or self.rng.uniform(90, 620))
        content = f"{error[0]}: {error[1]}" if error else result if isinstance(result, str) else json.dumps(result)
        self.thread.append({"role": "tool", "tool_call_id": call_id, "name": name, "content": content})
        return step

    def look_up_policy(self, key: str, text: str) -> None:
        """Search the policies; leaves a retriever span."""
        step = self.open("retriever", "search_policies", given=key, result=text)
        self.close(step, self.rng.uniform(60, 240))

    def guard(self, name: str, verdict: str) -> None:
        """Run a check; leaves a guardrail span."""
        step = self.open("guardrail", name, given=str(self.thread[-1].get("content") or ""), result=verdict)
        self.close(step, self.rng.uniform(8, 60))

    def reply(self, text: str) -> None:
        """Answer the customer."""
        self.model_call(text)
