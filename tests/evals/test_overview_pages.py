from datetime import UTC, datetime, timedelta

import pytest

from evals import services
from evals.queries import overview as queries
from rubrics.services import create_rubric, publish_version
from rubrics.standard import CriterionText, LevelText, Standard
from tests.factories import make_project, make_trace
from traces.list_queries import matching_traces
from traces.models import TraceTerm

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
    assert (found.now.runs, found.now.errors, found.now.recovered, found.now.cost_usd) == (5, 1, 1, 0.5)
    assert (found.before.runs, found.before.errors) == (2, 1)
    assert sum(day.runs for day in found.days) == 5
    assert sum(day.errors for day in found.days) == 1


def test_every_figure_agrees_with_the_list_that_it_links_to(project):
    make_runs(project)
    found = queries.overview(project)
    counted = [
        (found.now.query, found.now.runs),
        (found.now.error_query, found.now.errors),
        (found.now.recovered_query, found.now.recovered),
        (found.before.query, found.before.runs),
        *((day.query, day.runs) for day in found.days),
        *((row.query, row.runs) for row in found.agents),
        *((f"{row.query} status:error", row.errors) for row in found.agents),
    ]
    for query, number in counted:
        assert matching_traces(project, query).count() == number, query


def test_suspected_silent_failures_are_counted_apart_and_linked_to_the_runs(client, project):
    make_runs(project)
    found = queries.overview(project)
    assert found.suspected == 0
    newest = matching_traces(project, found.now.query).order_by("-sort_ns").first()
    old = matching_traces(project, found.before.query).first()
    for trace, detector in ((newest, "loop"), (newest, "unfinished"), (old, "loop")):
        TraceTerm.objects.create(project=project, trace=trace, key="signal", value=detector)
    found = queries.overview(project)
    assert found.suspected == 1
    assert list(matching_traces(project, found.now.suspected_query)) == [newest]
    assert "has%3Asignal" in client.get("/p/default/overview").text


def test_agents_are_listed_by_runs_with_those_without_a_name(project):
    make_runs(project)
    rows = queries.overview(project).agents
    assert {(row.name, row.runs, row.errors, row.recovered) for row in rows} == {
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


def test_older_runs_than_the_window_before_are_said_with_their_first_day_and_linked(client, project):
    make_trace(project, start_ns=ns(1), agent_name="a")
    for days in (90, 200):
        make_trace(project, start_ns=ns(days), agent_name="a")
    make_trace(project, start_ns=ns(300), source="eval")
    found = queries.overview(project)
    assert (found.older, matching_traces(project, found.older_query).count()) == (2, 2)
    text = client.get("/p/default/overview").text
    assert "2 older runs" in text


def test_old_imports_alone_say_since_when_they_are(client, project):
    for days in (90, 200):
        make_trace(project, start_ns=ns(days), agent_name="a")
    found = queries.overview(project)
    assert (found.total, found.first_at_ns, found.last_at_ns) == (2, ns(200), ns(90))
    assert "the first on" in client.get("/p/default/overview").text


@pytest.mark.parametrize("days", [1, 90])
def test_runs_without_an_error_that_scored_low_are_mentioned(client, project, days):
    traces = [make_trace(project, start_ns=ns(days), agent_name="a") for _ in range(3)]
    version = imported_version(project)
    services.record_scores(
        project,
        [
            services.NewScore(version, trace=trace, value=value, passed=passed)
            for trace, value, passed in zip(traces, (0.0, 1.0, 0.0), (False, True, None), strict=True)
        ],
    )
    assert "2 of 3 scored runs did not pass" in client.get("/p/default/overview").text
    found = queries.overview(project)
    assert found.low_query.endswith("-source:eval score.c:<=0")
    assert set(matching_traces(project, found.low_query)) == {traces[0], traces[2]}


def test_runs_that_scored_low_have_no_link_where_no_bound_parts_them(client, project):
    traces = [make_trace(project, start_ns=ns(1), agent_name="a") for _ in range(2)]
    version = imported_version(project)
    scores = [
        (traces[0], 0.6, False),
        (traces[1], 0.5, True),
    ]  # two versions, or senders, that pass at different values
    services.record_scores(
        project, [services.NewScore(version, trace=one, value=value, passed=passed) for one, value, passed in scores]
    )
    assert queries.overview(project).low_query == ""
    assert "1 of 2 scored runs did not pass" in client.get("/p/default/overview").text


def imported_version(project):
    return services.ensure_grader_version(
        project, services.GraderSpec("c", "string_check", {"input": "a", "reference": "a"})
    )


def test_answers_of_comparisons_are_said_to_be_apart(client, project):
    make_trace(project, start_ns=ns(1), agent_name="a")
    make_trace(project, start_ns=ns(1), source="eval")
    text = client.get("/p/default/overview").text
    assert "source%3Aeval" in text
    assert "1 answer of a comparison is" in text
