"""Story, suspicions, notes, tags, wording and saved views: the pages."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, Membership, User
from tests.factories import make_project, make_trace
from tests.traces.test_signal_rows import ID, make_records
from traces import people, signal_rows
from traces.list_queries import trace_page
from traces.models import Note, PersonTag, ReadingSettings, SavedView, Trace
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def run(project):
    ingest_spans(project, make_records({"error": f"timeout {EVIL}"}))
    signal_rows.check_due(now=timezone.now() + timedelta(seconds=11))
    return Trace.objects.get()


def url(name, *args):
    return reverse(f"traces:{name}", args=["default", *args])


def found(project, query):
    return [trace.trace_id for trace in trace_page(project, query).rows]


def test_story_page_tells_marks_and_escapes(client, run):
    html = client.get(url("trace_story", ID)).content.decode()
    assert "Where is parcel 9?" in html
    assert "Hidden error" in html
    assert EVIL not in html
    assert "?span=tool" in html
    text = client.get(url("trace_story", ID), {"as": "text"})
    assert text["Content-Type"].startswith("text/plain")
    assert f"Run {ID}: http://testserver/p/default/traces/{ID}" in text.content.decode()


def test_head_lists_suspicions_and_what_was_not_captured(client, run):
    html = client.get(url("trace", ID)).content.decode()
    assert "1 suspicion" in html
    assert "The trace does not say which tools were offered." in html
    ingest_spans(run.project, [make_records("x")[0].__class__("aa" * 16, "one", name="n")])
    assert "Not looked at yet" in client.get(url("trace", "aa" * 16)).content.decode()


def test_signals_are_a_filter_and_a_facet(client, project, run):
    make_trace(project)
    assert found(project, "signal:hidden_error") == [ID]
    assert found(project, "suspicion:hidden*") == [ID]
    assert found(project, "has:signal") == [ID]
    assert len(found(project, "-has:signal")) == 1
    html = client.get(url("trace_list"), {"range": "all"}).content.decode()
    assert "Hidden error" in html


def test_notes_are_kept_found_and_deleted(client, project, run):
    answer = client.post(
        url("add_note", ID), {"text": f"wrong carrier {EVIL}", "span": "tool", "next": url("trace", ID)}
    )
    assert answer.url == url("trace", ID)
    note = Note.objects.get()
    assert (note.span_id, note.author) == ("tool", None)
    html = client.get(url("trace", ID)).content.decode()
    assert "wrong carrier" in html
    assert EVIL not in html
    assert found(project, 'note:"wrong carrier"') == [ID]
    assert found(project, "has:note") == [ID]
    assert found(project, "note:nothing") == []
    Note.objects.update(text="The ÜBER order\nwas wrong. 100%")
    for query, number in (
        ("note:*order*wrong*", 1), ("note:*wrong*order*", 0), ("note:über*ORDER", 1), ("note:WRONG.", 1),
        ("note:wrong_", 0), ('note:"100%"', 1), ("note:order.was", 0), ("note:*", 1),
    ):  # fmt: skip
        assert len(found(project, query)) == number, query
    Note.objects.update(text="wrong carrier")
    client.post(url("delete_note", ID, note.pk))
    assert Note.objects.count() == 0
    assert AuditEntry.objects.filter(action="note.delete").exists()


@pytest.mark.parametrize("text", ["", "   ", "a\0b", "x" * 5_001])
def test_a_note_that_cannot_be_kept_says_why(client, run, text):
    answer = client.post(url("add_note", ID), {"text": text}, HTTP_HX_REQUEST="true")
    assert answer.status_code == 422
    assert b"The note" in answer.content
    assert Note.objects.count() == 0


def test_a_note_on_a_span_that_is_not_there_is_refused(client, run):
    assert client.post(url("add_note", ID), {"text": "x", "span": "zzz"}, HTTP_HX_REQUEST="true").status_code == 422


def test_tags_are_given_once_found_as_tags_and_taken_away(client, project, run):
    for _ in range(2):
        client.post(url("change_tags", ID), {"tag": " odd   one "})
    assert PersonTag.objects.count() == 1
    assert found(project, 'tag:"odd one"') == [ID]
    assert found(project, "has:tag") == [ID]
    client.post(url("change_tags", ID), {"remove": "odd one"})
    assert found(project, 'tag:"odd one"') == []


def test_back_never_leads_to_another_site(client, run):
    answer = client.post(url("add_note", ID), {"text": "x", "next": "https://evil.example/"})
    assert answer.url == url("trace", ID)


def test_viewers_read_and_reviewers_write(client, project, run, login_on):
    viewer, reviewer = (User.objects.create_user(name, password="x") for name in ("viewer", "reviewer"))
    Membership.objects.create(user=viewer, project=project, role="viewer")
    Membership.objects.create(user=reviewer, project=project, role="reviewer")
    client.force_login(viewer)
    assert client.post(url("add_note", ID), {"text": "x"}).status_code == 403
    assert b"Add note" not in client.get(url("trace", ID)).content
    assert client.post(url("reading"), {}).status_code == 403
    client.force_login(reviewer)
    assert client.post(url("add_note", ID), {"text": "x"}).status_code == 302
    assert Note.objects.get().author == reviewer
    assert b"Add note" in client.get(url("trace", ID)).content


def test_another_projects_trace_takes_no_notes(client, run):
    other = make_project()
    assert client.post(reverse("traces:add_note", args=[other.slug, ID]), {"text": "x"}).status_code == 404


def test_wording_and_budgets_are_saved_checked_and_used(client, run):
    page = client.get(url("reading")).content.decode()
    assert "track" in page
    assert "The agent tracked" in page or "The agent used the tool track" in page
    answer = client.post(
        url("reading"), {"tool": ["track"], "sentence": ["{agent} asked the carrier about {parcel}"], "cost_usd": "0.5"}
    )
    assert answer.status_code == 302
    settings = ReadingSettings.objects.get()
    assert settings.budgets == {"cost_usd": 0.5}
    assert "The agent asked the carrier about 9" in client.get(url("trace_story", ID)).content.decode()
    wrong = client.post(url("reading"), {"tool": ["track"], "sentence": ["{agent} broke {"], "cost_usd": "-1"})
    assert wrong.status_code == 422
    assert "is missing its partner" in wrong.content.decode()


def test_views_are_kept_as_words_shared_and_deleted(client, project, run, login_on):
    ann, bob = (User.objects.create_user(name, password="x") for name in ("ann", "bob"))
    for user in (ann, bob):
        Membership.objects.create(user=user, project=project, role="reviewer")
    client.force_login(ann)
    answer = client.post(
        url("save_view"),
        {"name": "Odd ones", "q": "signal:loop", "range": "7d", "sort": "-cost", "column": ["input", "cost"]},
    )
    view = SavedView.objects.get()
    assert (
        answer.url == f"{url('trace_list')}?q=signal%3Aloop&range=7d&sort=-cost&view={view.pk}&column=input&column=cost"
    )
    client.force_login(bob)
    assert client.post(url("delete_view", view.pk)).status_code == 404
    client.force_login(ann)
    client.post(url("save_view"), {"name": "Odd ones", "q": "signal:loop", "shared": "1"})
    assert SavedView.objects.get().is_shared
    client.force_login(bob)
    client.post(url("delete_view", view.pk))
    assert SavedView.objects.count() == 1  # not his to delete
    client.force_login(ann)
    client.post(url("delete_view", view.pk))
    assert SavedView.objects.count() == 0


@pytest.mark.parametrize("field", ["q", "range", "sort", "column"])
def test_nul_in_a_view_is_left_out(client, project, run, field):
    assert client.post(url("save_view"), {"name": "Odd", field: "a\0b"}).status_code == 302
    view = SavedView.objects.get()
    kept = {"q": view.query, "range": view.time_range, "sort": view.sort, "column": "".join(view.columns)}
    assert kept[field] == "ab"


def test_what_nobody_owns_is_not_for_everybody(client, project, run, login_on):
    people = {}
    for role in ("viewer", "reviewer", "admin"):
        people[role] = User.objects.create_user(role, password="x")
        Membership.objects.create(user=people[role], project=project, role=role)
    note = Note.objects.create(trace=run, project=project, text="of one who left")
    view = SavedView.objects.create(project=project, name="Left", is_shared=True)
    links = [url("delete_note", ID, note.pk), url("delete_view", view.pk)]

    def buttons():
        pages = client.get(url("trace", ID)), client.get(url("trace_list"), {"range": "all"})
        return [link in page.content.decode() for link, page in zip(links, pages, strict=True)]

    client.force_login(people["viewer"])
    assert buttons() == [False, False]
    client.post(links[1])
    assert SavedView.objects.count() == 1
    client.force_login(people["reviewer"])
    assert buttons() == [False, True]
    assert client.post(links[0], HTTP_HX_REQUEST="true").status_code == 422
    assert Note.objects.count() == 1
    client.post(links[1])
    assert SavedView.objects.count() == 0
    client.force_login(people["admin"])
    assert buttons()[0]
    client.post(links[0])
    assert Note.objects.count() == 0


@pytest.mark.django_db
def test_whoever_writes_tags_has_the_trace_locked_before_it_reads_or_writes_any(run):
    for change in (people.add_tag, people.remove_tag):
        with CaptureQueriesContext(connection) as queries:
            change(run, "vip")
        asked = [one["sql"] for one in queries if "SAVEPOINT" not in one["sql"] and "BEGIN" not in one["sql"]]
        assert 'FROM "traces_trace"' in asked[0]
        assert ("FOR UPDATE" in asked[0]) is (connection.vendor == "postgresql")


def test_the_api_has_signals_notes_and_tags(client, project, run):
    client.post(url("add_note", ID), {"text": "look here", "span": "tool"})
    client.post(url("change_tags", ID), {"tag": "odd"})
    document = client.get(f"/api/traces/{ID}").json()
    assert [(one["detector"], one["span_id"]) for one in document["signals"]] == [("hidden_error", "tool")]
    assert "bad_arguments" in document["signals_blind"]
    assert [(one["text"], one["span_id"], one["author"]) for one in document["notes"]] == [("look here", "tool", None)]
    assert [one["tag"] for one in document["person_tags"]] == ["odd"]


def test_saved_views_stand_in_the_list(client, project, run):
    client.post(url("save_view"), {"name": "Odd ones", "q": "has:signal"})
    html = client.get(url("trace_list"), {"range": "all", "q": "has:signal"}).content.decode()
    assert "Odd ones" in html
    assert 'name="q" value="has:signal"' in html
