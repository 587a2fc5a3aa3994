"""How well it did: datasets, candidates, comparisons, runs, samples, graders and scores.

Every unit of work is a row with a state; the queue only says "look". A sample's work is leased to one worker at a time.
"""

import secrets

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Project, User
from rubrics.models import RubricVersion
from traces.models import Span, Trace


def eval_public_id() -> str:
    return "eval_" + secrets.token_hex(16)


def run_public_id() -> str:
    return "evalrun_" + secrets.token_hex(16)


def sample_public_id() -> str:
    return "outputitem_" + secrets.token_hex(16)


def file_public_id() -> str:
    return "file-" + secrets.token_hex(16)


# Datasets --------------------------------------------------------------------------------------------------------


class LivingDatasets(models.Manager["Dataset"]):
    """Datasets that are not being deleted."""

    def get_queryset(self) -> models.QuerySet["Dataset"]:
        return super().get_queryset().filter(deleted_at=None)


class Dataset(models.Model):
    """A set of cases. Its rows are valid from one revision to another; a used revision never changes.

    An implicit one holds the rows that a run brought along (`/v1/evals`): it is in no list, is known by the digest of its rows so
    that the same rows are kept once, and goes with the last run that used it. One that is deleted is hidden at once, under a slug of
    its own, and a worker takes its rows away.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="datasets")
    slug = models.SlugField(max_length=60)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    is_implicit = models.BooleanField(default=False)
    rows_digest = models.CharField(max_length=64, blank=True, help_text="Of an implicit dataset's rows")
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, help_text="Asked to be deleted; the worker is at it")

    objects = LivingDatasets()
    every = models.Manager()  # noqa: DJ012  no field

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "slug"], name="dataset_slug_once"),
            models.UniqueConstraint(
                fields=["project", "rows_digest"], condition=Q(is_implicit=True), name="dataset_rows_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class DatasetRevision(models.Model):
    """A frozen state of a dataset: the items valid at its number."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    item_count = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="revision_once")]

    def __str__(self) -> str:
        return f"{self.dataset} r{self.number}"


class Item(models.Model):
    """One case. `content` is what templates see as `item.*`; `key` stays the same across revisions.

    Usual names in `content`: `input` (text) or `messages` (a list, OpenAI form), `reference`, `tools`; any other is allowed.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="items")
    key = models.CharField(max_length=128)
    bucket = models.CharField(max_length=120, blank=True)
    content = models.JSONField()
    sample = models.JSONField(null=True, help_text="An answer that came with the case; what graders see as `sample.*`")
    digest = models.CharField(max_length=32)
    position = models.PositiveIntegerField(default=0)
    valid_from = models.PositiveIntegerField(help_text="First revision that holds it")
    valid_to = models.PositiveIntegerField(null=True, help_text="First revision that no longer does")
    source_trace = models.ForeignKey(Trace, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "key", "valid_from"], name="item_key_once"),
            models.UniqueConstraint(fields=["dataset", "key"], condition=Q(valid_to=None), name="item_current_once"),
        ]
        indexes = [models.Index(fields=["dataset", "valid_from", "position"], name="item_revision")]

    def __str__(self) -> str:
        return self.key


# Graders ---------------------------------------------------------------------------------------------------------


class Grader(models.Model):
    """Anything that scores, by name: a string check, code, a judge, a person, or an imported score."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="graders")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=20, help_text="A name in evals.graders.REGISTRY, or `imported`")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="grader_name_once")]

    def __str__(self) -> str:
        return self.name


class GraderVersion(models.Model):
    """A grader's frozen settings, known by their digest. The pinned judge model is part of it."""

    grader = models.ForeignKey(Grader, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    config = models.JSONField(default=dict)
    digest = models.CharField(max_length=64)
    rubric_version = models.ForeignKey(
        RubricVersion, null=True, on_delete=models.PROTECT, related_name="grader_versions"
    )
    scale_min = models.FloatField(default=0.0)
    scale_max = models.FloatField(default=1.0)
    pass_threshold = models.FloatField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["grader", "number"], name="grader_version_once"),
            models.UniqueConstraint(fields=["grader", "digest"], name="grader_digest_once"),
        ]

    def __str__(self) -> str:
        return f"{self.grader} v{self.number}"


