"""Files of other tools, as they are found in the world: every run comes in, reads well, and comes in once."""

import gzip
import io
import json
import zipfile

import pytest

from traces.conversation import conversation
from traces.formats import BadLine, read_traces
from traces.steps import steps


def read_file(path, content=None, name=None):
    with io.BytesIO(content if content is not None else path.read_bytes()) as stream:
        return list(read_traces(stream, name=name or str(path)))


def read_folder(folder, pattern):
    found = [run for path in sorted(folder.glob(pattern)) for run in read_file(path)]
    assert [run for run in found if isinstance(run, BadLine)] == []
    return found


# Who&When ----------------------------------------------------------------------------------------------------------


def test_all_runs_of_who_and_when_name_the_blamed_step(shared):
    runs = read_folder(shared / "data/who-and-when", "*/*.json")
    assert len(runs) == 92
    assert len({run.records[0].trace_id for run in runs}) == 92
    for run in runs:
        [score] = run.scores
        assert (score.value, score.passed) == (0.0, False)
        [blamed] = [record for record in run.records if "mistake" in record.tags]
        assert score.evidence[0]["span_id"] == blamed.span_id
        assert score.evidence[0]["quote"] or blamed.kind == "tool"
        assert run.records[1 + int(run.records[0].metadata["mistake_step"])] is blamed
        entries = conversation(run.records)
        assert len(entries) >= len(run.records) - 2
        assert steps(run.records)


def test_speakers_of_a_group_of_agents_are_told_apart(shared):
    [run] = read_file(shared / "data/who-and-when/Hand-Crafted/1.json")
    speakers = [record.agent_name for record in run.records]
    assert {"Orchestrator", "WebSurfer"} <= set(speakers)
    thought = next(
        record for record in run.records if record.attributes.get("history.role") == "Orchestrator (thought)"
    )
    assert thought.output_messages[0]["content"][0]["type"] == "reasoning"
    sent = next(record for record in run.records if record.attributes.get("history.to"))
    assert sent.attributes["history.to"] == "WebSurfer"
    assert sent.display_name == "Orchestrator (→ WebSurfer)"
    assert conversation(run.records)[0]["role"] == "user"


def test_what_a_terminal_ran_is_a_tool_call(shared):
    [run] = read_file(shared / "data/who-and-when/Algorithm-Generated/17.json")
    tools = [record.tool["name"] for record in run.records if record.kind == "tool"]
    assert set(tools) == {"Computer_terminal"}


# SWE-agent ---------------------------------------------------------------------------------------------------------


def test_each_action_of_a_trajectory_has_what_it_gave_back(shared):
    runs = read_folder(shared / "data/trace-formats/swe-agent", "*.traj")
    assert len(runs) == 3
    for run in runs:
        document = json.loads((shared / "data/trace-formats/swe-agent" / f"{run.records[0].task}.traj").read_bytes())
        tools = [record for record in run.records if record.kind == "tool"]
        assert len(tools) == len(document["trajectory"])
        assert all(isinstance(record.tool["arguments"], dict) for record in tools)
        observed = document["trajectory"][-1]["observation"]
        assert str(tools[-1].tool["result"] or "").strip()[:40] == observed.strip()[:40]
        assert run.records[0].output.strip() == document["info"]["submission"].strip()
        assert not any(entry["is_error"] for entry in conversation(run.records))


def test_a_trajectory_that_ended_early_is_an_error():
    step = {"action": "ls\n", "observation": "a.py", "thought": "Look.", "response": "Look.\n```\nls\n```"}
    document = {
        "trajectory": [step],
        "history": [],
        "info": {"exit_status": "exit_cost", "model_stats": {"instance_cost": 3.1}},
    }
    [run] = read_file(None, json.dumps(document).encode(), "x__y-1.traj")
    root, call, tool = run.records
    assert (root.status, root.error_type, root.usage.cost_usd) == ("error", "exit_cost", 3.1)
    assert call.output_messages[0]["tool_calls"][0]["arguments"] == {"command": "ls"}
    assert tool.tool["name"] == "ls"
    assert tool.tool["result"] == "a.py"


# Inspect -----------------------------------------------------------------------------------------------------------


def test_all_inspect_logs_come_in_from_json_and_from_archives(shared):
    folder = shared / "data/trace-formats/inspect-ai"
    runs = read_folder(folder, "*.json") + read_folder(folder, "*.eval")
    assert len(runs) == 32
    assert all(run.records[0].kind == "agent" for run in runs)


def test_an_inspect_sample_has_calls_with_times_tokens_tools_and_scores(shared):
    [run] = read_file(next((shared / "data/trace-formats/inspect-ai").glob("*_browser.json")))
    calls = [record for record in run.records if record.kind == "llm"]
    tools = [record for record in run.records if record.kind == "tool"]
    assert calls
    assert tools
    assert all(record.model == "gpt-4o-mini-2024-07-18" and record.usage.input_tokens for record in calls)
    assert all(record.end_ns > record.start_ns for record in calls)
    assert all(record.end_ns is not None for record in run.records)
    assert tools[0].tool["name"] == "web_browser_go"
    assert tools[0].tool["arguments"] == {"url": "https://www.aisi.gov.uk/"}
    assert not any("attachment://" in str(record.tool["result"]) for record in tools)
    assert [(score.name, score.value, score.passed) for score in run.scores] == [("includes", 1.0, True)]


