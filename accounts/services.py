"""Changes to projects, members, keys and users; each writes its audit entry in the same transaction."""

import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import slugify

from accounts.access import DEFAULT_PROJECT, key_digest
from accounts.models import ApiKey, AuditEntry, Membership, Project, Role, Scope, SetupLink, SignInFailure, User

KEY_PREFIX = "mb-"
SETUP_HOURS = 24
THROTTLE_MINUTES = 15
# Wrong passwords within THROTTLE_MINUTES: from one address for one name, from one address, and for one name from anywhere.
LIMIT_PAIR, LIMIT_ADDRESS, LIMIT_NAME = 8, 40, 100


class AccountError(Exception):
    """A change that may not be made; the text says why and what to do."""


def write_audit(
    action: str, target: str, *, project: Project | None = None, user: User | None = None, **detail: Any
) -> None:
    """Keep who did what. Never give it a secret."""
    AuditEntry.objects.create(action=action, target=target[:200], project=project, user=user, detail=detail)


# Projects --------------------------------------------------------------------------------------------------------


def free_slug(name: str) -> str:
    """Return a slug for the name that no project has."""
    base = slugify(name)[:50].strip("-") or "project"
    taken = set(Project.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    return next(
        slug for slug in (base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))) if slug not in taken
    )


@transaction.atomic
def create_project(name: str, *, slug: str = "", user: User | None = None) -> Project:
    """Make a project; its maker becomes its admin. Raises AccountError for an empty name or a slug that is taken."""
    name = " ".join(name.split())
    if not name:
        raise AccountError("A project needs a name.")
    if slug and not re.fullmatch(r"[-a-zA-Z0-9_]{1,60}", slug):
        raise AccountError(f"The short name {slug!r} may hold letters, digits, - and _ only, at most 60.")
    try:
        with transaction.atomic():
            project = Project.objects.create(name=name[:120], slug=slug or free_slug(name))
    except IntegrityError:
        raise AccountError(f"There is a project {slug!r} already; choose another short name.") from None
    if user is not None:
        Membership.objects.create(user=user, project=project, role=Role.ADMIN)
    write_audit("project.create", project.slug, project=project, user=user)
    return project


@transaction.atomic
def rename_project(project: Project, name: str, *, user: User | None = None) -> Project:
    """Change the shown name; addresses keep the slug. Raises AccountError for an empty name."""
    name = " ".join(name.split())
    if not name:
        raise AccountError("A project needs a name.")
    write_audit("project.rename", project.slug, project=project, user=user, before=project.name, after=name[:120])
    project.name = name[:120]
    project.save(update_fields=["name"])
    return project


@transaction.atomic
def hide_project(project: Project, *, user: User | None = None, **loss: Any) -> None:
    """Hide a project that is to be deleted: its pages, keys and members are gone at once, and its slug is free."""
    write_audit("project.delete", project.slug, user=user, name=project.name, **loss)
    ApiKey.objects.filter(project=project).delete()
    Membership.objects.filter(project=project).delete()
    project.deleted_at = timezone.now()
    project.slug = f"deleted-{project.pk}"
    project.save(update_fields=["deleted_at", "slug"])


def ensure_project() -> None:
    """Make the project that keyless callers write to, where there is no project at all."""
    if not Project.objects.exists():
        create_project("Default", slug=DEFAULT_PROJECT)


