"""What an agent did: traces, spans, and message bodies kept once.

Light and heavy are apart: `Trace` and `Span` are all that lists, trees and timelines load; payloads lie in
`SpanPayload` and `Body`. The rows are written by `services.ingest_spans` only, in bulk.
"""

from django.db import models
from django.db.models import Q

from accounts.models import Project, User

MAX_ID = 128  # characters of a trace or span id


class Kind(models.TextChoices):
    """What a span is."""

    AGENT = "agent"
    LLM = "llm"
    TOOL = "tool"
    RETRIEVER = "retriever"
    EMBEDDING = "embedding"
    RERANKER = "reranker"
    GUARDRAIL = "guardrail"
    EVALUATOR = "evaluator"
    PROMPT = "prompt"
    CHAIN = "chain"
    HANDOFF = "handoff"
    EVENT = "event"
    UNKNOWN = "unknown"


class Status(models.TextChoices):
    """How a span or a trace ended. A trace's status is that of its root; failed spans are counted beside it."""

    OK = "ok"
    ERROR = "error"
    UNSET = "unset"


class Source(models.TextChoices):
    """How a trace came in."""

    INGEST = "ingest"
    IMPORT = "import"
    EVAL = "eval"
    PROXY = "proxy"


class Trace(models.Model):
    """The summary of one run, kept right in the same transaction as its spans.

    Times are integer nanoseconds since 1970, null where the source gave none; `sort_ns` (start, else arrival) orders lists.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="traces", db_index=False)
    trace_id = models.CharField(max_length=MAX_ID)
    name = models.CharField(max_length=500)
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.INGEST)
    status = models.CharField(max_length=5, choices=Status.choices, default=Status.UNSET)
    start_ns = models.BigIntegerField(null=True)
    end_ns = models.BigIntegerField(null=True)
    sort_ns = models.BigIntegerField()
    duration_ms = models.FloatField(null=True)
    received_at = models.DateTimeField()

    agent_id = models.CharField(max_length=200, blank=True)
    agent_name = models.CharField(max_length=200, blank=True)
    session_id = models.CharField(max_length=200, blank=True)
    user_id = models.CharField(max_length=200, blank=True)
    task = models.CharField(max_length=200, blank=True)
    environment = models.CharField(max_length=200, blank=True)
    release = models.CharField(max_length=200, blank=True)
    version = models.CharField(max_length=200, blank=True)
    workflow_name = models.CharField(max_length=200, blank=True)
    prompt_name = models.CharField(max_length=200, blank=True)
    prompt_version = models.CharField(max_length=200, blank=True)
    session_ids = models.JSONField(default=list)
    model_names = models.JSONField(default=list)
    tags = models.JSONField(default=list)
    metadata = models.JSONField(default=dict)

    root_span_id = models.CharField(max_length=MAX_ID, blank=True)
    missing_root = models.BooleanField(default=False)
    span_count = models.PositiveIntegerField(default=0)
    error_count = models.PositiveIntegerField(default=0)
    llm_call_count = models.PositiveIntegerField(default=0)
    tool_call_count = models.PositiveIntegerField(default=0)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cached_input_tokens = models.BigIntegerField(null=True)
    cache_write_tokens = models.BigIntegerField(null=True)
    reasoning_tokens = models.BigIntegerField(null=True)
    total_tokens = models.BigIntegerField(null=True)
    cost_usd = models.FloatField(null=True)
    cost_source = models.CharField(max_length=6, blank=True, help_text="sent, priced, or empty where unknown")
    usage_count = models.PositiveIntegerField(default=0, help_text="Spans in the totals; 0: they are the root's own")
    input_preview = models.CharField(max_length=500, blank=True)
    output_preview = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "trace_id"], name="trace_id_once")]
        indexes = [
            models.Index(fields=["project", "id"], name="trace_newest"),
            models.Index(fields=["project", "sort_ns", "id"], name="trace_recent"),
            models.Index(fields=["project", "duration_ms", "id"], name="trace_duration"),
            models.Index(fields=["project", "total_tokens", "id"], name="trace_tokens"),
            models.Index(fields=["project", "cost_usd", "id"], name="trace_cost"),
            models.Index(fields=["project", "span_count", "id"], name="trace_spans"),
            models.Index(fields=["project", "status", "sort_ns", "id"], name="trace_status"),
            models.Index(fields=["project", "agent_name", "sort_ns", "id"], name="trace_agent"),
            models.Index(fields=["project", "session_id", "sort_ns", "id"], name="trace_session"),
            models.Index(fields=["project", "user_id", "sort_ns", "id"], name="trace_user"),
            models.Index(fields=["project", "environment", "sort_ns", "id"], name="trace_environment"),
            models.Index(fields=["project", "task", "sort_ns", "id"], name="trace_task"),
            models.Index(fields=["project", "sort_ns", "id"], condition=Q(error_count__gt=0), name="trace_failed"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.trace_id}"


class TraceCount(models.Model):
    """How many traces of a project start in an hour, by status: for figures over any number of traces.

    Kept by the database itself (`traces.count_schema`), in the transaction that changes a trace. On PostgreSQL an hour may have several
    rows, which are summed up: writers add rows and wait for nobody.
    """

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    hour = models.BigIntegerField(help_text="Hours since 1970 of `Trace.sort_ns`")
    status = models.CharField(max_length=5)
    count = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["project", "hour", "status"], name="trace_count_hour")]

    def __str__(self) -> str:
        return f"{self.count} traces in hour {self.hour}"


class TraceState(models.Model):
    """What keeps a trace's summary right as spans come in any order: see `traces.summary`. Read by `services` only."""

    trace = models.OneToOneField(Trace, on_delete=models.CASCADE, primary_key=True, related_name="state")
    content = models.BinaryField()

    def __str__(self) -> str:
        return f"state of trace {self.pk}"


