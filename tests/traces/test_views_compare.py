"""The page of two runs side by side."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import make_project, make_span
from traces.models import SpanPayload
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db
T = 1_780_000_000_000_000_000
EVIL = "<script>alert(1)</script>"


def send(project, trace_id, order, answer, *, steps=1):
    records = [make_span(trace_id=trace_id, span_id="root", start_ns=T, end_ns=T + 10**9)]
    said = [{"role": "user", "content": f"Where is my order? {EVIL}"}]
    for number in range(steps):
        call = {"id": f"c{number}", "name": "get_order", "arguments": {"id": order, "n": number}}
        asked = {"role": "assistant", "content": None, "tool_calls": [call]}
        base = {
            "trace_id": trace_id,
            "parent_span_id": "root",
            "start_ns": T + number * 10 + 1,
            "end_ns": T + number * 10 + 5,
        }
        records.append(
            make_span(span_id=f"l{number}", kind="llm", input_messages=list(said), output_messages=[asked], **base)
        )
        said += [asked, {"role": "tool", "tool_call_id": f"c{number}", "content": "found"}]
    base = {"trace_id": trace_id, "parent_span_id": "root", "start_ns": T + 10**8, "end_ns": T + 2 * 10**8}
    last = {"role": "assistant", "content": answer}
    records.append(make_span(span_id="end", kind="llm", input_messages=said, output_messages=[last], **base))
    ingest_spans(project, records)
    return trace_id


def page(client, **query):
    return client.get(reverse("traces:compare_runs", args=["default"]), query)


def test_two_runs_part_where_they_differ(client, project):
    a, b = send(project, "aa" * 16, "A1", "Delivered."), send(project, "bb" * 16, "A2", "Not found.")
    html = page(client, a=a, b=b).content.decode()
    assert "The runs part at" in html
    assert 'href="#step-2"' in html
    assert "Here the runs part" in html
    assert f"/traces/{a}?span=l0" in html
    assert EVIL not in html


def test_equal_runs_say_so_and_fold(client, project):
    a, b = send(project, "aa" * 16, "A1", "Delivered.", steps=6), send(project, "bb" * 16, "A1", "Delivered.", steps=6)
    html = page(client, a=a, b=b).content.decode()
    assert "The two runs are the same, step by step." in html
    assert "8 steps are the same in both" in html
    assert "8 steps are the same in both" not in page(client, a=a, b=b, all="1").content.decode()


def test_a_long_comparison_comes_in_pages(client, project):
    a, b = send(project, "aa" * 16, "A1", "x", steps=500), send(project, "bb" * 16, "A2", "x", steps=500)
    html = page(client, a=a, b=b).content.decode()
    assert "Later steps, 502 in all" in html
    assert html.count('class="duo__row duo__row--changed"') < 401
    rest = page(client, a=a, b=b, **{"from": "401"}).content.decode()
    assert "Later steps" not in rest
    assert 'id="step-502"' in rest


def test_without_runs_it_asks_for_them_and_a_wrong_one_is_named(client, project):
    assert "Run A" in page(client).content.decode()
    answer = page(client, a="nope", b="\0")
    assert answer.status_code == 404
    assert "There is no run &#x27;nope&#x27; in this project." in answer.content.decode()


def test_a_run_of_another_project_is_not_there(client, project):
    a = send(project, "aa" * 16, "A1", "x")
    b = send(make_project(), "bb" * 16, "A1", "x")
    assert page(client, a=a, b=b).status_code == 404


def test_queries_do_not_grow_with_the_runs(client, project, django_assert_max_num_queries):
    a, b = send(project, "aa" * 16, "A1", "x", steps=60), send(project, "bb" * 16, "A2", "x", steps=60)
    with django_assert_max_num_queries(14):
        page(client, a=a, b=b)


def test_long_runs_are_compared_in_part_and_aligned_once(client, project, monkeypatch):
    monkeypatch.setattr("traces.alignment.MAX_ACTS", 4)
    monkeypatch.setattr("traces.views.compare.MAX_ACTS", 4)
    monkeypatch.setattr("traces.views.compare.KEPT_FROM", 1)
    a, b = send(project, "a" * 32, "1", "Here.", steps=5), send(project, "b" * 32, "1", "There.", steps=3)
    html = page(client, a=a, b=b).content.decode()
    assert "The first 4 steps of each run are compared. After them A has 3 more and B 1." in html
    assert "The two runs are the same, as far as they are compared." in html

    def reads_spans():
        with CaptureQueriesContext(connection) as asked:
            assert page(client, a=a, b=b, all=1).status_code == 200
        return any(SpanPayload._meta.db_table in query["sql"] for query in asked.captured_queries)

    assert not reads_spans()
    more = make_span(
        trace_id=a,
        span_id="end",
        kind="llm",
        start_ns=T + 10**8,
        output_messages=[{"role": "assistant", "content": "No."}],
    )
    ingest_spans(project, [more])
    assert reads_spans()
