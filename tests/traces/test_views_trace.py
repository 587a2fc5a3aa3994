"""The page of one trace, its panel, its conversation, and the page of a session."""

import json
import re
from urllib.parse import unquote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import make_project, make_span
from tests.traces.test_turns import make_records
from traces.models import Span, Trace
from traces.services import ingest_spans
from traces.views.trace import PAGE_ROWS

T = 1_780_000_000_000_000_000
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def make_run(project, **overrides):
    """Store a run of an agent, a model call that asks for a tool, and the tool. Returns its records."""
    trace_id = overrides.pop("trace_id", "cd" * 16)
    root = make_span(trace_id=trace_id, span_id="root", name="run", start_ns=T, end_ns=T + 10**10, **overrides)
    call = {"id": "c1", "name": "get_order", "arguments": {"order_id": "FH-1"}}
    llm = make_span(trace_id=trace_id, span_id="llm", parent_span_id="root", name="choose tool", kind="llm", model="gpt-4o-mini",
                    start_ns=T, end_ns=T + 10**9, input_messages=[{"role": "user", "content": "Where is my order?"}],
                    output_messages=[{"role": "assistant", "content": "I need the order.", "tool_calls": [call]}],
                    available_tools=[{"type": "function", "function": {"name": "get_order"}}],
                    attributes={"gen_ai.request.temperature": 0.25, "odd.one": "kept"}, unrecognised=["odd.one"])  # fmt: skip
    tool = make_span(trace_id=trace_id, span_id="tool", parent_span_id="root", name="get_order", kind="tool",
                     start_ns=T + 10**9, end_ns=T + 2 * 10**9, status="error", error_type="NotFound", error_message="No order FH-1",
                     tool={"name": "get_order", "call_id": "c1", "arguments": call["arguments"], "result": {"error": "none"}})  # fmt: skip
    ingest_spans(project, [root, llm, tool])
    return [root, llm, tool]


def page(project, trace_id="cd" * 16, name="trace", **query):
    return reverse(f"traces:{name}", args=[project.slug, trace_id], query=query)


HTMX = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "span-panel"}


@pytest.mark.parametrize("name", ["trace", "trace_timeline", "trace_conversation"])
def test_every_view_of_a_trace_opens(client, project, name):
    make_run(project)
    answer = client.get(page(project, name=name))
    assert answer.status_code == 200
    assert answer.content.count(b"<h1") == 1


def test_tree_has_the_roles_levels_and_one_tab_stop(client, project):
    make_run(project)
    html = client.get(page(project)).content.decode()
    rows = re.findall(r'<a class="wf__row [^>]*role="treeitem"[^>]*>', html)
    assert len(rows) == 3
    assert 'aria-level="1"' in rows[0]
    assert 'aria-expanded="true"' in rows[0]
    assert 'aria-level="2" aria-setsize="2" aria-posinset="2"' in rows[2]
    assert sum('tabindex="0"' in row for row in rows) == 1


def test_error_is_marked_by_icon_word_and_hatch(client, project):
    make_run(project)
    html = client.get(page(project)).content.decode()
    assert '<use href="#i-bad"/></svg><span class="sr">Error</span>' in html
    assert "bar--err" in html


def test_span_rows_are_columns_of_one_length(client, project):
    make_run(project)
    body = client.get(page(project, name="span_rows")).json()
    columns = [value for key, value in body.items() if key not in ("kinds", "total", "is_timed", "words", "flags")]
    assert {len(column) for column in columns} == {3}
    assert [body["words"][word] for word in body["name"]] == ["run", "choose tool", "get_order"]
    assert (body["start"], body["length"]) == ([0, 0, 10**6], [10**7, 10**6, 10**6])
    assert (body["id"], body["depth"], body["error"], body["total"]) == (
        ["root", "llm", "tool"],
        [0, 1, 1],
        [0, 0, 1],
        10.0,
    )