class TraceTerm(models.Model):
    """One filterable word of a trace where a trace may have several: key is `model`, `tool`, `tag`, `session` or `meta.<name>`."""

    trace = models.ForeignKey(
        Trace, on_delete=models.CASCADE, related_name="terms", db_index=False, db_constraint=False
    )
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    key = models.CharField(max_length=100)
    value = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["trace", "key", "value"], name="trace_term_once")]
        indexes = [models.Index(fields=["project", "key", "value", "trace"], name="trace_term_lookup")]

    def __str__(self) -> str:
        return f"{self.key}:{self.value}"


class Span(models.Model):
    """One timed part of a trace, without its payload. Times as in `Trace`; `position` orders spans that have none."""

    trace = models.ForeignKey(
        Trace, on_delete=models.CASCADE, related_name="spans", db_index=False, db_constraint=False
    )
    span_id = models.CharField(max_length=MAX_ID)
    parent_span_id = models.CharField(max_length=MAX_ID, blank=True)
    name = models.CharField(max_length=500)
    display_name = models.CharField(max_length=500, blank=True)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.UNKNOWN)
    start_ns = models.BigIntegerField(null=True)
    end_ns = models.BigIntegerField(null=True, help_text="Null: not ended yet, or not timed")
    position = models.IntegerField(default=0)
    status = models.CharField(max_length=5, choices=Status.choices, default=Status.UNSET)
    status_message = models.CharField(max_length=500, blank=True, help_text="First line of the error's text")
    error_type = models.CharField(max_length=200, blank=True)
    model = models.CharField(max_length=200, blank=True)
    provider = models.CharField(max_length=100, blank=True)
    tool_name = models.CharField(max_length=200, blank=True)
    agent_id = models.CharField(max_length=200, blank=True)
    agent_name = models.CharField(max_length=200, blank=True)
    session_id = models.CharField(max_length=200, blank=True)
    user_id = models.CharField(max_length=200, blank=True)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cached_input_tokens = models.BigIntegerField(null=True)
    cache_write_tokens = models.BigIntegerField(null=True)
    reasoning_tokens = models.BigIntegerField(null=True)
    cost_usd = models.FloatField(null=True)
    cost_source = models.CharField(max_length=6, blank=True)
    has_usage_below = models.BooleanField(default=False, help_text="It, or a span below it, is a model call with usage")
    counts_usage = models.BooleanField(default=False, help_text="Its tokens and cost are part of the trace's totals")
    digest = models.BinaryField(max_length=16, help_text="Of the span as normalised: the same again is a no-op")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["trace", "span_id"], name="span_id_once")]
        indexes = [
            models.Index(
                fields=["trace", "parent_span_id"], condition=Q(has_usage_below=True), name="span_usage_child"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.span_id}"


class Body(models.Model):
    """A message, a list of tool definitions, or a resource with its scope: stored once per project, by digest.

    `content` is JSON in UTF-8 bytes, so that any text, NUL included, is the same on SQLite and PostgreSQL.
    """

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    digest = models.BinaryField(max_length=16)
    kind = models.CharField(max_length=8, help_text="message, tools or origin")
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "digest"], name="body_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class MessageNode(models.Model):
    """A message at its place in a thread: a prefix tree, so that a turn costs only the messages that it adds.

    `digest` is chained: that of the parent's digest and the message's. `depth` counts messages from the thread's start, from 1.
    """

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    digest = models.BinaryField(max_length=16)
    parent = models.ForeignKey(
        "self", null=True, on_delete=models.CASCADE, related_name="children", db_index=False, db_constraint=False
    )
    body = models.ForeignKey(Body, on_delete=models.PROTECT, related_name="nodes", db_constraint=False)
    depth = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "digest"], name="message_node_once")]
        # Deleting a node or a body looks for what still points at it; partial indexes spare the rows that point nowhere.
        indexes = [models.Index(fields=["parent"], condition=Q(parent__isnull=False), name="message_node_parent")]

    def __str__(self) -> str:
        return f"message {self.depth}"


