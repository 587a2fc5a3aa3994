"""Imports from folders that were made elsewhere: odd ones, broken ones, large ones."""

import json
import tracemalloc
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from evals.models import Dataset, Eval, EvalGrader, File, Grader, Item, Run, Sample, Score
from evals.queries.report import comparison_report
from evals.services import resume_comparison, retry_failed
from evals.services.openai_imports import import_openai_evals
from providers.pull_evals import pull
from tests.evals_source import KEY, START, EvalsSource, make_eval, make_item, make_run
from tests.factories import make_project
from traces.models import Trace
from traces.queries import span_records

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A pull of two evals of two runs of five items, with a criterion of a type that nobody here knows."""
    monkeypatch.setenv("SOURCE_API_KEY", KEY)
    with EvalsSource(evals=2, runs=2, items=5) as source:
        assert pull(str(tmp_path / "pulled"), base_url=source.base_url, key_env="SOURCE_API_KEY") == 0
    return tmp_path / "pulled"


def counts(project):
    models = (Eval, Run, Sample, Score, Trace, Grader, Dataset, File)
    return {model.__name__: model.objects.filter(project=project).count() for model in models} | {
        "Item": Item.objects.filter(dataset__project=project).count()
    }


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) if not isinstance(value, str) else value)
    return path


def bundle(items=3, **run_fields):
    """One eval with one run and its items, as a user's own script would have written them into one file."""
    one = make_eval(1)
    run = make_run(one, 1, items, **run_fields)
    return one, run, [make_item(one, run, place) for place in range(items)]


def test_import_keeps_ids_times_scores_statuses_and_usage(project, folder):
    report = import_openai_evals(project, folder)

    assert (report.evals, report.runs, report.items, report.scores, report.files) == (2, 4, 20, 40, 1)
    assert report.bad == []
    run = Run.objects.get(public_id=make_run(make_eval(2), 1, 5)["id"])
    assert (run.status, run.metadata, run.candidate.model) == ("finished", {"commit": "c1"}, "gpt-4o-2024-05-13")
    assert run.created_at == datetime.fromtimestamp(START + 1001, UTC)
    assert run.imported["run"]["per_model_usage"][0]["invocation_count"] == 5
    assert run.eval.created_at == datetime.fromtimestamp(START + 2, UTC)
    sample = run.samples.get(item__position=4)
    assert sample.finished_at == run.created_at
    assert (sample.output_text, sample.input_tokens, sample.output_tokens) == ("sales", 12, 2)
    scores = {score.grader_version.grader.name: score for score in sample.scores.all()}
    assert {name: (score.value, score.passed) for name, score in scores.items()} == {
        "Match": (0.0, False),
        "Odd one": (0.0, False),
    }
    assert {(score.rater_kind, score.rater) for score in scores.values()} == {("imported", "imported")}
    assert all(score.created_at == sample.finished_at for score in scores.values())
    root, call = span_records(sample.trace)
    assert sample.trace.source == "import"
    assert (call.model, call.usage.input_tokens, call.end_ns) == ("gpt-4o-2024-05-13", 12, None)
    assert [message["role"] for message in call.input_messages] == ["developer", "user"]
    assert "imported" in root.tags


def test_a_criterion_that_we_have_can_run_again_and_another_is_kept_by_its_name(project, folder):
    report = import_openai_evals(project, folder)

    rows = EvalGrader.objects.filter(eval=Eval.objects.first()).select_related("grader_version__grader")
    assert [(row.grader_version.grader.name, row.grader_version.grader.kind) for row in rows] == [
        ("Match", "string_check"),
        ("Odd one", "imported"),
    ]
    assert rows[1].criterion == {"type": "endpoint", "name": "Odd one", "url": "https://graders.example/score"}
    assert list(report.not_runnable) == ["Odd one (endpoint)"]


def test_a_repeat_changes_nothing(project, folder):
    import_openai_evals(project, folder)
    before = counts(project)

    report = import_openai_evals(project, folder)

    assert counts(project) == before
    assert (report.evals, report.runs, report.items, report.files) == (0, 0, 0, 0)
    assert (report.known_evals, report.known_runs, report.known_files) == (2, 4, 1)


def test_runs_over_the_same_rows_share_them(project, folder):
    import_openai_evals(project, folder)

    assert Dataset.objects.filter(project=project).count() == 1
    assert Item.objects.count() == 5


def test_an_import_that_was_cut_off_goes_on_and_doubles_nothing(project, folder):
    import_openai_evals(project, folder)
    before = counts(project)
    run = Run.objects.first()
    run.imported = {"is_complete": False}
    run.save()
    kept = run.samples.order_by("pk")[:2]
    run.samples.exclude(pk__in=[sample.pk for sample in kept]).delete()

    report = import_openai_evals(project, folder)

    assert (report.runs, report.items) == (1, 3)
    assert counts(project) == before
    run.refresh_from_db()
    assert run.imported["is_complete"]


