"""Ingest: the same rows whatever the order, no count lost, each message stored once."""

import random
import threading
import time
from typing import Any

import orjson
import pytest
from django.db import connection, connections

from tests.factories import make_project, make_span
from traces.models import Body, LogRecord, MessageNode, Span, SpanPayload, Trace, TraceState, TraceTerm
from traces.otlp import LogItem
from traces.queries import span_record, span_records
from traces.services import ingest_logs, ingest_spans
from traces.spans import SpanRecord, Usage
from traces.storable import json_bytes

START = 1_780_000_000_000_000_000
MS = 1_000_000


def rows_of(project: Any) -> dict[str, Any]:
    """Everything that ingest wrote for a project, but keys and times of arrival, in an order of its own."""
    skip = ("id", "project_id", "received_at")
    found: dict[str, Any] = {"traces": [], "states": [], "terms": [], "spans": []}
    for trace in Trace.objects.filter(project=project).order_by("trace_id"):
        row = {field.attname: getattr(trace, field.attname) for field in Trace._meta.concrete_fields}
        if row["start_ns"] is None:
            row.pop("sort_ns")
        found["traces"].append({name: value for name, value in row.items() if name not in skip})
        found["states"].append(orjson.loads(bytes(trace.state.content)))
        found["terms"].append(sorted(TraceTerm.objects.filter(trace=trace).values_list("key", "value")))
        payloads = SpanPayload.objects.filter(span__trace=trace).select_related(
            "span", "origin", "tools", "input_node", "output_node"
        )
        for payload in payloads.order_by("span__span_id"):
            span = payload.span
            row = {field.attname: getattr(span, field.attname) for field in Span._meta.concrete_fields}
            links = [payload.origin, payload.tools, payload.input_node, payload.output_node]
            found["spans"].append(
                [
                    {name: as_plain(value) for name, value in row.items() if name not in ("id", "trace_id")},
                    orjson.loads(bytes(payload.content)),
                    [as_plain(link.digest) if link else None for link in links],
                ]
            )
    return found


def as_plain(value: Any) -> Any:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def make_run(trace_id: str, *, seed: int, size: int = 30) -> list[SpanRecord]:
    """Make a run: a random tree of agents, model calls (some instrumented twice) and tools, with attributes here and there."""
    chance = random.Random(seed)
    spans: list[SpanRecord] = []
    for number in range(size):
        parent = chance.choice(spans).span_id if spans else ""
        kind = "agent" if not spans else chance.choice(["llm", "llm", "tool", "chain", "embedding", "agent"])
        start = START + number * MS * chance.choice([0, 1, 1])
        span = make_span(
            trace_id=trace_id,
            span_id=f"{number:016x}",
            parent_span_id=parent,
            name=f"{kind} {number}",
            kind=kind,
            start_ns=start,
            end_ns=start + chance.randrange(1, 100) * MS,
            status=chance.choice(["ok", "ok", "ok", "error", "unset"]),
        )
        if kind in ("llm", "embedding", "agent") and chance.random() < 0.8:
            span.usage = Usage(
                chance.randrange(1000),
                chance.choice([None, 7, 11]),
                chance.choice([None, 0, 3]),
                cost_usd=chance.random() / 7,
            )
            span.usage.cost_source = "sent"
        if kind == "llm":
            span.model = chance.choice(["gpt-4o-mini", "claude-sonnet-4-5"])
            span.input_messages = [{"role": "user", "content": f"turn {n}"} for n in range(chance.randrange(4))]
            span.output_messages = [{"role": "assistant", "content": f"answer {chance.randrange(3)}"}]
            span.available_tools = [{"name": "get_order"}]
        if kind == "tool":
            span.tool = {"name": f"tool_{number % 3}", "call_id": "c", "arguments": {"n": number}, "result": "done"}
        if chance.random() < 0.2:
            span.session_id, span.user_id = chance.choice(["s-1", "s-2"]), "u-1"
        if chance.random() < 0.2:
            span.agent_name, span.agent_id = f"agent {number}", chance.choice(["", f"id-{number}"])
        if chance.random() < 0.3:
            span.metadata = {chance.choice(["plan", "channel"]): chance.choice(["pro", "web", 3, {"a": [1]}])}
            span.tags = [chance.choice(["refund", "vip"])]
        if chance.random() < 0.2:
            span.environment, span.release, span.task = "prod", chance.choice(["", "1.4"]), "refunds"
            span.prompt = {"name": "support", "version": chance.choice(["1", "2"])}
        span.origin = {"resource": {"service.name": f"svc-{number % 2}"}, "scope": {"name": "test", "version": "1"}}
        span.attributes = {"a": number, "b": "x" * (number % 5)}
        spans.append(span)
    return spans


