"""The run in plain sentences."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import make_span
from tests.traces.signals.test_signals import make_run
from traces.models import Trace
from traces.services import ingest_spans
from traces.story import MAX_SENTENCES, TAIL, fill, plain, quote, tell_story


def lines(*steps, wording=None, **root):
    return [
        one.text for one in tell_story(make_run(*steps, **root), wording=wording, customer="The customer").sentences
    ]


ASKED = ("user", "Where is my order **FH-1**?")
FOUND = {"status": "delivered", "id": "FH-1", "total": 12.5}


def test_a_run_is_told_from_asking_to_the_end():
    told = tell_story(
        make_run(ASKED, ("get_order", {"order_id": "FH-1"}, FOUND), ("agent", "It was delivered.")),
        customer="The customer",
    )
    assert [(one.kind, one.text) for one in told.sentences] == [
        ("asked", "The customer asked: “Where is my order FH-1?”"),
        ("looked_up", "The agent looked up the order (order id FH-1) and got: status delivered, total 12.5."),
        ("told", "The agent told the customer: “It was delivered.”"),
        (
            "ended",
            "The run ended without an error of its own. It took 16 minutes and 40 seconds with 2 model calls and 1 tool call.",
        ),
    ]
    assert [one.span_id for one in told.sentences] == ["s1", "s2", "s3", "root"]
    assert told.text.count("\n") == 3


def test_wording_of_a_tool_fills_its_places():
    wording = {"get_order": "{agent} looked at order {order_id}, which is {result.status}; gift: {gift.to}"}
    told = lines(ASKED, ("get_order", {"order_id": "FH-1", "gift": {"to": "Ann"}}, FOUND), wording=wording)
    assert told[1] == "The agent looked at order FH-1, which is delivered; gift: Ann."


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{a}", "1"),
        ("{b.0}", "x"),
        ("{b}", "x, y"),
        ("{none}", "(not given)"),
        ("{a.b.c}", "(not given)"),
        ("{result.deep.er}", "7"),
        ("{ not a place }", "{ not a place }"),
        ("{tool!r} {}", "{tool!r} {}"),
        ("{c.__class__}", "(not given)"),
    ],
)
def test_fill_takes_values_only(template, text):
    known = {"agent": "The agent", "tool": "t", "result": {"deep": '{"er": 7}'}}
    assert fill(template, known, {"a": 1, "b": ["x", "y"], "c": "s"}) == text


def test_failures_are_told_as_such():
    told = tell_story(
        make_run(ASKED, ("get_order", {"order_id": "FH-1"}, {"error": "timeout"}), ("cancel_order", {}, "no", "error"))
    )
    assert told.sentences[1].is_doubtful
    assert "reported ok, but the answer looks like a failure: error: timeout" in told.sentences[1].text
    assert told.sentences[2].kind == "failed"
    assert told.sentences[2].text.startswith("The agent cancelled the order. It failed")
    assert "1 step on the way failed" in told.sentences[3].text
    broken = make_run(ASKED, status="error", error_message="Out of memory")
    assert tell_story(broken).sentences[-1].text.startswith("The run ended in an error: Out of memory.")


def test_the_same_call_in_a_row_is_told_once():
    call = ("get_order", {"order_id": "FH-1"}, FOUND)
    told = lines(ASKED, call, call, call)
    assert len(told) == 3
    assert "It did so 3 times in a row, to the same result." in told[1]


@pytest.mark.parametrize(
    ("name", "arguments", "start"),
    [
        ("mcp__shop__searchProducts", {"query": "lamp"}, "The agent searched the products (query lamp)"),
        ("create_refund", {"amount": 5}, "The agent created a refund (amount 5)"),
        ("open_account", {}, "The agent opened an account"),
        ("transfer_to_human_agents", {"summary": "x"}, "The agent handed over to human agents"),
        ("zzz", {"a": True}, "The agent used the tool zzz (a yes)"),
        ("list_all_users", {}, "The agent listed all users"),
        ("search", {"q": "opening hours"}, "The agent searched opening hours"),
        ("", {}, "The agent used the tool tool"),
        ("get_order", "not json", "The agent looked up the order (not json)"),
    ],
)
def test_names_become_deeds(name, arguments, start):
    assert lines(ASKED, (name, arguments, "ok"))[1].startswith(start)


def test_decided_and_markers_and_amounts():
    run = make_run(("user", "###STOP###"))
    assert tell_story(run, customer="The customer").sentences[0].text == "The customer ended the conversation (stop)."
    (sentence, *_) = tell_story(make_run(("user", "Pay $38.00 for FH-123 to a@b.example"))).sentences
    assert [text for text, is_notable in sentence.parts if is_notable] == ["$38.00", "FH-123", "a@b.example"]
    assert sentence.text.startswith("The request was:")


def test_long_words_end_with_a_sentence_and_markdown_is_plain():
    assert quote("First one. " * 60).endswith("First one. …”")
    assert plain("# Title\n\n- **one**\n- two\n\n[link](http://x) `code`") == "Title one; two; link code"
    assert plain("<script>alert(1)</script>") == "<script>alert(1)</script>"  # the page escapes


def test_a_very_long_run_keeps_its_beginning_and_its_end():
    run = make_run(ASKED, *[("get_order", {"order_id": str(n)}, "ok") for n in range(600)])
    story = tell_story(run)
    assert len(story.sentences) == MAX_SENTENCES
    assert story.left_out == 602 - MAX_SENTENCES
    assert story.sentences[-1].kind == "ended"
    assert f"({story.left_out} more steps" in story.text.split("\n")[-TAIL - 1]


def test_an_empty_run_has_no_story():
    assert tell_story(make_run().__class__()).sentences == []


@pytest.mark.django_db
def test_the_page_of_wording_tells_the_latest_call_of_each_tool_with_as_many_queries_for_many_tools(client, project):
    def send(number, tools):
        ingest_spans(project, [
            make_span(trace_id=f"{number:032x}", span_id=f"s{place}", kind="tool", name=f"look_{place}", start_ns=number * 10**9 + place,
                      tool={"name": f"look_{place}", "call_id": None, "arguments": {f"word_{number}": "x"}, "result": "fine"})
            for place in range(tools)
        ])  # fmt: skip

    def queries_of_page():
        with CaptureQueriesContext(connection) as asked:
            html = client.get(reverse("traces:reading", args=[project.slug])).content.decode()
        return len(asked), html

    send(1, tools=30)
    many, html = queries_of_page()
    assert html.count("{word_1}") == 30
    send(2, tools=1)
    again, html = queries_of_page()
    assert (html.count("{word_1}"), html.count("{word_2}")) == (29, 1)
    assert again == many
    Trace.objects.all().delete()
    send(3, tools=1)
    assert queries_of_page()[0] == many
