"""Runs while a worker is at them: cancelled, deleted, taken over; and their counts on the way."""

import threading
import time

import openai
import pytest

from evals.models import Item, Sample, Score
from tests.evals.openai_api.conftest import work_on
from tests.evals.openai_api.made import ANSWERED, items_of, make_eval, row, sampled

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def going(api, server):
    """A run of many slow rows that a worker has begun: the run and the worker's thread."""
    server.latency_s = 0.15
    made = make_eval(api, criteria=[ANSWERED], with_sample=True)
    run = api.evals.runs.create(made.id, data_source=sampled(*[row(str(number)) for number in range(200)]))
    worker = threading.Thread(target=work_on, args=(run.id,))
    worker.start()
    until = time.monotonic() + 30
    while api.evals.runs.retrieve(run.id, eval_id=made.id).result_counts.total < 5:
        assert time.monotonic() < until, "the worker does not begin"
        time.sleep(0.05)
    yield run, worker
    worker.join(60)
    assert not worker.is_alive()


def test_counts_grow_while_a_run_is_in_progress(api, going):
    run, _ = going
    seen = api.evals.runs.retrieve(run.id, eval_id=run.eval_id)
    assert seen.status == "in_progress"
    assert 5 <= seen.result_counts.total < 200
    assert seen.result_counts.total == seen.result_counts.failed
    assert seen.per_testing_criteria_results[0].failed == seen.result_counts.failed
    assert seen.per_model_usage[0].invocation_count > 0
    api.evals.runs.cancel(run.id, eval_id=run.eval_id)


def test_no_item_appears_after_a_cancel_was_answered(api, going):
    run, worker = going
    answer = api.evals.runs.cancel(run.id, eval_id=run.eval_id)
    assert answer.status == "canceled"
    worker.join(60)
    after = api.evals.runs.retrieve(run.id, eval_id=run.eval_id)
    assert after.status == "canceled"
    assert after.result_counts.to_dict() == answer.result_counts.to_dict()
    assert len(items_of(api, run, limit=100)) == answer.result_counts.total


@pytest.mark.parametrize("what", ["run", "eval"])
def test_deleting_what_a_worker_is_at_leaves_nothing_and_no_error(api, going, caplog, what):
    run, worker = going
    if what == "run":
        api.evals.runs.delete(run.id, eval_id=run.eval_id)
    else:
        api.evals.delete(run.eval_id)
    worker.join(60)
    for model in (Sample, Score, Item):
        assert not model.objects.exists(), model
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
    with pytest.raises(openai.NotFoundError):
        api.evals.runs.retrieve(run.id, eval_id=run.eval_id)


def test_two_workers_grade_every_row_once(api, server):
    server.latency_s = 0.02
    made = make_eval(api, criteria=[ANSWERED], with_sample=True)
    run = api.evals.runs.create(made.id, data_source=sampled(*[row("yes") for _ in range(60)]))
    workers = [threading.Thread(target=work_on, args=(run.id,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    done = api.evals.runs.retrieve(run.id, eval_id=made.id)
    assert (done.status, done.result_counts.total, done.result_counts.passed) == ("completed", 60, 60)
    assert len(server.calls) == 60
    assert sorted(item.datasource_item_id for item in items_of(api, done, limit=100)) == list(range(60))
