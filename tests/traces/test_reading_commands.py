"""Runs read from a terminal, from the database here and from a server."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.factories import make_key, make_project, make_span
from traces import reading
from traces.services import ingest_spans

T = 1_780_000_000_000_000_000
ID = "7a" * 16
STEER = "\x1b[2J\x9b31m\u202e"


def send(project):
    root = make_span(trace_id=ID, span_id="root", name="support", start_ns=T, end_ns=T + 2 * 10**9)
    call = {"id": "c1", "name": "track", "arguments": {"parcel": 9}}
    llm = make_span(trace_id=ID, span_id="llm", parent_span_id="root", kind="llm", name="chat", model="gpt-4o",
                    start_ns=T + 1, end_ns=T + 10**9, input_messages=[{"role": "user", "content": f"Where is parcel 9?{STEER}"}],
                    output_messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])  # fmt: skip
    tool = make_span(trace_id=ID, span_id="tool", parent_span_id="root", kind="tool", name="track", start_ns=T + 10**9,
                     end_ns=T + 2 * 10**9, status="error", error_message="carrier timeout", attributes={"tool.name": "track"},
                     tool={"name": "track", "call_id": "c1", "arguments": {"parcel": 9}, "result": None})  # fmt: skip
    ingest_spans(project, [root, llm, tool])


def run(*args, **options):
    out = StringIO()
    call_command(*args, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def stored(project):
    send(project)
    return project


def test_list_as_table_and_as_json(stored):
    text = run("traces", "list")
    assert ID in text
    assert "Where is parcel 9?" in text
    (one,) = json.loads(run("traces", "list", "--q", "tool:track", "--json"))
    assert (one["trace_id"], one["error_count"]) == (ID, 1)
    assert "No run matches." in run("traces", "list", "--q", "tool:other")
    assert "No run matches." in run("traces", "list", "--range", "1h")


def test_range_holds_for_every_choice_of_a_query(stored):
    long_ago = ("traces", "list", "--range", "1h", "--q")
    assert ID in run("traces", "list", "--q", "tool:track OR tool:other")
    for query in ("tool:track OR tool:other", "(tool:track OR tool:other)", "tool:track"):
        assert "No run matches." in run(*long_ago, query)
    assert ID in run("traces", "list", "--range", "500w", "--q", "tool:other OR tool:track")


def test_nothing_printed_steers_the_terminal(stored):
    for view in ("tree", "timeline", "conversation", "io"):
        text = run("traces", "show", ID, "--view", view)
        assert not any(char in text for char in STEER if not char.isprintable() or char == "\u202e")
    assert "\x1b" not in run("spans", "show", ID, "llm")


def test_every_view_of_a_run(stored):
    tree = run("traces", "show", ID)
    assert tree.index("support") < tree.index("chat") < tree.index("track")
    assert "carrier timeout" in tree
    assert "!" in run("traces", "show", ID, "--view", "timeline")
    thread = run("traces", "show", ID, "--view", "conversation")
    assert "[user]" in thread
    assert '→ track({ "parcel": 9 })' in thread
    assert "Where is parcel 9?" in run("traces", "show", ID, "--view", "io")
    assert json.loads(run("traces", "show", ID, "--json"))["trace_id"] == ID


def test_spans_by_kind_and_one_span(stored):
    listed = run("spans", "list", "--trace-id", ID, "--kind", "llm")
    assert "gpt-4o" in listed
    assert "track" not in listed
    assert [one["span_id"] for one in json.loads(run("spans", "list", "--trace-id", ID, "--errors", "--json"))] == [
        "tool"
    ]
    shown = run("spans", "show", ID, "too")
    assert "carrier timeout" in shown
    assert '"parcel": 9' in shown
    assert "tool.name" in run("spans", "show", ID, "tool", "--view", "attributes")
    assert json.loads(run("spans", "show", ID, "tool", "--view", "raw"))["kind"] == "tool"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("traces", "show", "nope"), "There is no trace 'nope'"),
        (("traces", "list", "--q", "agnet:x"), "agnet"),
        (("traces", "list", "--range", "soon"), "no length of time"),
        (("traces", "list", "--limit", "0"), "--limit is 1 or more"),
        (("traces", "list", "--sort", "size"), "size"),
        (("traces", "list", "--project", "none"), "There is no project 'none' here; there are: default"),
        (("spans", "show", ID, "zzz"), "has no span 'zzz'"),
        (("traces", "list", "--server", "markbook"), "is no address"),
        (("traces", "list", "--server", "http://127.0.0.1:9"), "cannot be reached"),
        (("traces", "list", "--server", "http://x", "--key-file", "/none"), "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(stored, args, words):
    with pytest.raises(CommandError, match="(?s).*" + words.replace("(", r"\(")):
        run(*args)


@pytest.mark.django_db(transaction=True)
def test_from_a_server_the_same_comes_back(live_server, settings, tmp_path, monkeypatch):
    project = make_project(slug="default")
    send(project)
    for args in (
        ("traces", "list", "--json"),
        ("traces", "show", ID, "--json"),
        ("spans", "list", "--trace-id", ID, "--json"),
    ):
        assert json.loads(run(*args, "--server", live_server.url)) == json.loads(run(*args))
    settings.LOGIN_REQUIRED = True
    with pytest.raises(CommandError, match="Give a key with --key-file or MARKBOOK_API_KEY"):
        run("traces", "list", "--server", live_server.url)
    key = tmp_path / "key"
    key.write_text(make_key(project, scopes=("read",)) + "\n")
    assert ID in run("traces", "list", "--server", live_server.url, "--key-file", str(key))
    monkeypatch.setenv("MARKBOOK_API_KEY", key.read_text().strip())
    assert ID in run("traces", "list", "--server", live_server.url)


def test_more_than_a_page_is_followed(project):
    for number in range(4):
        ingest_spans(project, [make_span(trace_id=f"{number:032x}")])
    source = reading.DatabaseSource("default")
    monkey = reading.PAGE
    try:
        reading.PAGE = 2
        assert len(list(source.traces("", limit=3, sort="-started"))) == 3
        assert len(list(source.traces("", limit=9, sort="-started"))) == 4
    finally:
        reading.PAGE = monkey