def test_span_rows_load_no_payload_and_a_fixed_number_of_queries(client, project, django_assert_num_queries):
    make_run(project)
    with django_assert_num_queries(4) as queries:  # project, trace, spans, signals
        client.get(page(project, name="span_rows"))
    assert not any("traces_spanpayload" in query["sql"] or "traces_body" in query["sql"] for query in queries)


def test_page_carries_the_columns_escaped_and_the_same(client, project):
    make_run(project)
    ingest_spans(
        project, [make_span(trace_id="cd" * 16, span_id="odd", name="</script><b>&", start_ns=T, end_ns=T + 1)]
    )
    html = client.get(page(project)).content.decode()
    carried = re.search(r'<script id="span-columns" type="application/json">(.*?)</script>', html, re.DOTALL)[1]
    assert "<" not in carried
    assert json.loads(carried) == client.get(page(project, name="span_rows")).json()


def test_calls_have_their_arguments_in_a_line_and_the_same_number_where_they_are_the_same(client, project):
    calls = [("c1", {"a": 1, "b": "x"}), ("c2", {"b": "x", "a": 1}), ("c3", {"a": 2})]
    spans = [
        make_span(trace_id="cd" * 16, span_id=span_id, kind="tool", tool={"name": "look", "arguments": arguments})
        for span_id, arguments in calls
    ]
    ingest_spans(project, spans)
    body = client.get(page(project, name="repeated_calls")).json()
    assert body == {"c1": ["a: 1, b: “x”", 0], "c2": ["b: “x”, a: 1", 0], "c3": ["a: 2", 1]}


def test_suspicions_are_marked_in_the_tree_and_told_in_the_panel(client, project):
    make_run(project)
    found = Trace.objects.get(trace_id="cd" * 16)
    found.signals.create(
        project=project, detector="loop", version=1, span_id="llm", reason="Said the same <b> three times."
    )
    html = client.get(page(project)).content.decode()
    assert html.count('<span class="sr">Silent failure</span>') == 2  # the row, and the template of rows
    assert client.get(page(project, name="span_rows")).json()["flags"] == [[1, ["Said the same <b> three times."]]]
    assert "Said the same &lt;b&gt; three times." in client.get(page(project, span="llm"), **HTMX).content.decode()
    assert [
        row[:4]
        for row in re.findall(r'href="\?span=([a-z]+)', client.get(page(project, only="suspect")).content.decode())
    ][:2] == ["root", "llm"]


def test_page_and_fragment_show_the_same_panel(client, project):
    make_run(project)
    whole = client.get(page(project, span="tool")).content.decode()
    part = client.get(page(project, span="tool"), **HTMX).content.decode()
    assert "<html" not in part
    assert part.split('role="tabpanel"')[1][:500] in whole


def test_panel_of_a_tool_says_why_it_was_called_what_it_got_and_how_it_failed(client, project):
    make_run(project)
    html = client.get(page(project, span="tool"), **HTMX).content.decode()
    for words in ("No order FH-1", "NotFound", "Why the agent made this call", "I need the order.", "order_id", "FH-1"):
        assert words in html


def test_panel_of_a_model_call_shows_messages_settings_and_tools(client, project):
    make_run(project)
    html = client.get(page(project, span="llm"), **HTMX).content.decode()
    for words in ("Where is my order?", "temperature", "0.25", "gpt-4o-mini", "Tools the agent could choose from"):
        assert words in html


def test_attributes_that_no_rule_reads_are_listed_and_marked(client, project):
    make_run(project)
    html = client.get(page(project, span="llm", tab="attributes"), **HTMX).content.decode()
    assert re.search(r'odd\.one <span class="chip">not read</span>', html)


def test_raw_view_holds_the_span_as_json(client, project):
    make_run(project)
    answer = client.get(page(project, name="span_value", span="llm", at=""))
    assert json.loads(answer.content)["attributes"] == {"gen_ai.request.temperature": 0.25, "odd.one": "kept"}
    assert answer["Content-Type"].startswith("text/plain")