def fresh(records: list[SpanRecord]) -> list[SpanRecord]:
    """Return copies, as if they had been decoded anew."""
    import copy

    return copy.deepcopy(records)


def ingest_in_batches(project: Any, records: list[SpanRecord], *, seed: int) -> None:
    chance = random.Random(seed)
    rest = fresh(records)
    while rest:
        size = chance.choice([1, 2, 5, 20])
        ingest_spans(project, rest[:size])
        rest = rest[size:]


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(12))
def test_batches_shuffled_doubled_and_split_end_in_the_same_rows(seed):
    runs = [*make_run("a" * 32, seed=seed), *make_run("b" * 32, seed=seed + 100)]
    at_once, in_pieces = make_project(), make_project()
    ingest_spans(at_once, fresh(runs))
    shuffled = runs + random.Random(seed).sample(runs, len(runs) // 2)
    random.Random(seed + 1).shuffle(shuffled)
    ingest_in_batches(in_pieces, shuffled, seed=seed)
    assert rows_of(in_pieces) == rows_of(at_once)


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(8))
def test_unfinished_versions_in_any_order_end_in_the_same_rows(seed):
    finished = make_run("c" * 32, seed=seed)
    begun = fresh(finished)
    for span in begun:
        span.end_ns, span.status, span.output_messages = None, "unset", []
        span.usage = Usage()
        if span.tool:
            span.tool = {**span.tool, "result": None}
    at_once, in_pieces = make_project(), make_project()
    ingest_spans(at_once, fresh(finished))
    mixed = finished + begun
    random.Random(seed).shuffle(mixed)
    ingest_in_batches(in_pieces, mixed, seed=seed)
    assert rows_of(in_pieces) == rows_of(at_once)


@pytest.mark.django_db
def test_same_batch_again_changes_nothing(project):
    run = make_run("d" * 32, seed=3)
    first = ingest_spans(project, fresh(run))
    tables = (Trace, TraceState, TraceTerm, Span, SpanPayload, Body, MessageNode)
    before = [list(table.objects.order_by("pk").values()) for table in tables]
    again = ingest_spans(project, fresh(run))
    assert again == first
    assert first.accepted == len(run)
    assert [list(table.objects.order_by("pk").values()) for table in tables] == before


@pytest.mark.django_db
def test_last_version_wins_and_takes_back_what_the_first_said(project):
    root = make_span(session_id="s-1", tags=["old"], metadata={"plan": "pro"}, usage=Usage(10, 5))
    call = make_span(trace_id=root.trace_id, parent_span_id=root.span_id, kind="llm", usage=Usage(10, 5), model="m-1")
    ingest_spans(project, fresh([root, call]))
    other = fresh([call])[0]
    other.model, other.usage, other.status = "m-2", Usage(3, None), "error"
    newer = fresh([root])[0]
    newer.session_id, newer.tags, newer.metadata = "", ["new"], {}
    ingest_spans(project, [other, newer])
    wanted = make_project()
    ingest_spans(wanted, fresh([newer, other]))
    assert rows_of(project) == rows_of(wanted)
    trace = Trace.objects.get(project=project)
    assert (trace.input_tokens, trace.output_tokens, trace.error_count) == (3, None, 1)
    assert (trace.session_id, trace.tags, trace.model_names) == ("", ["new"], ["m-2"])


