import asyncio
import sys
import time

import pytest

from evals.graders import BadConfig, build_grader, grader_kind
from evals.graders.base import SampleInput, Surroundings
from evals.graders.python import LIMITS, MODULES
from tests.evals.graders.graded import SAMPLE, grade


def python(source, **fields):
    return grade("python", {"source": source}, item={"x": 1}, **fields)


def test_python_number_passes_at_the_threshold():
    assert (
        python("def grade(sample, item):\n    return 0.5").passed,
        python("def grade(sample, item):\n    return 0.49").passed,
    ) == (True, False)


def test_python_dict_gives_score_passed_and_rationale_and_reads_steps():
    source = """
def grade(sample, item):
    calls = [step for step in sample["steps"] if step["type"] == "tool_call"]
    good = any(call["arguments"]["id"] == "A-1" for call in calls)
    return {"score": 0.3, "passed": good, "rationale": "looked up " + calls[0]["name"]}
"""
    result = python(source)
    assert (result.value, result.passed, result.explanation) == (0.3, True, "looked up get_order")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return open('/etc/passwd').read()", "PermissionError"),
        ("import os\n    return len(os.environ)", "os.environ"),
        ("raise ValueError('no city')", "ValueError: no city"),
        ("return 'good'", "returned 'good'"),
        ("return float('nan')", "finite number"),
        ("return float('inf')", "finite number"),
        ("return 10 ** 400", "finite number"),
        ("return None", "returned None"),
        ("return {'passed': True}", "without “score”"),
        ("return {'score': 1, 'passed': 'yes'}", "true or false"),
        ("return grade(sample, item)", "RecursionError"),
        ("x = 'a' * (10 ** 9)\n    return 1", "MB"),
        ("print('x' * 10 ** 7)\n    return 1", "printed more than"),
    ],
)
def test_python_code_that_breaks_or_reaches_out_is_failed_with_its_message(body, says):
    result = python(f"def grade(sample, item):\n    {body}")
    assert (result.state, result.value, result.passed) == ("failed", None, None)
    assert says in result.reason


def test_python_endless_loop_is_stopped_at_its_limit_and_the_next_call_works(monkeypatch):
    monkeypatch.setitem(LIMITS, "max_feed_duration_secs", 0.3)
    begun = time.perf_counter()
    assert "was stopped after" in python("def grade(sample, item):\n    while True:\n        pass").reason
    assert time.perf_counter() - begun < 3
    assert python("def grade(sample, item):\n    return True").value == 1.0


def test_python_score_none_is_skipped_with_the_rationale():
    result = python("def grade(sample, item):\n    return {'score': None, 'rationale': 'no order in this run'}")
    assert (result.state, result.reason) == ("skipped", "no order in this run")


def test_python_sample_with_half_a_character_is_graded_and_nothing_unstorable_comes_back():
    source = "def grade(sample, item):\n    return {'score': 1, 'rationale': sample['output_text']}"
    result = python(source, sample=SampleInput(output_text="a\ud800b\x00"))
    assert result.explanation == "a?b"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def grade(sample, item)\n    return 1", "cannot be read"),
        ("def mark(sample, item):\n    return 1", "must define"),
        ("def grade(sample):\n    return 1", "takes 1 parameters"),
        ("import numpy\ndef grade(sample, item):\n    return 1", "No module named 'numpy'"),
        ("def grade(sample, item):\n    yield 1", "yield"),
        ("   ", "empty"),
    ],
)
def test_python_source_that_cannot_work_is_refused_when_it_is_made(source, says):
    with pytest.raises(BadConfig) as caught:
        grader_kind("python").validate({"source": source})
    assert says in str(caught.value)