def test_a_run_that_was_still_going_takes_the_rest_later(project, tmp_path):
    one, run, items = bundle(4, status="in_progress")
    file = write(tmp_path / "all.json", {"eval": one, "runs": [{**run, "output_items": items[:2]}]})
    import_openai_evals(project, tmp_path)
    kept = Run.objects.get()
    assert (kept.status, kept.status_reason) == ("cancelled", "It was in progress when it was taken from where it ran.")
    write(file, {"eval": one, "runs": [{**run, "status": "completed", "output_items": items}]})

    report = import_openai_evals(project, tmp_path)

    kept.refresh_from_db()
    assert (report.items, kept.status, kept.samples.count()) == (2, "finished", 4)


@pytest.mark.parametrize(
    "arrange",
    [
        lambda one, run, items: {"eval": one, "runs": [{**run, "output_items": items}]},
        lambda one, run, items: {**one, "runs": [{"run": run, "output_items": items}]},
        lambda one, run, items: {"eval": one, "runs": [run], "output_items": {run["id"]: items}},
        lambda one, run, items: [{"object": "list", "data": [one]}, {"object": "list", "data": [run]}, items],
    ],
)
def test_objects_are_found_wherever_a_script_put_them(project, tmp_path, arrange):
    write(tmp_path / "export.json", arrange(*bundle()))

    report = import_openai_evals(project, tmp_path)

    assert (report.evals, report.runs, report.items, report.bad) == (1, 1, 3, [])


def test_objects_may_lie_in_several_files_and_in_lines(project, tmp_path):
    one, run, items = bundle()
    write(tmp_path / "evals.jsonl", json.dumps(one) + "\n")
    write(tmp_path / "runs" / "r.json", run)
    write(tmp_path / "a-items.ndjson", "\n".join(json.dumps(item) for item in items))

    report = import_openai_evals(project, tmp_path)

    assert (report.evals, report.runs, report.items, report.bad) == (1, 1, 3, [])


def test_bad_parts_are_listed_with_their_reason_and_good_ones_kept(project, tmp_path):
    one, run, items = bundle(4)
    del items[1]["datasource_item"]
    items[2]["datasource_item_id"] = "two"
    write(tmp_path / "good.json", {"eval": one, "runs": [{**run, "output_items": items}]})
    write(tmp_path / "broken.json", '{"eval": ')
    write(tmp_path / "other.json", {"hello": "world"})
    write(tmp_path / "orphan.json", make_run(make_eval(7), 1, 0))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    write(tmp_path / "lines.jsonl", "not json\n")

    report = import_openai_evals(project, tmp_path)

    told = {part.place: part.reason for part in report.bad}
    assert "is not JSON" in told["broken.json"]
    assert "no eval, run" in told["other.json"]
    assert "neither in the folder nor in the project" in told[f"run {make_run(make_eval(7), 1, 0)['id']}"]
    assert "not UTF-8 at byte 1" in told["binary.json"]
    assert "is not JSON" in told["lines.jsonl line 1"]
    assert "no datasource_item" in told[f"output item {items[1]['id']}"]
    assert "no whole number" in told[f"output item {items[2]['id']}"]
    assert Sample.objects.count() == 2
    assert sorted(Sample.objects.values_list("item__position", flat=True)) == [0, 3]


def test_hostile_values_are_kept_as_text_or_left_out(project, tmp_path):
    one, run, items = bundle(2)
    one["name"] = "a\x00b" * 200
    items[0]["datasource_item"] = {"input": "<script>\ud800\x00", "n": 1e400}
    items[0]["results"] = [{"name": "Match", "passed": True, "score": "high"}, {"score": 1e400}, "no"]
    items[1]["sample"] = ["not", "an", "object"]
    run["metadata"] = {"a": 1}
    run["created_at"] = 10**30
    write(tmp_path / "all.json", [one, run, items])

    report = import_openai_evals(project, tmp_path)

    assert report.bad == []
    assert Sample.objects.count() == 2
    assert Score.objects.filter(sample__public_id=items[0]["id"], state="failed").count() == 2


def test_results_named_by_the_bare_name_reach_their_criteria(project, tmp_path):
    one, run, items = bundle(1)
    one["testing_criteria"] = [{**one["testing_criteria"][0], "id": f"Match-{number}"} for number in (1, 2)]
    items[0]["results"] = [{"name": "Match", "passed": passed, "score": float(passed)} for passed in (True, False)]
    write(tmp_path / "all.json", [one, run, items])

    import_openai_evals(project, tmp_path)

    rows = list(EvalGrader.objects.order_by("position"))
    assert [row.grader_version.grader.name for row in rows] == ["Match", "Match 2"]
    assert [Score.objects.get(grader_version=row.grader_version).value for row in rows] == [1.0, 0.0]


def test_a_result_that_no_criterion_made_is_kept_under_its_own_name(project, tmp_path):
    one, run, items = bundle(1)
    items[0]["results"].append({"name": "By hand", "passed": True, "score": 0.75})
    write(tmp_path / "all.json", [one, run, items])

    import_openai_evals(project, tmp_path)

    score = Score.objects.get(grader_version__grader__name="By hand")
    assert (score.value, score.passed, score.grader_version.grader.kind) == (0.75, True, "imported")


