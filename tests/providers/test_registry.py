import pytest

from providers.models import Provider
from providers.registry import UnknownModel, model_choices, resolve
from providers.secrets import encrypt

pytestmark = pytest.mark.django_db


@pytest.fixture
def no_default(settings):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "", "https://api.openai.com/v1"


def make_provider(project, name, models, **fields):
    return Provider.objects.create(
        project=project, name=name, base_url=f"http://{name}.example/v1", model_names=models, **fields
    )


def test_resolve_takes_the_exact_name_then_the_longest_prefix(project, no_default):
    make_provider(project, "all", ["*"])
    make_provider(project, "gpt", ["gpt-*"])
    make_provider(project, "mini", ["gpt-4o-mini", "gpt-4o*"])

    names = {model: resolve(project, model).provider_name for model in ("gpt-4o-mini", "gpt-4o-x", "gpt-3", "qwen")}

    assert names == {"gpt-4o-mini": "mini", "gpt-4o-x": "mini", "gpt-3": "gpt", "qwen": "all"}


def test_resolve_never_sees_providers_of_another_project(project, no_default):
    from tests.factories import make_project

    make_provider(make_project(), "theirs", ["*"])

    with pytest.raises(UnknownModel, match="No provider answers"):
        resolve(project, "gpt-4o")


def test_resolve_without_a_claim_takes_the_default_provider(project, settings):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "sk-default-123456", "http://127.0.0.1:1/v1/"

    found = resolve(project, "anything")

    assert (found.provider_name, found.base_url, found.api_key) == (
        "default",
        "http://127.0.0.1:1/v1",
        "sk-default-123456",
    )
    assert "sk-default" not in repr(found)


def test_resolve_with_an_unset_variable_names_it(project, no_default, monkeypatch):
    monkeypatch.delenv("OFFICE_API_KEY", raising=False)
    make_provider(project, "office", ["m"], api_key_env="OFFICE_API_KEY")

    with pytest.raises(UnknownModel, match="OFFICE_API_KEY, which is not set"):
        resolve(project, "m")
    monkeypatch.setenv("OFFICE_API_KEY", "abc")
    assert resolve(project, "m").api_key == "abc"


def test_resolve_after_a_change_of_the_secret_key_asks_for_the_key_again(project, no_default, settings):
    make_provider(project, "office", ["m"], api_key_encrypted=encrypt("sk-office-123456"))
    assert resolve(project, "m").api_key == "sk-office-123456"

    settings.SECRET_KEY = "another" * 8

    with pytest.raises(UnknownModel, match="Enter the provider's key again"):
        resolve(project, "m")


def test_stored_keys_are_not_readable_in_the_row(project):
    row = make_provider(project, "office", ["m"], api_key_encrypted=encrypt("sk-office-123456"))

    row.refresh_from_db()

    assert "office-123456" not in row.api_key_encrypted
    assert encrypt("sk-office-123456") != row.api_key_encrypted


def test_resolve_scripted_models_needs_no_provider_and_cannot_be_claimed(project, no_default):
    make_provider(project, "all", ["*"])

    assert resolve(project, "demo/careful").is_scripted
    with pytest.raises(UnknownModel, match="demo/careful"):
        resolve(project, "demo/unknown")


def test_model_choices_offer_names_and_scripted_models_but_no_prefixes(project, settings, no_default):
    settings.JUDGE_MODEL = "unreachable-judge"
    make_provider(project, "office", ["qwen-max", "qwen*"])

    choices = {choice.name: (choice.provider, choice.is_scripted) for choice in model_choices(project)}

    assert choices["qwen-max"] == ("office", False)
    assert choices["demo/judge"] == ("scripted", True)
    assert "qwen*" not in choices
    assert "unreachable-judge" not in choices
