import asyncio

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse

from accounts.models import AuditEntry, Membership, Role, User
from providers.client import ModelClient
from providers.models import Call, ModelAlias, Provider
from providers.registry import UnknownModel, model_choices, resolve, shown_model
from tests.factories import make_project

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_default(settings):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "", "https://api.openai.com/v1"


@pytest.fixture
def office(project):
    return Provider.objects.create(
        project=project, name="office", base_url="http://office.example/v1", model_names=["gpt-new", "gpt-4o"]
    )


def add(client, project, old_name, model):
    return client.post(reverse("providers:add_alias", args=[project.slug]), {"old_name": old_name, "model": model})


def errors(response):
    assert response.status_code == 422
    return " ".join(message for messages in response.context["alias_form"].errors.values() for message in messages)


def test_resolve_asks_the_model_that_an_old_name_stands_for_and_keeps_what_was_asked(project, office):
    ModelAlias.objects.create(project=project, old_name="gpt-4o-2024-05-13", model="gpt-new")

    found = resolve(project, "gpt-4o-2024-05-13")

    assert (found.model, found.asked, found.provider_name) == ("gpt-new", "gpt-4o-2024-05-13", "office")
    assert resolve(project, "gpt-new").asked == ""


def test_resolve_follows_one_step_only_so_a_circle_written_by_hand_ends(project, office):
    ModelAlias.objects.create(project=project, old_name="gpt-4o", model="gpt-new")
    ModelAlias.objects.create(project=project, old_name="gpt-new", model="gpt-4o")

    assert resolve(project, "gpt-4o").model == "gpt-new"
    assert resolve(project, "gpt-new").model == "gpt-4o"


def test_resolve_of_an_old_name_whose_model_nobody_answers_names_both(project):
    ModelAlias.objects.create(project=project, old_name="gpt-4o-old", model="gone")

    with pytest.raises(UnknownModel, match=r'"gpt-4o-old" stands for "gone" here\. No provider answers'):
        resolve(project, "gpt-4o-old")


def test_an_old_name_of_another_project_is_not_known(project):
    ModelAlias.objects.create(project=make_project(), old_name="gpt-4o-old", model="demo/echo")

    with pytest.raises(UnknownModel):
        resolve(project, "gpt-4o-old")


def test_old_names_are_offered_where_their_model_is_answered(project, office):
    ModelAlias.objects.create(project=project, old_name="gpt-4o-old", model="demo/careful")
    ModelAlias.objects.create(project=project, old_name="gpt-5-old", model="gone")

    offered = {choice.name: choice for choice in model_choices(project)}

    assert offered["gpt-4o-old"].is_scripted
    assert offered["gpt-4o-old"].about == "Stands for demo/careful."
    assert "gpt-5-old" not in offered


def test_a_name_that_stands_for_itself_is_refused_by_the_database(project):
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelAlias.objects.create(project=project, old_name="gpt", model="gpt")


@pytest.mark.parametrize(
    ("asked", "answering", "shown"),
    [("old", "new", "old → new"), ("same", "same", "same"), ("plain", "", "plain")],
)
def test_shown_model_names_both_only_where_they_differ(asked, answering, shown):
    assert shown_model(asked, answering) == shown


@pytest.mark.django_db(transaction=True)
def test_chat_with_an_old_name_sends_the_new_one_and_says_who_answered(provider_server):
    project = make_project()
    Provider.objects.create(project=project, name="local", base_url=provider_server.base_url, model_names=["echo"])
    ModelAlias.objects.create(project=project, old_name="gpt-4o-old", model="echo")

    async def ask(model):
        client = ModelClient(project)
        try:
            return await client.chat(model=model, messages=[{"role": "user", "content": "hello"}])
        finally:
            await client.aclose()

    answer, plain = asyncio.run(ask("gpt-4o-old")), asyncio.run(ask("echo"))

    assert (answer.text, answer.answered_by, plain.answered_by) == ("hello", "echo", "")
    assert [call["model"] for call in provider_server.calls] == ["echo", "echo"]
    assert set(Call.objects.values_list("model", flat=True)) == {"echo"}


# The page --------------------------------------------------------------------------------------------------------


def test_add_an_old_name_keeps_it_shows_it_and_writes_the_audit_log(client, project):
    assert add(client, project, " gpt-4o-old ", "demo/careful").status_code == 302

    page = client.get(reverse("providers:provider_list", args=[project.slug])).content.decode()
    assert "gpt-4o-old" in page
    entry = AuditEntry.objects.get(action="alias.create")
    assert (entry.target, entry.detail) == ("gpt-4o-old", {"model": "demo/careful"})


def test_adding_an_old_name_again_changes_its_model(client, project, office):
    add(client, project, "gpt-4o-old", "demo/careful")
    add(client, project, "gpt-4o-old", "gpt-new")

    assert ModelAlias.objects.get().model == "gpt-new"
    assert AuditEntry.objects.filter(action="alias.change").count() == 1


@pytest.mark.parametrize(
    ("old_name", "model", "told"),
    [
        ("gpt-a", "gpt-4o-old", "is an old name itself; name “demo/careful”"),
        ("demo/careful", "gpt-new", "belong to the scripted models"),
        ("gpt-new", "gpt-4o", ""),
        ("gpt-4o", "gpt-4o", "the old name itself"),
        ("gpt-4o-x", "nobody-answers", "No provider answers"),
        ("has space", "gpt-4o", "no spaces"),
        ("gpt*", "gpt-4o", "no *"),
        ("", "gpt-4o", "required"),
    ],
)
def test_add_an_old_name_refuses_chains_circles_and_names_nobody_answers(
    client, project, office, old_name, model, told
):
    ModelAlias.objects.create(project=project, old_name="gpt-4o-old", model="demo/careful")

    response = add(client, project, old_name, model)

    if told:
        assert told in errors(response)
        assert ModelAlias.objects.count() == 1
    else:
        assert response.status_code == 302


def test_a_model_that_an_old_name_stands_for_cannot_become_an_old_name(client, project, office):
    add(client, project, "gpt-4o-old", "gpt-new")

    assert "“gpt-4o-old” stands for “gpt-new”" in errors(add(client, project, "gpt-new", "gpt-4o"))


def test_delete_an_old_name_writes_the_audit_log(client, project):
    add(client, project, "gpt-4o-old", "demo/careful")
    alias = ModelAlias.objects.get()

    response = client.post(reverse("providers:delete_alias", args=[project.slug, alias.pk]))

    assert response.status_code == 302
    assert not ModelAlias.objects.exists()
    assert AuditEntry.objects.filter(action="alias.delete", target="gpt-4o-old").exists()


def test_only_an_admin_of_the_project_changes_old_names(client, project, login_on):
    user = User.objects.create_user("eve", password="long-enough-1")
    Membership.objects.create(user=user, project=project, role=Role.ENGINEER)
    alias = ModelAlias.objects.create(project=project, old_name="gpt-4o-old", model="demo/careful")
    client.force_login(user)

    assert add(client, project, "gpt-x", "demo/careful").status_code == 403
    assert client.post(reverse("providers:delete_alias", args=[project.slug, alias.pk])).status_code == 403
    page = client.get(reverse("providers:provider_list", args=[project.slug])).content.decode()
    assert "gpt-4o-old" in page
    assert "Add the old name" not in page


def test_another_projects_old_name_cannot_be_deleted(client, project):
    alias = ModelAlias.objects.create(project=make_project(), old_name="theirs", model="demo/careful")

    assert client.post(reverse("providers:delete_alias", args=[project.slug, alias.pk])).status_code == 404
    assert ModelAlias.objects.exists()
