"""The page of the traces list: one markup for page and fragment, odd text, errors, what it costs."""

import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.factories import make_project, make_span, make_trace
from traces import columns, search, text_index
from traces.services import ingest_spans

HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture
def url(project):
    return reverse("traces:trace_list", args=[project.slug])


def make_recent(project, **overrides):
    now = search.whole_ns(timezone.now()) - 60 * 10**9
    return make_trace(project, start_ns=now, **overrides)


def text_of(response) -> str:
    return response.content.decode()


def test_page_and_fragments_share_the_table(client, project, url):
    make_recent(project, input_preview="Where is my order?")
    page = text_of(client.get(url))
    browser = text_of(client.get(url, **HTMX))
    table = text_of(client.get(url, **HTMX, HTTP_HX_TARGET="results"))
    row = page[page.index('<tr data-trace="') : page.index("</tbody>")]
    assert "Where is my order?" in row
    assert row in browser
    assert row in table
    assert "<html" in page
    assert browser.strip().startswith('<div class="browser" id="browser">')
    assert table.strip().startswith('<section class="results" id="results"')


def test_boosted_request_and_history_get_the_whole_page(client, url):
    assert "<html" in text_of(client.get(url, **HTMX, HTTP_HX_BOOSTED="true"))
    assert "<html" in text_of(client.get(url, **HTMX, HTTP_HX_HISTORY_RESTORE_REQUEST="true"))


def test_hostile_text_is_escaped_everywhere(client, project, url):
    evil = '"><script>alert(1)</script>'
    make_recent(
        project,
        input_preview=evil,
        name=evil,
        agent_name=evil,
        session_id=evil,
        task=evil,
        user_id=evil,
        environment=evil,
        model_names=[evil],
        trace_id="a" * 32,
        terms={"tool": [evil], "model": [evil], "tag": [evil]},
    )
    page = text_of(client.get(url, {"q": f"agent:{search.quote(evil)}"}))
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") > 5


@pytest.mark.parametrize("count", [1, 30])
def test_number_of_queries_does_not_grow_with_the_list(client, project, url, count):
    for number in range(count):
        make_recent(project, agent_name=f"agent {number}", model_names=["m"], terms={"tool": [f"tool {number}"]})
    client.get(url)
    with CaptureQueriesContext(connection) as queries:
        client.get(url)
    # the range, the page, its suspicions, the figures with facets, the facets of terms, saved views, the mark
    assert len([query for query in queries if "traces_" in query["sql"]]) == 7
    assert len(queries) <= 9


def test_facet_link_filters_and_its_chip_takes_it_back(client, project, url):
    make_recent(project, agent_name="refund bot", input_preview="one")
    make_recent(project, agent_name="billing", input_preview="two")
    page = client.get(url)
    (link,) = [
        link for facet in page.context["facets"] for value, link in facet["values"] if value.value == "refund bot"
    ]
    assert parse_qs(urlsplit(link).query)["q"] == ['agent:"refund bot"']
    narrowed = client.get(link)
    assert [row.title for row in narrowed.context["rows"]] == ["one"]
    (chip,) = narrowed.context["chips"]
    assert (chip.key, chip.operator, chip.value) == ("agent", ":", "refund bot")
    assert len(client.get(chip.url).context["rows"]) == 2


def test_typed_text_joins_the_query_in_the_address(client, project, url):
    answer = client.get(url, {"q": "agent:x", "add": "status:error  refund"})
    assert answer.status_code == 302
    assert parse_qs(urlsplit(answer.url).query)["q"] == ["agent:x status:error refund"]
    partial = client.get(url, {"q": "agent:x", "add": "refund"}, **HTMX)
    assert parse_qs(urlsplit(partial["HX-Push-Url"]).query)["q"] == ["agent:x refund"]


