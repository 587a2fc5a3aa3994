import itertools
import json

import pytest

from tests.factories import make_key, make_project, make_span, make_trace
from traces.agents_sdk import decode_agents
from traces.models import ProxiedResponse, Trace
from traces.queries import span_record, span_records, trace_document
from traces.responses import ProxiedCall, ingest_agents, ingest_proxied
from traces.services import ingest_spans
from traces.spans import Usage

TRACE_ID = "trace_" + "a" * 32
HEAD = {
    "object": "trace",
    "id": TRACE_ID,
    "workflow_name": "Refund chat",
    "group_id": "s-1",
    "metadata": {"user_id": "u-1"},
}
START = "2026-11-21T03:23:49.{:06d}+00:00"


def make_item(number, data, parent=None, **overrides):
    return {
        "object": "trace.span",
        "id": f"span_{number:024d}",
        "trace_id": TRACE_ID,
        "parent_id": None if parent is None else f"span_{parent:024d}",
        "started_at": START.format(number),
        "ended_at": START.format(900_000 - number),
        "span_data": data,
        "error": None,
        **overrides,
    }


USAGE = {"input_tokens": 100, "output_tokens": 20}
TASK = make_item(1, {"type": "custom", "name": "task", "data": {"sdk_span_type": "task", "usage": USAGE}})
AGENT = make_item(2, {"type": "agent", "name": "support-agent"}, parent=1)
RESPONSE = make_item(3, {"type": "response", "response_id": "resp_1", "usage": USAGE}, parent=2)
ITEMS = [HEAD, RESPONSE, AGENT, TASK]


def send(project, *items):
    return ingest_agents(project, decode_agents(json.dumps({"data": items}).encode()))


def make_call(response_id="resp_1", previous_id="", **overrides):
    fields = {
        "name": "chat gpt-4o-mini",
        "kind": "llm",
        "model": "gpt-4o-mini",
        "provider": "default",
        "usage": Usage(input_tokens=100, output_tokens=20),
        "input_messages": [{"role": "user", "content": "Refund, please."}],
        "output_messages": [{"role": "assistant", "content": "Done."}],
        "convention": "proxy",
        **overrides,
    }
    return ProxiedCall(make_span(**fields), response_id, previous_id)


def state(project):
    """Return everything that a reader sees, but for what differs by arrival."""
    documents = []
    for trace in Trace.objects.filter(project=project).order_by("trace_id"):
        document = trace_document(trace)
        del document["received_at"], document["project"]
        documents.append(document)
    return documents


@pytest.mark.django_db
def test_items_and_spans_give_the_same_trace_in_any_order_and_number_of_requests():
    whole = make_project()
    send(whole, *ITEMS)
    expected = state(whole)
    assert (expected[0]["name"], expected[0]["session_id"], expected[0]["user_id"]) == ("Refund chat", "s-1", "u-1")
    assert (expected[0]["agent_name"], expected[0]["metadata"]) == ("support-agent", {"user_id": "u-1"})
    assert expected[0]["spans"][0]["name"] == "task"
    for order in itertools.permutations(ITEMS):
        project = make_project()
        for item in [*order, *order]:
            send(project, item)
        found = state(project)
        for document in (*found, *expected):
            for span in document["spans"]:
                span["position"] = 0
        assert found == expected


@pytest.mark.django_db
def test_usage_that_task_and_turn_repeat_is_counted_once(project):
    send(project, *ITEMS)

    assert Trace.objects.get().input_tokens == 100