def test_a_thousand_python_grader_calls_take_under_two_seconds():
    settings = grader_kind("python").validate(
        {"source": "def grade(sample, item):\n    return len(sample['output_text']) > item['x']"}
    )
    grader = build_grader("python", settings)

    async def all_of_them():
        return await asyncio.gather(*(grader.grade(SAMPLE, {"x": n % 50}, Surroundings()) for n in range(1000)))

    took = []
    for _ in range(3):  # the best of three: what else the machine does is not ours
        begun = time.perf_counter()
        results = asyncio.run(all_of_them())
        took.append(time.perf_counter() - begun)
        assert sum(result.value for result in results) == 20 * 34
        if took[-1] < 2:
            break
    assert min(took) < 2


# What the sandbox has and lacks


def can_import(module):
    try:
        grader_kind("python").validate({"source": f"import {module}\ndef grade(sample, item):\n    return 1"})
    except BadConfig:
        return False
    return True


def test_the_modules_that_are_named_are_those_that_can_be_imported():
    there = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    assert {name for name in there if can_import(name)} == set(MODULES)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import numpy as np\n    return 1", "Line 2, “import numpy”: No module named 'numpy' in the sandbox"),
        ("from rapidfuzz import fuzz, utils\n    return 1", "text_similarity grader with fuzzy_match"),
        ("from collections import OrderedDict\n    return 1", "OrderedDict"),
        ("from urllib.parse import urlparse\n    return 1", "urllib"),
        ("return callable(sample)", "Line 2: the sandbox has no callable"),
        ("yield 1", "does not know yield expressions"),
        ("del sample['x']\n    return 1", "'del' statement"),
        ("class A(dict):\n        pass\n    return 1", "class inheritance"),
    ],
)
def test_what_was_allowed_elsewhere_and_is_not_here_is_refused_when_it_is_made(body, says):
    with pytest.raises(BadConfig) as caught:
        grader_kind("python").validate({"source": f"def grade(sample, item):\n    {body}"})
    assert says in str(caught.value)
    assert caught.value.param == "source"


def test_an_import_that_may_be_missing_is_no_reason_to_refuse():
    body = "try:\n        import numpy\n    except ImportError:\n        return 0.5\n    return 1"
    assert python(f"def grade(sample, item):\n    {body}").value == 0.5


@pytest.mark.parametrize(
    "source",
    [
        "import socket\ndef grade(sample, item):\n    return 1",
        "def grade(sample, item):\n    import socket\n    return 1",
        "from urllib.request import urlopen\ndef grade(sample, item):\n    return 1",
        "import http.client as web\ndef grade(sample, item):\n    return 1",
    ],
)
def test_a_source_that_wants_the_network_is_refused_when_it_is_made(source):
    with pytest.raises(BadConfig, match=r"Line \d, “.+”: No module named .+ A grader has no network"):
        grader_kind("python").validate({"source": source})


def test_a_source_that_starts_processes_is_refused_when_it_is_made():
    source = "def grade(sample, item):\n    import subprocess\n    return subprocess.call(['id'])"
    with pytest.raises(BadConfig, match=r"Line 2, “import subprocess”.+starts nothing"):
        grader_kind("python").validate({"source": source})


def test_a_socket_behind_a_guarded_import_is_stopped_where_it_runs():
    body = "try:\n        import socket\n    except ImportError:\n        pass\n    return socket.socket()"
    result = python(f"def grade(sample, item):\n    {body}")
    assert (result.state, result.problem) == ("failed", "python_error")


def test_a_source_whose_definitions_never_end_is_refused_in_a_few_seconds():
    begun = time.perf_counter()
    with pytest.raises(BadConfig, match="time limit"):
        grader_kind("python").validate({"source": "while True:\n    pass\ndef grade(sample, item):\n    return 1"})
    assert time.perf_counter() - begun < 6


def test_the_image_tag_that_every_client_sends_is_taken_and_left_out():
    source = "def grade(sample, item):\n    return 1"
    assert "image_tag" not in grader_kind("python").validate({"source": source, "image_tag": "2025-05-08"})


