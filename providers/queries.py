"""Reads for the page of providers."""

import os
from dataclasses import dataclass, field

from django.conf import settings

from accounts.models import Project
from providers.forms import warning_for
from providers.models import ModelAlias, Provider
from providers.registry import (
    DEFAULT,
    SCRIPTED,
    Resolved,
    UnknownModel,
    has_default_provider,
    resolve,
    resolve_default,
    resolve_name,
    resolve_provider,
)
from providers.transports import scripted_models


@dataclass(frozen=True)
class ProviderRow:
    """A provider ready to render. `pk` is None for those that are not rows. `key` says in words where its key is."""

    name: str
    base_url: str
    models: list[str]
    key: str
    concurrency: int
    pk: int | None = None
    is_default: bool = False
    is_scripted: bool = False
    warning: str = ""
    problem: str = ""
    about: dict[str, str] = field(default_factory=dict)


def provider_rows(project: Project) -> list[ProviderRow]:
    """Return the project's providers by name, then the default one, then the scripted models."""
    rows = [row_of(provider) for provider in Provider.objects.filter(project=project).order_by("name")]
    if has_default_provider():
        key = "OPENAI_API_KEY" if settings.OPENAI_API_KEY else "none"
        warning = warning_for(settings.OPENAI_BASE_URL)
        rows.append(
            ProviderRow(
                DEFAULT,
                settings.OPENAI_BASE_URL,
                [],
                key,
                settings.PROVIDER_CONCURRENCY,
                is_default=True,
                warning=warning,
            )
        )
    scripted = scripted_models()
    rows.append(
        ProviderRow(
            SCRIPTED, "", list(scripted), "none", settings.PROVIDER_CONCURRENCY, is_scripted=True, about=scripted
        )
    )
    return rows


@dataclass(frozen=True)
class AliasRow:
    """An old name ready to render. `problem` says why its model cannot be asked."""

    pk: int
    old_name: str
    model: str
    provider: str
    is_scripted: bool
    problem: str = ""


def alias_rows(project: Project) -> list[AliasRow]:
    """Return the project's old names of models, in order of the name."""
    rows = []
    for alias in ModelAlias.objects.filter(project=project).order_by("old_name"):
        try:
            found = resolve_name(project, alias.model)
        except UnknownModel as error:
            rows.append(AliasRow(alias.pk, alias.old_name, alias.model, "", False, str(error)))
        else:
            rows.append(AliasRow(alias.pk, alias.old_name, alias.model, found.provider_name, found.is_scripted))
    return rows


def row_of(provider: Provider) -> ProviderRow:
    problem, key = "", "none"
    if provider.api_key_env:
        key = provider.api_key_env
        if not os.environ.get(provider.api_key_env):
            problem = f"The environment variable {provider.api_key_env} is not set. Set it and start the server again."
    elif provider.api_key_encrypted:
        key = "stored, encrypted"
        try:
            resolve_provider(provider, "")
        except UnknownModel as error:
            problem = str(error)
    return ProviderRow(
        provider.name,
        provider.base_url,
        [str(name) for name in provider.model_names],
        key,
        provider.concurrency or settings.PROVIDER_CONCURRENCY,
        pk=provider.pk,
        warning=warning_for(provider.base_url),
        problem=problem,
    )


def resolve_named(project: Project, name: str) -> tuple[Resolved, str] | None:
    """Return where a provider is reached, by its name, and a model of it to try; None where there is none of that name.

    Raises UnknownModel where its key cannot be had.
    """
    if name == SCRIPTED:
        model = next(iter(scripted_models()), "")
        return (resolve(project, model), model) if model else None
    if name == DEFAULT:
        return (resolve_default(""), settings.JUDGE_MODEL) if has_default_provider() else None
    provider = Provider.objects.filter(project=project, name=name).first()
    if provider is None:
        return None
    model = next((str(name) for name in provider.model_names if not str(name).endswith("*")), "")
    return resolve_provider(provider, model), model