class Eval(models.Model):
    """An item schema and graders, defined once."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="evals")
    public_id = models.CharField(max_length=80, default=eval_public_id)
    name = models.CharField(max_length=200)
    item_schema = models.JSONField(default=dict)
    metadata = models.JSONField(default=dict)
    source_config = models.JSONField(
        default=dict, help_text="data_source_config of /v1: type, metadata, …; empty: custom"
    )
    graders = models.ManyToManyField(GraderVersion, through="EvalGrader", related_name="evals")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "public_id"], name="eval_public_id_once")]
        indexes = [
            models.Index(fields=["project", "created_at", "id"], name="eval_created"),
            models.Index(fields=["project", "updated_at", "id"], name="eval_updated"),
        ]

    def __str__(self) -> str:
        return self.name


class EvalGrader(models.Model):
    """A grader version's place in an eval. A gate that fails spares the judges after it."""

    eval = models.ForeignKey(Eval, on_delete=models.CASCADE, related_name="eval_graders")
    grader_version = models.ForeignKey(GraderVersion, on_delete=models.PROTECT, related_name="eval_graders")
    position = models.PositiveIntegerField(default=0)
    is_gate = models.BooleanField(default=False)
    criterion_id = models.CharField(
        max_length=400, blank=True, help_text="The testing criterion's id; empty: made from its place"
    )
    criterion = models.JSONField(null=True, help_text="The testing criterion as it was sent to /v1")

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(fields=["eval", "grader_version"], name="eval_grader_once")]

    def __str__(self) -> str:
        return f"{self.grader_version} in {self.eval}"


# Comparisons, runs, samples --------------------------------------------------------------------------------------


class CandidateKind(models.TextChoices):
    """What a candidate does with an item."""

    MODEL = "model", "Asks a model"
    RECORDED = "recorded", "Scores what is stored"
    GIVEN = "given", "Scores what its rows bring along"
    NOTHING = "nothing", "Does nothing"


class Candidate(models.Model):
    """What is compared: model, prompt and sampling; or the recorded output; or the do-nothing floor. Never edited."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="candidates")
    kind = models.CharField(max_length=10, choices=CandidateKind.choices, default=CandidateKind.MODEL)
    label = models.CharField(max_length=120)
    model = models.CharField(max_length=200, blank=True)
    system_prompt = models.TextField(blank=True, help_text="Template; {{ item.x }}")
    user_template = models.TextField(blank=True, help_text="Template; empty: the item's messages, else its input")
    sampling = models.JSONField(default=dict, help_text="temperature, top_p, max_tokens, seed, tools, …")
    input_messages = models.JSONField(
        default=dict, blank=True, help_text="As sent to /v1; then the two templates are empty"
    )
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "digest", "label"], name="candidate_once")]

    def __str__(self) -> str:
        return self.label


class RunStatus(models.TextChoices):
    """Where a run or a comparison stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @classmethod
    def active(cls) -> list[str]:
        """Return the states in which a worker should look."""
        return [cls.QUEUED, cls.RUNNING]


