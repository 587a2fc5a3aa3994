import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from providers import pull_evals
from providers.pull_evals import COMPLETE, INCOMPLETE, NOT_BEGUN, folder_name, last_whole_line, pull, wait_asked_for
from tests.evals_source import KEY, EvalsSource, make_eval, make_item, make_run


@pytest.fixture(autouse=True)
def key_in_environment(monkeypatch):
    monkeypatch.setenv("SOURCE_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def source():
    with EvalsSource(evals=2, runs=3, items=250) as found:
        yield found


def fetch(source, folder, **options):
    return pull(str(folder), base_url=source.base_url, key_env="SOURCE_API_KEY", first_wait_s=0.01, **options)


def everything(folder: Path) -> dict[str, bytes]:
    left_out = {"manifest.json"}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in left_out
    }


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_whole(source, folder):
    """The folder holds what the source holds, and nothing else."""
    for one in source.evals:
        place = folder / "evals" / one["id"]
        assert json.loads((place / "eval.json").read_text()) == one
        assert {path.name for path in (place / "runs").iterdir()} == {run["id"] for run in source.runs[one["id"]]}
        for run in source.runs[one["id"]]:
            assert json.loads((place / "runs" / run["id"] / "run.json").read_text()) == run
            assert read_lines(place / "runs" / run["id"] / "output_items.jsonl") == source.items[run["id"]]
    for file_id, (row, content) in source.files.items():
        assert json.loads((folder / "files" / file_id / "file.json").read_text()) == row
        assert (folder / "files" / file_id / "content").read_bytes() == content
    assert not [path for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(".part")]


def test_pull_fetches_everything_as_received(source, tmp_path, capsys):
    assert fetch(source, tmp_path) == COMPLETE

    assert_whole(source, tmp_path)
    assert "fetched 2 evals, 6 runs, 1,500 output items, 1 files" in capsys.readouterr().out


def test_pull_again_fetches_nothing_twice(source, tmp_path):
    fetch(source, tmp_path)
    first, asked = everything(tmp_path), list(source.requests)
    source.requests.clear()

    assert fetch(source, tmp_path) == COMPLETE

    assert everything(tmp_path) == first
    assert len(asked) == len(set(asked))
    assert not set(asked) & set(source.requests)
    assert {path.rpartition("/")[2] for path, _ in source.requests} == {"evals", "runs", "files"}  # what is new?
    assert all("after=" in query for _, query in source.requests)


def test_pull_again_fetches_only_what_is_new(source, tmp_path):
    fetch(source, tmp_path)
    source.requests.clear()
    fresh, old = make_eval(9), source.evals[0]
    source.evals.append(fresh)
    for one, number in ((fresh, 1), (old, 9)):
        run = make_run(one, number, 3)
        source.runs.setdefault(one["id"], []).append(run)
        source.items[run["id"]] = [make_item(one, run, place) for place in range(3)]

    assert fetch(source, tmp_path) == COMPLETE

    assert_whole(source, tmp_path)
    assert sum(path.endswith("/output_items") for path, _ in source.requests) == 2


@pytest.mark.parametrize("requests", [1, 3, 5, 8, 13, 20])
def test_an_interrupted_pull_goes_on_where_it_was_left(source, tmp_path, requests, monkeypatch):
    monkeypatch.setattr(pull_evals, "ATTEMPTS", 2)
    source.die_after = requests
    assert fetch(source, tmp_path) == INCOMPLETE
    asked = {request for request in source.requests if request[0].endswith("/output_items")}
    source.die_after = None
    source.requests.clear()

    assert fetch(source, tmp_path) == COMPLETE

    assert_whole(source, tmp_path)
    assert not asked & set(source.requests)


def test_a_line_cut_in_the_middle_is_fetched_again_and_no_other(source, tmp_path):
    fetch(source, tmp_path)
    run = source.runs[source.evals[0]["id"]][0]
    items = tmp_path / "evals" / source.evals[0]["id"] / "runs" / run["id"] / "output_items.jsonl"
    lines = items.read_bytes().splitlines(keepends=True)
    items.with_name("output_items.jsonl.part").write_bytes(b"".join(lines[:120]) + lines[120][:40])
    items.unlink()
    source.requests.clear()

    assert fetch(source, tmp_path) == COMPLETE

    assert_whole(source, tmp_path)
    asked = [query for path, query in source.requests if path.endswith("/output_items")]
    assert len(asked) == 2
    assert f"after={source.items[run['id']][119]['id']}" in asked[0]


def test_rate_limits_and_errors_of_the_server_are_waited_for(source, tmp_path):
    source.script = ["429", "500", "503", "429", "429"]

    assert fetch(source, tmp_path) == COMPLETE

    assert source.refused == 5
    assert_whole(source, tmp_path)


