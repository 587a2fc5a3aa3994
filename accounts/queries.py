"""Reads for the settings pages."""

from dataclasses import dataclass

from accounts.models import ApiKey, AuditEntry, Membership, Project, Role, User


@dataclass(frozen=True)
class SettingsPage:
    """Everything that the settings page of a project shows."""

    keys: list[ApiKey]
    revoked_keys: list[ApiKey]
    members: list[Membership]
    superusers: list[User]
    audit: list[AuditEntry]


def settings_page(project: Project) -> SettingsPage:
    """Read a project's keys, members and latest audit entries: five queries, whatever their number."""
    keys = list(ApiKey.objects.filter(project=project).select_related("created_by").order_by("-created_at")[:500])
    members = list(Membership.objects.filter(project=project).select_related("user").order_by("user__username"))
    return SettingsPage(
        keys=[key for key in keys if key.revoked_at is None],
        revoked_keys=[key for key in keys if key.revoked_at is not None],
        members=members,
        superusers=list(User.objects.filter(is_superuser=True, is_active=True).order_by("username")),
        audit=list(AuditEntry.objects.filter(project=project).select_related("user").order_by("-created_at")[:50]),
    )


def role_choices() -> list[tuple[str, str]]:
    """Return the roles with what each may do."""
    what = {
        Role.VIEWER: "reads everything",
        Role.REVIEWER: "also reviews and scores",
        Role.ENGINEER: "also runs comparisons, edits rubrics and datasets",
        Role.ADMIN: "also keys, providers and members",
    }
    return [(role.value, f"{role.label}: {what[role]}") for role in Role]