class SpanPayload(models.Model):
    """The heavy part of a span. `content` is JSON bytes, see `traces.spans.SpanRecord`.

    `input_node` is the last message of the input; `output_node` continues it with the answer's messages.
    """

    span = models.OneToOneField(
        Span, on_delete=models.CASCADE, primary_key=True, related_name="payload", db_constraint=False
    )
    content = models.BinaryField()
    origin = models.ForeignKey(
        Body, null=True, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    tools = models.ForeignKey(
        Body, null=True, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    input_node = models.ForeignKey(
        MessageNode, null=True, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    output_node = models.ForeignKey(
        MessageNode, null=True, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )

    class Meta:
        indexes = [
            models.Index(fields=[name], condition=Q(**{f"{name}__isnull": False}), name=f"span_payload_{name}")
            for name in ("origin", "tools", "input_node", "output_node")
        ]

    def __str__(self) -> str:
        return f"payload of span {self.pk}"


class LogRecord(models.Model):
    """A log record that belongs to a span; it may come before the span or after it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    trace_id = models.CharField(max_length=MAX_ID)
    span_id = models.CharField(max_length=MAX_ID)
    digest = models.BinaryField(max_length=16)
    time_ns = models.BigIntegerField(null=True)
    content = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "trace_id", "span_id", "digest"], name="log_record_once")
        ]

    def __str__(self) -> str:
        return f"log of {self.trace_id}/{self.span_id}"


class TraceItem(models.Model):
    """What an agent SDK says of a whole trace, apart from its spans; it may come before them or after them."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    trace_id = models.CharField(max_length=MAX_ID)
    content = models.BinaryField(help_text="JSON: workflow_name, group_id, metadata")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "trace_id"], name="trace_item_once")]

    def __str__(self) -> str:
        return f"item of {self.trace_id}"


