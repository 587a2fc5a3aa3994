import pytest
from django.urls import reverse

from accounts.models import AuditEntry, Membership, Role, User
from providers.models import Call, Provider
from providers.secrets import decrypt

pytestmark = pytest.mark.django_db
KEY = "sk-secret-0123456789"
FIELDS = {
    "name": "office",
    "base_url": "https://models.example.com/v1/",
    "model_names": "gpt-4o\nqwen*\ngpt-4o",
    "key_source": "stored",
    "api_key": KEY,
    "api_key_env": "",
    "concurrency": "",
}


@pytest.fixture(autouse=True)
def no_default(settings):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "", "https://api.openai.com/v1"


def address(project, name="provider_list", *args):
    return reverse(f"providers:{name}", args=[project.slug, *args])


def add(client, project, **fields):
    return client.post(address(project, "provider_new"), {**FIELDS, **fields})


def errors(response) -> dict[str, list[str]]:
    assert response.status_code == 422
    return dict(response.context["form"].errors)


def test_add_provider_keeps_the_key_encrypted_and_never_shows_it(client, project):
    response = add(client, project)

    row = Provider.objects.get()
    assert response.status_code == 302
    assert (row.base_url, row.model_names) == ("https://models.example.com/v1", ["gpt-4o", "qwen*"])
    assert decrypt(row.api_key_encrypted) == KEY
    for page in (client.get(address(project)), client.get(address(project, "provider", row.pk))):
        assert page.status_code == 200
        assert KEY not in page.content.decode()
    assert KEY not in str(list(AuditEntry.objects.values()))
    assert AuditEntry.objects.get().action == "provider.create"


def test_a_refused_form_does_not_repeat_the_key(client, project):
    response = add(client, project, base_url="nonsense")

    assert "base_url" in errors(response)
    assert KEY not in response.content.decode()


def test_change_provider_without_a_key_keeps_the_stored_one(client, project):
    add(client, project)
    row = Provider.objects.get()

    client.post(address(project, "provider", row.pk), {**FIELDS, "api_key": "", "model_names": "gpt-4o-mini"})

    row.refresh_from_db()
    assert (decrypt(row.api_key_encrypted), row.model_names) == (KEY, ["gpt-4o-mini"])


def test_change_of_the_address_asks_for_the_key_again(client, project):
    add(client, project)
    row = Provider.objects.get()
    moved = {**FIELDS, "api_key": "", "base_url": "https://thief.example.com/v1"}

    found = errors(client.post(address(project, "provider", row.pk), moved))

    assert "Enter the key again" in found["api_key"][0]
    row.refresh_from_db()
    assert row.base_url == "https://models.example.com/v1"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.com", "starts with https://"),
        ("https://", "starts with https://"),
        ("https://user:pass@example.com/v1", "user name and password"),
        ("https://example.com/v1?key=abc", "spaces, ?"),
        ("https://example.com/v1/chat/completions", "up to /v1"),
        ("http://169.254.169.254/latest", "not that of a model server"),
        ("http://[::ffff:169.254.169.254]/v1", "not that of a model server"),
        ("http://2852039166/v1", "Write the address in the usual way"),
        ("http://[::1", "not an address"),
        ("https://example.com:99999/v1", "not an address"),
    ],
)
def test_add_provider_refuses_an_address_that_cannot_be_one(client, project, url, says):
    assert says in errors(add(client, project, base_url=url))["base_url"][0]
    assert not Provider.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "default", "always there"),
        ("name", "a b", "letters, digits"),
        ("model_names", "", "required"),
        ("model_names", "demo/careful", "scripted models"),
        ("model_names", "a*b", "at the end"),
        ("model_names", "x" * 201, "longer than 200"),
        ("api_key", "", "Enter the key"),
        ("api_key", "sk-with space", "no spaces"),
    ],
)
def test_add_provider_refuses_a_bad_field_and_says_why(client, project, field, value, says):
    assert says in errors(add(client, project, **{field: value}))[field][0]


def test_add_provider_refuses_a_name_that_is_taken(client, project):
    add(client, project)

    assert "already" in errors(add(client, project, name="Office"))["name"][0]


@pytest.mark.parametrize("name", ["MARKBOOK_SECRET_KEY", "DATABASE_URL", "AWS_SECRET_KEY", "", "PATH", "A B_KEY"])
def test_add_provider_refuses_variables_that_hold_no_provider_key(client, project, name):
    found = errors(add(client, project, key_source="env", api_key_env=name))

    assert "EXAMPLE_API_KEY" in found["api_key_env"][0]


