"""Answers when something is wrong."""

import errno

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory
from django.urls import path

from config.urls import handler404, handler500  # noqa: F401  used through ROOT_URLCONF below
from config.urls import urlpatterns as real
from pages import errors


def broken(request):
    raise RuntimeError("secret detail")


def full_disk(request):
    raise OSError(errno.ENOSPC, "No space left on device")


def locked(request):
    raise OperationalError("database is locked")


def wrong_table(request):
    raise OperationalError("no such table: t")


urlpatterns = [
    *real,
    path("broken", broken),
    path("v1/broken", broken),
    path("full", full_disk),
    path("v1/locked", locked),
    path("wrong-table", wrong_table),
]


@pytest.fixture
def client(settings, login_off):
    settings.ROOT_URLCONF = __name__
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("address", ["/broken", "/wrong-table"])
def test_broken_view_is_500_in_words_without_a_trace(client, address):
    response = client.get(address)
    assert response.status_code == 500
    html = response.content.decode()
    assert "Something broke on the server" in html
    assert "secret detail" not in html
    assert "Traceback" not in html


def test_program_gets_json_in_the_openai_form(client):
    response = client.get("/v1/broken")
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("address", "words"), [("/full", "disk of the server is full"), ("/v1/locked", "cannot be reached")]
)
def test_trouble_that_passes_is_503_with_a_time_to_try_again(client, address, words):
    response = client.get(address)
    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert words in response.content.decode()


def test_unknown_address_is_404_in_words(client, db):
    response = client.get("/nowhere/<script>")
    assert response.status_code == 404
    html = response.content.decode()
    assert "There is nothing here" in html
    assert "<script>" not in html
    assert client.get("/v1/nowhere").json()["error"]["message"]


def test_every_error_page_carries_the_policy(client, db):
    for address in ("/broken", "/nowhere", "/full"):
        assert "script-src 'self'" in client.get(address)["Content-Security-Policy"]


def test_postgresql_trouble_is_told_from_our_own_mistakes():
    class ConnectionLost(Exception):
        __module__ = "psycopg.errors"

    lost = OperationalError("server closed the connection")
    lost.__cause__ = ConnectionLost()
    assert errors.is_trouble(lost)
    assert not errors.is_trouble(OperationalError("no such column"))
    assert not errors.is_trouble(ValueError("database is locked"))


def test_not_found_says_what_the_view_said():
    from django.http import Http404

    response = errors.not_found(RequestFactory().get("/p/x"), Http404("There is no rubric 'tone'."))
    assert "There is no rubric &#x27;tone&#x27;." in response.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/p/demo/", "/p/demo"),
        ("/p/demo/traces/?q=a%20b&after=1", "/p/demo/traces?q=a%20b&after=1"),
        ("/p//evil.example/", None),  # no page of ours, so no redirect at all
        ("/p/demo/no-such-page/", None),
        ("//evil.example/p/demo/", "/p/demo"),  # the place names no host
        ("/v1/models/", None),
        ("/api/no-such/", None),
    ],
)
def test_a_page_with_a_slash_behind_is_the_page_without(client, address, place):
    answer = client.get(address)
    assert (answer.status_code, answer.headers.get("Location")) == ((302, place) if place else (404, None))


@pytest.mark.django_db
def test_a_form_sent_to_a_slash_is_not_sent_elsewhere(client):
    assert client.post("/p/demo/traces/").status_code == 404