class ProxiedResponse(models.Model):
    """A response by its id: where its proxied call was recorded, and which span of an agent SDK names it.

    Whichever comes first waits for the other; see `traces.responses`. Empty ids: not known yet, or not any more.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    response_id = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    proxied_trace_id = models.CharField(max_length=MAX_ID, blank=True)
    proxied_span_id = models.CharField(max_length=MAX_ID, blank=True)
    agent_trace_id = models.CharField(max_length=MAX_ID, blank=True)
    agent_span_id = models.CharField(max_length=MAX_ID, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "response_id"], name="proxied_response_once")]

    def __str__(self) -> str:
        return self.response_id


# What follows a trace: signals, and what people say of it ---------------------------------------------------------


class SignalCheck(models.Model):
    """Whether a trace is to be looked at for signals, and what the last look could not see. See `traces.signal_rows`.

    `changes` counts the writes to the trace, so that a look that was overtaken does not count as done.
    """

    trace = models.OneToOneField(Trace, on_delete=models.CASCADE, primary_key=True, related_name="signal_check")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    is_pending = models.BooleanField(default=True)
    due_at = models.DateTimeField()
    changed_at = models.DateTimeField(null=True, help_text="Null: before this was kept")
    changes = models.IntegerField(default=1)
    version = models.IntegerField(default=0, help_text="Of the detectors that looked last; 0: none did")
    took_ms = models.IntegerField(default=0)
    blind = models.JSONField(default=dict, help_text="Detector -> why the trace cannot show it")

    class Meta:
        indexes = [models.Index(fields=["due_at"], condition=Q(is_pending=True), name="signal_check_due")]

    def __str__(self) -> str:
        return f"check of trace {self.pk}"


class Signal(models.Model):
    """A suspicion that a run failed silently: where, why, and which detector says so. Never an error by itself."""

    trace = models.ForeignKey(Trace, on_delete=models.CASCADE, related_name="signals")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    detector = models.CharField(max_length=40)
    version = models.IntegerField()
    span_id = models.CharField(max_length=MAX_ID)
    other_span_ids = models.JSONField(default=list)
    reason = models.CharField(max_length=500)

    def __str__(self) -> str:
        return f"{self.detector} at {self.span_id}"


class Note(models.Model):
    """What a person wrote of a trace, or of one span of it (`span_id`, else empty). By author and time; never changed."""

    trace = models.ForeignKey(Trace, on_delete=models.CASCADE, related_name="notes")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    span_id = models.CharField(max_length=MAX_ID, blank=True)
    text = models.TextField()
    author = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.text[:60]


class PersonTag(models.Model):
    """A tag that a person gave a trace, or one span of it. Those that came with the trace are in `Trace.tags`."""

    trace = models.ForeignKey(Trace, on_delete=models.CASCADE, related_name="person_tags", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    span_id = models.CharField(max_length=MAX_ID, blank=True)
    tag = models.CharField(max_length=60)
    author = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["trace", "span_id", "tag"], name="person_tag_once")]

    def __str__(self) -> str:
        return self.tag


class AskedDeletion(models.Model):
    """A deletion that somebody asked for and that is not done: see `traces.asked_deletions`. `last_trace` is the newest that goes."""

    class Kind(models.TextChoices):
        """What goes; the values are words of the audit log."""

        TRACE = "trace"
        SESSION = "session"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    name = models.CharField(max_length=200, help_text="The id of the trace or the session")
    last_trace = models.BigIntegerField()
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    asked_at = models.DateTimeField(auto_now_add=True)
    taken_at = models.DateTimeField(null=True, help_text="When somebody was last at it; null: nobody yet")

    class Meta:
        indexes = [models.Index(fields=["project", "kind", "name"], name="asked_deletion_of")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class SavedView(models.Model):
    """A view of the traces list under a name: the words of its address, never what they compile to, so that it outlives both.

    Without an owner (login off) everybody sees it; a shared one is seen by the whole project.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=80)
    query = models.CharField(max_length=2000, blank=True)
    time_range = models.CharField(max_length=20, blank=True)
    sort = models.CharField(max_length=40, blank=True)
    columns = models.JSONField(default=list, help_text="Names of columns; empty: the usual ones")
    owner = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "owner", "name"], name="saved_view_once")]

    def __str__(self) -> str:
        return self.name


class ReadingSettings(models.Model):
    """How a project's runs are told and watched: the words of the story per tool, and the budgets of a run."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="reading_settings")
    wording = models.JSONField(default=dict, help_text="Tool -> sentence with {places}")
    budgets = models.JSONField(default=dict, help_text="Figure of a trace -> the most that a run may take")
    changed_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"reading of {self.project_id}"


class SearchPending(models.Model):
    """A trace whose text changed and is not in the search index yet; a trace may stand here more than once."""

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    trace = models.ForeignKey(Trace, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    since_ns = models.BigIntegerField(help_text="When it changed")

    def __str__(self) -> str:
        return f"trace {self.trace_id} to be indexed"


class SearchText(models.Model):
    """A text in the search index: a message body, or what a trace says outside its messages; long ones in several parts.

    Its tokens lie in a column `tokens` (tsvector) on PostgreSQL, in the FTS5 table `traces_searchindex` on SQLite, under the same key.
    The database itself removes it with its body or its trace: see `traces.text_schema`.
    """

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    body = models.ForeignKey(
        Body, null=True, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    trace = models.ForeignKey(
        Trace, null=True, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    part = models.IntegerField(default=0)
    content = models.BinaryField(null=True, help_text="The text, compressed, where it is not that of a body")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["body", "part"], name="search_text_body", condition=Q(body__isnull=False)),
            models.UniqueConstraint(
                fields=["trace", "part"], name="search_text_trace", condition=Q(trace__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"text {self.pk}"


class TraceTexts(models.Model):
    """Which indexed texts a trace holds: keys of `SearchText`, packed (see `traces.text_index.pack`)."""

    trace = models.OneToOneField(
        Trace, on_delete=models.CASCADE, primary_key=True, related_name="texts", db_constraint=False
    )
    content = models.BinaryField()

    def __str__(self) -> str:
        return f"texts of trace {self.pk}"


class SearchWords(models.Model):
    """Words in the search index of a project, for finding those that hold a piece of text: a compressed list, one a line.

    A word may be in several lists; lists of one level are merged into one of the next.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    level = models.PositiveSmallIntegerField(default=0)
    content = models.BinaryField()

    def __str__(self) -> str:
        return f"words {self.pk}"
