"""Pages of sign-in, set-up, the account, projects and settings."""

import re

import pytest
from django.test import Client

from accounts import services
from accounts.addresses import read_networks
from accounts.models import ApiKey, AuditEntry, Membership, Role, User
from tests.factories import make_project

pytestmark = pytest.mark.django_db
PASSWORD = "a long password"


@pytest.fixture
def admin(db) -> User:
    return services.add_user("boss", PASSWORD, is_superuser=True)


def member(project, role, name="ada") -> User:
    user = services.add_user(name, PASSWORD)
    services.change_role(project, user, role)
    return user


def text_of(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


# Coming in -------------------------------------------------------------------------------------------------------


def test_every_page_asks_to_sign_in_first_and_comes_back(client, login_on, project, admin):
    response = client.get("/p/default/settings?a=1")
    assert response.status_code == 302
    assert response["Location"] == "/sign-in?next=/p/default/settings%3Fa%3D1"
    response = client.post("/sign-in", {"username": "boss", "password": PASSWORD, "next": "/p/default/settings?a=1"})
    assert response["Location"] == "/p/default/settings?a=1"
    assert client.get("/p/default/settings").status_code == 200


def test_fragment_of_a_signed_out_person_sends_the_whole_page_to_sign_in(client, login_on, project):
    response = client.get(
        "/p/default/settings",
        headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/p/default/traces?q=a"},
    )
    assert response["HX-Redirect"] == "/sign-in?next=/p/default/traces%3Fq%3Da"


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
def test_sign_in_goes_nowhere_else_than_here(client, login_on, admin, wanted):
    response = client.post("/sign-in", {"username": "boss", "password": PASSWORD, "next": wanted})
    assert response["Location"] == "/"


def test_wrong_password_is_422_then_throttled_even_with_the_right_one(client, login_on, admin):
    for _ in range(services.LIMIT_PAIR):
        response = client.post("/sign-in", {"username": "boss", "password": "wrong"})
        assert response.status_code == 422
        assert "do not go together" in text_of(response)
    response = client.post("/sign-in", {"username": "boss", "password": PASSWORD})
    assert response.status_code == 429
    assert "Wait 15 minutes" in text_of(response)


def test_behind_a_trusted_proxy_wrong_passwords_count_for_the_caller_it_names(client, login_on, admin, settings):
    settings.TRUSTED_PROXIES = read_networks("127.0.0.1")

    def sign_in(caller: str, password: str) -> int:
        data = {"username": "boss", "password": password}
        return client.post("/sign-in", data, headers={"x-forwarded-for": caller}).status_code

    for number in range(services.LIMIT_PAIR):
        assert sign_in(f"10.1.1.{number}, 198.51.100.1", "wrong") == 422
    assert sign_in("198.51.100.1", PASSWORD) == 429
    assert sign_in("198.51.100.2", PASSWORD) == 302


def test_sign_out_ends_the_session_and_takes_a_post(client, login_on, admin):
    client.force_login(admin)
    assert client.get("/sign-out").status_code == 405
    client.post("/sign-out")
    assert client.get("/projects").status_code == 302


def test_setup_link_makes_the_admin_and_signs_in(client, login_on, project):
    token = services.create_setup_link()
    assert client.get(f"/setup/{token}").status_code == 200
    short = client.post(f"/setup/{token}", {"username": "ada", "password1": "short", "password2": "short"})
    assert short.status_code == 422
    response = client.post(f"/setup/{token}", {"username": "ada", "password1": PASSWORD, "password2": PASSWORD})
    assert response["Location"] == "/"
    assert client.get("/p/default/settings").status_code == 200
    assert client.get(f"/setup/{token}").status_code == 404


def test_password_change_signs_other_browsers_out(client, login_on, admin):
    other = Client()
    client.force_login(admin)
    other.force_login(admin)
    fields = {"old_password": PASSWORD, "new_password1": "another long one", "new_password2": "another long one"}
    assert client.post("/account", {**fields, "old_password": "wrong"}).status_code == 422
    assert client.post("/account", fields).status_code == 302
    assert client.get("/account").status_code == 200
    assert other.get("/account").status_code == 302


# Projects --------------------------------------------------------------------------------------------------------


def test_home_goes_to_the_only_project_or_the_last_one_or_lets_choose(client, login_off):
    make_project(slug="one")
    assert client.get("/")["Location"] == "/p/one/overview"
    make_project(slug="two")
    assert client.get("/")["Location"] == "/projects"
    client.get("/p/two/settings")
    assert client.get("/")["Location"] == "/p/two/overview"


def test_new_project_is_made_and_opened(client, login_off):
    response = client.post("/projects", {"name": "Support agents", "slug": ""})
    assert response["Location"] == "/p/support-agents/overview"
    assert client.post("/projects", {"name": "Again", "slug": "support-agents"}).status_code == 422


def test_only_a_server_admin_makes_projects(client, login_on, project):
    client.force_login(member(project, Role.ADMIN))
    assert client.post("/projects", {"name": "More"}).status_code == 403
    assert "Make a project" not in text_of(client.get("/projects"))


def test_picker_shows_own_projects_only(client, login_on, project):
    make_project(slug="secret", name="Secret plans")
    client.force_login(member(project, Role.VIEWER))
    assert "Secret plans" not in text_of(client.get("/projects"))


# Settings --------------------------------------------------------------------------------------------------------


def test_key_is_shown_once_and_never_kept_by_the_browser(client, login_off, project):
    response = client.post("/p/default/settings/keys", {"name": "agent", "scopes": ["ingest"]})
    text = re.search(r"mb-[\w-]{40,}", response.content.decode())[0]
    assert "no-store" in response["Cache-Control"]
    again = client.get("/p/default/settings").content.decode()
    assert text not in again
    assert text[:10] in again


def test_key_without_scope_is_422_and_makes_none(client, login_off, project):
    assert client.post("/p/default/settings/keys", {"name": "agent"}).status_code == 422
    assert not ApiKey.objects.exists()


def test_revoke_stops_a_key_of_this_project_only(client, login_off, project):
    mine, _ = services.create_api_key(project, name="mine")
    other, _ = services.create_api_key(make_project(), name="other")
    assert client.post(f"/p/default/settings/keys/{other.pk}/revoke").status_code == 404
    assert client.post(f"/p/default/settings/keys/{mine.pk}/revoke").status_code == 302
    assert list(ApiKey.objects.filter(revoked_at=None)) == [other]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER, Role.ENGINEER])
