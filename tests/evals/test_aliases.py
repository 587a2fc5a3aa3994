"""Old model names in the engine: what was asked and what answered stand on run, samples' traces, scores, pages and files."""

import asyncio
import csv
import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.urls import reverse

from evals import exports, services
from evals.models import Run, Score
from evals.queries.launch import price_in
from evals.queries.report import comparison_report
from evals.services import CandidateSpec
from providers.models import ModelAlias
from tests.evals.engine import CONTAINS, FakeClient, make_comparison, pump, rubric_spec
from tests.factories import make_project
from traces.queries import span_records

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def aliased():
    """A comparison whose candidate and judge have old names, run by the real client with the scripted models."""
    project = make_project(slug="default")
    for old_name, model in (("gpt-4o-old", "demo/careful"), ("judge-old", "demo/judge"), ("unused", "demo/echo")):
        ModelAlias.objects.create(project=project, old_name=old_name, model=model)
    comparison = make_comparison(
        project=project,
        items=2,
        graders=(CONTAINS, rubric_spec(project, judge="judge-old")),
        candidates=(CandidateSpec(model="gpt-4o-old"),),
        trials=2,
    )
    run = comparison.runs.get()
    asyncio.run(services.pump_run(run.pk, worker="test:1:x"))
    return comparison


def test_a_run_keeps_what_was_asked_and_what_answered(aliased):
    run = aliased.runs.get()

    assert run.status == "finished"
    assert run.aliases == {"gpt-4o-old": "demo/careful", "judge-old": "demo/judge"}
    judged = Score.objects.filter(run=run, rater_kind="judge", is_current=True)
    assert set(judged.values_list("rater", "answered_by")) == {("judge-old", "demo/judge")}
    assert set(Score.objects.filter(run=run, rater_kind="code").values_list("answered_by", flat=True)) == {""}
    calls = [record for record in span_records(run.samples.first().trace) if record.kind == "llm"]
    assert [(call.model, call.attributes["gen_ai.request.model"]) for call in calls] == [("demo/careful", "gpt-4o-old")]


def test_trials_of_an_old_name_that_stands_for_a_scripted_model_have_seeds_of_their_own(aliased):
    seeds = set()
    for sample in aliased.runs.get().samples.all():
        seeds |= {record.attributes.get("gen_ai.request.seed") for record in span_records(sample.trace) if record.model}

    assert seeds == {1, 2}


def test_the_report_the_page_and_the_files_name_both(aliased, client):
    report = comparison_report(aliased)
    assert report.candidates[0].shown_model == "gpt-4o-old → demo/careful"
    assert report.candidates[0].is_scripted
    assert report.primary.shown_rater == "judge-old → demo/judge"
    assert report.primary.is_scripted

    page = client.get(reverse("evals:comparison", args=["default", aliased.pk])).content.decode()
    assert "gpt-4o-old → demo/careful" in page
    assert "judge-old → demo/judge" in page
    item = aliased.runs.get().samples.first().item_id
    drawer = client.get(reverse("evals:comparison", args=["default", aliased.pk]), {"sample": item}).content.decode()
    assert "gpt-4o-old → demo/careful" in drawer

    rows = list(csv.DictReader(StringIO("".join(exports.csv_lines(aliased)))))
    assert {(row["model"], row["answered_by"]) for row in rows} == {("gpt-4o-old", "demo/careful")}
    assert {row["Correctness rater"] for row in rows} == {"judge-old → demo/judge"}
    line = json.loads(next(iter(exports.jsonl_lines(aliased))))
    assert line["candidate"]["answered_by"] == "demo/careful"


def test_the_api_names_both(aliased, client):
    document = client.get(f"/api/comparisons/{aliased.pk}").json()

    candidate = document["candidates"][0]
    assert (candidate["model"], candidate["answered_by"], candidate["is_scripted"]) == (
        "gpt-4o-old",
        "demo/careful",
        True,
    )
    assert {entry["rater"]: entry["answered_by"] for entry in candidate["graders"]} == {
        "code": None,
        "judge-old": "demo/judge",
    }


def test_a_run_of_v1_says_which_model_was_asked_and_which_answered(aliased, client):
    run = aliased.runs.get()

    document = client.get(f"/v1/evals/{run.eval.public_id}/runs/{run.public_id}").json()

    assert document["model"] == "gpt-4o-old"
    assert {entry["model_name"]: entry["asked_as"] for entry in document["per_model_usage"]} == {
        "demo/careful": ["gpt-4o-old"],
        "demo/judge": ["judge-old"],
    }


def test_run_eval_prints_both(aliased, capsys):
    with pytest.raises(SystemExit):
        call_command("run_eval", "Test", "--min-pass-rate", "1.0", "--project", "default")

    assert "gpt-4o-old → demo/careful (scripted)" in capsys.readouterr().out


def test_a_judges_earlier_verdict_is_not_taken_for_that_of_another_model_under_the_same_name():
    project = make_project()
    alias = ModelAlias.objects.create(project=project, old_name="judge-old", model="demo/judge")
    spec = rubric_spec(project, judge="judge-old")

    def run_once(name):
        comparison = make_comparison(
            project=project,
            items=[{"key": "a", "input": "say 1"}],
            graders=(spec,),
            candidates=(CandidateSpec(model="demo/echo"),),
        )
        fake = pump(comparison, FakeClient())
        return fake.count("judge"), Score.objects.get(run__comparison=comparison, criterion="").answered_by

    assert run_once("first") == (1, "demo/judge")
    assert run_once("again") == (0, "demo/judge")
    ModelAlias.objects.filter(pk=alias.pk).update(model="demo/echo")
    assert run_once("other") == (1, "demo/echo")


def test_retry_after_an_old_name_got_its_model_replaces_what_failed():
    project = make_project()
    comparison = make_comparison(project=project, items=1, candidates=(CandidateSpec(model="gpt-4o-old"),))
    run = comparison.runs.get()
    asyncio.run(services.pump_run(run.pk, worker="test:1:x"))
    run.refresh_from_db()
    assert run.status == "failed"
    assert "gpt-4o-old" in run.status_reason
    ModelAlias.objects.create(project=project, old_name="gpt-4o-old", model="demo/echo")

    services.resume_comparison(comparison)
    asyncio.run(services.pump_run(run.pk, worker="test:1:x"))

    run.refresh_from_db()
    assert (run.status, run.aliases) == ("finished", {"gpt-4o-old": "demo/echo"})
    assert Run.objects.count() == 1


def test_the_price_of_an_old_name_is_that_of_the_model_which_answers():
    project = make_project()
    ModelAlias.objects.create(project=project, old_name="gpt-4o-old", model="demo/careful")

    price = price_in(project)

    assert price("gpt-4o-old", 1000, 1000) == price("demo/careful", 1000, 1000) > 0
