"""Pages that delete a trace or a session: they name what goes, ask, and are for engineers."""

import pytest
from django.urls import reverse

from accounts.models import AuditEntry, Membership, Role, User
from tests.factories import make_project, make_span
from traces.models import Note, Trace
from traces.services import ingest_spans


@pytest.fixture
def project(settings):
    settings.LOGIN_REQUIRED = False
    return make_project(slug="shop")


def address(name, project, key):
    return reverse(f"traces:{name}", args=[project.slug, key])


@pytest.mark.django_db
def test_trace_is_named_with_what_hangs_on_it_and_goes_after_the_button(client, project):
    ingest_spans(project, [make_span(trace_id="a" * 32), make_span(trace_id="b" * 32)])
    trace = Trace.objects.get(trace_id="a" * 32)
    Note.objects.create(trace=trace, project=project, text="look")
    link = address("delete_trace", project, "a" * 32)
    assert link in client.get(address("trace", project, "a" * 32)).content.decode()
    page = client.get(link)
    assert page.context["lines"][:2] == [
        ("trace", 1, "deleted"),
        ("span", 1, "deleted, with its messages where no other span has them"),
    ]
    assert ("note", 1, "deleted") in page.context["lines"]
    assert Trace.objects.count() == 2
    done = client.post(link, follow=True)
    assert "Deleted 1 trace with 1 span." in done.content.decode()
    assert [one.trace_id for one in Trace.objects.all()] == ["b" * 32]
    assert AuditEntry.objects.filter(action="traces.deleted", target=f"trace {'a' * 32}").exists()
    assert client.get(link).status_code == 404


@pytest.mark.django_db
def test_session_goes_with_all_its_traces_and_no_other(client, project):
    for number, session in enumerate(["s/1 <b>", "s/1 <b>", "s2"], 1):
        ingest_spans(project, [make_span(trace_id=f"{number:032x}", session_id=session)])
    other = make_project(slug="other")
    ingest_spans(other, [make_span(trace_id="f" * 32, session_id="s/1 <b>")])
    link = address("delete_session", project, "s/1 <b>")
    page = client.get(link).content.decode()
    assert "s/1 &lt;b&gt;" in page
    assert "s/1 <b>" not in page
    client.post(link)
    assert sorted(Trace.objects.values_list("project__slug", "session_id")) == [("other", "s/1 <b>"), ("shop", "s2")]


@pytest.mark.django_db
def test_session_goes_with_traces_that_name_several_sessions(client, project):
    ingest_spans(project, [make_span(trace_id="a" * 32, session_id="s1")])
    for number, session in enumerate(["s1", "s2"], 1):
        ingest_spans(project, [make_span(trace_id="b" * 32, span_id=f"{number:016x}", session_id=session)])
    shown = client.get(address("session", project, "s2")).content.decode()
    assert "b" * 32 in shown
    page = client.get(address("delete_session", project, "s2"))
    assert page.context["lines"][0] == ("trace", 1, "deleted")
    assert client.get(address("delete_session", project, "s1")).context["lines"][0] == ("trace", 2, "deleted")
    client.post(address("delete_session", project, "s2"))
    assert [one.trace_id for one in Trace.objects.all()] == ["a" * 32]
    assert client.get(address("delete_session", project, "s\0")).status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER])
def test_reader_may_not_delete(client, settings, role):
    settings.LOGIN_REQUIRED = True
    project = make_project()
    ingest_spans(project, [make_span(trace_id="a" * 32, session_id="s")])
    user = User.objects.create_user("ann", password="a long password")
    Membership.objects.create(user=user, project=project, role=role)
    client.force_login(user)
    for link in (address("delete_trace", project, "a" * 32), address("delete_session", project, "s")):
        assert client.get(link).status_code == 403
        assert client.post(link).status_code == 403
        assert link not in client.get(address("trace", project, "a" * 32)).content.decode()
    assert Trace.objects.count() == 1