@pytest.mark.django_db
def test_version_without_an_end_does_not_replace_one_with_an_end(project):
    span = make_span(name="done")
    ingest_spans(project, fresh([span]))
    late = fresh([span])[0]
    late.end_ns, late.name = None, "begun"
    ingest_spans(project, [late])
    assert Span.objects.get().name == "done"


@pytest.mark.django_db
def test_usage_of_a_call_instrumented_twice_counts_once_in_any_order(project):
    root = make_span(usage=Usage(100, 20))
    outer = make_span(
        trace_id=root.trace_id, parent_span_id=root.span_id, kind="llm", usage=Usage(100, 20, 5, cost_usd=0.5)
    )
    inner = make_span(
        trace_id=root.trace_id, parent_span_id=outer.span_id, kind="llm", usage=Usage(100, 20, cost_usd=0.25)
    )
    for span in (root, outer, inner):
        ingest_spans(project, fresh([span]))
    trace = Trace.objects.get()
    assert (trace.input_tokens, trace.output_tokens, trace.cached_input_tokens) == (100, 20, None)
    assert (trace.cost_usd, trace.total_tokens, trace.usage_count) == (0.25, 120, 1)


@pytest.mark.django_db
def test_usage_of_the_root_stands_where_no_call_has_any(project):
    root = make_span(usage=Usage(100, 20))
    call = make_span(trace_id=root.trace_id, parent_span_id=root.span_id, kind="llm")
    ingest_spans(project, [root, call])
    trace = Trace.objects.get()
    assert (trace.input_tokens, trace.total_tokens, trace.usage_count) == (100, 120, 0)


@pytest.mark.django_db
def test_known_model_is_priced_and_unknown_one_has_no_cost(project):
    known = make_span(kind="llm", model="gpt-4o-mini", provider="openai", usage=Usage(1_000_000, 0))
    unknown = make_span(kind="llm", model="no-such-model", usage=Usage(1_000_000, 0))
    ingest_spans(project, [known, unknown])
    priced, unpriced = Span.objects.order_by("start_ns")
    assert (priced.cost_source, round(priced.cost_usd, 3)) == ("priced", 0.15)
    assert (unpriced.cost_source, unpriced.cost_usd) == ("", None)


@pytest.mark.django_db
def test_name_and_session_are_provisional_until_the_root_comes(project):
    root = make_span(name="root", session_id="s-root")
    child = make_span(trace_id=root.trace_id, parent_span_id=root.span_id, name="child", session_id="s-child")
    ingest_spans(project, [child])
    trace = Trace.objects.get()
    assert (trace.name, trace.session_id, trace.missing_root) == ("child", "s-child", True)
    ingest_spans(project, [root])
    trace.refresh_from_db()
    assert (trace.name, trace.session_id, trace.missing_root) == ("root", "s-root", False)
    assert trace.session_ids == ["s-root", "s-child"]


@pytest.mark.django_db
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_parents_that_go_in_a_circle_are_kept(project, order):
    ids = ["1" * 16, "2" * 16, "3" * 16]
    spans = [
        make_span(trace_id="e" * 32, span_id=ids[n], parent_span_id=ids[n - 1], kind="llm", usage=Usage(1, 1))
        for n in range(3)
    ]
    for place in order:
        ingest_spans(project, [spans[place]])
    trace = Trace.objects.get()
    assert (trace.span_count, trace.missing_root) == (3, True)


@pytest.mark.django_db
def test_span_that_is_its_own_parent_becomes_a_root(project):
    ingest_spans(project, [make_span(span_id="5" * 16, parent_span_id="5" * 16)])
    assert Trace.objects.get().missing_root is False


@pytest.mark.django_db
def test_odd_characters_are_kept_in_the_payload_and_replaced_in_columns(project):
    span = make_span(
        name="a\0b\ud800",
        session_id="s\0",
        tags=["t\0"],
        metadata={"k\0": "v\0", "n": {"deep\0": ["\0"]}},
        kind="llm",
        model="m\0",
        input_messages=[{"role": "user", "content": "NUL \0 and مرحبا 🙂"}],
        attributes={"x\0": "y\0", "n": 2**63 + 5},
        tool={"name": "t\0", "arguments": "\0", "result": "\0", "call_id": "\0"},
    )
    result = ingest_spans(project, [span])
    assert result.rejected == []
    row = Span.objects.get()
    assert (row.name, row.model, row.tool_name) == ("a\ufffdb\ufffd", "m\ufffd", "t\ufffd")
    record = span_record(row.trace, row.span_id)
    assert record.input_messages == span.input_messages
    assert record.attributes == {"x\0": "y\0", "n": 2**63 + 5}
    assert (record.model, record.session_id) == ("m\0", "s\0")
    assert Trace.objects.get().metadata == {"k\ufffd": "v\ufffd", "n": {"deep\ufffd": ["\ufffd"]}}


