"""What good means: rubrics, their frozen versions, criteria and levels."""

from django.db import models

from accounts.models import Project, User


class Layer(models.TextChoices):
    """What a rubric or a criterion looks at."""

    OUTCOME = "outcome", "Outcome"
    TOOL_SELECTION = "tool_selection", "Tool selection"
    TOOL_ARGUMENTS = "tool_arguments", "Tool arguments"
    TRAJECTORY = "trajectory", "Trajectory"
    RECOVERY = "recovery", "Recovery"


class Mode(models.TextChoices):
    """Whether the output is judged alone, or against the item's reference."""

    DIRECT = "direct", "The output alone"
    ADHERENCE = "adherence", "Against the reference"


class Rubric(models.Model):
    """A written standard; what it says lies in its versions."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rubrics")
    slug = models.SlugField(max_length=60)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "slug"], name="rubric_slug_once")]

    def __str__(self) -> str:
        return self.name


class RubricVersion(models.Model):
    """One state of a rubric. A draft (at most one a rubric) can change; published or used, it is frozen for good."""

    rubric = models.ForeignKey(Rubric, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    mode = models.CharField(max_length=10, choices=Mode.choices, default=Mode.DIRECT)
    instructions = models.TextField(blank=True, help_text="What is judged, in the words of a reviewer")
    pass_threshold = models.FloatField(
        null=True, blank=True, help_text="A score at or above it passes; on the rubric's own scale"
    )
    note = models.CharField(max_length=300, blank=True, help_text="What changed, in a sentence")
    digest = models.CharField(max_length=64, blank=True)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    frozen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rubric", "number"], name="rubric_version_once"),
            models.UniqueConstraint(fields=["rubric"], condition=models.Q(frozen_at=None), name="rubric_one_draft"),
        ]

    def __str__(self) -> str:
        return f"{self.rubric} v{self.number}"

    @property
    def is_frozen(self) -> bool:
        return self.frozen_at is not None


class Criterion(models.Model):
    """One dimension of a rubric version, with a described scale. `key` stays the same across versions."""

    version = models.ForeignKey(RubricVersion, on_delete=models.CASCADE, related_name="criteria")
    key = models.SlugField(max_length=60)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    layer = models.CharField(max_length=20, choices=Layer.choices, default=Layer.OUTCOME)
    weight = models.FloatField(default=1.0)
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(fields=["version", "key"], name="criterion_key_once")]

    def __str__(self) -> str:
        return self.name


class Level(models.Model):
    """One described point of a criterion's scale."""

    criterion = models.ForeignKey(Criterion, on_delete=models.CASCADE, related_name="levels")
    value = models.FloatField()
    label = models.CharField(max_length=80)
    meaning = models.TextField(blank=True)
    example = models.TextField(blank=True)

    class Meta:
        ordering = ["value", "id"]
        constraints = [models.UniqueConstraint(fields=["criterion", "value"], name="level_value_once")]

    def __str__(self) -> str:
        return f"{self.value:g} {self.label}"
