"""import_traces, export_traces, import_dataset and export_dataset."""

import gzip
import io
import json

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

from accounts.models import Project
from evals.models import Dataset, Score
from tests.factories import make_project, make_span
from traces.models import Trace
from traces.queries import span_records, trace_document
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db

STEPS = {
    "trace_id": "run-1",
    "input": "Where is order 7?",
    "steps": [
        {"type": "tool_call", "name": "get_order", "arguments": {"id": 7}},
        {"type": "tool_result", "name": "get_order", "output": {"state": "sent"}},
    ],
    "output": "It was sent.",
    "scores": {"helpful": 0.5, "polite": {"value": 1, "passed": True, "explanation": "Says please."}},
}


def run(name, *arguments, **options):
    out, err = io.StringIO(), io.StringIO()
    call_command(name, *map(str, arguments), stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def write_lines(path, *documents):
    lines = [found if isinstance(found, str) else json.dumps(found) for found in documents]
    path.write_text("\n".join(lines) + "\n")
    return path


def row_counts():
    return {model._meta.label: model.objects.count() for model in apps.get_models()}


def test_an_import_keeps_runs_and_scores_and_makes_the_project_it_is_told(tmp_path):
    out, err = run("import_traces", write_lines(tmp_path / "a.jsonl", STEPS), "--project", "shop")
    assert "Made the project shop." in out
    assert "1 run (1 new), 2 spans, 2 scores (2 new), 0 bad lines" in out
    assert err == ""
    trace = Trace.objects.get(project__slug="shop")
    assert (trace.trace_id, trace.source, trace.tool_call_count) == ("run-1", "import", 1)
    found = {score.grader_version.grader.name: score for score in Score.objects.filter(trace=trace)}
    assert (found["helpful"].value, found["helpful"].passed) == (0.5, None)
    assert (found["polite"].passed, found["polite"].explanation) == (True, "Says please.")
    assert {score.grader_version.grader.kind for score in found.values()} == {"imported"}


def test_without_a_project_runs_go_to_the_default_one(tmp_path):
    run("import_traces", write_lines(tmp_path / "a.jsonl", STEPS))
    assert Trace.objects.get().project.slug == "default"


def test_a_second_import_changes_no_row_count(tmp_path):
    path = write_lines(
        tmp_path / "a.jsonl",
        STEPS,
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
    )
    run("import_traces", path)
    before = row_counts()
    out, _ = run("import_traces", path)
    assert row_counts() == before
    assert "2 runs (0 new, 2 already here)" in out
    assert "2 scores (0 new)" in out


def test_bad_lines_are_listed_by_number_and_the_exit_says_so(tmp_path):
    path = write_lines(
        tmp_path / "a.jsonl", STEPS, "{broken", {"steps": [{"type": "odd"}]}, {**STEPS, "trace_id": "run-2"}
    )
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError, match="2 lines were left out") as caught:
        call_command("import_traces", str(path), stdout=out, stderr=err)
    assert caught.value.returncode == 1
    assert "line 2: not JSON" in err.getvalue()
    assert "line 3: step 1 has the type 'odd'" in err.getvalue()
    assert Trace.objects.count() == 2


def test_folders_patterns_and_gzip_are_read(tmp_path):
    inner = tmp_path / "deep"
    inner.mkdir()
    (inner / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(STEPS).encode()))
    write_lines(tmp_path / "b.json", {**STEPS, "trace_id": "run-2"})
    (tmp_path / "notes.txt").write_text("not runs")
    run("import_traces", tmp_path)
    run("import_traces", tmp_path / "*.json")
    assert Trace.objects.count() == 2