@pytest.mark.django_db
def test_long_texts_are_cut_in_columns_only(project):
    long = "ü" * 5000
    span = make_span(
        name=long, model=long, kind="llm", status="error", error_message=f"{long}\nTraceback", agent_name=long, session_id=long,
        metadata={long: long}, tags=[long], prompt={"name": long, "version": long},
        tool={"name": long, "arguments": {}, "result": None},
    )  # fmt: skip
    span.provider = span.error_type = span.user_id = span.task = span.release = span.workflow_name = long
    assert ingest_spans(project, [span]).rejected == []
    row = Span.objects.get()
    assert (row.name, row.status_message) == (long[:500], long[:500])
    record = span_record(row.trace, row.span_id)
    assert (record.name, record.model, record.provider) == (long, long, long)
    assert (record.error_message, record.status_message) == (f"{long}\nTraceback", "")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"span_id": "x" * 129}, "129 characters"),
        ({"trace_id": "x" * 129}, "129 characters"),
        ({"parent_span_id": "x" * 129}, "129 characters"),
        ({"span_id": ""}, "no span id"),
        ({"trace_id": "a\0b"}, "NUL"),
        ({"start_ns": 2**64}, "2262"),
    ],
)
def test_span_that_cannot_be_kept_is_reported_and_the_rest_is_kept(project, change, words):
    good = make_span()
    result = ingest_spans(project, [make_span(**change), good])
    assert result.accepted == 1
    assert len(result.rejected) == 1
    assert words in result.rejected[0]
    assert list(Span.objects.values_list("span_id", flat=True)) == [good.span_id]


@pytest.mark.django_db
def test_ids_of_128_characters_are_kept_whole(project):
    span = make_span(trace_id="t" * 128, span_id="s" * 128, parent_span_id="p" * 128)
    ingest_spans(project, [span])
    row = Span.objects.select_related("trace").get()
    assert (row.trace.trace_id, row.span_id, row.parent_span_id) == ("t" * 128, "s" * 128, "p" * 128)


@pytest.mark.django_db
def test_broken_counts_are_unknown(project):
    span = make_span(kind="llm", usage=Usage(2**60, -1, cost_usd=float("nan")), position=2**40)
    ingest_spans(project, [span])
    row = Span.objects.get()
    assert (row.input_tokens, row.output_tokens, row.cost_usd, row.position) == (None, None, None, 2**31 - 1)


@pytest.mark.django_db
def test_value_that_nests_too_deep_is_refused_alone(project):
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    result = ingest_spans(project, [make_span(attributes={"deep": deep}), make_span()])
    assert (result.accepted, len(result.rejected)) == (1, 1)
    assert "deep" in result.rejected[0]


@pytest.mark.django_db
def test_conversation_of_n_turns_costs_n_bodies_and_nodes(project):
    turns, thread, spans = 60, [], []
    for turn in range(turns):
        thread.append({"role": "user", "content": f"question {turn}"})
        answer = {"role": "assistant", "content": f"answer {turn}"}
        spans.append(make_span(trace_id="f" * 32, kind="llm", input_messages=list(thread), output_messages=[answer]))
        thread.append(answer)
    for start in range(0, turns, 7):
        ingest_spans(project, fresh(spans[start : start + 7]))
    assert Body.objects.filter(kind="message").count() == 2 * turns
    assert MessageNode.objects.count() == 2 * turns
    records = span_records(Trace.objects.get())
    assert records[-1].input_messages == thread[:-1]
    assert records[-1].output_messages == thread[-1:]


