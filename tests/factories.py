"""`make_*` build rows with keyword overrides; a test states only what it is about."""

import itertools
from typing import Any

from accounts.models import ApiKey, Project
from accounts.access import key_digest

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