@pytest.mark.django_db
@pytest.mark.parametrize("is_proxy_first", [True, False])
def test_a_response_gets_the_text_of_its_call_whichever_comes_first(project, is_proxy_first):
    if is_proxy_first:
        ingest_proxied(project, [make_call()])
        send(project, *ITEMS)
    else:
        send(project, *ITEMS)
        assert span_records(Trace.objects.get())[2].content_recorded is False
        ingest_proxied(project, [make_call()])

    trace = Trace.objects.get()
    record = span_record(trace, RESPONSE["id"])
    assert record.content_recorded is True
    assert record.input_messages[0]["content"] == "Refund, please."
    assert record.output_messages[0]["content"] == "Done."
    assert record.model == "gpt-4o-mini"
    assert (trace.span_count, trace.llm_call_count, trace.input_tokens) == (3, 1, 100)
    assert trace.cost_usd > 0
    assert trace.model_names == ["gpt-4o-mini"]
    conversation = trace_document(trace)["conversation"]
    assert [(one["role"], one["content"]) for one in conversation] == [
        ("user", "Refund, please."),
        ("assistant", "Done."),
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("is_proxy_first", [True, False])
def test_a_cost_that_came_with_the_call_goes_along(project, is_proxy_first):
    usage = Usage(input_tokens=100, output_tokens=20, cost_usd=0.25, cost_source="priced")
    work = [lambda: ingest_proxied(project, [make_call(model="a-name-of-their-own", usage=usage)])]
    work.insert(int(is_proxy_first), lambda: send(project, *ITEMS))
    for step in work:
        step()

    trace = Trace.objects.get()
    assert (trace.cost_usd, trace.cost_source) == (0.25, "priced")


@pytest.mark.django_db
def test_spans_that_come_again_do_not_take_the_text_away(project):
    ingest_proxied(project, [make_call()])
    send(project, *ITEMS)
    before = state(project)

    send(project, *ITEMS)
    assert state(project) == before
    send(project, {**RESPONSE, "ended_at": START.format(950_000)})

    record = span_record(Trace.objects.get(), RESPONSE["id"])
    assert record.output_messages[0]["content"] == "Done."


@pytest.mark.django_db
def test_a_call_that_something_points_at_keeps_its_trace(project):
    from evals.models import Dataset, Item

    call = make_call()
    trace_pk = ingest_proxied(project, [call]).trace_pks[call.record.trace_id]
    dataset = Dataset.objects.create(project=project, slug="d", name="D")
    Item.objects.create(dataset=dataset, key="k", content={}, digest="d", valid_from=1, source_trace_id=trace_pk)

    send(project, *ITEMS)

    assert Trace.objects.filter(pk=trace_pk).exists()


@pytest.mark.django_db
def test_a_call_inside_another_trace_stays_there(project):
    call = make_call(trace_id="ab" * 16, parent_span_id="cd" * 8)
    ingest_spans(project, [make_span(trace_id="ab" * 16, span_id="cd" * 8)])
    ingest_proxied(project, [call])

    send(project, *ITEMS)

    assert Trace.objects.get(trace_id="ab" * 16).span_count == 2
    assert span_record(Trace.objects.get(trace_id=TRACE_ID), RESPONSE["id"]).content_recorded is True


@pytest.mark.django_db
def test_another_project_gives_no_text():
    mine, theirs = make_project(), make_project()
    ingest_proxied(theirs, [make_call()])
    send(mine, *ITEMS)

    assert span_record(Trace.objects.get(project=mine), RESPONSE["id"]).content_recorded is False
    assert Trace.objects.filter(project=theirs).count() == 1


@pytest.mark.django_db
def test_calls_that_go_on_from_a_response_share_a_session(project):
    first, second, third = make_call("resp_1"), make_call("resp_2", "resp_1"), make_call("resp_3", "resp_2")
    ingest_proxied(project, [first])
    assert Trace.objects.get().session_id == ""
    ingest_proxied(project, [second])
    ingest_proxied(project, [third])

    assert set(Trace.objects.values_list("session_id", flat=True)) == {"resp_1"}
    assert Trace.objects.count() == 3


@pytest.mark.django_db
def test_calls_of_one_batch_share_a_session_and_a_session_that_was_said_stays(project):
    said = make_call("resp_9", session_id="chat-7")
    ingest_proxied(project, [make_call("resp_1"), make_call("resp_2", "resp_1"), said, make_call("resp_10", "resp_9")])

    found = sorted(Trace.objects.values_list("session_id", flat=True))
    assert found == ["chat-7", "chat-7", "resp_1", "resp_1"]


@pytest.mark.django_db
def test_the_endpoint_takes_what_is_valid_and_says_what_was_not(client, project):
    body = json.dumps({"data": [*ITEMS, 5, {"object": "trace.span", "id": "x" * 200, "trace_id": "t"}]})
    response = client.post("/v1/traces/ingest", body, content_type="application/json")

    assert response.status_code == 200
    assert response.json()["accepted"] == 4
    assert len(response.json()["rejected"]) == 2
    assert Trace.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("body", [b"", b"{", b'{"data": 1}', b"[" * 5000, b"\x00"])
def test_the_endpoint_answers_a_broken_body_with_400(client, project, body):
    assert client.post("/v1/traces/ingest", body, content_type="application/json").status_code == 400


@pytest.mark.django_db
def test_the_endpoint_takes_hostile_values(client, project):
    hostile = make_item(7, {"type": "custom", "name": "\u0000<b>", "data": {"\u0000": "\ud800", "n": 2**70}})
    item = {**HEAD, "group_id": "s" * 900, "metadata": {"a\u0000": ["x"] * 50}}
    bad_id = {**hostile, "id": "a\ud800b"}
    response = client.post(
        "/v1/traces/ingest", json.dumps({"data": [item, hostile, bad_id]}), content_type="application/json"
    )

    assert response.status_code == 200
    assert client.get(f"/api/traces/{TRACE_ID}").json()["span_count"] == 2


@pytest.mark.django_db
def test_the_endpoint_needs_a_key_that_may_send(client, login_on):
    project = make_project()
    body = json.dumps({"data": ITEMS})

    def post(**headers):
        return client.post("/v1/traces/ingest", body, content_type="application/json", headers=headers).status_code

    assert post() == 401
    assert post(Authorization=f"Bearer {make_key(project, scopes=('read',))}") == 403
    assert post(Authorization=f"Bearer {make_key(project, scopes=('ingest',))}") == 200
    assert client.get("/v1/traces/ingest").status_code == 405


@pytest.mark.django_db
def test_links_of_traces_that_were_deleted_do_no_harm(project):
    ingest_proxied(project, [make_call()])
    Trace.objects.all().delete()
    make_trace(project)

    send(project, *ITEMS)

    assert ProxiedResponse.objects.get().agent_span_id == RESPONSE["id"]
    assert span_record(Trace.objects.get(trace_id=TRACE_ID), RESPONSE["id"]).content_recorded is False


@pytest.mark.django_db(transaction=True)
def test_both_sides_at_once_are_joined_all_the_same(project):
    import threading

    from django.db import connection

    rounds = 12
    errors = []

    def run(work):
        try:
            for number in range(rounds):
                work(number)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    def agents(number):
        data = {"type": "response", "response_id": f"resp_{number}", "usage": USAGE}
        send(project, make_item(100 + number, data), HEAD)

    def proxy(number):
        ingest_proxied(project, [make_call(f"resp_{number}")])

    threads = [threading.Thread(target=run, args=(work,)) for work in (agents, proxy)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    trace = Trace.objects.get()
    assert [record.content_recorded for record in span_records(trace)] == [True] * rounds
    assert trace.input_tokens == rounds * 100
