"""Who may see and do what: keys, scopes, roles, projects, other sites."""

import base64
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, JsonResponse
from django.test import RequestFactory
from django.utils import timezone

from accounts.access import api_view, authenticate, internal_token, project_page, role_in, visible_projects
from accounts.models import ApiKey, Membership, Role, Scope, User
from tests.factories import make_key, make_project

pytestmark = pytest.mark.django_db
factory = RequestFactory()


@api_view(methods=("GET", "POST"))
def endpoint(request):
    return JsonResponse({"project": request.project.slug, "is_internal": request.is_internal})


@api_view(Scope.INGEST, methods=("POST",))
def ingest(request):
    return JsonResponse({"project": request.project.slug})


@project_page(Role.ENGINEER)
def engineers_page(request):
    return HttpResponse(request.role)


def call(view, method="GET", user=None, path="/v1/things", **headers):
    request = factory.generic(method, path, headers=headers)
    request.user = user or AnonymousUser()
    return view(request)


def answer(view, *arguments, **keywords):
    import json

    response = call(view, *arguments, **keywords)
    return response.status_code, json.loads(response.content)


def make_user(name="ada", **fields) -> User:
    return User.objects.create_user(username=name, password="a long password", **fields)


# Keys ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["bearer", "basic password", "basic user", "x-api-key", "lower-case bearer"])
def headers_of(request):
    def headers(key):
        if request.param == "bearer":
            return {"Authorization": f"Bearer {key}"}
        if request.param == "lower-case bearer":
            return {"Authorization": f"bearer {key} "}
        if request.param == "basic password":
            return {"Authorization": "Basic " + base64.b64encode(f"anything:{key}".encode()).decode()}
        if request.param == "basic user":
            return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}
        return {"x-api-key": key}

    return headers


def test_key_opens_its_project_in_every_place_where_sdks_put_it(login_on, headers_of):
    project = make_project()
    make_project(slug="default")
    status, body = answer(endpoint, **headers_of(make_key(project)))
    assert (status, body["project"]) == (200, project.slug)


def test_key_wins_over_a_project_that_the_request_names(login_off):
    mine, other = make_project(), make_project()
    _, body = answer(endpoint, path=f"/v1/things?project={other.slug}", Authorization=f"Bearer {make_key(mine)}")
    assert body["project"] == mine.slug


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer mb-unknown"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode()},
        {"Authorization": "Digest x"},
        {"x-api-key": "\x00" * 10},
        {"Authorization": "Bearer mbi-forged:1:2"},
    ],
)
def test_wrong_or_missing_key_is_401_with_login_on(login_on, headers):
    make_project(slug="default")
    status, body = answer(endpoint, **headers)
    assert status == 401
    assert body["error"]["code"] == "invalid_api_key"


def test_revoked_key_is_401_and_says_so(login_off):
    project = make_project(slug="default")
    key = make_key(project)
    ApiKey.objects.update(revoked_at=timezone.now())
    status, body = answer(endpoint, Authorization=f"Bearer {key}")
    assert status == 401
    assert "was revoked" in body["error"]["message"]
    assert key not in body["error"]["message"]


@pytest.mark.parametrize(
    ("scopes", "method", "status"),
    [
        (("read",), "GET", 200),
        (("write",), "GET", 200),
        (("write",), "POST", 200),
        (("read",), "POST", 403),
        (("ingest",), "GET", 403),
        (("ingest",), "POST", 403),
    ],
)
def test_scope_decides(login_on, scopes, method, status):
    key = make_key(make_project(), scopes=scopes)
    assert answer(endpoint, method, Authorization=f"Bearer {key}")[0] == status


def test_ingest_needs_the_ingest_scope(login_on):
    project = make_project()
    assert answer(ingest, "POST", Authorization=f"Bearer {make_key(project, scopes=('ingest',))}")[0] == 200
    assert answer(ingest, "POST", Authorization=f"Bearer {make_key(project, scopes=('read', 'write'))}")[0] == 403


def test_use_of_a_key_is_noted_once_a_minute(login_on, django_assert_num_queries):
    key = make_key(make_project())
    request = factory.get("/v1/things", headers={"Authorization": f"Bearer {key}"})
    authenticate(request, Scope.READ)
    assert ApiKey.objects.get().last_used_at is not None
    with django_assert_num_queries(1):
        authenticate(request, Scope.READ)
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=5))
    with django_assert_num_queries(2):
        authenticate(request, Scope.READ)


def test_wrong_method_is_405_and_names_the_right_ones(login_off):
    response = call(ingest, "DELETE")
    assert response.status_code == 405
    assert response["Allow"] == "POST"