def test_the_server_is_left_alone_for_as_long_as_it_asks(source, tmp_path):
    import time

    source.script, source.retry_after = ["429"], "1"
    begun = time.monotonic()

    fetch(source, tmp_path, concurrency=1)

    assert time.monotonic() - begun >= 1.0


def test_what_cannot_be_fetched_is_listed_and_the_rest_is_kept(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pull_evals, "ATTEMPTS", 2)
    run = source.runs[source.evals[1]["id"]][1]
    path = f"/v1/evals/{run['eval_id']}/runs/{run['id']}/output_items"
    source.broken = {path: "500", "/v1/files/file-tickets/content": "403"}

    assert fetch(source, tmp_path) == INCOMPLETE

    told = capsys.readouterr().err
    assert f"not fetched: output items of {run['id']}: 500: " in told
    assert "not fetched: file file-tickets: 403: " in told
    assert len(list(tmp_path.rglob("output_items.jsonl"))) == 5
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert set(manifest["failures"]) == {f"output items of {run['id']}", "file file-tickets"}

    source.broken = {}
    assert fetch(source, tmp_path) == COMPLETE
    assert_whole(source, tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["failures"] == {}


def test_a_file_that_is_gone_at_the_source_is_named_and_no_failure(source, tmp_path, capsys):
    source.files.clear()

    assert fetch(source, tmp_path) == COMPLETE

    assert "left out: file file-tickets: it was deleted at the source" in capsys.readouterr().err


def test_a_run_that_was_still_going_is_fetched_again_when_it_has_ended(source, tmp_path):
    run = source.runs[source.evals[0]["id"]][2]
    whole = source.items[run["id"]]
    run["status"], source.items[run["id"]] = "in_progress", whole[:7]
    fetch(source, tmp_path)
    assert_whole(source, tmp_path)
    run["status"], source.items[run["id"]] = "completed", whole
    source.requests.clear()

    assert fetch(source, tmp_path) == COMPLETE

    assert_whole(source, tmp_path)
    assert sum(path.endswith("/output_items") for path, _ in source.requests) == 3  # its three pages


def test_the_key_is_written_nowhere(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pull_evals, "ATTEMPTS", 1)
    source.script = ["500"] * 3  # the server repeats the key in its message
    fetch(source, tmp_path)
    source.key = "another"
    assert fetch(source, tmp_path) == INCOMPLETE

    printed = capsys.readouterr()
    assert KEY not in printed.out + printed.err
    assert "[key]" in printed.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_pull_without_a_key_names_the_variable(source, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SOURCE_API_KEY")

    assert fetch(source, tmp_path / "new") == NOT_BEGUN

    assert "SOURCE_API_KEY is not set" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_of_another_source_is_refused(source, tmp_path, capsys):
    fetch(source, tmp_path)

    with EvalsSource() as other:
        assert fetch(other, tmp_path) == NOT_BEGUN

    assert "give another folder" in capsys.readouterr().err


def test_refresh_sees_a_new_name(source, tmp_path):
    fetch(source, tmp_path)
    source.evals[0]["name"] = "Renamed"
    source.requests.clear()

    assert fetch(source, tmp_path, refresh=True) == COMPLETE

    assert_whole(source, tmp_path)
    assert not [path for path, _ in source.requests if path.endswith("/output_items")]


def test_an_id_made_of_dots_and_slashes_stays_in_the_folder(source, tmp_path):
    source.evals[0]["id"] = "../../outside"
    source.runs = {"../../outside": [], source.evals[1]["id"]: []}

    fetch(source, tmp_path / "in")

    assert not (tmp_path / "outside").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_the_file_runs_alone_with_nothing_but_openai(source, tmp_path):
    alone = tmp_path / "copied.py"
    shutil.copy(pull_evals.__file__, alone)
    command = [sys.executable, "-I", str(alone), "--out", str(tmp_path / "out"), "--base-url", source.base_url]

    done = subprocess.run(
        [*command, "--key-env", "SOURCE_API_KEY"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"SOURCE_API_KEY": KEY},
    )

    assert done.returncode == COMPLETE, done.stderr
    assert_whole(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "folder"), [("..", "%2E%2E"), ("a/b", "a%2Fb"), ("eval_1", "eval_1"), ("a\\b", "a%5Cb")]
)
def test_folder_names_cannot_lead_elsewhere(name, folder):
    assert folder_name(name) == folder


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "999999"}, 3600.0),
        ({}, None),
    ],
)
def test_wait_asked_for_reads_what_servers_send(headers, seconds):
    assert wait_asked_for(headers) == seconds


def test_last_whole_line_cuts_what_is_not_whole(tmp_path):
    part = tmp_path / "part"
    part.write_bytes(b'{"id": "a"}\n{"id": "b"}\n{"id": "c"')

    assert last_whole_line(part) == "b"
    assert part.read_bytes() == b'{"id": "a"}\n{"id": "b"}\n'
    assert last_whole_line(tmp_path / "missing") == ""
