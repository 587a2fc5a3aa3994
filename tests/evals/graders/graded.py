"""What the tests of graders share: a sample, a judge that answers as it is told, and one call."""

import asyncio
import json

from evals.graders import build_grader, grader_kind
from evals.graders.base import Answered, SampleInput, Surroundings

SAMPLE = SampleInput(
    output_text="Your refund of 20 € is on its way.",
    messages=[
        {"role": "user", "content": "Where is my refund?", "span_id": "s1"},
        {"role": "assistant", "content": "Your refund of 20 € is on its way.", "span_id": "s2"},
    ],
    steps=[{"type": "tool_call", "name": "get_order", "arguments": {"id": "A-1"}, "span_id": "s3"}],
)


def grade(kind, config, *, sample=SAMPLE, item=None, standard=None, surroundings=None, door="native"):
    """Check the settings, make the grader, and return its word."""
    settings = grader_kind(kind).validate(config, door=door)
    grader = build_grader(kind, settings, standard=standard)
    return asyncio.run(grader.grade(sample, item, surroundings or Surroundings()))


class FakeJudge:
    """Answers in turn with the given texts or errors; keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, **call):
        self.asked.append(call)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Answered):
            return answer
        return Answered(answer if isinstance(answer, str) else json.dumps(answer), 0.001, 20.0)