def test_plain_http_to_another_machine_is_warned_about(client, project):
    add(client, project, base_url="http://gpu.example.com:8000/v1")
    add(client, project, name="here", base_url="http://127.0.0.1:8000/v1")

    page = client.get(address(project)).content.decode()

    assert page.count("travel unencrypted") == 1


def test_delete_provider_removes_the_key_and_leaves_its_calls(client, project):
    from django.utils import timezone

    add(client, project)
    Call.objects.create(project=project, provider="office", model="m", purpose="test", started_at=timezone.now())

    response = client.post(address(project, "delete_provider", Provider.objects.get().pk))

    assert response.status_code == 302
    assert (Provider.objects.count(), Call.objects.count()) == (0, 1)


def test_providers_of_another_project_are_not_there(client, project):
    from tests.factories import make_project

    other = make_project()
    row = Provider.objects.create(project=other, name="theirs", base_url="https://x.example/v1", model_names=["*"])

    assert "theirs" not in client.get(address(project)).content.decode()
    assert client.get(address(project, "provider", row.pk)).status_code == 404
    assert client.post(address(project, "delete_provider", row.pk)).status_code == 404
    assert client.post(address(project, "test_connection", "theirs")).status_code == 404


@pytest.mark.parametrize(
    ("role", "list_status", "form_status"), [("viewer", 403, 403), ("engineer", 200, 403), ("admin", 200, 200)]
)
def test_roles_decide_who_sees_and_who_changes(client, project, login_on, role, list_status, form_status):
    user = User.objects.create_user("ann", password="a-long-password")
    Membership.objects.create(user=user, project=project, role=Role(role))
    client.force_login(user)

    assert client.get(address(project)).status_code == list_status
    assert client.get(address(project, "provider_new")).status_code == form_status


def test_an_admin_of_a_project_cannot_name_variables_of_the_server(client, project, login_on):
    user = User.objects.create_user("ann", password="a-long-password")
    Membership.objects.create(user=user, project=project, role=Role.ADMIN)
    client.force_login(user)

    assert "key_source" in errors(add(client, project, key_source="env", api_key_env="OPENAI_API_KEY"))
    row = Provider.objects.create(
        project=project, name="env", base_url="https://a.example/v1", model_names=["*"], api_key_env="OPENAI_API_KEY"
    )
    moved = {
        **FIELDS,
        "name": "env",
        "base_url": "https://b.example/v1",
        "key_source": "env",
        "api_key_env": "OPENAI_API_KEY",
    }
    found = errors(client.post(address(project, "provider", row.pk), moved))
    assert "admin of the server" in found["api_key_env"][0]


def test_the_default_provider_and_scripted_models_are_shown_as_such(client, project, settings):
    settings.OPENAI_API_KEY = "sk-from-the-environment-123"

    page = client.get(address(project)).content.decode()

    assert "from the environment" in page
    assert "sk-from-the-environment-123" not in page
    assert '<span class="chip">scripted</span>' in page


def test_test_connection_lists_models_and_names_what_is_missing(client, project, provider_server):
    add(client, project, base_url=provider_server.base_url, model_names="echo\nother\nqwen*")

    page = client.post(address(project, "test_connection", "office"), headers={"HX-Request": "true"}).content.decode()

    assert "It answered in" in page
    assert "Not in its list" in page
    assert "other" in page
    assert "<html" not in page
    assert provider_server.call_count == 0


def test_test_connection_says_in_words_what_is_wrong(client, project, provider_server):
    provider_server.key = "the-right-one"
    add(client, project, base_url=provider_server.base_url)
    add(client, project, name="dead", base_url="http://127.0.0.1:9/v1")

    wrong = client.post(address(project, "test_connection", "office")).content.decode()
    dead = client.post(address(project, "test_connection", "dead")).content.decode()

    assert "Check its key" in wrong
    assert KEY not in wrong
    assert "cannot be reached" in dead
    assert "<html" in dead


def test_test_connection_reaches_the_scripted_models(client, project):
    page = client.post(address(project, "test_connection", "scripted"), headers={"HX-Request": "true"}).content.decode()

    assert "It lists 5 models" in page


def test_odd_text_is_escaped(client, project):
    Provider.objects.create(
        project=project, name="x", base_url="https://a.example/<script>alert(1)</script>", model_names=["<b>bold</b>"]
    )

    page = client.get(address(project)).content.decode()

    assert "<script>alert" not in page
    assert "<b>bold" not in page


def test_the_list_takes_the_same_queries_for_one_provider_as_for_many(client, project, django_assert_max_num_queries):
    for number in range(20):
        Provider.objects.create(project=project, name=f"p{number}", base_url="https://a.example/v1", model_names=["*"])

    with django_assert_max_num_queries(6):
        client.get(address(project))