def test_a_missing_file_is_said_and_the_others_are_imported(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", STEPS)
    err = io.StringIO()
    with pytest.raises(CommandError, match=r"^1 path was not found; the rest is imported.$"):
        call_command("import_traces", str(tmp_path / "none.jsonl"), str(path), stdout=io.StringIO(), stderr=err)
    assert "none.jsonl: this path does not exist." in err.getvalue()
    assert Trace.objects.count() == 1


def test_a_path_that_does_not_exist_alone_is_no_line_left_out_and_makes_no_project(tmp_path):
    err = io.StringIO()
    with pytest.raises(CommandError, match=r"^Nothing was imported: no file was found.$") as caught:
        call_command("import_traces", str(tmp_path / "none.jsonl"), "--project", "shop", stderr=err)
    assert caught.value.returncode == 1
    assert "none.jsonl: this path does not exist." in err.getvalue()
    assert not Project.objects.filter(slug="shop").exists()


def test_a_run_in_several_batches_is_new_once(tmp_path, monkeypatch):
    monkeypatch.setattr("evals.services.imports.BATCH_SPANS", 1)
    path = write_lines(tmp_path / "a.jsonl", STEPS, {**STEPS, "trace_id": "run-2"}, STEPS)
    assert "2 runs (2 new)" in run("import_traces", path)[0]


@pytest.mark.parametrize("slip", ["suport-desk", "support-desks", "supportdesk", "Support-Desk"])
def test_a_mistyped_project_is_refused_and_made_only_when_told(tmp_path, slip):
    make_project(slug="support-desk")
    path = write_lines(tmp_path / "a.jsonl", STEPS)
    with pytest.raises(CommandError, match=r"did you mean 'support-desk'.* --create-project"):
        run("import_traces", path, "--project", slip)
    assert Trace.objects.count() == 0
    assert f"Made the project {slip}." in run("import_traces", path, "--project", slip, "--create-project")[0]


@pytest.mark.parametrize(
    ("known", "other"), [("tau2-retail", "tau1-retail"), ("team-a", "team-b"), ("demo", "default"), ("shop", "shop-eu")]
)
def test_a_project_with_a_name_of_its_own_is_made(tmp_path, known, other):
    make_project(slug=known)
    assert "Made the project" in run("import_traces", write_lines(tmp_path / "a.jsonl", STEPS), "--project", other)[0]


def test_a_gzip_file_that_breaks_off_keeps_what_came_before(tmp_path):
    lines = "\n".join(
        json.dumps({**STEPS, "trace_id": f"run-{number}", "note": str(number) * 500}) for number in range(3000)
    )
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode())[:-200])
    err = io.StringIO()
    with pytest.raises(CommandError):
        call_command("import_traces", str(path), stdout=io.StringIO(), stderr=err)
    assert "the file breaks off" in err.getvalue()
    assert Trace.objects.count() > 1000


def test_hostile_text_is_kept_as_it_is(tmp_path):
    hostile = "<script>alert(1)</script>\x00 \u202eabc"
    run("import_traces", write_lines(tmp_path / "a.jsonl", {**STEPS, "input": hostile, "agent": hostile}))
    [root, *_] = span_records(Trace.objects.get())
    assert root.input == hostile


def test_a_score_named_like_a_grader_of_another_kind_gets_a_name_of_its_own(tmp_path, project):
    from evals.services import GraderSpec, ensure_grader_version

    spec = GraderSpec(
        "helpful", "string_check", {"input": "{{ sample.output_text }}", "operation": "eq", "reference": "x"}
    )
    ensure_grader_version(project, spec)
    run("import_traces", write_lines(tmp_path / "a.jsonl", STEPS))
    names = set(Score.objects.values_list("grader_version__grader__name", flat=True))
    assert names == {"helpful (imported)", "polite"}


def test_an_export_imports_as_the_same(tmp_path):
    project = make_project(slug="shop")
    ingest_spans(project, [make_span(attributes={"a": 2**60}, metadata={"plan": "pro"}, tags=["t"], session_id="s")])
    run("import_traces", write_lines(tmp_path / "a.jsonl", STEPS), "--project", "shop")
    target = tmp_path / "out.jsonl.gz"
    _, err = run("export_traces", "--project", "shop", "-o", target)
    assert "2 runs exported" in err
    before = row_counts()
    run("import_traces", target, "--project", "shop")
    assert row_counts() == before
    run("import_traces", target, "--project", "copy")
    for trace in Trace.objects.filter(project=project):
        copy = Trace.objects.get(project__slug="copy", trace_id=trace.trace_id)
        assert span_records(copy) == span_records(trace)
        first, second = trace_document(trace), trace_document(copy)
        for document in (first, second):
            for name in ("project", "source", "scores", "received_at"):
                document.pop(name)
        assert first == second


