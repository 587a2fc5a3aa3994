"""The gate of docs/ci.md, taken out of the page and run as it stands: against our own server, with the `openai` client, in a process."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.db import connections

from evals import services
from evals.models import Run
from providers.models import Provider
from tests.factories import make_key

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "ci.md"


def block(language: str, place: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)[place]


@pytest.fixture
def gate(tmp_path, live_server, project, provider_server, settings):
    """Run the script; returns (exit code, what it printed). `gate.server` answers as the model."""
    settings.PROVIDER_ATTEMPTS = 1
    Provider.objects.create(project=project, name="ours", base_url=provider_server.base_url, model_names=["gpt*"])
    (tmp_path / "evals_gate.py").write_text(block("python").replace("time.sleep(2)", "time.sleep(0.2)"))
    stop = threading.Event()

    def work():
        import asyncio

        try:
            while not stop.is_set():
                for pk in list(Run.objects.filter(status__in=["queued", "running"]).values_list("pk", flat=True)):
                    asyncio.run(services.pump_run(pk, worker=f"test:1:{time.time_ns()}"))
                stop.wait(0.1)
        finally:
            connections.close_all()

    worker = threading.Thread(target=work)

    def run(*arguments, rows=None, without_worker=False, eval_text=None, key=None):
        (tmp_path / "eval.json").write_text(eval_text or block("json"))
        (tmp_path / "rows.jsonl").write_text(block("jsonl") if rows is None else rows)
        if not worker.is_alive() and not without_worker:
            worker.start()
        environment = {
            "OPENAI_BASE_URL": f"{live_server.url}/v1",
            "OPENAI_API_KEY": key or make_key(project),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            [sys.executable, "evals_gate.py", "eval.json", "rows.jsonl", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    run.server = provider_server
    yield run
    stop.set()
    if worker.is_alive():
        worker.join(20)


def say(*texts):
    """Answer each ticket by the text that stands at its place in the rows."""
    tickets = ["I was charged twice.", "My parcel is late."]

    def answer(body):
        text = texts[tickets.index(body["messages"][-1]["content"])]
        message = {"role": "assistant", "content": text}
        return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    return answer


def test_the_script_passes_above_the_floor(gate):
    gate.server.answer = say("Billing", "delivery")

    code, printed = gate("--min-pass-rate", "1.0")

    assert code == 0, printed
    assert "Above the floor: 2 of 2 passed" in printed


def test_the_script_fails_below_the_floor_and_names_row_grader_and_reason(gate):
    gate.server.answer = say("billing", "other")

    code, printed = gate("--min-pass-rate", "0.9")

    assert code == 1, printed
    assert re.search(r"row 1  Right queue: \S", printed)
    assert "Below the floor: 1 of 2 passed" in printed


@pytest.mark.parametrize("floor", ["0.0", "0.9"])
def test_the_script_cannot_tell_where_the_model_does_not_answer(gate, floor):
    gate.server.mode = "bad_request"

    code, printed = gate("--min-pass-rate", floor)

    assert code == 2, printed
    assert "no answer: " in printed
    assert "nothing was graded" in printed


def test_the_script_cannot_tell_where_every_grader_broke(gate):
    wanted = json.loads(block("json"))
    wanted["testing_criteria"] = [
        {"type": "python", "name": "Broken", "source": "def grade(sample, item):\n    return 1 / 0\n"}
    ]
    gate.server.answer = say("billing", "delivery")

    code, printed = gate("--min-pass-rate", "0.0", eval_text=json.dumps(wanted))

    assert code == 2, printed
    assert "row 0  Broken: " in printed


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ({"rows": "\n"}, "no rows"),
        ({"rows": '{"ticket": "no item"}\n'}, "has no `item`"),
        ({"key": "mb-not-a-key-0123456789"}, "not known here"),
        ({"eval_text": "{"}, "JSONDecodeError"),
    ],
)
def test_the_script_cannot_tell_where_nothing_could_be_run(gate, case, told):
    code, printed = gate("--min-pass-rate", "0.0", **case)

    assert code == 2, printed
    assert told in printed


def test_the_script_cancels_and_cannot_tell_when_its_time_is_over(gate):
    code, printed = gate("--wait", "1", without_worker=True)

    assert code == 2, printed
    assert "not finished after 1 s" in printed
    assert Run.objects.get().status == "cancelled"


def test_the_workflow_and_the_eval_of_the_page_can_be_read():
    assert json.loads(block("json"))["testing_criteria"][0]["type"] == "string_check"
    workflow = block("yaml")
    assert "python ci/evals_gate.py ci/eval.json ci/rows.jsonl --min-pass-rate" in workflow
    assert "\t" not in workflow
