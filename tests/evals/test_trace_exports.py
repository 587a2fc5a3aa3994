"""Runs of the traces list as files, and the way back."""

import csv
import json
from io import BytesIO, StringIO

import pytest
from django.urls import reverse

from evals.services import import_file
from evals.services.exports import export_lines
from tests.factories import make_project, make_span, make_trace
from traces.conventions import rebuild_attributes
from traces.models import Trace
from traces.queries import span_records
from traces.services import ingest_spans
from traces.spans import Usage

pytestmark = pytest.mark.django_db
T = 1_780_000_000_123_456_789
ID = "0123456789abcdef" * 2


def send(project, trace_id=ID):
    resource = {"resource": {"service.name": "parcel-desk"}, "scope": {"name": "catalyst_tracing", "version": "0.1.11"}}
    root = make_span(trace_id=trace_id, span_id="aa" * 8, name="desk.run", start_ns=T, end_ns=T + 2 * 10**9, agent_id="desk",
                     agent_name="Parcel Desk", session_id="chat-77", user_id="cust-12", origin=resource, convention="catalyst",
                     attributes={"openinference.span.kind": "AGENT", "agent.id": "desk", "agent.name": "Parcel Desk",
                                 "session.id": "chat-77", "user.id": "cust-12"})  # fmt: skip
    llm = make_span(trace_id=trace_id, span_id="bb" * 8, parent_span_id="aa" * 8, kind="llm", name="chat", model="gpt-4o", start_ns=T + 1,
                    end_ns=T + 10**9, usage=Usage(10, 5, cost_usd=0.0012, cost_source="sent"), origin=resource, convention="catalyst",
                    attributes={"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 10,
                                "llm.token_count.completion": 5, "llm.cost.total": 0.0012, "deep": {"a": [1, 2.5, True]}},
                    events=[{"name": "first token", "time_ns": T + 5, "attributes": {"n": 1}}])  # fmt: skip
    tool = make_span(trace_id=trace_id, span_id="cc" * 8, parent_span_id="aa" * 8, kind="tool", name="track", start_ns=T + 10**9,
                     end_ns=T + 2 * 10**9, status="error", status_message="carrier timeout", error_message="carrier timeout",
                     tool={"name": "track", "arguments": {"parcel": 9}, "result": "timed out"}, origin=resource, convention="catalyst",
                     attributes={"openinference.span.kind": "TOOL", "tool.name": "track", "input.value": '{"parcel": 9}',
                                 "output.value": "timed out"})  # fmt: skip
    ingest_spans(project, [root, llm, tool])


def url():
    return reverse("evals:export_traces", args=["default"])


def body(answer):
    return b"".join(answer.streaming_content).decode()


def test_halo_lines_have_what_the_engines_index_reads(project):
    send(project)
    lines = {line["span_id"][:2]: line for line in export_lines(project, format_name="halo")}
    root, llm, tool = lines["aa"], lines["bb"], lines["cc"]
    assert root["start_time"] == "2026-05-28T20:26:40.123456789Z"
    assert root["parent_span_id"] == ""
    assert set(tool["status"]) == {"code", "message"}
    assert tool["status"] == {"code": "STATUS_CODE_ERROR", "message": "carrier timeout"}
    assert set(root["resource"]) == {"attributes"}
    assert set(root["scope"]) == {"name", "version"}
    inner = llm["attributes"]
    assert (inner["inference.llm.input_tokens"], inner["inference.llm.output_tokens"]) == (10, 5)
    assert inner["inference.llm.cost.total"] == "0.0012"
    assert inner["inference.agent_name"] == "Parcel Desk"  # of the trace: the span has none of its own
    assert inner["inference.session_id"] == "chat-77"
    assert root["attributes"]["inference.llm.input_tokens"] is None
    assert tool["attributes"]["inference.observation_kind"] == "TOOL"


def test_halo_and_back_gives_the_same_spans(project):
    send(project)
    before = span_records(Trace.objects.get())
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in export_lines(project, format_name="halo"))
    other = make_project()
    report = import_file(other, BytesIO(lines), name="x.jsonl", format_name="")
    assert report.bad_count == 0
    after = span_records(Trace.objects.get(project=other))
    for old, new in zip(before, after, strict=True):
        for name in (
            "trace_id",
            "span_id",
            "parent_span_id",
            "name",
            "kind",
            "start_ns",
            "end_ns",
            "status",
            "events",
        ):
            assert getattr(new, name) == getattr(old, name), name
        assert rebuild_attributes(new) == rebuild_attributes(old)
        assert new.origin["resource"] == old.origin["resource"]
    pair = Trace.objects.order_by("pk")
    assert pair[0].total_tokens == pair[1].total_tokens == 15


def test_every_format_streams_all_that_match_or_those_chosen(client, project):
    for number in range(5):
        send(project, f"{number:032x}")
    make_trace(project, name="other", trace_id="ee" * 16)
    for name, lines in (("jsonl", 5), ("otlp", 5), ("halo", 15), ("csv", 6)):
        answer = client.get(url(), {"q": "agent:Parcel*", "format": name})
        assert answer.streaming
        assert answer["Content-Disposition"].startswith('attachment; filename="default-traces.')
        assert len(body(answer).strip().splitlines()) == lines
    chosen = client.post(url(), {"trace": [f"{1:032x}", f"{3:032x}"], "format": "jsonl"})
    assert {json.loads(line)["trace_id"] for line in body(chosen).splitlines()} == {f"{1:032x}", f"{3:032x}"}
    everything = client.post(url(), {"trace": [f"{1:032x}"], "all": "1", "q": "", "format": "csv"})
    assert len(body(everything).splitlines()) == 7


def test_csv_is_whole_and_runs_no_formula(client, project):
    make_trace(
        project, name="=1+1", input_preview='a, b\n"c"', cost_usd=None, total_tokens=0, terms={"signal": ["loop"]}
    )
    (row,) = csv.DictReader(StringIO(body(client.get(url(), {"format": "csv"}))))
    assert row["name"] == "'=1+1"
    assert row["input"] == 'a, b\n"c"'
    assert (row["cost_usd"], row["total_tokens"], row["suspected"]) == ("", "0", "loop")


def test_what_is_wrong_is_said_before_the_first_byte(client, project):
    assert client.get(url(), {"format": "xml"}).status_code == 400
    assert client.get(url(), {"q": "agnet:x"}).status_code == 400
    assert client.get(reverse("evals:export_traces", args=["nope"])).status_code == 404


def test_other_projects_never_come_along(client, project):
    send(make_project(), "ff" * 16)
    assert body(client.get(url(), {"format": "jsonl"})) == ""
    assert body(client.post(url(), {"trace": ["ff" * 16], "format": "jsonl"})) == ""
