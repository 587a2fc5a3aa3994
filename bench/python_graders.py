"""Time Python-grader calls: `python bench/python_graders.py [--calls 1000]`. Exits 1 where they take 2 s a thousand or more.

Each call is a sandbox of its own with the whole sample in it, as a run makes it; source and sample are those of a trace-grading guide.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evals.graders.base import SampleInput, Surroundings
from evals.graders.python import PythonGrader

LIMIT_S = 2.0  # a thousand calls
SOURCE = """
import json

def grade(sample, item):
    calls = [step for step in sample["steps"] if step["type"] == "tool_call"]
    wanted = item["reference"].lower().split()
    found = [word for word in wanted if word in sample["output_text"].lower()]
    score = len(found) / len(wanted)
    return {"score": score, "passed": score >= 0.5 and len(calls) < 10, "rationale": json.dumps({"calls": len(calls)})}
"""


def sample_of(steps: int) -> SampleInput:
    """Return a recorded run of this many steps."""
    parts = [
        {"type": "tool_call", "name": "get_order", "arguments": {"id": f"A-{n}"}, "span_id": f"{n:016x}"}
        if n % 2
        else {
            "type": "tool_result",
            "name": "get_order",
            "output": {"status": "shipped", "total": n},
            "span_id": f"{n:016x}",
        }
        for n in range(steps)
    ]
    messages = [{"role": "user", "content": "Where is my order?"}, {"role": "assistant", "content": "It ships today."}]
    return SampleInput(input="Where is my order?", messages=messages, steps=parts, output_text="It ships today.")


async def grade_all(grader: PythonGrader, sample: SampleInput, calls: int) -> list[float | None]:
    item = {"reference": "It ships today"}
    results = await asyncio.gather(*(grader.grade(sample, item, Surroundings()) for _ in range(calls)))
    return [result.value for result in results]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=12, help="steps in the sample")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    grader = PythonGrader(PythonGrader.validate({"source": SOURCE}))
    sample = sample_of(options.steps)
    took = []
    for _ in range(options.rounds):
        begun = time.perf_counter()
        values = asyncio.run(grade_all(grader, sample, options.calls))
        took.append(time.perf_counter() - begun)
        if set(values) != {1.0}:
            print(f"Not every call gave 1: {set(values)}")
            return 1
    middle = statistics.median(took)
    print(
        f"{options.calls:,} python-grader calls, {options.steps} steps each: median {middle:.2f} s of {options.rounds} rounds "
        f"({min(took):.2f} to {max(took):.2f}), {middle / options.calls * 1000:.2f} ms a call."
    )
    return 0 if middle / options.calls * 1000 < LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
