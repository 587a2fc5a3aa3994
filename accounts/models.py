"""Who may do what: projects, members and their roles, API keys, the audit log."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A person who signs in. A superuser is an admin of every project."""


class LivingProjects(models.Manager["Project"]):
    """Projects that are not being deleted."""

    def get_queryset(self) -> models.QuerySet["Project"]:
        return super().get_queryset().filter(deleted_at=None)


class Project(models.Model):
    """Owns everything else: traces, rubrics, datasets, providers. Nothing of one project is visible in another.

    One that is deleted is hidden at once, under a slug of its own, and a worker takes its rows away in batches.
    """

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, help_text="Asked to be deleted; the worker is at it")

    objects = LivingProjects()
    every = models.Manager()  # noqa: DJ012  no field

    def __str__(self) -> str:
        return self.slug


class Role(models.TextChoices):
    """What a member may do; each role may do what the ones before it may."""

    VIEWER = "viewer", "Viewer"
    REVIEWER = "reviewer", "Reviewer"
    ENGINEER = "engineer", "Engineer"
    ADMIN = "admin", "Admin"

    def allows(self, needed: "Role") -> bool:
        """Say whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Membership(models.Model):
    """One person's role in one project."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "project"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} {self.role} in {self.project}"


class Scope(models.TextChoices):
    """What an API key may be used for."""

    INGEST = "ingest", "Send traces"
    READ = "read", "Read"
    WRITE = "write", "Read and change"


class ApiKey(models.Model):
    """A program's key to one project. Only its SHA-256 is kept; the text is shown once, when it is made."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.name})"

    def allows(self, scope: Scope) -> bool:
        """Say whether the key may be used for `scope`: write includes read."""
        return scope in self.scopes or (scope == Scope.READ and Scope.WRITE in self.scopes)


class SetupLink(models.Model):
    """A one-time link that makes the first admin. Only the SHA-256 of its token is kept."""

    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"setup link of {self.created_at:%Y-%m-%d}"


class SignInFailure(models.Model):
    """One wrong password. The name is kept as a digest: people type passwords into the wrong field."""

    name = models.CharField(max_length=64)
    address = models.CharField(max_length=64)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["name", "at"], name="failure_name_at"),
            models.Index(fields=["address", "at"], name="failure_address_at"),
        ]

    def __str__(self) -> str:
        return f"{self.address} {self.at:%Y-%m-%d %H:%M}"


class AuditEntry(models.Model):
    """Who changed what, and when. Never edited."""

    project = models.ForeignKey(Project, null=True, on_delete=models.SET_NULL, related_name="audit_entries")
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL)
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200)
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["project", "-created_at"], name="audit_project_recent")]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"
