"""Out of one project through the API into a folder, and from there into an empty project: the same evals, runs, items and scores."""

import json

import pytest
from django.core.management import call_command

from accounts.models import Project
from evals.models import Comparison, Run, Sample, Score
from providers.models import ModelAlias
from providers.pull_evals import COMPLETE, pull
from tests.evals.openai_api.made import ANSWERED, ASK, EQUAL, items_of, jsonl, make_eval, row, sampled
from tests.factories import make_key, make_project

pytestmark = pytest.mark.django_db(transaction=True)

JUDGED = {
    "type": "label_model",
    "name": "Tone / ton",
    "model": "judge",
    "labels": ["kind", "rude"],
    "passing_labels": ["kind"],
    "input": [{"role": "user", "content": "kind"}],
}
CODE = {
    "type": "python",
    "name": "Length",
    "source": "def grade(sample, item):\n    return len(item['question']) / 4\n",
}


@pytest.fixture
def pull_from(live_server, monkeypatch):
    def pull_project(project, folder):
        monkeypatch.setenv("SOURCE_API_KEY", make_key(project))
        return pull(str(folder), base_url=f"{live_server.url}/v1", key_env="SOURCE_API_KEY", first_wait_s=0.01)

    return pull_project


@pytest.fixture
def source(api, finish, project):
    """A project with three evals, runs of each kind of data source, and a file."""
    first = make_eval(api, name="First", criteria=(EQUAL, EQUAL, CODE), metadata={"team": "qa"})
    for name in ("one", "two"):
        rows = [row(f"q{number}", f"q{number % 3}") for number in range(130 if name == "one" else 3)]
        finish(api.evals.runs.create(first.id, name=name, data_source=jsonl(*rows), metadata={"commit": name}))
    second = make_eval(api, name="Second", criteria=(ANSWERED, JUDGED), with_sample=True)
    finish(
        api.evals.runs.create(
            second.id,
            name="asked",
            data_source=sampled(
                row("kind", "kind"), row("no", "other"), sampling_params={"temperature": 0.5, "seed": 7}
            ),
        )
    )
    lines = "".join(json.dumps(row(f"from a file {number}")) + "\n" for number in range(4))
    uploaded = api.files.create(file=("rows.jsonl", lines.encode()), purpose="evals")
    with_file = {
        "type": "completions",
        "source": {"type": "file_id", "id": uploaded.id},
        "model": "echo",
        "input_messages": ASK,
    }
    finish(api.evals.runs.create(second.id, name="of a file", data_source=with_file))
    make_eval(api, name="Without runs")
    return project


def documents(folder, *, left_out=("report_url",)):
    """Everything in a folder by the names of its files, without what differs between two servers."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "manifest.json":
            name = path.relative_to(folder).as_posix()
            if path.name == "content":
                found[name] = path.read_bytes()
                continue
            rows = (
                [json.loads(line) for line in path.read_text().splitlines()]
                if path.suffix == ".jsonl"
                else [json.loads(path.read_text())]
            )
            found[name] = [{key: value for key, value in one.items() if key not in left_out} for one in rows]
    return found


def test_pull_and_import_into_an_empty_project_give_the_same(source, pull_from, tmp_path):
    assert pull_from(source, tmp_path / "a") == COMPLETE
    copy = make_project(slug="copy")

    call_command("import_openai_evals", str(tmp_path / "a"), "--project", "copy", verbosity=0)

    assert pull_from(copy, tmp_path / "b") == COMPLETE
    before, after = documents(tmp_path / "a"), documents(tmp_path / "b")
    assert before.keys() == after.keys()
    assert len(before) == 3 + 2 * 4 + 2
    for name, value in before.items():
        assert after[name] == value, name
    theirs, ours = (
        list(
            Score.objects.filter(project=chosen, is_current=True, sample__isnull=False)
            .order_by("sample__public_id", "grader_version__grader__name")
            .values_list("sample__public_id", "grader_version__grader__name", "value", "passed", "label")
        )
        for chosen in (source, copy)
    )
    assert ours == theirs
    assert set(Score.objects.filter(project=copy).values_list("rater_kind", flat=True)) == {"imported"}
    assert all(run.imported is not None for run in Run.objects.filter(project=copy))
    assert not Sample.objects.filter(project=copy, trace=None, run__name="asked").exists()


def test_pull_from_our_own_server_again_fetches_nothing_twice(source, pull_from, tmp_path):
    pull_from(source, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json*") if path.name != "manifest.json"}

    assert pull_from(source, tmp_path) == COMPLETE

    assert before == {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json*") if path.name != "manifest.json"
    }


def test_model_dump_files_give_the_same_as_raw_json(api, source, pull_from, tmp_path):
    pull_from(source, tmp_path / "raw")
    for number, one in enumerate(api.evals.list(order="asc")):
        runs = []
        for run in api.evals.runs.list(one.id, order="asc"):
            items = [item.model_dump() for item in items_of(api, run)]
            runs.append({**run.model_dump(), "output_items": items})
        document = {"eval": one.model_dump(), "runs": runs}
        text = json.dumps(document)
        assert "schema_" in text
        (tmp_path / "dumped").mkdir(exist_ok=True)
        (tmp_path / "dumped" / f"eval-{number}.json").write_text(text)
    assert "run_model_name" in "".join(path.read_text() for path in (tmp_path / "dumped").iterdir())
    files = list(api.files.list(purpose="evals"))
    (tmp_path / "dumped" / "files.json").write_text(json.dumps([file.model_dump() for file in files]))
    for file in files:
        (tmp_path / "dumped" / f"{file.id}.jsonl").write_bytes(api.files.content(file.id).content)

    call_command("import_openai_evals", str(tmp_path / "dumped"), "--project", "dumped", verbosity=0)

    assert pull_from(Project.objects.get(slug="dumped"), tmp_path / "again") == COMPLETE
    before, after = documents(tmp_path / "raw"), documents(tmp_path / "again")
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert without_nulls(after[name]) == without_nulls(value), name


def without_nulls(value):
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return value


def test_an_imported_eval_runs_again_under_an_alias_of_its_gone_model(source, pull_from, tmp_path):
    pull_from(source, tmp_path)
    copy = make_project(slug="copy")
    call_command("import_openai_evals", str(tmp_path), "--project", "copy", verbosity=0)
    for name in ("echo", "judge"):
        ModelAlias.objects.create(project=copy, old_name=name, model="demo/echo")
    comparison = Comparison.objects.get(project=copy, name="Second: asked")

    with pytest.raises(SystemExit) as ended:
        call_command("run_eval", str(comparison.pk), "--project", "copy", "--min-pass-rate", "1.0")

    assert ended.value.code == 1
    run = Run.objects.get(project=copy, imported__isnull=True)
    assert run.aliases == {"echo": "demo/echo", "judge": "demo/echo"}
    assert list(run.samples.order_by("item__position").values_list("output_text", flat=True)) == ["kind", "no"]