def test_content_that_was_not_recorded_is_said(client, project):
    make_run(project, content_recorded=False)
    assert "Content was not recorded" in client.get(page(project, span="root"), **HTMX).content.decode()


def test_long_value_is_cut_and_whole_behind_its_link(client, project):
    record = make_span(trace_id="ee" * 16, span_id="s", attributes={"big/one": "z" * 1_000_000}, output="y" * 1_000_000)
    ingest_spans(project, [record])
    for tab in ("io", "attributes", "raw"):
        html = client.get(page(project, "ee" * 16, span="s", tab=tab), **HTMX).content
        assert len(html) < 60_000
        assert b"characters" in html
    answer = client.get(page(project, "ee" * 16, "span_value", span="s", at="/attributes/big~1one"))
    assert answer.content == b"z" * 1_000_000


def test_everything_long_in_a_span_has_a_link_to_the_whole_of_it(client, project):
    long = "word " * 2_000 + "the end"
    trace = "\n".join(f"  line {number} of it" for number in range(2_000))
    call = {"id": "c1", "name": "look", "arguments": {"text": long}}
    images = [{"type": "image", "uri": f"u{number}"} for number in range(120)]
    record = make_span(
        trace_id="ee" * 16, span_id="s", kind="llm", status="error", error_message="It failed",
        input_messages=[{"role": "user", "content": [{"type": "text", "content": long}, *images]}],
        output_messages=[{"role": "assistant", "content": None, "tool_calls": [call]}], attributes={"one": {"two": [long]}},
        events=[{"name": "noted", "time_ns": T, "attributes": {"text": long}},
                {"name": "exception", "time_ns": T, "attributes": {"exception.stacktrace": trace}}],
    )  # fmt: skip
    ingest_spans(project, [record])
    wanted = {
        "io": ["/events/1/attributes/exception.stacktrace", "/input_messages/0/content", "/input_messages/0/content/0/content",
               "/output_messages/0/tool_calls/0/arguments/text"],
        "attributes": ["/attributes/one/two/0", "/events/0/attributes/text"],
    }  # fmt: skip
    for tab, places in wanted.items():
        html = client.get(page(project, "ee" * 16, span="s", tab=tab), **HTMX).content.decode()
        links = {unquote(one) for one in re.findall(r'value\?span=s&amp;at=([^"]+)"', html)}
        assert set(places) <= links
        for place in places:
            whole = client.get(page(project, "ee" * 16, "span_value", span="s", at=place)).content.decode()
            assert "the end" in whole or "line 1999" in whole


def test_hostile_content_is_escaped_everywhere(client, project):
    record = make_span(
        trace_id="ff" * 16, span_id='a"><u>', name=EVIL, agent_name=EVIL, session_id=EVIL, user_id=EVIL, status="error", error_message=EVIL,
        kind="tool", tool={"name": EVIL, "call_id": EVIL, "arguments": {EVIL: EVIL}, "result": EVIL}, input=EVIL,
        input_messages=[{"role": "user", "content": EVIL, "name": EVIL}, {"role": EVIL, "content": [{"type": EVIL, "x": EVIL}]}],
        attributes={EVIL: {EVIL: [EVIL]}}, unrecognised=[EVIL],
        events=[{"name": EVIL, "time_ns": T, "attributes": {"exception.stacktrace": EVIL}}],
    )  # fmt: skip
    ingest_spans(project, [record])
    addresses = [page(project, "ff" * 16, name, span='a"><u>', tab=tab)
                 for name in ("trace", "trace_timeline", "trace_conversation") for tab in ("io", "attributes", "raw")]  # fmt: skip
    addresses += [
        reverse("traces:session", args=[project.slug, EVIL]),
        page(project, "ff" * 16, "span_value", span='a"><u>', at="/name"),
    ]
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200, address
        if answer["Content-Type"].startswith("text/html"):
            html = answer.content.decode()
            assert "<script>alert" not in html
            assert "<img" not in html
            assert '"><u>' not in html


