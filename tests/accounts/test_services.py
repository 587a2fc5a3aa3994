"""Changes to projects, keys, members and users."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import services
from accounts.access import key_digest
from accounts.models import ApiKey, AuditEntry, Membership, Project, Role, SetupLink, SignInFailure, User
from accounts.services import AccountError
from tests.factories import make_project

pytestmark = pytest.mark.django_db


def make_user(name="ada") -> User:
    return services.add_user(name, "a long password")


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


def test_create_project_makes_a_slug_and_its_maker_an_admin():
    user = make_user()
    project = services.create_project("  Support   agents ", user=user)
    assert (project.slug, project.name) == ("support-agents", "Support agents")
    assert Membership.objects.get(project=project).role == Role.ADMIN
    assert services.create_project("Support agents").slug == "support-agents-2"
    assert services.create_project("客服").slug == "project"
    assert actions()[1:] == ["project.create"] * 3


@pytest.mark.parametrize(("name", "slug"), [("", ""), ("   ", ""), ("Fine", "not fine"), ("Fine", "../x")])
def test_create_project_refuses_names_that_cannot_be(name, slug):
    with pytest.raises(AccountError):
        services.create_project(name, slug=slug)
    assert not Project.objects.exists()


def test_create_project_with_a_taken_slug_says_so():
    services.create_project("One", slug="one")
    with pytest.raises(AccountError, match="'one' already"):
        services.create_project("Other", slug="one")


def test_ensure_project_makes_one_once():
    services.ensure_project()
    services.ensure_project()
    assert [project.slug for project in Project.objects.all()] == ["default"]


def test_create_api_key_keeps_its_digest_and_never_its_text():
    key, text = services.create_api_key(make_project(), name="agent", scopes=["read", "ingest"])
    assert text.startswith("mb-")
    assert key.digest == key_digest(text)
    assert key.scopes == ["ingest", "read"]
    kept = str(list(ApiKey.objects.values())) + str(list(AuditEntry.objects.values()))
    assert text not in kept
    assert len(key.prefix) <= 10


@pytest.mark.parametrize("scopes", [[], ["root"], ["read", "root"]])
def test_create_api_key_refuses_scopes_that_are_not_there(scopes):
    with pytest.raises(AccountError, match="ingest, read, write"):
        services.create_api_key(make_project(), name="agent", scopes=scopes)


def test_revoke_api_key_twice_is_written_once():
    key, _ = services.create_api_key(make_project(), name="agent")
    services.revoke_api_key(key)
    services.revoke_api_key(key)
    assert ApiKey.objects.get().revoked_at is not None
    assert actions() == ["key.create", "key.revoke"]


def test_change_role_keeps_the_last_admin():
    project, ada, bob = make_project(), make_user("ada"), make_user("bob")
    services.change_role(project, ada, Role.ADMIN)
    for role in (Role.VIEWER, None):
        with pytest.raises(AccountError, match="only admin"):
            services.change_role(project, ada, role)
    services.change_role(project, bob, Role.ADMIN)
    services.change_role(project, ada, None)
    assert list(project.memberships.values_list("user__username", "role")) == [("bob", "admin")]


def test_setup_link_makes_one_admin_once():
    assert services.needs_setup()
    token = services.create_setup_link()
    user = services.use_setup_link(token, username="ada", password="a long password")
    assert user.is_superuser
    assert user.check_password("a long password")
    assert token not in str(list(SetupLink.objects.values()))
    with pytest.raises(AccountError):
        services.use_setup_link(token, username="eve", password="a long password")
    assert not services.needs_setup()


def test_setup_link_runs_out_after_a_day_and_a_new_one_withdraws_the_old():
    old = services.create_setup_link()
    token = services.create_setup_link()
    assert services.find_setup_link(old) is None
    assert services.find_setup_link(token) is not None
    SetupLink.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert services.find_setup_link(token) is None
    assert services.find_setup_link("guess") is None


def test_setup_link_is_dead_once_somebody_can_sign_in():
    token = services.create_setup_link()
    make_user()
    assert services.find_setup_link(token) is None


def test_add_user_refuses_a_taken_name_in_any_case():
    make_user("ada")
    with pytest.raises(AccountError):
        services.add_user("Ada", "a long password")


def test_throttle_counts_by_person_and_address_and_lets_go_in_time():
    for _ in range(services.LIMIT_PAIR):
        assert not services.is_throttled("ada", "10.0.0.1")
        services.record_failure("Ada", "10.0.0.1")
    assert services.is_throttled("ada", "10.0.0.1")
    assert not services.is_throttled("ada", "10.0.0.2")
    assert not services.is_throttled("bob", "10.0.0.1")
    SignInFailure.objects.update(at=timezone.now() - timedelta(minutes=services.THROTTLE_MINUTES + 1))
    assert not services.is_throttled("ada", "10.0.0.1")


def test_throttle_stops_one_address_that_tries_many_names():
    for number in range(services.LIMIT_ADDRESS):
        services.record_failure(f"user{number}", "10.0.0.1")
    assert services.is_throttled("ada", "10.0.0.1")
    assert not services.is_throttled("ada", "10.0.0.2")


def test_names_of_failed_sign_ins_are_kept_as_digests():
    services.record_failure("my-password-by-mistake", "10.0.0.1")
    assert "my-password" not in str(list(SignInFailure.objects.values()))
