"""Sending: a key shown once, texts that hold it, the panel that waits."""

import json
from urllib.parse import urlsplit

import pytest
from django.urls import reverse

from accounts.models import ApiKey, Membership, Role
from tests.factories import make_trace
from traces import snippets

HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture
def url(project):
    return reverse("traces:send", args=[project.slug])


def test_new_key_may_only_send_and_is_in_every_text_once_shown(client, project, url):
    page = client.post(url, {"name": "support-agent"})
    key = ApiKey.objects.get()
    assert key.scopes == ["ingest"]
    text = page.context["key_text"]
    assert all(text in item["text"] for item in page.context["texts"])
    assert "no-store" in page["Cache-Control"]
    again = client.get(url)
    assert text not in again.content.decode()
    assert all(snippets.PLACEHOLDER in item["text"] for item in again.context["texts"])


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "a\0b"])
def test_key_without_a_good_name_is_refused(client, project, url, name):
    assert client.post(url, {"name": name}).status_code == 422
    assert not ApiKey.objects.exists()


def test_only_an_admin_makes_keys(client, login_on, project, url, django_user_model):
    user = django_user_model.objects.create_user("eva")
    Membership.objects.create(user=user, project=project, role=Role.ENGINEER)
    client.force_login(user)
    assert "Make a key" not in client.get(url).content.decode()
    assert client.post(url, {"name": "x"}).status_code == 422
    assert not ApiKey.objects.exists()


def test_texts_name_the_address_of_this_server(client, project, url):
    page = client.get(url, headers={"host": "localhost"})
    assert "export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost\n" in page.context["texts"][0]["text"]
    assert "@" not in "".join(
        item["text"].replace("@first-trace", "").replace("@opentelemetry", "") for item in page.context["texts"]
    )


def test_panel_waits_then_opens_the_first_trace(client, project, url):
    panel = client.get(url, {"since": "0"}, **HTMX)
    assert 'hx-trigger="every 2s"' in panel.content.decode()
    assert "Waiting for your first trace" in panel.content.decode()
    trace = make_trace(project)
    answer = client.get(url, {"since": "0"}, **HTMX)
    assert answer["HX-Redirect"] == reverse("traces:trace", args=[project.slug, trace.trace_id])


def test_panel_of_a_project_with_traces_tells_and_stays(client, project, url):
    old = make_trace(project)
    assert client.get(url).context["since"] == old.pk
    assert "Listening" in client.get(url, {"since": old.pk}, **HTMX).content.decode()
    new = make_trace(project)
    answer = client.get(url, {"since": old.pk}, **HTMX)
    assert "HX-Redirect" not in answer
    assert "1 new trace<" in answer.content.decode()
    assert reverse("traces:trace", args=[project.slug, new.trace_id]) in answer.content.decode()


@pytest.mark.parametrize("since", ["x", "-1", "9" * 40, "²", "\0"])
def test_panel_takes_any_mark(client, project, url, since):
    assert client.get(url, {"since": since}, **HTMX).status_code == 200


def test_first_run_greets_an_empty_project_and_leads_on_once_it_is_not(client, project):
    url = reverse("traces:first_run", args=[project.slug])
    assert "Send your first trace" in client.get(url).content.decode()
    make_trace(project)
    assert urlsplit(client.get(url).url).path == reverse("traces:send", args=[project.slug])


def test_first_trace_is_taken_by_our_own_ingest(client, project):
    body = client.get(reverse("traces:first_trace", args=[project.slug])).content
    answer = client.post("/v1/traces", body, content_type="application/json")
    assert (answer.status_code, json.loads(answer.content or b"{}")) == (200, {})
    trace = project.traces.get()
    assert (trace.span_count, trace.agent_name, trace.tool_call_count, trace.llm_call_count) == (
        4,
        "support-agent",
        1,
        2,
    )
    assert "charged twice" in trace.input_preview
    other = client.get(reverse("traces:first_trace", args=[project.slug])).content
    assert json.loads(other)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] != trace.trace_id