@pytest.mark.parametrize("name", ["trace", "trace_timeline", "trace_conversation", "span_rows", "span_value"])
@pytest.mark.parametrize("trace_id", ["nope", "a\x00b", "x/y z"])
def test_unknown_trace_is_not_found(client, project, name, trace_id):
    assert client.get(page(project, trace_id, name)).status_code == 404


def test_trace_of_another_project_is_not_found(client, project):
    make_run(make_project(slug="other"))
    assert client.get(page(project)).status_code == 404


def test_odd_addresses_are_answered(client, project):
    make_run(project)
    for query in (
        {"span": "nope"}, {"span": "\x00"}, {"span": "tool", "tab": "nope"}, {"from": "x", "to": "inf"}, {"from": "9", "to": "1"},
        {"row": "99999999999"}, {"row": "-1"}, {"row": "5000"}, {"only": "nope", "find": "\x00 <b>"}, {"find": "x" * 5000},
    ):  # fmt: skip
        assert client.get(page(project, **query)).status_code == 200, query
    assert client.get(page(project, name="span_value", span="tool", at="/nowhere")).status_code == 404
    assert client.get(page(project, name="span_value", span="nope", at="/name")).status_code == 404
    assert client.get(page(project, name="trace_conversation", turn="999999")).status_code == 200


def test_ids_with_slashes_and_quotes_have_a_page(client, project):
    trace_id = 'task/7 "x"?#'
    make_run(project, trace_id=trace_id)
    for name in ("trace", "trace_timeline", "trace_conversation", "span_rows"):
        assert client.get(page(project, trace_id, name)).status_code == 200


def test_without_javascript_a_long_tree_is_paged_and_opens_at_the_chosen_span(client, project):
    spans = [make_span(trace_id="aa" * 16, span_id=f"s{n}", parent_span_id="s0" if n else "", start_ns=T + n, end_ns=T + n + 1)
             for n in range(PAGE_ROWS + 20)]  # fmt: skip
    ingest_spans(project, spans)
    first = client.get(page(project, "aa" * 16)).content.decode()
    assert first.count('role="treeitem" aria-level') == PAGE_ROWS
    later = re.search(r'href="(\?row=\d+)" data-page', first)
    assert later is not None
    second = client.get(page(project, "aa" * 16) + later[1]).content.decode()
    assert second.count('role="treeitem" aria-level') == 20
    chosen = client.get(page(project, "aa" * 16, span=f"s{PAGE_ROWS + 5}")).content.decode()
    assert chosen.count('role="treeitem" aria-level') == 20
    assert 'aria-selected="true" tabindex="0"' in chosen


def test_filter_in_the_address_shows_matches_with_their_parents(client, project):
    make_run(project)
    html = client.get(page(project, only="errors")).content.decode()
    assert html.count('role="treeitem" aria-level') == 2
    assert "1 of 3 spans match" in html
    assert "No span matches" in client.get(page(project, find="zzz")).content.decode()


def test_trace_without_times_says_so(client, project):
    ingest_spans(project, [make_span(trace_id="bb" * 16, span_id="s", start_ns=None, end_ns=None)])
    html = client.get(page(project, "bb" * 16)).content.decode()
    assert "No times recorded" in html
    assert 'class="bar ' not in html
    assert "no time recorded" in html


def test_neighbours_are_those_of_the_list(client, project):
    for number, trace_id in enumerate(("one", "two", "three")):
        ingest_spans(
            project,
            [make_span(trace_id=trace_id, span_id="s", start_ns=T + number * 10**9, end_ns=T + number * 10**9 + 1)],
        )
    html = client.get(page(project, "two")).content.decode()
    assert re.search(r'href="[^"]*/traces/three" data-trace-key="k"', html)
    assert re.search(r'href="[^"]*/traces/one" data-trace-key="j"', html)