def test_drawn_range_joins_the_query_in_the_address(client, url):
    answer = client.get(url, {"q": "refund after:7d", "from": "1781654400000", "to": "1781658000000"})
    state = parse_qs(urlsplit(answer.url).query)
    assert state["q"] == ["refund after:2026-06-17T00:00:00Z before:2026-06-17T01:00:00Z"]
    assert state["range"] == ["all"]


@pytest.mark.parametrize(("start", "end"), [("x", ""), ("2", "2"), ("9" * 30, ""), ("-" + "9" * 30, "0x1"), ("", "")])
def test_drawn_range_that_is_none_is_left_out(client, url, start, end):
    assert client.get(url, {"from": start, "to": end}).status_code == 200


@pytest.mark.parametrize(
    ("start", "end", "asked"),
    [
        ("2026-06-17T02:30", "2026-06-18T00:00", "after:2026-06-17T02:30:00Z before:2026-06-18T00:00:00Z"),
        ("2026-06-17T02:30", "", "after:2026-06-17T02:30:00Z"),
        ("", "1781654400000", "before:2026-06-17T00:00:00Z"),
        ("2026-06-18T00:00", "2026-06-17T00:00", "after:2026-06-17T00:00:00Z before:2026-06-18T00:00:00Z"),
    ],
)
def test_typed_range_joins_the_query_and_may_have_one_end(client, url, start, end, asked):
    answer = client.get(url, {"from": start, "to": end})
    assert parse_qs(urlsplit(answer.url).query)["q"] == [asked]


def test_bad_addition_keeps_the_results_and_says_where(client, project, url):
    make_recent(project, input_preview="kept")
    answer = client.get(url, {"q": "", "add": "ok agnet:x"}, **HTMX)
    assert answer["HX-Retarget"] == "#query-bar"
    assert answer["HX-Push-Url"] == "false"
    text = text_of(answer)
    assert "At character 4" in text
    assert "<mark>agnet</mark>" in text
    assert 'value="ok agnet:x"' in text
    assert "kept" not in text
    page = client.get(url, {"add": "agnet:x"})
    assert [row.title for row in page.context["rows"]] == ["kept"]
    fixed = parse_qs(urlsplit(page.context["suggestion_url"]).query)
    assert fixed["q"] == ["agent:x"]


def test_bad_query_in_the_address_shows_no_rows_rather_than_wrong_ones(client, project, url):
    make_recent(project)
    page = client.get(url, {"q": "status:eror"})
    assert page.context["rows"] == []
    assert "The query cannot be read" in text_of(page)


@pytest.mark.parametrize(
    "state",
    [
        {"q": "\0"},
        {"q": "a" * 9000},
        {"q": "a " * 60},
        {"q": "-"},
        {"q": '"'},
        {"q": ":"},
        {"q": "::::"},
        {"q": "meta.:x"},
        {"q": "after:9999-12-31 before:0001-01-01T00:00+14:00"},
        {"q": "spans:99999999999999999999"},
        {"q": "cost:<1e999"},
        {"q": "name:*******"},
        {"q": "\ud800".encode("utf-8", "surrogatepass")},
        {"sort": "--started"},
        {"sort": "name; DROP"},
        {"range": "\0"},
        {"after": "\0"},
        {"after": "é"},
        {"before": "WzFd"},
        {"add": "\0"},
        {"trace": "x"},
    ],
)
@pytest.mark.parametrize("partial", [{}, HTMX])
def test_no_address_makes_an_error_of_the_server(client, project, url, state, partial):
    make_recent(project)
    assert client.get(url, state, **partial).status_code == 200


def test_key_of_another_order_starts_from_the_first_page(client, project, url):
    for _ in range(60):
        make_recent(project)
    first = client.get(url)
    key = parse_qs(urlsplit(first.context["older_url"]).query)["after"][0]
    page = client.get(url, {"sort": "-cost", "after": key})
    assert "another order" in text_of(page)
    assert len(page.context["rows"]) == 50


