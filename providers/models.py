"""Model endpoints, and the book of every call made to one."""

from django.db import models

from accounts.models import Project


class Provider(models.Model):
    """One OpenAI-compatible endpoint of a project. Its key is named by environment variable, or kept encrypted."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="providers")
    name = models.SlugField(max_length=60)
    base_url = models.URLField(max_length=500)
    api_key_env = models.CharField(max_length=120, blank=True)
    api_key_encrypted = models.TextField(blank=True)
    model_names = models.JSONField(default=list, help_text="Names or prefixes ending in *, for example gpt-4o or qwen*")
    concurrency = models.PositiveIntegerField(
        default=0, help_text="Calls in flight; 0 takes MARKBOOK_PROVIDER_CONCURRENCY"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="provider_name_once")]

    def __str__(self) -> str:
        return self.name


class ModelAlias(models.Model):
    """An old name of a model, such as one that exported evals ask for, and the model that answers in its place.

    One step only: `providers.registry.resolve` never looks the second name up again.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="model_aliases")
    old_name = models.CharField(max_length=200)
    model = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "old_name"], name="model_alias_once"),
            models.CheckConstraint(condition=~models.Q(old_name=models.F("model")), name="model_alias_of_another"),
        ]

    def __str__(self) -> str:
        return f"{self.old_name} → {self.model}"


class CallState(models.TextChoices):
    """Where a call stands. `unknown`: the caller was killed while it waited, so it may have been charged."""

    STARTED = "started"
    ANSWERED = "answered"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Call(models.Model):
    """One call to a provider, written as started before it is sent."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="calls")
    provider = models.CharField(max_length=60)
    model = models.CharField(max_length=200)
    purpose = models.CharField(max_length=20, help_text="generate, judge, test or proxy")
    job = models.CharField(max_length=60, blank=True, help_text="What it was made for, for example run:12")
    subject = models.CharField(max_length=80, blank=True, help_text="The unit of work, for example sample:345")
    worker = models.CharField(max_length=120, blank=True)
    state = models.CharField(max_length=10, choices=CallState.choices, default=CallState.STARTED)
    attempt = models.PositiveIntegerField(default=1)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cached_input_tokens = models.BigIntegerField(
        null=True, help_text="Those of the input tokens that came from a cache"
    )
    cost_usd = models.FloatField(null=True)
    error = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["project", "-started_at"], name="call_project_recent"),
            models.Index(fields=["job", "state"], name="call_job_state"),
            models.Index(fields=["subject"], name="call_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.state}"