def test_neighbours_keep_to_the_filter_and_order_of_the_list_that_was_left(client, project):
    for number, status in enumerate(("ok", "error", "ok", "error", "error")):
        ingest_spans(project, [make_span(trace_id=f"{number:032x}", span_id="s", status=status, start_ns=T + number * 10**9,
                                         end_ns=T + number * 10**9 + (9 - number) * 10**6)])  # fmt: skip
    listed = "q=status%3Aerror&range=all"
    answer = client.get(page(project, f"{3:032x}"), HTTP_REFERER=f"http://testserver/p/{project.slug}/traces?{listed}")
    assert links(answer) == {"prev": f"{4:032x}", "next": f"{1:032x}"}
    html = answer.content.decode()
    onward = re.search(r'rel="next" href="([^"]+)"', html)[1]
    assert links(client.get(onward)) == {"prev": f"{3:032x}"}
    assert re.search(r'<a href="[^"]*/traces\?q=status%3Aerror&amp;range=all">Traces</a>', html)
    assert "list=" in re.search(r'<a href="([^"]+)" data-view-key="2"', html)[1]
    by_time = client.get(page(project, f"{3:032x}", list="sort=-latency"))
    assert links(by_time) == {"prev": f"{2:032x}", "next": f"{4:032x}"}
    for odd in ("q=((", "sort=--x", "q=%00", "range=never", "&&&=", "x" * 9_000):
        assert client.get(page(project, f"{3:032x}", list=odd)).status_code == 200


def links(answer):
    """The traces that the page's links to its neighbours lead to."""
    return {
        rel: url.split("/")[-1].split("?")[0]
        for rel, url in re.findall(r'rel="(prev|next)" href="([^"]+)"', answer.content.decode())
    }


def test_conversation_shows_turns_with_anchors_calls_and_links_to_spans(client, project):
    ingest_spans(project, make_records())
    html = client.get(page(project, "ab" * 16, "trace_conversation")).content.decode()
    assert re.findall(r'id="(turn-\d+)"', html) == ["turn-0", "turn-1", "turn-2"]
    assert html.count("Order 0 is on its way.") == 1
    assert "?span=tool-1" in html
    assert html.index("Where is order 0?") < html.index("get_order") < html.index("Order 0 is on its way.")


def test_conversation_of_a_trace_without_messages_says_so(client, project):
    ingest_spans(project, [make_span(trace_id="bb" * 16, span_id="s", kind="chain")])
    assert (
        "No conversation in this trace" in client.get(page(project, "bb" * 16, "trace_conversation")).content.decode()
    )


def test_conversation_costs_a_fixed_number_of_queries(client, project, django_assert_max_num_queries):
    ingest_spans(project, make_records(turns=30))
    with django_assert_max_num_queries(12):
        client.get(page(project, "ab" * 16, "trace_conversation"))


def test_session_shows_its_runs_in_order_and_nothing_twice(client, project):
    question = {"role": "user", "content": "Where is my order?"}
    answer = {"role": "assistant", "content": "It is on its way."}
    again = {"role": "user", "content": "When will it come?"}
    end = {"role": "assistant", "content": "On Friday."}
    for number, (given, said) in enumerate([([question], answer), ([question, answer, again], end)]):
        at = T + number * 10**10
        span = make_span(trace_id=f"run-{number}", span_id="s", kind="llm", session_id="conv/1", start_ns=at, end_ns=at + 10**9,
                         input_messages=given, output_messages=[said])  # fmt: skip
        ingest_spans(project, [span])
    html = client.get(reverse("traces:session", args=[project.slug, "conv/1"])).content.decode()
    thread = html.split('class="thread__in"')[1]
    words = ["Run 1", "Where is my order?", "It is on its way.", "Run 2", "When will it come?", "On Friday."]
    assert [thread.count(word) for word in words] == [1] * 6
    assert sorted(words, key=thread.index) == words


