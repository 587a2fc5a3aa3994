"""Promise 2: kill a worker at any moment; after a restart the run finishes, nothing is lost or done twice, every call is on the books."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from evals.models import Run, RunStatus, Sample, Score
from evals.services import CandidateSpec, GraderSpec
from providers.models import Call, CallState
from tests.evals.engine import CONTAINS, current_scores, make_comparison, rubric_spec, statuses
from tests.factories import make_project
from tests.provider_server import ProviderServer, completion
from traces.models import Trace

pytestmark = pytest.mark.django_db(transaction=True)
ITEMS = 24


def answer(body):
    """Echo, or a judge's verdict where a schema is asked for."""
    reply = completion(body)
    if (body.get("response_format") or {}).get("type") == "json_schema":
        verdict = {"facts": {"evidence": [], "reason": "It says so.", "level": 5}, "explanation": "Right."}
        reply["choices"][0]["message"]["content"] = json.dumps(verdict)
    return reply


def start_worker(server, runs):
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "test",
        "MARKBOOK_PROVIDER_CONCURRENCY": "4",
        "PYTHONPATH": str(settings.BASE_DIR),
    }
    command = [sys.executable, "-m", "tests.evals.pump_process", str(connection.settings_dict["NAME"]), *map(str, runs)]
    return subprocess.Popen(command, env=environment, cwd=Path(settings.BASE_DIR), stderr=subprocess.PIPE)


def wait_until(condition, worker, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert worker.poll() is None, worker.stderr.read().decode()
        assert time.monotonic() < end, "it did not come so far in time"
        time.sleep(0.05)


@pytest.mark.parametrize("kills", [(3, 9), (1, 20, 30)])
def test_a_run_killed_at_any_moment_finishes_with_nothing_lost_doubled_or_off_the_books(kills):
    project = make_project()
    code = GraderSpec(
        "code", "python", {"source": "def grade(sample, item):\n    return item['reference'] in sample['output_text']"}
    )
    comparison = make_comparison(
        project=project,
        items=ITEMS,
        graders=[CONTAINS, code, rubric_spec(project)],
        candidates=[CandidateSpec(model="echo"), CandidateSpec(model="echo", label="again")],
    )
    runs = list(comparison.runs.values_list("pk", flat=True))
    with ProviderServer(latency_s=0.05) as server:
        server.answer = answer
        for done in kills:
            worker = start_worker(server, runs)
            wait_until(lambda done=done: statuses(comparison).count("done") >= done, worker)
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
            worker.stderr.close()
        assert 0 < statuses(comparison).count("done") < 2 * ITEMS
        finisher = start_worker(server, runs)
        _, problems = finisher.communicate(timeout=90)
        assert finisher.returncode == 0, problems.decode()
        received = server.call_count
    assert statuses(comparison) == ["done"] * 2 * ITEMS
    assert set(Run.objects.values_list("status", flat=True)) == {RunStatus.FINISHED}
    scores = current_scores(comparison)
    assert len(scores) == 2 * ITEMS * 4  # two code graders, the judge, its criterion
    assert {len(rows) for rows in scores.values()} == {1}
    assert not Score.objects.exclude(state="ok").exists()
    assert Trace.objects.count() == Sample.objects.values("trace").distinct().count() == 2 * ITEMS
    assert received <= Call.objects.count()
    assert not Call.objects.filter(state=CallState.STARTED).exists()
    assert Call.objects.filter(state=CallState.ANSWERED, purpose="generate").count() >= 2 * ITEMS