class Comparison(models.Model):
    """A set of runs over one dataset revision, graded alike."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="comparisons")
    name = models.CharField(max_length=200)
    eval = models.ForeignKey(Eval, on_delete=models.PROTECT, related_name="comparisons")
    dataset_revision = models.ForeignKey(DatasetRevision, on_delete=models.PROTECT, related_name="comparisons")
    trials = models.PositiveIntegerField(default=1)
    ceiling_usd = models.FloatField(null=True, blank=True)
    stop_reason = models.TextField(blank=True)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["project", "-created_at", "id"], name="comparison_recent")]

    def __str__(self) -> str:
        return self.name


class Run(models.Model):
    """One candidate over one dataset revision, graded. `position` 0 is the baseline of its comparison (A, then B, C, …)."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    public_id = models.CharField(max_length=80, default=run_public_id)
    name = models.CharField(max_length=200)
    eval = models.ForeignKey(Eval, on_delete=models.PROTECT, related_name="runs")
    comparison = models.ForeignKey(Comparison, null=True, on_delete=models.CASCADE, related_name="runs")
    candidate = models.ForeignKey(Candidate, on_delete=models.PROTECT, related_name="runs")
    dataset_revision = models.ForeignKey(DatasetRevision, on_delete=models.PROTECT, related_name="runs")
    position = models.PositiveIntegerField(default=0)
    trials = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=10, choices=RunStatus.choices, default=RunStatus.QUEUED)
    status_reason = models.TextField(blank=True)
    error_code = models.CharField(max_length=40, blank=True, help_text="Of a failed run, for programs")
    metadata = models.JSONField(default=dict)
    data_source = models.JSONField(default=dict, help_text="As sent to /v1, without its rows; empty: made in the pages")
    aliases = models.JSONField(
        default=dict, help_text="Old model names that it asked, each with the model that answered"
    )
    imported = models.JSONField(
        null=True, help_text="What an imported run brought along; such a run is never worked on"
    )
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    resumed_at = models.DateTimeField(null=True, help_text="When it last went on after a pause or for another try")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "public_id"], name="run_public_id_once")]
        indexes = [
            models.Index(fields=["eval", "created_at", "id"], name="run_of_eval"),
            models.Index(fields=["status"], condition=Q(status__in=["queued", "running"]), name="run_active"),
        ]

    def __str__(self) -> str:
        return self.name


class SampleStatus(models.TextChoices):
    """Where a sample stands. `answered`: the answer is stored, grading is not done. A lease says who works on it."""

    PENDING = "pending"
    ANSWERED = "answered"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @classmethod
    def open(cls) -> list[str]:
        """Return the states that a worker can still move on."""
        return [cls.PENDING, cls.ANSWERED]


class Sample(models.Model):
    """One attempt of one candidate at one item; `trial` numbers the attempts from 1."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="samples")
    public_id = models.CharField(max_length=80, default=sample_public_id)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="samples")
    item = models.ForeignKey(Item, on_delete=models.PROTECT, related_name="samples")
    trial = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=10, choices=SampleStatus.choices, default=SampleStatus.PENDING)
    leased_by = models.CharField(max_length=120, blank=True)
    leased_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    trace = models.ForeignKey(Trace, null=True, on_delete=models.SET_NULL, related_name="samples")
    output_text = models.TextField(blank=True)
    output = models.JSONField(null=True, help_text="The answering message, OpenAI form, with finish reason")
    error = models.TextField(blank=True)
    duration_ms = models.FloatField(null=True)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cost_usd = models.FloatField(null=True)
    imported = models.JSONField(null=True, help_text="The output item of an imported run as received, without its row")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "item", "trial"], name="sample_once"),
            models.UniqueConstraint(fields=["project", "public_id"], name="sample_public_id_once"),
        ]
        indexes = [
            models.Index(fields=["run", "status", "leased_until", "id"], name="sample_claim"),
            models.Index(fields=["run", "finished_at", "id"], name="sample_finished"),
        ]

    def __str__(self) -> str:
        return f"{self.item} #{self.trial}"


# Scores ----------------------------------------------------------------------------------------------------------


class ScoreState(models.TextChoices):
    """`failed`: the grader broke, says why. `skipped`: the trace lacks what the grader needs, says what."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class RaterKind(models.TextChoices):
    """Who gave a score."""

    CODE = "code"
    JUDGE = "judge"
    PERSON = "person"
    IMPORTED = "imported"