def test_an_export_takes_a_query_and_writes_otlp(tmp_path):
    run("import_traces", write_lines(tmp_path / "a.jsonl", STEPS, {**STEPS, "trace_id": "run-2", "task": "t-2"}))
    out, _ = run("export_traces", "--q", "task:t-2", "--format", "otlp")
    [line] = out.splitlines()
    spans = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert len(spans) == 2


def test_an_export_of_a_project_that_is_not_there_says_so():
    with pytest.raises(CommandError, match="There is no project 'none'"):
        run("export_traces", "--project", "none")


def test_an_export_with_a_query_that_cannot_be_read_says_so(project):
    with pytest.raises(CommandError, match="The query cannot be read"):
        run("export_traces", "--q", "duration:soon")


def test_a_dataset_goes_out_and_comes_back(tmp_path):
    path = write_lines(tmp_path / "cases.jsonl", {"key": "a", "bucket": "easy", "input": "x"}, {"input": "y"})
    out, _ = run("import_dataset", path, "--name", "My cases")
    assert "2 items read, revision 1 has 2" in out
    exported, err = run("export_dataset", "my-cases")
    assert "2 items of revision 1" in err
    again = tmp_path / "again.jsonl"
    again.write_text(exported)
    out, _ = run("import_dataset", again, "--name", "My cases")
    assert "revision 1 has 2" in out
    assert Dataset.objects.count() == 1


def test_import_dataset_replaces_only_when_told(tmp_path):
    run("import_dataset", write_lines(tmp_path / "a.jsonl", {"key": "a", "input": "x"}), "--name", "d")
    other = write_lines(tmp_path / "b.jsonl", {"key": "b", "input": "y"})
    assert "has 2" in run("import_dataset", other, "--name", "d")[0]
    assert "has 1" in run("import_dataset", other, "--name", "d", "--replace")[0]


def test_import_dataset_names_bad_lines_and_keeps_the_others(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", {"input": "x"}, "nope")
    err = io.StringIO()
    with pytest.raises(CommandError, match="1 line was left out"):
        call_command("import_dataset", str(path), stdout=io.StringIO(), stderr=err)
    assert "line 2" in err.getvalue()
    assert Dataset.objects.get().revisions.get().item_count == 1


def test_export_dataset_names_the_datasets_that_there_are(project):
    with pytest.raises(CommandError, match="there are: none"):
        run("export_dataset", "nothing")


def test_the_benchmark_runs_come_in_with_rewards_and_a_repeat_changes_nothing(shared):
    paths = [shared / "data/tau2-retail-trials", shared / "data/tau1-retail"]
    run("import_traces", *paths, "--project", "tau")
    project = Project.objects.get(slug="tau")
    before = row_counts()
    rewards = Score.objects.filter(project=project, grader_version__grader__name="reward", is_current=True)
    tau2 = Trace.objects.filter(project=project, start_ns__isnull=False)
    assert (Trace.objects.filter(project=project).count(), tau2.count()) == (380, 240)
    assert rewards.filter(trace__in=tau2, passed=True).count() == 43 + 50 + 39 + 46
    tau1 = list(rewards.exclude(trace__in=tau2).values_list("value", flat=True))
    assert len(tau1) == 140
    assert any(0 < value < 1 for value in tau1)
    assert sum(trace.tool_call_count for trace in tau2) == 505 + 465 + 487 + 444
    assert round(sum(trace.cost_usd for trace in tau2), 3) == round(5.3860 + 10.1324 + 5.3749 + 7.8488, 3)
    assert {trace.duration_ms for trace in Trace.objects.filter(project=project, start_ns=None)} == {None}
    document = trace_document(tau2.order_by("trace_id").first())
    assert document["conversation"][0] | {"content": "Hi! How can I help you today?"} == document["conversation"][0]
    assert all(entry["content"] or entry["tool_calls"] for entry in document["conversation"])
    run("import_traces", *paths, "--project", "tau")
    assert row_counts() == before
