"""Try a grader on one answer, before it is saved: nothing is kept but the calls in the book."""

from functools import partial
from typing import Any

from asgiref.sync import async_to_sync

from accounts.models import Project
from evals.given import sample_from_given
from evals.graders.base import Grader, GradeResult, SampleInput, Surroundings
from evals.grading import json_or_none, sample_from_trace
from evals.models import Item
from evals.own_reference import measures_itself
from evals.queries.dataset_pages import input_text, reference_text
from evals.services.recorded import ask_judge, embed_texts
from evals.services.verdicts import storable_result
from providers.client import ModelClient

TIMEOUT_S = 45.0  # a person waits for it


def sample_to_try(item: Item, grader: Grader) -> tuple[SampleInput, str]:
    """Return an answer to an item to try a grader on, and in words what it is: what is recorded, else the item's reference.

    A recorded run is not tried against its own words.
    """
    if item.sample:
        recorded = sample_from_trace(item.source_trace) if item.source_trace is not None else None
        return sample_from_given(item.sample, recorded), "the answer that came with it"
    if item.source_trace is not None:
        recorded = sample_from_trace(item.source_trace)
        if not measures_itself(grader, item.content, recorded):
            return recorded, "what was recorded"
    answer = reference_text(item.content)
    message = {"role": "assistant", "content": answer}
    sample = SampleInput(
        input=input_text(item.content),
        messages=[{"role": "user", "content": input_text(item.content)}, message],
        output_text=answer,
        output_json=json_or_none(answer),
        choices=[{"index": 0, "message": message, "finish_reason": "stop"}],
        model="the reference",
    )
    return sample, "its reference"


def try_grader(
    project: Project, grader: Grader, sample: SampleInput, item: dict[str, Any], *, attempts: int = 1
) -> GradeResult:
    """Return a grader's word on one answer. A judge that does not answer is asked so often, and waited for at most TIMEOUT_S each time."""
    return async_to_sync(grade_once)(project, grader, sample, item, attempts)


async def grade_once(
    project: Project, grader: Grader, sample: SampleInput, item: dict[str, Any], attempts: int
) -> GradeResult:
    if not grader.models:
        return storable_result(await grader.grade(sample, item, Surroundings()))
    client = ModelClient(project, worker="try", attempts=attempts, timeout_s=TIMEOUT_S)
    try:
        surroundings = Surroundings(
            ask=partial(ask_judge, client, "", "try"), embed=partial(embed_texts, client, "", "try")
        )
        return storable_result(await grader.grade(sample, item, surroundings))
    finally:
        await client.aclose()