TRACE_GRADER = '''
import json
import re

def grade(sample, item) -> dict:
    """A grader as guides to trace grading show it: reads the steps, and says why."""
    steps = sample["steps"]
    calls = [step for step in steps if step["type"] == "tool_call"]
    names = [call["name"] for call in calls]
    problems = []
    if "get_order" not in names:
        problems.append("never looked the order up")
    repeated = {name for name in names if names.count(name) > 2}
    if repeated:
        problems.append(f"called {', '.join(sorted(repeated))} again and again")
    amounts = re.findall(r"(\\d+(?:\\.\\d{2})?) €", sample["output_text"])
    if not amounts:
        problems.append("names no amount")
    score = max(0.0, 1.0 - 0.5 * len(problems))
    return {"score": score, "passed": not problems, "rationale": "; ".join(problems) or f"fine: {json.dumps(names)}"}
'''


def test_the_grade_function_of_a_trace_grading_guide_runs_unchanged():
    result = python(TRACE_GRADER)
    assert (result.value, result.passed, result.explanation) == (1.0, True, 'fine: ["get_order"]')
    bad = python(TRACE_GRADER, sample=SampleInput(output_text="It is on its way.", steps=[]))
    assert (bad.value, bad.passed) == (0.0, False)
    assert bad.explanation == "never looked the order up; names no amount"


BREAKERS = {
    "opens a file": "return len(open('/etc/passwd').read())",
    "writes a file": "open('/tmp/x', 'w').write('x')\n    return 1",
    "lists a folder": "import os\n    return len(os.listdir('/'))",
    "reads a path": "from pathlib import Path\n    return len(Path('/proc/self/environ').read_text())",
    "reads the environment": "import os\n    return len(os.environ['PATH'])",
    "opens a socket": "try:\n        import socket\n    except ImportError:\n        pass\n    return socket.socket()",
    "starts a process": "import os\n    return os.system('id')",
    "looks behind the curtain": "return len(().__class__.__bases__[0].__subclasses__())",
    "eats memory": "data = []\n    while True:\n        data.append('x' * 10_000_000)",
    "eats memory at once": "return len([0] * 10 ** 10)",
    "a huge number": "return 9 ** 9 ** 9",
    "recurses": "return grade(sample, item)",
    "prints without end": "while True:\n        print('x' * 1000)",
    "spins": "while True:\n        pass",
    "a slow pattern": "import re\n    return 1 if re.search('(a|aa)+$', 'a' * 5000 + 'b') else 'none'",
    "returns NaN": "return float('nan')",
    "raises": "raise RuntimeError('boom')",
    "leaves": "raise SystemExit(0)",
}


@pytest.mark.parametrize("body", BREAKERS.values(), ids=BREAKERS)
def test_a_grader_that_breaks_is_stopped_within_its_limits_and_the_next_one_works(body, monkeypatch):
    monkeypatch.setitem(LIMITS, "max_feed_duration_secs", 1.0)
    before = resident_mb()
    begun = time.perf_counter()
    result = python(f"def grade(sample, item):\n    {body}")
    assert (result.state, result.value, result.passed) == ("failed", None, None)
    assert result.problem in ("python_error", "sandbox_error")
    assert time.perf_counter() - begun < 8
    assert resident_mb() - before < 200  # this process holds none of what the code made
    assert python("def grade(sample, item):\n    return 1").value == 1.0


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def test_a_grader_leaves_nothing_behind_for_the_next():
    keep = "seen = []\ndef grade(sample, item):\n    seen.append(1)\n    return len(seen)"
    assert [python(keep).value for _ in range(3)] == [1.0, 1.0, 1.0]
    with pytest.raises(BadConfig, match="no attribute"):
        python("import json\njson.dumps = None\ndef grade(sample, item):\n    return 1")


def test_a_grader_cannot_change_what_the_next_one_sees():
    sample = SampleInput(output_text="x", steps=[{"type": "message"}])
    python("def grade(sample, item):\n    sample['steps'].append(1)\n    item.clear()\n    return 1", sample=sample)
    assert sample.steps == [{"type": "message"}]
