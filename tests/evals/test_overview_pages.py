from datetime import UTC, datetime, timedelta

import pytest

from evals import services
from evals.queries import overview as queries
from rubrics.services import create_rubric, publish_version
from rubrics.standard import CriterionText, LevelText, Standard
from tests.factories import make_project, make_trace
from traces.list_queries import matching_traces

pytestmark = pytest.mark.django_db


def ns(days_ago: float) -> int:
    return int((datetime.now(UTC) - timedelta(days=days_ago)).timestamp()) * 10**9


def make_runs(project):
    """Two weeks with 5 runs of two agents (one failed, one with a failed step) and a sample; 2 runs before; 1 long ago."""
    for days, fields in [
        (0.01, {"agent_name": "a"}),
        (1, {"agent_name": "a", "status": "error", "error_count": 1, "cost_usd": 0.5}),
        (2, {"agent_name": 'b "x"', "error_count": 2}),
        (3, {"agent_name": 'b "x"'}),
        (4, {"agent_name": ""}),
        (5, {"source": "eval"}),
        (16, {"agent_name": "a", "status": "error"}),
        (17, {"agent_name": "a"}),
        (100, {"agent_name": "a"}),
    ]:
        make_trace(project, start_ns=ns(days), **fields)


def make_rubric(project):
    levels = (LevelText(0, "no", "It is wrong."), LevelText(1, "yes", "It is right."))
    standard = Standard("Right", 0, criteria=(CriterionText("right", "Right", levels=levels),))
    return publish_version(create_rubric(project, name="Right", standard=standard))


def test_an_empty_project_says_so_and_what_to_do_first(client, project):
    for address in ("/p/default", "/p/default/overview"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "No runs yet" in answer.text
    assert answer.context["overview"].next_step.title == "Send traces"


def test_figures_count_the_agents_runs_of_the_window_and_of_the_one_before(project):
    make_runs(project)
    found = queries.overview(project)
    assert (found.now.runs, found.now.errors, found.now.silent, found.now.cost_usd) == (5, 1, 1, 0.5)
    assert (found.before.runs, found.before.errors) == (2, 1)
    assert sum(day.runs for day in found.days) == 5
    assert sum(day.errors for day in found.days) == 1


def test_every_figure_agrees_with_the_list_that_it_links_to(project):
    make_runs(project)
    found = queries.overview(project)
    counted = [
        (found.now.query, found.now.runs),
        (found.now.error_query, found.now.errors),
        (found.now.silent_query, found.now.silent),
        (found.before.query, found.before.runs),
        *((day.query, day.runs) for day in found.days),
        *((row.query, row.runs) for row in found.agents),
        *((f"{row.query} status:error", row.errors) for row in found.agents),
    ]
    for query, number in counted:
        assert matching_traces(project, query).count() == number, query


def test_agents_are_listed_by_runs_with_those_without_a_name(project):
    make_runs(project)
    rows = queries.overview(project).agents
    assert {(row.name, row.runs, row.errors, row.silent) for row in rows} == {
        ("a", 2, 1, 0),
        ('b "x"', 2, 0, 1),
        ("", 1, 0, 0),
    }


def test_runs_worth_a_look_are_failed_ones_first(project):
    make_runs(project)
    assert [trace.status for trace in queries.overview(project).worth_look] == ["error", "ok"]


def test_steps_are_done_when_what_they_ask_for_is_there(client, project):
    make_runs(project)
    assert queries.overview(project).next_step.title == "Write a rubric"
    make_rubric(project)
    assert queries.overview(project).next_step.title == "Collect a dataset"
    services.create_dataset(project, name="Cases", items=[{"input": "x"}])
    assert queries.overview(project).next_step.title == "Compare candidates"
    assert "What to do next" in client.get("/p/default").text


def test_a_project_whose_runs_are_old_says_when_the_last_one_was(client, project):
    make_trace(project, start_ns=ns(60))
    answer = client.get("/p/default")
    assert "No runs in the last 14 days" in answer.text
    assert "1 earlier run" in answer.text


def test_what_agents_say_is_escaped(client, project):
    make_trace(project, start_ns=ns(1), status="error", agent_name="<b>x", input_preview="<script>alert(1)</script>")
    text = client.get("/p/default").text
    assert "<script>alert(1)" not in text
    assert "<b>x" not in text


def test_another_projects_runs_are_not_counted(project):
    make_runs(make_project())
    assert queries.overview(project).total == 0


def test_the_number_of_queries_does_not_grow_with_the_runs(project, django_assert_max_num_queries):
    make_runs(project)
    with django_assert_max_num_queries(20) as few:
        queries.overview(project)
    make_runs(project)
    with django_assert_max_num_queries(len(few.captured_queries)):
        queries.overview(project)