# Keys ------------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_api_key(
    project: Project, *, name: str, scopes: Iterable[str] = (Scope.INGEST,), user: User | None = None
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and its text, which is not kept. Raises AccountError for an unknown or missing scope."""
    chosen = [str(scope) for scope in scopes]
    wrong = sorted(set(chosen) - set(Scope.values))
    if wrong or not chosen:
        raise AccountError(
            f"A key needs one or more of {', '.join(Scope.values)}" + (f", not {', '.join(wrong)}." if wrong else ".")
        )
    text = KEY_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        project=project,
        name=" ".join(name.split())[:80] or "key",
        prefix=text[:10],
        digest=key_digest(text),
        scopes=[scope for scope in Scope.values if scope in chosen],
        created_by=user,
    )
    write_audit("key.create", key.prefix, project=project, user=user, name=key.name, scopes=key.scopes)
    return key, text


@transaction.atomic
def revoke_api_key(key: ApiKey, *, user: User | None = None) -> None:
    """Stop a key from working, at once and for good. A second time changes nothing."""
    if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
        write_audit("key.revoke", key.prefix, project=key.project, user=user, name=key.name)


# Members ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def change_role(project: Project, member: User, role: Role | None, *, user: User | None = None) -> None:
    """Give a person a role in the project, or none (None removes them).

    Raises AccountError where the project would lose its last admin.
    """
    current = Membership.objects.select_for_update().filter(project=project, user=member).first()
    before = current.role if current else None
    if before == Role.ADMIN and role != Role.ADMIN:
        admins = Membership.objects.select_for_update().filter(project=project, role=Role.ADMIN, user__is_active=True)
        if len(admins) <= 1:
            raise AccountError(
                f"{member.username} is the only admin of {project.name}; make someone else an admin first."
            )
    if role is None:
        if current:
            current.delete()
    else:
        Membership.objects.update_or_create(project=project, user=member, defaults={"role": role})
    if before != role:
        write_audit("member.role", member.username, project=project, user=user, before=before, after=role)


# Setting up ------------------------------------------------------------------------------------------------------


def needs_setup() -> bool:
    """Say whether there is nobody who could sign in."""
    return not User.objects.filter(is_active=True).exists()


@transaction.atomic
def create_setup_link() -> str:
    """Make the token of a one-time link and withdraw earlier ones. Only its digest is kept."""
    SetupLink.objects.filter(used_at=None).delete()
    token = secrets.token_urlsafe(32)
    SetupLink.objects.create(digest=key_digest(token))
    return token


def find_setup_link(token: str) -> SetupLink | None:
    """Return the link of a token, or None where it was used, has run out, or somebody can sign in already."""
    oldest = timezone.now() - timedelta(hours=SETUP_HOURS)
    link = SetupLink.objects.filter(digest=key_digest(token), used_at=None, created_at__gt=oldest).first()
    return link if link and needs_setup() else None


@transaction.atomic
def use_setup_link(token: str, *, username: str, password: str) -> User:
    """Make the first admin. Raises AccountError where the link is not good any more."""
    link = find_setup_link(token)
    # The update decides between two people with the same link: only one of them finds it unused.
    if link is None or not SetupLink.objects.filter(pk=link.pk, used_at=None).update(used_at=timezone.now()):
        raise AccountError("This link was used or has run out; start the server again for a new one.")
    user = User.objects.create_superuser(username=username, password=password)
    write_audit("user.set_up", username, user=user)
    return user


@transaction.atomic
def add_user(username: str, password: str, *, is_superuser: bool = False) -> User:
    """Make a person who can sign in. Raises AccountError where the name is taken."""
    if User.objects.filter(username__iexact=username).exists():
        raise AccountError(f"There is a user {username!r} already.")
    user = User.objects.create_user(
        username=username, password=password, is_superuser=is_superuser, is_staff=is_superuser
    )
    write_audit("user.add", username, is_superuser=is_superuser)
    return user


# Signing in ------------------------------------------------------------------------------------------------------


def is_throttled(username: str, address: str) -> bool:
    """Say whether so many passwords were wrong lately that this sign-in is not even tried."""
    name = key_digest(username.lower())
    recent = SignInFailure.objects.filter(at__gt=timezone.now() - timedelta(minutes=THROTTLE_MINUTES))
    return (
        recent.filter(name=name, address=address).count() >= LIMIT_PAIR
        or recent.filter(address=address).count() >= LIMIT_ADDRESS
        or recent.filter(name=name).count() >= LIMIT_NAME
    )


def record_failure(username: str, address: str) -> None:
    """Keep that a password was wrong, and drop what is too old to count."""
    SignInFailure.objects.filter(at__lt=timezone.now() - timedelta(days=1)).delete()
    SignInFailure.objects.create(name=key_digest(username.lower()), address=address)


def forget_failures(username: str, address: str) -> None:
    """Clear the count of a person who has signed in."""
    SignInFailure.objects.filter(name=key_digest(username.lower()), address=address).delete()
