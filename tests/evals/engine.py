"""What tests of the engine share: a comparison in a few words, and a model client that answers as told."""

import asyncio
import json
from typing import Any

from django.db import close_old_connections

from evals import services
from evals.models import Comparison, Run, Sample, Score
from evals.services import CandidateSpec, GraderSpec
from providers.client import Answer, ProviderError
from rubrics.services import create_rubric, publish_version
from rubrics.standard import CriterionText, LevelText, Standard
from tests.factories import make_project

ECHO = CandidateSpec(model="echo")
CONTAINS = GraderSpec(
    "answer given",
    "string_check",
    {"input": "{{ sample.output_text }}", "reference": "{{ item.reference }}", "operation": "ilike"},
)


def rubric_spec(project, *, judge="judge-1", name="Correctness", **fields) -> GraderSpec:
    levels = (LevelText(1, "wrong", "The answer is wrong."), LevelText(5, "right", "The answer is right."))
    criterion = CriterionText("facts", "Facts", "Are the facts right?", levels=levels)
    standard = Standard(name, 0, pass_threshold=4, criteria=(criterion,))
    rubric = create_rubric(project, name=name, standard=standard)
    return GraderSpec(name, "rubric", {"judge": judge}, rubric_version=publish_version(rubric), **fields)


def make_comparison(*, project=None, items=4, graders=(CONTAINS,), candidates=(ECHO,), **fields: Any) -> Comparison:
    project = project or make_project()
    rows = (
        items
        if isinstance(items, list)
        else [{"key": f"k{n}", "input": f"say {n}", "reference": f"{n}"} for n in range(items)]
    )
    dataset = services.create_dataset(project, name="Cases", items=rows)
    revision = dataset.revisions.get()
    return services.create_comparison(
        project, name="Test", revision=revision, candidates=candidates, graders=list(graders), **fields
    )


class FakeClient:
    """Echoes the last user message; a judge says level 5. `answer` may be a function of the call that returns text or raises."""

    def __init__(self, answer=None, *, judge=None, cost=0.001, delay=0.0):
        self.answer, self.judge, self.cost, self.delay = answer, judge, cost, delay
        self.calls: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0

    def count(self, purpose="generate"):
        return sum(call["purpose"] == purpose for call in self.calls)

    async def chat(self, **call: Any) -> Answer:
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay)
            make = self.judge if call["purpose"] == "judge" else self.answer
            told = make(call) if make else None
            if asyncio.iscoroutine(told):
                told = await told
            text = self.usual(call) if told is None else told
        finally:
            self.in_flight -= 1
        message = text if isinstance(text, dict) else {"role": "assistant", "content": text}
        usage = {"input_tokens": 7, "output_tokens": 3, "cached_input_tokens": None, "reasoning_tokens": None}
        return Answer(message, message.get("content") or "", [], "stop", call["model"], usage, self.cost, 12.5)

    def usual(self, call):
        if call["purpose"] == "judge":
            return json.dumps(
                {"facts": {"evidence": ["say"], "reason": "It says so.", "level": 5}, "explanation": "Right."}
            )
        return call["messages"][-1]["content"]

    async def settle(self) -> None:
        return None

    async def aclose(self) -> None:
        return None


def unavailable(message="The provider answered 503.", *, kind="unavailable"):
    def refuse(call):
        raise ProviderError(message, kind=kind, retryable=True)

    return refuse


def pump(run: Run | Comparison, client: FakeClient | None = None, *, worker="test:1:x", **options: Any) -> FakeClient:
    """Pump a run, or each run of a comparison in turn."""
    client = client or FakeClient()
    runs = run.runs.order_by("position") if isinstance(run, Comparison) else [run]
    for one in runs:
        asyncio.run(services.pump_run(one.pk, worker=worker, client=client, **options))
    close_old_connections()
    return client


def statuses(comparison: Comparison) -> list[str]:
    return list(Sample.objects.filter(run__comparison=comparison).order_by("pk").values_list("status", flat=True))


def current_scores(comparison: Comparison) -> dict[tuple[int, str, str], list[Score]]:
    """Return the current scores by sample, grader and criterion: each list must hold exactly one."""
    found: dict[tuple[int, str, str], list[Score]] = {}
    for score in Score.objects.filter(run__comparison=comparison, is_current=True).select_related(
        "grader_version__grader"
    ):
        found.setdefault((score.sample_id, score.grader_version.grader.name, score.criterion), []).append(score)
    return found
