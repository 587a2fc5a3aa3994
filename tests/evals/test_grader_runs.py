"""All kinds of graders in a real run, against our test server: its model echo answers with the last user message, also as a judge."""

import asyncio

import pytest

from evals import services
from evals.models import Score
from evals.queries.report import comparison_report
from evals.services import GraderSpec
from evals.services.recorded import grade_traces
from providers.models import Call
from tests.evals.engine import ECHO, make_comparison, rubric_spec
from tests.provider_server import ProviderServer

pytestmark = pytest.mark.django_db(transaction=True)
TEXTS = {"input": "{{ sample.output_text }}", "reference": "{{ item.reference }}"}
SCORE = {"model": "echo", "input": [{"role": "user", "content": "{{ item.mark }}"}], "range": [0, 10]}
LABEL = {
    "model": "echo",
    "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
    "labels": ["abc", "d"],
    "passing_labels": ["abc"],
}
GRADERS = [
    GraderSpec("check", "string_check", {**TEXTS, "operation": "eq"}),
    GraderSpec("cosine", "text_similarity", {**TEXTS, "evaluation_metric": "cosine", "embedding_model": "embedder"}),
    GraderSpec("code", "python", {"source": "def grade(sample, item):\n    return len(sample['output_text']) / 10"}),
    GraderSpec("score", "score_model", SCORE),
    GraderSpec("label", "label_model", LABEL),
    GraderSpec(
        "all",
        "multi",
        {
            "graders": {
                "s": {"type": "score_model", **SCORE},
                "c": {"type": "string_check", **TEXTS, "operation": "eq"},
            },
            "calculate_output": "s / 10 + c",
        },
    ),
]
ITEMS = [
    {"key": "k1", "input": "abc", "reference": "abc", "mark": "8"},
    {"key": "k2", "input": "d", "reference": "abc", "mark": "no number"},
]


@pytest.fixture
def server(settings):
    with ProviderServer() as running:
        settings.OPENAI_BASE_URL = running.base_url
        settings.OPENAI_API_KEY = "test-key"
        yield running


def said(comparison, key):
    rows = Score.objects.filter(run__comparison=comparison, is_current=True, criterion="", sample__item__key=key)
    return {row.grader_version.grader.name: row for row in rows.select_related("grader_version__grader")}


def test_every_kind_of_grader_scores_a_run(project, server):
    comparison = make_comparison(project=project, items=ITEMS, graders=GRADERS, candidates=(ECHO,))
    asyncio.run(services.pump_run(comparison.runs.get().pk, worker="test"))
    first = said(comparison, "k1")
    assert {name: row.value for name, row in first.items()} == pytest.approx(
        {"check": 1, "cosine": 1, "code": 0.3, "score": 8, "label": 1, "all": 1.8}
    )
    assert (first["label"].label, first["label"].rater, first["label"].rater_kind) == ("abc", "echo", "judge")
    assert (first["cosine"].rater, first["cosine"].rater_kind) == ("code", "code")
    assert first["score"].call["text"] == "8"
    assert first["score"].call["messages"] == [{"role": "user", "content": "8"}]
    second = said(comparison, "k2")
    assert {name: row.state for name, row in second.items() if row.state != "ok"} == {
        "score": "failed",
        "all": "failed",
    }
    assert (second["score"].problem, second["all"].problem) == ("judge_answer", "judge_answer")
    assert second["cosine"].value == 0
    parts = Score.objects.filter(sample=second["all"].sample, grader_version=second["all"].grader_version)
    assert {row.criterion: row.value for row in parts.exclude(criterion="")} == {"s": None, "c": 0.0}
    heads = {head.name: head for head in comparison_report(comparison).graders}
    assert [name for name, head in heads.items() if head.is_judge] == ["score", "label", "all"]
    assert heads["score"].rater == "echo"


def test_the_same_run_again_asks_no_judge_and_keeps_the_call(project, server):
    first = make_comparison(project=project, items=ITEMS[:1], graders=GRADERS[3:5])
    comparison = again(first)
    for run in (first.runs.get(), comparison.runs.get()):
        asyncio.run(services.pump_run(run.pk, worker="test"))
    assert Call.objects.filter(purpose="judge").count() == 2
    assert said(comparison, "k1")["score"].call["text"] == "8"
    assert said(comparison, "k1")["score"].cost_usd == 0


def again(comparison):
    return services.create_comparison(
        comparison.project,
        name="Again",
        revision=comparison.dataset_revision,
        candidates=[ECHO],
        eval=comparison.eval,
    )


def test_a_gate_that_fails_spares_the_embedding_model_too(project, server):
    gate = GraderSpec("gate", "string_check", {**TEXTS, "operation": "eq"}, is_gate=True)
    comparison = make_comparison(project=project, items=ITEMS[1:], graders=[GRADERS[1], gate], candidates=(ECHO,))
    asyncio.run(services.pump_run(comparison.runs.get().pk, worker="test"))
    assert said(comparison, "k2")["cosine"].state == "skipped"
    assert all("input" not in call for call in server.calls)


def test_recorded_traces_are_graded_by_score_label_and_vectors(project, server):
    comparison = make_comparison(project=project, items=ITEMS[:1], graders=[GRADERS[0]], candidates=(ECHO,))
    asyncio.run(services.pump_run(comparison.runs.get().pk, worker="test"))
    trace = said(comparison, "k1")["check"].trace
    fixed = {"input": "{{ sample.output_text }}", "reference": "abd", "evaluation_metric": "cosine"}
    graders = [
        services.ensure_grader_version(project, GraderSpec("label", "label_model", LABEL)),
        services.ensure_grader_version(
            project, GraderSpec("near", "text_similarity", {**fixed, "embedding_model": "e"})
        ),
        services.ensure_grader_version(project, GRADERS[3]),
    ]
    grade_traces(project, [trace], graders)
    rows = Score.objects.filter(target=f"trace:{trace.pk}").select_related("grader_version__grader")
    assert {row.grader_version.grader.name: (row.state, row.value) for row in rows} == {
        "label": ("ok", 1.0),
        "near": ("ok", pytest.approx(2 / 3)),
        "score": ("skipped", None),
    }


def test_the_verdict_is_about_the_first_rubric_also_after_other_judges(project):
    graders = [GRADERS[0], GRADERS[3], rubric_spec(project)]
    items = [{"input": "ask", "mark": "1", "reference": "x"}]
    assert (
        comparison_report(make_comparison(project=project, items=items, graders=graders)).primary.name == "Correctness"
    )
    assert comparison_report(make_comparison(project=project, items=items, graders=graders[:2])).primary.name == "score"
