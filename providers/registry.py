"""Which provider answers which model: the project's own rows first, then the default one from the environment.

An old name stands for another model where the project says so (`ModelAlias`); that is looked up first, and once.
"""

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from django.conf import settings

from accounts.models import Project
from providers.models import ModelAlias, Provider
from providers.secrets import UnreadableSecret, decrypt
from providers.transports import find_transport, scripted_models

if TYPE_CHECKING:
    import httpx2

OPENAI_URL = "https://api.openai.com/v1"
DEFAULT = "default"
SCRIPTED = "scripted"
RESERVED_NAMES = (DEFAULT, SCRIPTED)
SCRIPTED_PREFIX = "demo/"


class UnknownModel(ValueError):
    """No provider answers this model, or its provider cannot be used; the text says what to do."""


@dataclass(frozen=True)
class Resolved:
    """Where a model is asked. The key is left out of every printed form. `asked`: the old name that `model` stands in for, or empty."""

    provider_name: str
    base_url: str
    api_key: str = field(repr=False)
    model: str
    concurrency: int
    is_scripted: bool = False
    transport: "httpx2.AsyncBaseTransport | None" = field(default=None, repr=False)
    asked: str = ""


@dataclass(frozen=True)
class ModelChoice:
    """A model that a form can offer."""

    name: str
    provider: str
    is_scripted: bool
    about: str = ""


def is_scripted(model: str) -> bool:
    """Say whether a model is one of ours that answers by script."""
    return model.startswith(SCRIPTED_PREFIX)


def has_default_provider() -> bool:
    """Say whether the environment names a default provider: a key, or an endpoint that may need none."""
    return bool(settings.OPENAI_API_KEY) or settings.OPENAI_BASE_URL.rstrip("/") != OPENAI_URL


def match_length(pattern: str, model: str) -> int:
    """Return how well a name or prefix fits a model: 0 not at all, and an exact name before any prefix."""
    if pattern.endswith("*"):
        return len(pattern) if model.startswith(pattern[:-1]) else 0
    return len(pattern) + 10_000 if pattern == model else 0


def find_provider(project: Project, model: str) -> Provider | None:
    """Return the project's provider that claims a model: the longest match, the older provider where two are alike."""
    best: tuple[int, Provider | None] = (0, None)
    for provider in Provider.objects.filter(project=project).order_by("pk"):
        length = max((match_length(str(pattern), model) for pattern in provider.model_names), default=0)
        if length > best[0]:
            best = (length, provider)
    return best[1]


def aliases_of(project: Project) -> dict[str, str]:
    """Return the project's old names of models, each with the model that answers in its place."""
    return dict(ModelAlias.objects.filter(project=project).order_by("old_name").values_list("old_name", "model"))


def shown_model(asked: str, answering: str = "") -> str:
    """Return a model as people read it: `gpt-4o-old → demo/careful` where another one answers than was asked."""
    return f"{asked} → {answering}" if answering and answering != asked else asked


def resolve(project: Project, model: str) -> Resolved:
    """Return where a model is asked, or the one that answers in its place. Raises UnknownModel saying what to do."""
    if not model.isprintable():  # half characters and NUL are in no name, and no database takes them
        raise UnknownModel("The model's name holds characters that no name has.")
    answering = ModelAlias.objects.filter(project=project, old_name=model).values_list("model", flat=True).first()
    if answering is None:
        return resolve_name(project, model)
    try:
        return replace(resolve_name(project, answering), asked=model)
    except UnknownModel as error:
        raise UnknownModel(f'"{model}" stands for "{answering}" here. {error}') from None


def resolve_name(project: Project, model: str) -> Resolved:
    """Return where the model of exactly this name is asked. Raises UnknownModel."""
    entry = find_transport(model)
    if entry is not None:
        if model not in entry.models:
            raise UnknownModel(f'There is no scripted model "{model}"; there are {", ".join(sorted(entry.models))}.')
        route = entry.connect(project)
        return Resolved(
            SCRIPTED, route.base_url, route.api_key, model, settings.PROVIDER_CONCURRENCY, True, route.transport
        )
    provider = find_provider(project, model)
    if provider is not None:
        return resolve_provider(provider, model)
    if not model.strip():
        raise UnknownModel("No model was named.")
    if has_default_provider():
        return resolve_default(model)
    raise UnknownModel(
        f'No provider answers the model "{model}". Add one under Settings, Model providers, and give it this model name; '
        "or set OPENAI_API_KEY and start the server again."
    )


def resolve_default(model: str) -> Resolved:
    """Return the default provider of the environment, for a model."""
    return Resolved(
        DEFAULT, settings.OPENAI_BASE_URL.rstrip("/"), settings.OPENAI_API_KEY, model, settings.PROVIDER_CONCURRENCY
    )


def resolve_provider(provider: Provider, model: str) -> Resolved:
    """Return a provider's row ready for use. Raises UnknownModel where its key cannot be had."""
    key = ""
    if provider.api_key_env:
        key = os.environ.get(provider.api_key_env, "")
        if not key:
            raise UnknownModel(
                f'The key of the provider "{provider.name}" should be in the environment variable {provider.api_key_env}, '
                "which is not set. Set it and start the server again, or enter a key under Settings, Model providers."
            )
    elif provider.api_key_encrypted:
        try:
            key = decrypt(provider.api_key_encrypted)
        except UnreadableSecret as error:
            raise UnknownModel(f'Provider "{provider.name}": {error}') from None
    concurrency = provider.concurrency or settings.PROVIDER_CONCURRENCY
    return Resolved(provider.name, provider.base_url.rstrip("/"), key, model, concurrency)


def model_choices(project: Project) -> list[ModelChoice]:
    """Return the models that can be offered by name: the project's, the configured judge, the scripted ones, then old names."""
    found: dict[str, ModelChoice] = {}
    for provider in Provider.objects.filter(project=project).order_by("name"):
        for name in provider.model_names:
            if not str(name).endswith("*"):
                found.setdefault(str(name), ModelChoice(str(name), provider.name, False))
    judge = settings.JUDGE_MODEL
    if judge and not is_scripted(judge) and judge not in found:
        owner = find_provider(project, judge)
        if owner is not None or has_default_provider():
            found[judge] = ModelChoice(judge, owner.name if owner else DEFAULT, False)
    scripted = [ModelChoice(name, SCRIPTED, True, about) for name, about in scripted_models().items()]
    return [*found.values(), *scripted, *old_names(project, set(found))]


def old_names(project: Project, known: set[str]) -> list[ModelChoice]:
    """Return the old names that stand for a model which somebody answers."""
    choices = []
    for old_name, model in aliases_of(project).items():
        try:
            found = resolve_name(project, model)
        except UnknownModel:
            continue
        if old_name not in known:
            choices.append(ModelChoice(old_name, found.provider_name, found.is_scripted, f"Stands for {model}."))
    return choices
