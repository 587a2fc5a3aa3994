"""Changes to a project's providers; each writes its audit entry in the same transaction, without the key."""

from django.db import transaction

from accounts.models import Project, User
from accounts.services import write_audit
from providers.models import ModelAlias, Provider
from providers.secrets import encrypt


@transaction.atomic
def save_provider(
    project: Project,
    *,
    provider: Provider | None = None,
    name: str,
    base_url: str,
    model_names: list[str],
    key_source: str = "none",
    api_key: str = "",
    api_key_env: str = "",
    concurrency: int | None = None,
    user: User | None = None,
) -> Provider:
    """Make or change a provider. `key_source` is stored, env or none; a stored key stays where `api_key` is empty."""
    row = provider or Provider(project=project)
    row.name, row.base_url, row.model_names, row.concurrency = name, base_url, model_names, concurrency or 0
    row.api_key_env = api_key_env if key_source == "env" else ""
    if key_source != "stored":
        row.api_key_encrypted = ""
    elif api_key:
        row.api_key_encrypted = encrypt(api_key)
    row.save()
    write_audit(
        "provider.change" if provider else "provider.create",
        name,
        project=project,
        user=user,
        base_url=base_url,
        models=model_names[:20],
        key=key_source,
        key_entered=bool(key_source == "stored" and api_key),
    )
    return row


@transaction.atomic
def delete_provider(provider: Provider, *, user: User | None = None) -> None:
    """Delete a provider with its key. Calls that were made to it stay in the book."""
    write_audit("provider.delete", provider.name, project=provider.project, user=user, base_url=provider.base_url)
    provider.delete()


@transaction.atomic
def save_alias(project: Project, *, old_name: str, model: str, user: User | None = None) -> ModelAlias:
    """Let a model answer wherever an old name is asked; an old name that is there already gets the new model."""
    row, is_new = ModelAlias.objects.update_or_create(project=project, old_name=old_name, defaults={"model": model})
    write_audit("alias.create" if is_new else "alias.change", old_name, project=project, user=user, model=model)
    return row


@transaction.atomic
def delete_alias(alias: ModelAlias, *, user: User | None = None) -> None:
    """Delete an old name. What ran under it keeps saying who answered."""
    write_audit("alias.delete", alias.old_name, project=alias.project, user=user, model=alias.model)
    alias.delete()