def test_internal_token_opens_one_project_and_is_known_as_ours(login_on):
    project = make_project()
    status, body = answer(endpoint, "POST", Authorization=f"Bearer {internal_token(project)}")
    assert (status, body) == (200, {"project": project.slug, "is_internal": True})
    project.delete()
    assert answer(endpoint, Authorization=f"Bearer {internal_token(make_project())}x")[0] == 401


def test_internal_token_of_a_deleted_project_is_401(login_on):
    project = make_project()
    token = internal_token(project)
    project.delete()
    assert answer(endpoint, Authorization=f"Bearer {token}")[0] == 401


# Without a key ---------------------------------------------------------------------------------------------------


def test_no_key_with_login_off_goes_to_the_default_or_the_named_project(login_off):
    make_project(slug="default")
    make_project(slug="other")
    assert answer(endpoint, "POST")[1]["project"] == "default"
    assert answer(endpoint, path="/v1/things?project=other")[1]["project"] == "other"
    assert answer(endpoint, **{"X-Markbook-Project": "other"})[1]["project"] == "other"


def test_key_of_another_product_is_passed_over_with_login_off(login_off):
    make_project(slug="default")
    assert answer(endpoint, Authorization="Bearer sk-something")[0] == 200
    assert answer(endpoint, Authorization="Bearer mb-not-known")[0] == 401


@pytest.mark.parametrize("name", ["nowhere", "a\x00b", "x" * 5000, "%00"])
def test_unknown_project_is_404_whatever_its_name_holds(login_off, name):
    from urllib.parse import quote

    make_project(slug="default")
    status, body = answer(endpoint, path=f"/v1/things?project={quote(name)}")
    assert status == 404
    assert body["error"]["param"] == "project"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_page_of_another_site_may_not_write_without_a_key(login_off, headers):
    project = make_project(slug="default")
    assert answer(endpoint, "POST", **headers)[0] == 403
    assert answer(endpoint, "POST", Authorization=f"Bearer {make_key(project)}", **headers)[0] == 200


def test_own_page_and_programs_may_write_without_a_key_with_login_off(login_off):
    make_project(slug="default")
    assert answer(endpoint, "POST", Origin="http://testserver", **{"Sec-Fetch-Site": "same-origin"})[0] == 200
    assert answer(endpoint, "POST")[0] == 200


def test_name_of_another_host_is_refused_before_any_view(client, login_off, settings):
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    assert client.get("/healthz", headers={"host": "rebound.example"}).status_code == 400
    assert client.get("/healthz", headers={"host": "127.0.0.1"}).status_code == 200


def test_signed_in_person_reads_their_own_projects_and_writes_with_a_key_only(login_on):
    mine, other = make_project(), make_project()
    user = make_user()
    Membership.objects.create(user=user, project=mine, role=Role.ADMIN)
    assert answer(endpoint, user=user, path=f"/api/things?project={mine.slug}")[0] == 200
    assert answer(endpoint, user=user, path=f"/api/things?project={other.slug}")[0] == 404
    assert answer(endpoint, "POST", user=user, path=f"/api/things?project={mine.slug}")[0] == 401


# Pages -----------------------------------------------------------------------------------------------------------


def page_request(user):
    request = factory.get("/p/x")
    request.user = user
    return request


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER])
def test_role_too_low_is_refused_and_both_roles_are_named(login_on, role):
    project, user = make_project(), make_user()
    Membership.objects.create(user=user, project=project, role=role)
    with pytest.raises(PermissionDenied, match=f"needs the role engineer; yours is {role.value}"):
        engineers_page(page_request(user), project_slug=project.slug)


@pytest.mark.parametrize("role", [Role.ENGINEER, Role.ADMIN])
def test_role_high_enough_sees_the_page(login_on, role):
    project, user = make_project(), make_user()
    Membership.objects.create(user=user, project=project, role=role)
    assert engineers_page(page_request(user), project_slug=project.slug).content == role.value.encode()


def test_project_of_others_is_404_like_one_that_is_not_there(login_on):
    project, user = make_project(), make_user()
    Membership.objects.create(user=user, project=make_project(), role=Role.ADMIN)
    said = []
    for slug in (project.slug, "nowhere"):
        with pytest.raises(Http404) as caught:
            engineers_page(page_request(user), project_slug=slug)
        said.append(str(caught.value).replace(slug, "…"))
    assert said[0] == said[1]


def test_with_login_off_everybody_is_admin_everywhere(login_off):
    project = make_project()
    assert role_in(AnonymousUser(), project) == Role.ADMIN
    assert visible_projects(AnonymousUser()) == [project]


def test_server_admin_is_admin_of_every_project(login_on):
    project = make_project()
    boss = make_user("boss", is_superuser=True)
    assert role_in(boss, project) == Role.ADMIN
    assert visible_projects(boss) == [project]
    assert visible_projects(make_user()) == []
    assert visible_projects(AnonymousUser()) == []
