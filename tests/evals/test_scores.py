import pytest

from evals import services
from evals.models import Score
from evals.queries.scores import list_scores, trace_scores
from evals.services import NewScore
from tests.factories import make_project, make_span
from traces.models import Trace
from traces.queries import trace_document
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db


def make_trace(project, **fields):
    record = make_span(**fields)
    return Trace.objects.get(pk=ingest_spans(project, [record]).trace_pks[record.trace_id])


def test_an_imported_score_again_adds_nothing_and_another_value_becomes_current():
    project = make_project()
    trace, reward = make_trace(project), services.imported_grader(project, "reward")
    assert services.record_scores(project, [NewScore(reward, trace=trace, value=1.0, passed=True, rater="tau2")]) == 1
    assert services.record_scores(project, [NewScore(reward, trace=trace, value=1.0, passed=True, rater="tau2")]) == 0
    assert services.record_scores(project, [NewScore(reward, trace=trace, value=0.0, passed=False, rater="tau2")]) == 1
    rows = list(Score.objects.order_by("attempt").values_list("attempt", "value", "is_current"))
    assert rows == [(1, 1.0, False), (2, 0.0, True)]


def test_of_two_scores_for_one_target_in_one_call_the_later_counts():
    project = make_project()
    trace, reward = make_trace(project), services.imported_grader(project, "reward")
    services.record_scores(project, [NewScore(reward, trace=trace, value=value) for value in (0.1, 0.9)])
    assert list(Score.objects.values_list("value", flat=True)) == [0.9]


def test_two_raters_of_one_trace_both_stay_current():
    project = make_project()
    trace, reward = make_trace(project), services.imported_grader(project, "reward")
    services.record_scores(project, [NewScore(reward, trace=trace, value=1.0, rater=name) for name in ("a", "b")])
    assert Score.objects.filter(is_current=True).count() == 2


def test_many_scores_are_recorded_in_few_queries(django_assert_max_num_queries):
    project = make_project()
    reward = services.imported_grader(project, "reward")
    traces = [make_trace(project) for _ in range(3)]
    with django_assert_max_num_queries(12):
        services.record_scores(
            project,
            [NewScore(reward, trace=trace, value=1.0, criterion=f"c{n}") for trace in traces for n in range(100)],
        )
    assert Score.objects.count() == 300


def test_an_imported_grader_is_one_row_however_often_it_is_asked_for():
    project = make_project()
    assert services.imported_grader(project, "reward") == services.imported_grader(project, "reward")
    assert services.imported_grader(project, "reward", scale=(0, 5)).number == 2


def test_scores_stand_in_the_traces_document_and_on_its_page():
    project = make_project()
    trace, reward = make_trace(project), services.imported_grader(project, "reward")
    services.record_scores(
        project,
        [
            NewScore(
                reward,
                trace=trace,
                value=0.5,
                explanation="half",
                evidence=[{"quote": "x", "span_id": "s", "found": True}],
            )
        ],
    )
    (document,) = trace_document(trace)["scores"]
    assert (document["grader"], document["value"], document["explanation"], document["trace_id"]) == (
        "reward",
        0.5,
        "half",
        trace.trace_id,
    )
    assert [shown.score.value for shown in trace_scores(trace)] == [0.5]
    assert [len(trace_scores(trace, span_id=span)) for span in ("s", "other")] == [1, 0]


def test_recorded_traces_are_graded_by_selection_and_the_same_again_adds_nothing(transactional_db):
    project = make_project()
    traces = [make_trace(project, output=text) for text in ("Refund sent.", "No.")]
    contains = services.ensure_grader_version(
        project,
        services.GraderSpec(
            "says refund",
            "string_check",
            {"input": "{{ sample.output_text }}", "reference": "refund", "operation": "ilike"},
        ),
    )
    needs_item = services.ensure_grader_version(
        project,
        services.GraderSpec(
            "as expected", "string_check", {"input": "{{ sample.output_text }}", "reference": "{{ item.reference }}"}
        ),
    )
    assert services.grade_traces(project, traces, [contains, needs_item]) == 4
    assert services.grade_traces(project, traces, [contains, needs_item]) == 0
    assert list(Score.objects.filter(grader_version=contains).order_by("trace").values_list("passed", flat=True)) == [
        True,
        False,
    ]
    assert {
        (score.state, "no item here" in score.reason) for score in Score.objects.filter(grader_version=needs_item)
    } == {("skipped", True)}


def test_the_list_shows_the_latest_score_of_each_grader_in_two_queries(django_assert_num_queries):
    project = make_project()
    traces = [make_trace(project) for _ in range(3)]
    graders = [services.imported_grader(project, name) for name in ("a", "b", "c", "d")]
    services.record_scores(project, [NewScore(grader, trace=traces[0], value=1.0) for grader in graders])
    with django_assert_num_queries(1):
        rows = list_scores(project, [trace.pk for trace in traces])
    assert [(len(row.scores), row.more) for row in rows] == [(3, 1), (0, 0), (0, 0)]


def test_score_fragments_escape_what_they_show_and_belong_to_their_project(client):
    project, other = make_project(), make_project()
    trace, reward = make_trace(project), services.imported_grader(project, "reward")
    hostile = "<script>alert(1)</script>"
    services.record_scores(
        project,
        [
            NewScore(
                reward,
                trace=trace,
                value=0.5,
                explanation=hostile,
                evidence=[{"quote": hostile, "span_id": None, "found": False}],
            )
        ],
    )
    page = client.get(f"/p/{project.slug}/scores/{trace.trace_id}?as=lines")
    assert page.status_code == 200
    assert hostile not in page.text
    assert "&lt;script&gt;" in page.text
    assert "reward" in client.get(f"/p/{project.slug}/scores/{trace.trace_id}?as=chips").text
    assert client.get(f"/p/{other.slug}/scores/{trace.trace_id}").status_code == 404
    column = client.get(f"/p/{project.slug}/scores?trace={trace.pk}&trace=999&trace=x").text
    assert f'id="scores-{trace.pk}" hx-swap-oob="true"' in column
    assert "0.5" not in client.get(f"/p/{other.slug}/scores?trace={trace.pk}").text