@pytest.mark.django_db
def test_bodies_are_not_shared_between_projects(project):
    span = make_span(kind="llm", input_messages=[{"role": "user", "content": "same"}])
    other = make_project()
    ingest_spans(project, fresh([span]))
    ingest_spans(other, fresh([span]))
    assert sorted(Body.objects.values_list("project_id", flat=True)) == sorted([project.pk, other.pk])


@pytest.mark.django_db
@pytest.mark.parametrize("logs_first", [True, False])
def test_log_records_join_their_span_whichever_comes_first(project, logs_first):
    span = make_span(kind="llm", convention="otel_genai")
    logs = [
        LogItem(span.trace_id, span.span_id, START + n, "gen_ai.user.message", {}, {"content": f"part {n}"})
        for n in range(3)
    ]
    if logs_first:
        ingest_logs(project, logs[:2])
    ingest_spans(project, fresh([span]))
    if not logs_first:
        ingest_logs(project, logs[:2])
    ingest_logs(project, logs[1:])
    ingest_spans(project, fresh([span]))
    record = span_record(Trace.objects.get(), span.span_id)
    assert [message["content"] for message in record.input_messages] == ["part 0", "part 1", "part 2"]
    assert LogRecord.objects.count() == 3
    assert Trace.objects.get().input_preview == "part 2"


@pytest.mark.django_db(transaction=True)
def test_two_connections_that_write_one_trace_lose_no_count():
    project = make_project()
    run = make_run("9" * 32, seed=5, size=200)
    wanted = make_project()
    ingest_spans(wanted, fresh(run))
    failures: list[BaseException] = []

    def write(part: list[SpanRecord], seed: int) -> None:
        try:
            ingest_in_batches(project, part, seed=seed)
        except BaseException as error:  # handed to the test's own thread
            failures.append(error)
        finally:
            connections.close_all()

    shuffled = run * 2
    random.Random(1).shuffle(shuffled)
    threads = [threading.Thread(target=write, args=(shuffled[n::4], n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows_of(project) == rows_of(wanted)
    assert Body.objects.filter(project=project).count() == Body.objects.filter(project=wanted).count()


@pytest.mark.django_db(transaction=True)
def test_logs_and_spans_written_at_once_are_joined():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time: there is nothing to race")
    project = make_project()
    spans = [make_span(kind="llm", convention="otel_genai") for _ in range(40)]
    logs = [LogItem(span.trace_id, span.span_id, START, "gen_ai.user.message", {}, {"content": "hi"}) for span in spans]
    failures: list[BaseException] = []

    def write(ingest: Any, items: list[Any]) -> None:
        try:
            for item in items:
                ingest(project, [item])
        except BaseException as error:  # handed to the test's own thread
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=pair) for pair in ((ingest_spans, spans), (ingest_logs, logs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert SpanPayload.objects.filter(input_node=None).count() == 0


@pytest.mark.django_db(transaction=True)
def test_many_batches_of_one_trace_stay_linear():
    """Five thousand spans in 50 batches, children first: the last ten take no more than twice what the first ten took."""
    project = make_project()
    spans = []
    for number in range(5000):
        is_call = number % 5 == 4
        spans.append(
            make_span(
                trace_id="7" * 32,
                span_id=f"{number:016x}",
                parent_span_id="" if number == 4999 else f"{number // 5 * 5 + 4 if not is_call else 4999:016x}",
                kind="llm" if number % 2 else "tool",
                usage=Usage(5, 5) if number % 2 else Usage(),
                tags=[f"tag {number % 7}"],
            )
        )
    times = []
    for start in range(0, 5000, 100):
        batch = spans[start : start + 100]
        begun = time.process_time()
        ingest_spans(project, batch)
        times.append(time.process_time() - begun)
    assert Trace.objects.get().span_count == 5000
    assert sum(times[-10:]) < 2 * sum(times[1:11])


def test_payload_json_survives_what_orjson_refuses():
    assert orjson.loads(json_bytes({"a": 2**70, 1: "\ud800"})) == {"a": 2.0**70, "1": "\ufffd"}