def test_older_link_leads_to_the_rest_and_back(client, project, url):
    for number in range(53):
        make_recent(project, input_preview=str(number))
    first = client.get(url)
    second = client.get(first.context["older_url"])
    assert [row.title for row in second.context["rows"]] == ["2", "1", "0"]
    assert second.context["older_url"] == ""
    back = client.get(second.context["newer_url"])
    assert [row.title for row in back.context["rows"]] == [row.title for row in first.context["rows"]]


def test_empty_list_says_why(client, project, url):
    assert "No traces yet" in text_of(client.get(url))
    make_trace(project, start_ns=search.whole_ns(timezone.now()) - 100 * 24 * 3600 * 10**9, agent_name="support-agent")
    assert "1 started earlier" in " ".join(text_of(client.get(url, {"range": "7d"})).split())
    missed = text_of(client.get(url, {"q": "agent:suport-agent", "range": "all"}))
    assert "there is 1 trace" in " ".join(missed.split()).replace("  ", " ")
    assert "Did you mean" in missed


def test_untimed_trace_says_so(client, project, url):
    make_trace(project, start_ns=None, end_ns=None, duration_ms=None, received_at=timezone.now())
    page = client.get(url, {"range": "all"})
    assert "no times recorded" in text_of(page)
    assert "No times recorded: the source of these runs gave none" in text_of(page)
    assert "<time" not in page.content.decode().split("<tbody")[1]  # the time of the import is not when it started


def test_scripted_model_is_marked(client, project, url):
    make_recent(project, model_names=["demo/careful"])
    assert "scripted" in text_of(client.get(url))


def test_traces_of_another_project_never_show(client, project, url):
    make_recent(make_project(), input_preview="secret", agent_name="secret", terms={"tool": ["secret"]})
    assert "secret" not in text_of(client.get(url, {"range": "all"}))


def test_a_person_outside_the_project_gets_404(client, login_on, project, url, django_user_model):
    client.force_login(django_user_model.objects.create_user("eve"))
    assert client.get(url).status_code == 404
    assert client.get(reverse("traces:completions", args=[project.slug])).status_code == 404


def test_completions_fragment_lists_options(client, project):
    make_recent(project, agent_name="<b>")
    text = text_of(client.get(reverse("traces:completions", args=[project.slug]), {"add": "agent:"}))
    assert "&lt;b&gt;" in text
    assert 'role="option"' in text


def test_words_show_where_they_were_said(client, project, url):
    said = [{"role": "user", "content": "Please <b>refund</b> my order, it came twice"}]
    ingest_spans(project, [make_span(trace_id="7", kind="llm", start_ns=time.time_ns(), input_messages=said)])
    text_index.index_pending()
    page = client.get(url, {"q": "refund"})
    assert "Please &lt;b&gt;<mark>refund</mark>&lt;/b&gt; my order" in page.content.decode()
    assert "The search index is behind" not in page.content.decode()


def test_page_of_words_says_how_far_the_index_is_behind(client, project, url):
    ingest_spans(project, [make_span(trace_id="7", start_ns=time.time_ns(), input="refund")])
    assert "The search index is behind by 1 trace;" in client.get(url, {"q": "refund"}).content.decode()
    assert "The search index is behind" not in client.get(url, {"q": "status:ok"}).content.decode()


def test_beyond_the_cap_a_filtered_list_says_that_there_are_more(client, project, url, monkeypatch):
    monkeypatch.setattr("traces.list_queries.figures.CAP", 3)
    for _ in range(5):
        make_recent(project, agent_name="a")
    page = client.get(url, {"q": "agent:a"}).content.decode()
    assert "3+ traces" in page
    assert "Of the newest 3 that match the rest." in page
    assert (
        "At least 3 traces match; all figures and the counts of facets are those of the newest 3 that were found."
        in page
    )


def test_new_traces_are_announced_and_the_list_stays(client, project, url):
    make_recent(project, agent_name="a")
    poll = client.get(url, {"q": "agent:a"}).context["poll_url"]
    assert "new run" not in text_of(client.get(poll))
    make_recent(project, agent_name="a")
    make_recent(project, agent_name="b")
    answer = text_of(client.get(poll))
    assert "1 new run, show" in answer
    assert f'href="{url}?q=agent%3Aa&amp;range=14d"' in answer