def test_unknown_session_is_not_found(client, project):
    for session_id in ("nope", "a\x00b"):
        assert client.get(reverse("traces:session", args=[project.slug, session_id])).status_code == 404


def follow(client, url, answer):
    """Give the pages of a thread: the first, and the fragments that its link to later turns leads to."""
    html = answer.content.decode()
    yield html
    while later := re.search(r'data-more><a class="link" href="([^"]+)"', html):
        html = client.get(url + later[1].replace("&amp;", "&"), **HTMX).content.decode()
        assert "<html" not in html
        yield html


def test_every_turn_of_a_long_conversation_is_reached_once(client, project):
    ingest_spans(project, make_records(turns=200))
    url = page(project, "ab" * 16, "trace_conversation")
    pages = list(follow(client, url, client.get(url)))
    assert len(pages) > 3
    assert re.findall(r'id="(turn-\d+)"', "".join(pages)) == [f"turn-{number}" for number in range(201)]
    assert pages[0].count("data-turn=") == 201
    (before,) = re.findall(r'href="(\?before=[^"]+)"', client.get(url + "?at=turn-150").content.decode())
    assert 'id="turn-149"' in client.get(url + before.replace("&amp;", "&"), **HTMX).content.decode()


def test_parts_of_a_long_run_come_from_one_reading_until_spans_arrive(client, project, django_assert_max_num_queries):
    records = make_records(turns=200)
    ingest_spans(project, records)
    url = page(project, "ab" * 16, "trace_conversation")
    client.get(url)
    with django_assert_max_num_queries(3) as queries:  # project, trace, how often it was written to
        assert "Order 150 is on its way." in client.get(url + "?at=turn-151", **HTMX).content.decode()
    assert not any("traces_spanpayload" in query["sql"] for query in queries)
    late = make_span(
        trace_id="ab" * 16,
        span_id="late",
        parent_span_id="root",
        kind="llm",
        start_ns=T + 10**13,
        end_ns=T + 10**13 + 1,
        input_messages=[{"role": "user", "content": "One more thing"}],
    )
    ingest_spans(project, [late])
    assert "One more thing" in client.get(url + "?at=turn-201", **HTMX).content.decode()


def test_long_thread_of_a_sub_agent_comes_when_it_is_opened(client, project):
    root = make_span(trace_id="ab" * 16, span_id="root", start_ns=T, end_ns=T + 10**12, input="Check every page")
    ask = make_span(trace_id="ab" * 16, span_id="ask", parent_span_id="root", kind="llm", start_ns=T, end_ns=T + 1)
    sub = make_span(
        trace_id="ab" * 16,
        span_id="sub",
        parent_span_id="root",
        agent_name="checker",
        start_ns=T + 1,
        end_ns=T + 10**11,
    )
    said = [
        make_span(trace_id="ab" * 16, span_id=f"say-{number}", parent_span_id="sub", kind="llm", start_ns=T + 2 + number,
                  end_ns=T + 3 + number, output_messages=[{"role": "assistant", "content": f"Page {number} is fine."}])
        for number in range(150)
    ]  # fmt: skip
    ingest_spans(project, [root, ask, sub, *said])
    url = page(project, "ab" * 16, "trace_conversation")
    html = client.get(url).content.decode()
    assert "checker" in html
    assert "Page 3 is fine." not in html
    inside = re.search(r'data-sub.*?href="(\?[^"]*inside=[^"]*)"', html, re.DOTALL)[1].replace("&amp;", "&")
    parts = "".join(follow(client, url, client.get(url + inside, **HTMX)))
    assert [parts.count(f">Page {number} is fine.<") for number in range(150)] == [1] * 150
    assert "Page 3 is fine." in client.get(url + inside).content.decode()  # without JavaScript
    assert client.get(url + inside.replace("inside=", "inside=9"), **HTMX).status_code == 404