def test_errors_of_rows_and_graders_are_not_scores_of_zero(project, tmp_path):
    one, run, items = bundle(2)
    items[0] |= {
        "status": "error",
        "results": [],
        "sample": {**items[0]["sample"], "output": [], "error": {"code": "x", "message": "Overloaded"}},
    }
    items[1]["results"][0] |= {"score": 0, "passed": False, "error": "The grader broke"}
    write(tmp_path / "all.json", [one, run, items])

    import_openai_evals(project, tmp_path)

    failed, done = Sample.objects.order_by("item__position")
    assert (failed.status, failed.error, failed.scores.count()) == ("failed", "Overloaded", 0)
    score = done.scores.get(grader_version__grader__name="Match")
    assert (score.state, score.value, score.reason) == ("failed", None, "The grader broke")


def test_imported_runs_are_read_only(project, folder):
    import_openai_evals(project, folder)
    run = Run.objects.first()
    Run.objects.filter(pk=run.pk).update(status="failed")
    Sample.objects.filter(run=run).update(status="failed")

    assert retry_failed(run.comparison) == 0
    assert resume_comparison(run.comparison) == 0
    run.refresh_from_db()
    assert run.status == "failed"


def test_pages_show_imported_runs_with_a_badge(project, folder, client):
    import_openai_evals(project, folder)
    comparison = Run.objects.first().comparison

    report = comparison_report(comparison)
    page = client.get(reverse("evals:comparison", args=[project.slug, comparison.pk])).content.decode()
    listing = client.get(reverse("evals:comparison_list", args=[project.slug])).content.decode()

    assert report.candidates[0].is_imported
    assert ">imported<" in page
    assert ">imported<" in listing
    assert comparison.created_at == Run.objects.get(comparison=comparison).created_at


def test_the_same_export_goes_into_two_projects(folder):
    first, second = make_project(), make_project()

    import_openai_evals(first, folder)
    import_openai_evals(second, folder)

    assert counts(first) == counts(second)
    assert counts(first)["Sample"] == 20


def test_the_command_says_what_it_did_and_exits_1_where_something_was_left_out(folder, capsys):
    call_command("import_openai_evals", str(folder), "--project", "new-one")
    assert "Imported 2 evals, 4 runs, 20 output items, 40 scores, 1 files." in capsys.readouterr().out
    write(folder / "evals" / "broken" / "eval.json", "{")

    with pytest.raises(CommandError, match="1 could not be imported"):
        call_command("import_openai_evals", str(folder), "--project", "new-one")

    printed = capsys.readouterr()
    assert "Already here: 2 evals, 4 runs, 1 files." in printed.out
    assert "eval.json: it is not JSON" in printed.err


def test_an_empty_folder_is_no_success(tmp_path, project):
    with pytest.raises(CommandError, match="There is no eval"):
        call_command("import_openai_evals", str(tmp_path))
    with pytest.raises(CommandError, match="is not there"):
        call_command("import_openai_evals", str(tmp_path / "missing"))


def write_long_run(folder, items, *, size=20_000):
    """Write a run of many output items as a pull leaves it, each with a text of `size` letters."""
    one, run, _ = bundle(0)
    place = folder / "evals" / one["id"]
    write(place / "eval.json", one)
    write(place / "runs" / run["id"] / "run.json", run)
    with (place / "runs" / run["id"] / "output_items.jsonl").open("w") as lines:
        for number in range(items):
            item = make_item(one, run, number)
            item["datasource_item"]["input"] += "x" * size
            lines.write(json.dumps(item) + "\n")
    return folder


def test_a_run_three_times_as_long_takes_no_more_memory(tmp_path, monkeypatch):
    """Both runs are longer than what is held at once: two batches, here of 25 rows or output items."""
    monkeypatch.setattr("evals.services.rows.BATCH", 25)
    monkeypatch.setattr("evals.services.openai_imports.BATCH", 25)
    peaks = []
    for items in (10, 100, 300):  # the first brings the modules in
        folder, project = write_long_run(tmp_path / str(items), items), make_project()
        tracemalloc.start()
        report = import_openai_evals(project, folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.items == items
    assert peaks[2] < 1.3 * peaks[1], peaks


def test_items_are_written_in_batches_not_one_by_one(tmp_path):
    """Time on a busy machine says little; how often the database is asked does."""
    asked = []
    for items in (200, 400, 1000):
        folder, project = write_long_run(tmp_path / str(items), items, size=10), make_project()
        with CaptureQueriesContext(connection) as queries:
            assert import_openai_evals(project, folder).items == items
        asked.append(len(queries))
    one_batch = asked[1] - asked[0]
    assert one_batch < 80, asked
    assert asked[2] - asked[1] <= 3 * one_batch * 1.2, asked


def test_a_bad_item_is_listed_once_however_often_its_file_is_read(project, tmp_path):
    one, run, items = bundle(3)
    del items[1]["datasource_item"]
    write(tmp_path / "all.json", {"eval": one, "runs": [{**run, "output_items": items}]})

    report = import_openai_evals(project, tmp_path)

    assert (report.items, report.bad_count, len(report.bad)) == (2, 1, 1)
