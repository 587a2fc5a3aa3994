"""`make_*` build rows with keyword overrides; a test states only what it is about."""

import itertools
from typing import Any

from accounts.access import key_digest
from accounts.models import ApiKey, Project

counter = itertools.count(1)


def make_project(**overrides: Any) -> Project:
    number = next(counter)
    return Project.objects.create(**{"slug": f"project-{number}", "name": f"Project {number}", **overrides})


def make_key(project: Project, *, text: str = "", scopes: tuple[str, ...] = ("ingest", "read", "write")) -> str:
    """Make an API key and return its text."""
    text = text or f"mb-test-{next(counter):06d}-0123456789abcdef"
    ApiKey.objects.create(project=project, name="test", prefix=text[:10], digest=key_digest(text), scopes=list(scopes))
    return text


def make_span(**overrides: Any) -> Any:
    """Make a SpanRecord: a root agent span of one second unless told otherwise."""
    from traces.spans import SpanRecord

    number = next(counter)
    start = 1_780_000_000_000_000_000 + number * 1_000_000
    fields = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "name": "support-agent",
        "kind": "agent",
        "start_ns": start,
        "end_ns": start + 1_000_000_000,
        "status": "ok",
        **overrides,
    }
    return SpanRecord(**fields)


def make_trace(project: Project, *, terms: dict[str, list[str]] | None = None, **overrides: Any) -> Any:
    """Make a Trace row, without spans: completed in one second unless told otherwise. `terms` are key -> values."""
    from datetime import UTC, datetime

    from traces.models import SearchPending, Trace, TraceTerm

    number = next(counter)
    start = 1_780_000_000_000_000_000 + number * 1_000_000
    fields: dict[str, Any] = {
        "trace_id": f"{number:032x}",
        "name": "support-agent",
        "status": "ok",
        "start_ns": start,
        "received_at": datetime(2026, 6, 1, tzinfo=UTC),
        "duration_ms": 1000.0,
        "span_count": 1,
        **overrides,
    }
    fields.setdefault("sort_ns", start if fields["start_ns"] is None else fields["start_ns"])
    fields.setdefault("end_ns", None if fields["start_ns"] is None else fields["start_ns"] + 1_000_000_000)
    trace = Trace.objects.create(project=project, **fields)
    SearchPending.objects.create(project=project, trace=trace, since_ns=fields["sort_ns"])
    TraceTerm.objects.bulk_create(
        TraceTerm(trace=trace, project=project, key=key, value=value)
        for key, values in (terms or {}).items()
        for value in values
    )
    return trace