def test_long_message_of_a_conversation_is_whole_behind_its_link(client, project):
    records = make_records(turns=1)
    records[-1].output_messages = [{"role": "assistant", "content": "word " * 4_000 + "the end"}]
    ingest_spans(project, records)
    html = client.get(page(project, "ab" * 16, "trace_conversation")).content.decode()
    assert "the end" not in html
    link = re.search(r'href="([^"]*/value\?[^"]*)"', html)[1].replace("&amp;", "&")
    assert client.get(link).content.decode().endswith("the end")


def test_session_of_many_runs_is_read_in_parts_and_nothing_twice(client, project, monkeypatch):
    monkeypatch.setattr("traces.page_queries.MAX_SESSION", 4)
    history = []
    for number in range(6):
        history = [*history, {"role": "user", "content": f"Question {number}"}]
        answer = {"role": "assistant", "content": f"Answer {number}"}
        at = T + number * 10**10
        ingest_spans(project, [make_span(trace_id=f"{number:032x}", span_id="s", kind="llm", session_id="many", start_ns=at, end_ns=at + 1,
                                         input_messages=history, output_messages=[answer])])  # fmt: skip
        history = [*history, answer]
    url = reverse("traces:session", args=[project.slug, "many"])
    first, second = client.get(url).content.decode(), client.get(url + "?from_run=5").content.decode()
    assert [(first + second).count(f">Answer {number}<") for number in range(6)] == [1] * 6
    assert re.findall(r'id="run-(\d)-turn-1"', second) == ["5", "6"]
    assert 'href="?from_run=5"' in first
    assert "Question 3" not in second
    assert client.get(url + "?from_run=99").status_code == 404


def make_session(project, runs=6, spans=1):
    for number in range(runs):
        at = T + number * 10**10
        said = [
            make_span(trace_id=f"{number:032x}", span_id=f"s{place}", kind="llm", session_id="many", start_ns=at + place, end_ns=at + 9,
                      input_messages=[{"role": "user", "content": f"Question {number}.{place}"}],
                      output_messages=[{"role": "assistant", "content": f"Answer {number}.{place}"}])
            for place in range(spans)
        ]  # fmt: skip
        ingest_spans(project, said)
    return reverse("traces:session", args=[project.slug, "many"])


def test_session_is_bounded_by_spans_and_says_how_to_read_on(client, project, monkeypatch):
    monkeypatch.setattr("traces.page_queries.MAX_SESSION_SPANS", 10)
    url, pages = make_session(project, runs=5, spans=4), []
    for _ in range(5):
        pages.append(client.get(url).content.decode())
        later = re.search(r'href="(\?from_run=\d+)">Runs from', pages[-1])
        if later is None:
            break
        assert "fewer where they have more than 10 spans together" in pages[-1]
        url = reverse("traces:session", args=[project.slug, "many"]) + later[1]
    assert [re.findall(r'id="run-(\d)-turn-1"', html) for html in pages] == [["1", "2"], ["3"], ["4"], ["5"]]
    assert [re.findall(r'href="\?from_run=(\d)">Earlier', html) for html in pages] == [[], ["1"], ["2"], ["3"]]
    monkeypatch.setattr("traces.page_queries.MAX_SESSION_SPANS", 3)  # less than one run has: it is read all the same
    assert re.findall(r'id="run-(\d)-turn-1"', client.get(url.split("?")[0] + "?from_run=2").content.decode()) == ["2"]


def test_parts_of_a_session_come_from_one_reading_until_a_run_changes(client, project, monkeypatch):
    monkeypatch.setattr("traces.views.trace.KEPT_SPANS", (1, 100))
    url = make_session(project, runs=2, spans=40)
    at = re.search(r'hx-get="(\?at=[^"]*)"', client.get(url).content.decode())[1].replace("&amp;", "&")

    def reads_spans():
        with CaptureQueriesContext(connection) as asked:
            assert client.get(url + at, headers={"HX-Request": "true"}).status_code == 200
        return any(f'FROM "{Span._meta.db_table}"' in query["sql"] for query in asked.captured_queries)

    assert not reads_spans()
    more = make_span(trace_id="0" * 32, span_id="s0", kind="llm", session_id="many", start_ns=T, end_ns=T + 9,
                     output_messages=[{"role": "assistant", "content": "Another answer"}])  # fmt: skip
    ingest_spans(project, [more])
    assert reads_spans()
    assert not reads_spans()