class Score(models.Model):
    """One rater's verdict, by one frozen grader version, on one target. Never overwritten: the latest attempt is current.

    `criterion` is empty for the overall score and a criterion's key for a part of a rubric. A null value means that no
    verdict was reached: `state` and `reason` say why.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="scores")
    trace = models.ForeignKey(Trace, null=True, on_delete=models.CASCADE, related_name="scores")
    span = models.ForeignKey(Span, null=True, on_delete=models.CASCADE, related_name="scores")
    other_trace = models.ForeignKey(
        Trace, null=True, on_delete=models.CASCADE, related_name="+", help_text="Second of an ordered pair"
    )
    session_id = models.CharField(max_length=200, blank=True)
    target = models.CharField(max_length=250, help_text="The target as one text, e.g. trace:12, for the constraints")
    sample = models.ForeignKey(Sample, null=True, on_delete=models.CASCADE, related_name="scores")
    run = models.ForeignKey(Run, null=True, on_delete=models.CASCADE, related_name="scores")
    grader_version = models.ForeignKey(GraderVersion, on_delete=models.PROTECT, related_name="scores")
    criterion = models.CharField(max_length=60, blank=True)
    rater_kind = models.CharField(max_length=10, choices=RaterKind.choices)
    rater = models.CharField(max_length=200, help_text="code, a judge model, a user's name, or an imported name")
    answered_by = models.CharField(
        max_length=200, blank=True, help_text="The model that answered where the rater is an old name"
    )
    repeat = models.PositiveIntegerField(default=1)
    attempt = models.PositiveIntegerField(default=1)
    input_digest = models.CharField(max_length=32, blank=True)
    is_current = models.BooleanField(default=True)
    state = models.CharField(max_length=8, choices=ScoreState.choices, default=ScoreState.OK)
    value = models.FloatField(null=True)
    label = models.CharField(max_length=120, blank=True)
    passed = models.BooleanField(null=True)
    explanation = models.TextField(blank=True)
    evidence = models.JSONField(default=list, help_text='[{"quote", "span_id" or null, "found"}]')
    reason = models.TextField(blank=True, help_text="Why there is no value")
    problem = models.CharField(max_length=30, blank=True, help_text="The sort of reason, for programs")
    call = models.JSONField(null=True, help_text="What was asked of a judge and what it said, where that is kept")
    duration_ms = models.FloatField(null=True)
    cost_usd = models.FloatField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "target",
                    "project",
                    "grader_version",
                    "criterion",
                    "rater",
                    "repeat",
                    "input_digest",
                    "attempt",
                ],
                name="score_once",
            ),
            models.UniqueConstraint(
                fields=["target", "project", "grader_version", "criterion", "rater", "repeat"],
                condition=Q(is_current=True),
                name="score_current_once",
            ),
            models.CheckConstraint(condition=Q(state="ok") | Q(value=None), name="score_value_only_when_ok"),
        ]
        indexes = [
            models.Index(fields=["run", "grader_version", "is_current"], name="score_run"),
            models.Index(fields=["project", "grader_version", "value"], name="score_grader_value"),
            models.Index(fields=["grader_version", "input_digest"], name="score_input"),
        ]

    def __str__(self) -> str:
        return f"{self.grader_version} {self.value}"


# Files of /v1 ----------------------------------------------------------------------------------------------------


class File(models.Model):
    """A file that a program uploaded. Its bytes are rows, so that every worker and every backup has them."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="files")
    public_id = models.CharField(max_length=80, default=file_public_id)
    filename = models.CharField(max_length=300)
    purpose = models.CharField(max_length=40)
    byte_count = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "public_id"], name="file_public_id_once")]
        indexes = [models.Index(fields=["project", "created_at", "id"], name="file_created")]

    def __str__(self) -> str:
        return self.filename


class FileChunk(models.Model):
    """A piece of a file, in order of `number` from 0."""

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["file", "number"], name="file_chunk_once")]

    def __str__(self) -> str:
        return f"{self.file} {self.number}"


class Grading(models.Model):
    """A grading of all recorded runs that a query finds, by one frozen version. `place` is the key of the page reached."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="gradings")
    query = models.TextField(blank=True)
    grader_version = models.ForeignKey(GraderVersion, on_delete=models.CASCADE, related_name="gradings")
    asked = models.PositiveIntegerField(help_text="Runs that matched when it was asked for")
    last_trace = models.BigIntegerField(help_text="The newest run of which it is")
    status = models.CharField(max_length=10, choices=RunStatus.choices, default=RunStatus.QUEUED)
    status_reason = models.TextField(blank=True)
    looked_at = models.PositiveIntegerField(default=0)
    added = models.PositiveIntegerField(default=0, help_text="Scores that were not there before")
    place = models.CharField(max_length=200, blank=True)
    leased_by = models.CharField(max_length=120, blank=True)
    leased_until = models.DateTimeField(null=True)
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["status"], condition=Q(status__in=["queued", "running"]), name="grading_active")
        ]

    def __str__(self) -> str:
        return f"{self.grader_version} over {self.asked} runs"