@pytest.mark.parametrize(
    "state", [{}, {"since": "x"}, {"since": "9" * 40}, {"since": "-1", "q": "((("}, {"since": "1", "q": "\0"}]
)
def test_poll_with_odd_values_answers(client, project, url, state):
    assert client.get(reverse("traces:fresh_traces", args=[project.slug]), state).status_code == 200


# Columns ---------------------------------------------------------------------------------------------------------


def heads_and_cells(html: str) -> tuple[list[str], list[str]]:
    table = html[html.index("<table") : html.index("</table>")]
    heads = re.findall(
        r'<th scope="col"[^>]*>(?:<a[^>]*>)?([^<]+?) ?<', table[: table.index("<tbody")].replace("\n", "")
    )
    row = table[table.index("<tbody") : table.index("</tr>", table.index("<tbody"))]
    return heads, re.findall(r'data-label="([^"]+)"', row)


def test_every_column_has_its_head_and_its_cell_in_the_same_order(client, project, url):
    make_recent(project, user_id="u-7", release="2026.6", llm_call_count=3, output_preview="It is on its way.")
    html = text_of(client.get(url, {"column": [column.name for column in columns.COLUMNS]}))
    heads, cells = heads_and_cells(html)
    assert heads == [column.label for column in columns.COLUMNS]
    assert cells == heads[1:]
    for text in ("u-7", "2026.6", "It is on its way."):
        assert text in html


def test_only_the_chosen_columns_show_and_every_link_keeps_them(client, project, url):
    for _ in range(51):
        make_recent(project)
    answer = client.get(url, {"column": ["cost", "user"]})
    heads, cells = heads_and_cells(text_of(answer))
    assert heads == ["Input", "User", "Cost"]
    assert cells == ["User", "Cost"]
    kept = [
        answer.context["older_url"],
        answer.context["poll_url"],
        answer.context["state_url"],
        answer.context["ranges"][0][2],
    ]
    kept += [head.url for head in answer.context["headings"] if head.url]
    assert all(parse_qs(urlsplit(link).query)["column"] == ["input", "user", "cost"] for link in kept)
    assert "column" not in parse_qs(urlsplit(answer.context["usual_columns_url"]).query)


def test_the_usual_columns_are_not_in_the_address(client, url):
    answer = client.get(url, {"add": "", "column": ["input", *columns.USUAL]})
    assert answer.status_code == 302
    assert "column" not in answer.url


@pytest.mark.parametrize(("asked", "shown"), [(["verdict"], columns.USUAL), (["verdict", "cost"], ("input", "cost"))])
def test_a_column_that_is_no_more_is_left_out_with_a_word(client, project, url, asked, shown):
    make_recent(project)
    answer = client.get(url, {"column": asked})
    assert answer.context["shown"] == shown
    assert "The list has no column <bdi>“verdict”</bdi>" in text_of(answer)


@pytest.mark.parametrize("count", [1, 30])
def test_more_columns_cost_no_query_a_row(client, project, url, count):
    for _ in range(count):
        make_recent(project, user_id="u")
    state = {"column": [column.name for column in columns.COLUMNS]}
    client.get(url, state)
    with CaptureQueriesContext(connection) as queries:
        client.get(url, state)
    assert len(queries) <= 9


def test_a_view_keeps_its_columns(client, project, url):
    make_recent(project)
    page = text_of(client.get(url, {"column": ["user", "cost"]}))
    form = re.findall(r'form="save-view-form" name="column" value="(\w+)"', page)
    assert form == ["input", "user", "cost"]
    saved = client.post(reverse("traces:save_view", args=[project.slug]), {"name": "Who pays", "column": form})
    assert client.get(saved.url).context["shown"] == ("input", "user", "cost")