ODD_RUNS = {
    "parents in a circle": [
        {"span_id": "a", "parent_span_id": "c"},
        {"span_id": "b", "parent_span_id": "a"},
        {"span_id": "c", "parent_span_id": "b"},
        {"span_id": "d", "parent_span_id": "c", "kind": "tool", "tool": {"name": "look", "arguments": {}}},
    ],
    "in 1970": [
        {"span_id": "a", "start_ns": 0, "end_ns": 1},
        {"span_id": "b", "parent_span_id": "a", "start_ns": 0, "end_ns": 0},
    ],
    "from 1970 to 2100": [
        {"span_id": "a", "start_ns": 1, "end_ns": 4_102_444_800 * 10**9},
        {"span_id": "b", "parent_span_id": "a", "start_ns": T, "end_ns": T + 5},
    ],
    "before 1970": [{"span_id": "a", "start_ns": -(10**18), "end_ns": 10**18}],
    "reversed": [
        {"span_id": "a", "start_ns": T + 10**9, "end_ns": T},
        {"span_id": "b", "parent_span_id": "a", "start_ns": T, "end_ns": T - 10**9},
    ],
    "not ended": [{"span_id": "a", "end_ns": None}, {"span_id": "b", "parent_span_id": "a", "end_ns": None}],
    "without times": [
        {"span_id": "a", "start_ns": None, "end_ns": None},
        {"span_id": "b", "start_ns": None, "end_ns": None, "position": 1},
    ],
    "parent not there": [{"span_id": "a", "parent_span_id": "gone"}, {"span_id": "b", "parent_span_id": "gone too"}],
    "many events": [
        {
            "span_id": "a",
            "status": "error",
            "events": [
                {
                    "name": "exception" if number % 2 else "x",
                    "time_ns": T + number,
                    "attributes": {"exception.message": "m", "n": number},
                }
                for number in range(100_000)
            ],
        }
    ],
    "a long attribute": [{"span_id": "a", "attributes": {"x": "y" * 1_000_000, "z": ["w"] * 100_000, "n" * 10_000: 1}}],
    "nothing in it": [{"span_id": "a", "name": "", "kind": "unknown", "status": "unset"}],
    "odd letters": [
        {
            "span_id": "a",
            "name": "\u202etxt\u0000\u0007 مرحبا",
            "input": "\ud800 x \x00",
            "kind": "llm",
            "input_messages": [
                {"role": "user", "content": "שלום **עולם** \u202e"},
                {"role": "user", "content": [{"type": "image", "uri": "data:image/png;base64,AAAA"}]},
            ],
        }
    ],
}


@pytest.mark.parametrize("name", ODD_RUNS)
def test_every_view_of_an_odd_run_renders(client, project, name):
    trace_id = "0d" * 16
    ingest_spans(project, [make_span(trace_id=trace_id, session_id="odd", **span) for span in ODD_RUNS[name]])
    for view in ("trace", "trace_timeline", "trace_conversation", "span_rows", "repeated_calls"):
        answer = client.get(page(project, trace_id, view))
        assert answer.status_code == 200
        assert len(answer.content) < 600_000
    for tab in ("io", "attributes", "raw", "scores"):
        assert client.get(page(project, trace_id, span="a", tab=tab), **HTMX).status_code == 200
    assert client.get(reverse("traces:session", args=[project.slug, "odd"])).status_code == 200
    assert client.get(page(project, trace_id, "trace_timeline", **{"from": "nan", "to": "1e400"})).status_code == 200