def test_a_failed_tool_of_an_inspect_sample_is_an_error(shared):
    [run] = read_file(shared / "data/trace-formats/inspect-ai/log_tool_call_error.json")
    failed = [record for record in run.records if record.kind == "tool" and record.status == "error"]
    assert failed
    assert all(record.error_message for record in failed)


def test_an_archive_that_is_no_log_says_so():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    [bad] = read_file(None, packed.getvalue(), "x.eval")
    assert "header.json" in bad.reason
    [bad] = read_file(None, packed.getvalue()[:40], "x.eval")
    assert "cannot be unpacked" in bad.reason


# Halo --------------------------------------------------------------------------------------------------------------


def halo_span(span_id, parent="", trace_id="t-aaaa", **attributes):
    return {
        "trace_id": trace_id, "span_id": span_id, "parent_span_id": parent, "trace_state": "", "name": f"function.{span_id}",
        "kind": "SPAN_KIND_INTERNAL", "start_time": "2026-06-01T09:00:00.400000001Z", "end_time": "2026-06-01T09:00:00.9Z",
        "status": {"code": "STATUS_CODE_ERROR", "message": "carrier timeout"}, "resource": {"attributes": {"service.name": "desk"}},
        "scope": {"name": "demo", "version": "1"}, "attributes": attributes,
    }  # fmt: skip


def lines(*documents):
    return b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in documents)


def test_a_halo_line_keeps_ids_nanoseconds_and_status():
    attributes = {
        "openinference.span.kind": "TOOL", "tool.name": "track", "input.value": '{"parcel": 9}', "inference.session_id": "chat-77",
        "inference.llm.input_tokens": None, "int.attempts": 2, "inference.export.schema_version": 1,
    }  # fmt: skip
    [run] = read_file(None, lines(halo_span("word-1", "e661b435ae4f4e708348f5e2", **attributes)), "x.jsonl")
    [record] = run.records
    assert (record.trace_id, record.span_id, record.parent_span_id) == ("t-aaaa", "word-1", "e661b435ae4f4e708348f5e2")
    assert record.start_ns % 1_000_000_000 == 400_000_001
    assert record.end_ns % 1_000_000_000 == 900_000_000
    assert (record.status, record.error_message) == ("error", "carrier timeout")
    assert record.tool == {"name": "track", "call_id": None, "arguments": {"parcel": 9}, "result": None}
    assert record.session_id == "chat-77"
    assert record.attributes["attempts"] == 2
    assert "inference.llm.input_tokens" not in record.attributes


def test_a_real_halo_file_comes_in_as_one_run(shared):
    [path] = (shared / "data/trace-formats/openinference-otel").glob("*.jsonl")
    records = [record for run in read_file(path) for record in run.records]
    assert len(records) == 7
    assert len({record.trace_id for record in records}) == 1
    kinds = sorted(record.kind for record in records)
    assert kinds == ["agent", "chain", "chain", "chain", "llm", "llm", "tool"]
    [first, second] = [record for record in records if record.kind == "llm"]
    assert first.usage.input_tokens
    assert second.usage.input_tokens


def test_one_bad_line_among_a_hundred_is_named_and_the_others_are_kept():
    good = [halo_span(f"s-{number}") for number in range(99)]
    found = read_file(None, lines(*good[:49], b'{"trace_id": "t", broken', *good[49:]), "x.jsonl")
    assert len([run for run in found if not isinstance(run, BadLine)]) == 99
    [bad] = [run for run in found if isinstance(run, BadLine)]
    assert bad.place == "line 50"


def test_a_packed_file_reads_as_the_plain_one():
    plain = lines(halo_span("a"), halo_span("b", "a"))
    assert [run.records for run in read_file(None, gzip.compress(plain), "x.jsonl.gz")] == [
        run.records for run in read_file(None, plain, "x.jsonl")
    ]


# Into the database -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_files_of_every_kind_import_and_a_repeat_changes_nothing(shared, project):
    from evals.models import Score
    from evals.services import import_file
    from traces.models import Span, Trace

    folder = shared / "data"
    paths = [
        folder / "who-and-when/Hand-Crafted/1.json",
        folder / "trace-formats/inspect-ai/log_read_sample.eval",
        *sorted((folder / "trace-formats/swe-agent").glob("*.traj")),
        *sorted((folder / "trace-formats/openinference-otel").glob("*.jsonl")),
    ]
    reports = []
    for _ in range(2):
        for path in paths:
            with path.open("rb") as stream:
                reports.append(import_file(project, stream, name=str(path)))
        counts = (Trace.objects.count(), Span.objects.count(), Score.objects.count())
        assert counts[0] == len(paths) - 1 + reports[1].runs
    assert [report.bad for report in reports] == [[]] * len(reports)
    assert counts == (Trace.objects.count(), Span.objects.count(), Score.objects.count())
    assert sum(report.fresh_runs for report in reports[len(paths) :]) == 0
    blamed = Score.objects.get(rater="Who&When annotators")
    assert blamed.value == 0.0
    assert Span.objects.filter(span_id=blamed.evidence[0]["span_id"]).exists()