def test_settings_are_read_by_all_and_changed_by_admins(client, login_on, project, role):
    client.force_login(member(project, role))
    key, _ = services.create_api_key(project, name="agent")
    page = client.get("/p/default/settings")
    assert page.status_code == 200
    assert "Make key" not in text_of(page)
    for address in ("settings/keys", f"settings/keys/{key.pk}/revoke", "settings/members", "settings/name"):
        assert client.post(f"/p/default/{address}", {"name": "x", "scopes": "read"}).status_code == 403
    assert ApiKey.objects.filter(revoked_at=None).count() == 1


def test_settings_of_another_project_are_404(client, login_on, project):
    make_project(slug="secret", name="Secret plans")
    client.force_login(member(project, Role.ADMIN))
    response = client.get("/p/secret/settings")
    assert response.status_code == 404
    assert "Secret plans" not in text_of(response)


def test_member_is_added_changed_and_removed(client, login_on, project, admin):
    client.force_login(admin)
    user = services.add_user("ada", PASSWORD)
    assert client.post("/p/default/settings/members", {"username": "ada", "role": "reviewer"}).status_code == 302
    membership = Membership.objects.get(user=user)
    assert membership.role == Role.REVIEWER
    client.post(f"/p/default/settings/members/{membership.pk}", {"role": "engineer"})
    membership.refresh_from_db()
    assert membership.role == Role.ENGINEER
    client.post(f"/p/default/settings/members/{membership.pk}", {"role": "remove"})
    assert not Membership.objects.filter(user=user).exists()
    assert AuditEntry.objects.filter(action="member.role", user=admin).count() == 3


def test_unknown_member_is_422_and_the_page_says_what_to_do(client, login_off, project):
    response = client.post("/p/default/settings/members", {"username": "nobody", "role": "viewer"})
    assert response.status_code == 422
    assert "add_user" in text_of(response)


def test_names_with_markup_are_shown_as_text(client, login_off, project):
    services.create_api_key(project, name="<script>alert(1)</script>")
    services.rename_project(project, '"><img src=x onerror=alert(1)>')
    html = client.get("/p/default/settings").content.decode()
    assert "<script>alert" not in html
    assert "<img src=x" not in html


def test_number_of_queries_does_not_grow_with_keys(client, login_off, project, django_assert_max_num_queries):
    for number in range(30):
        services.create_api_key(project, name=f"key {number}")
    with django_assert_max_num_queries(8):
        client.get("/p/default/settings")


def test_form_without_token_is_refused_with_a_page_in_words(login_off, project):
    client = Client(enforce_csrf_checks=True)
    response = client.post("/p/default/settings/keys", {"name": "agent", "scopes": ["ingest"]})
    assert response.status_code == 403
    assert "reload the page" in text_of(response)
    assert not ApiKey.objects.exists()


def test_every_link_of_the_shell_leads_somewhere(client, login_off, project):
    html = client.get("/p/default/settings").content.decode()
    links = re.findall(r'<a class="(?:nav__item|brand|side__search)" href="([^"]*)"', html)
    assert len(links) == 11
    assert all(link.startswith("/p/default") for link in links)
