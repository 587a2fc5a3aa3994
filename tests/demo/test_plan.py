from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from demo.content import BUCKETS, RUBRICS, dataset_items
from demo.plan import AUDIT_SPANS, DAYS, LONG_TURNS, plan_runs
from demo.telemetry import as_request
from rubrics.lint import problems
from rubrics.standard import standard_from

NOW = datetime(2026, 5, 20, 15, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def runs():
    return list(plan_runs(NOW))


def test_plan_holds_400_runs_or_more_within_14_days_and_none_in_the_future(runs):
    assert len(runs) >= 400
    starts = [datetime.fromtimestamp(run.steps[0].start_ns / 1e9, tz=UTC) for run in runs]
    assert min(starts) >= NOW - timedelta(days=DAYS + 1)
    assert max(run.clock for run in runs) <= NOW.timestamp() * 1e9
    assert len({start.date() for start in starts}) >= DAYS


def test_plan_is_the_same_every_time_and_moves_with_the_day():
    one = [as_request(run) for run in plan_runs(NOW)][:40]
    again = [as_request(run) for run in plan_runs(NOW)][:40]
    assert one == again
    later = next(iter(plan_runs(NOW + timedelta(days=1))))
    first = next(iter(plan_runs(NOW)))
    assert later.setting.trace_id == first.setting.trace_id
    assert later.steps[0].start_ns - first.steps[0].start_ns == 86_400 * 10**9


def test_plan_varies_agents_models_sessions_users_and_environments(runs):
    for name, least in (
        ("agent_id", 4),
        ("model", 3),
        ("session_id", 300),
        ("user_id", 80),
        ("environment", 2),
        ("release", 2),
        ("topic", 7),
    ):
        assert len({getattr(run.setting, name) for run in runs}) >= least, name
    assert all(run.setting.metadata["scripted"] for run in runs)
    assert all(run.setting.model.startswith("demo/") for run in runs)


def test_plan_holds_every_kind_of_trouble(runs):
    errors = Counter(step.error[0] for run in runs for step in run.steps if step.error and step.kind == "tool")
    assert set(errors) >= {"TimeoutError", "HTTPError", "ToolError"}
    assert any(run.steps[0].error for run in runs), "a run that failed as a whole"
    calls = [[(step.tool["name"], str(step.tool["arguments"])) for step in run.steps if step.tool] for run in runs]
    assert any(Counter(names).most_common(1)[0][1] >= 5 for names in calls if names), "a loop"
    silent = [
        step
        for run in runs
        for step in run.steps
        if step.tool and not step.error and "error" in str(step.tool["result"])
    ]
    assert silent, "a tool that reports an error under an OK status"
    replies = [(str(run.thread[-1]["content"]), {step.tool["name"] for step in run.steps if step.tool}) for run in runs]
    assert any("have refunded" in text and "create_refund" not in tools for text, tools in replies), (
        "a claim without a call"
    )
    assert any(text.endswith("?") or "photo would help" in text for text, _ in replies), "an abandoned chat"


def test_plan_holds_one_run_of_5000_spans_and_one_conversation_of_200_turns(runs):
    assert max(len(run.steps) for run in runs) == AUDIT_SPANS == 5000
    turns = [sum(message["role"] == "user" for message in run.thread) for run in runs]
    assert max(turns) == LONG_TURNS == 200


def test_every_span_ends_after_it_starts_and_has_its_parent(runs):
    for run in runs:
        ids = {step.span_id for step in run.steps}
        assert len(ids) == len(run.steps)
        assert all(step.end_ns > step.start_ns for step in run.steps)
        assert all(not step.parent_id or step.parent_id in ids for step in run.steps)


def test_dataset_has_40_items_in_three_buckets_each_with_a_reference():
    items = dataset_items()
    assert Counter(item["bucket"] for item in items) == BUCKETS
    assert len(items) == 40
    assert len(BUCKETS) == 3
    assert all(item["content"]["order_id"] in item["content"]["reference"] for item in items)
    assert len({item["key"] for item in items}) == 40


def test_every_rubric_has_two_versions_fit_to_publish_that_differ():
    assert len(RUBRICS) == 3
    for (old, _), (new, note) in RUBRICS:
        assert note
        versions = [standard_from(old), standard_from(new)]
        assert versions[0].digest() != versions[1].digest()
        assert not [problem for version in versions for problem in problems(version) if problem.blocks]
