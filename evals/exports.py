"""A comparison as files, complete and streamed: every sample, every current score, with explanation and evidence."""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

from evals.models import Comparison
from evals.queries.report import GraderHead, grader_heads
from evals.queries.scores import sample_documents
from providers.registry import shown_model

SAMPLE_COLUMNS = (
    "candidate",
    "label",
    "model",
    "answered_by",
    "item",
    "bucket",
    "trial",
    "status",
    "error",
    "output_text",
    "trace_id",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "sample",
)
SCORE_COLUMNS = ("value", "passed", "label", "state", "rater", "explanation", "evidence", "reason")
RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four are full-width


def jsonl_lines(comparison: Comparison) -> Iterator[str]:
    """Yield one line of JSON for each sample, with its item, its answer and its scores."""
    for document in sample_documents(comparison):
        yield json.dumps({"comparison": comparison.name, **document}, ensure_ascii=False) + "\n"


def csv_lines(comparison: Comparison) -> Iterator[str]:
    """Yield CSV, one row for each sample; each grader, and each criterion of a rubric, has its columns.

    A text that a spreadsheet would take for a formula gets an apostrophe in front; the JSONL file has it as it is.
    """
    groups = column_groups(comparison)
    titles = [f"{name} {column}" for name, _, _ in groups for column in SCORE_COLUMNS]
    yield csv_line([*SAMPLE_COLUMNS, *titles])
    for document in sample_documents(comparison, with_content=False):
        by_group = {(score["grader"], score["criterion"]): score for score in document["scores"]}
        cells = sample_cells(document)
        for _, grader, criterion in groups:
            cells += score_cells(by_group.get((grader, criterion)))
        yield csv_line(cells)


def column_groups(comparison: Comparison) -> list[tuple[str, str, str | None]]:
    """Return (title, grader, criterion or None) of the columns: each grader, then its rubric's criteria."""
    groups: list[tuple[str, str, str | None]] = []
    criteria = criteria_of(grader_heads(comparison))
    for head in grader_heads(comparison):
        groups.append((head.name, head.name, None))
        groups += [(f"{head.name} / {key}", head.name, key) for key in criteria.get(head.pk, [])]
    return groups


def criteria_of(heads: list[GraderHead]) -> dict[int, list[str]]:
    """Return the criteria keys of rubric graders, by grader version."""
    from rubrics.models import Criterion

    found: dict[int, list[str]] = {}
    rows = Criterion.objects.filter(version__grader_versions__in=[head.pk for head in heads]).order_by("position", "pk")
    for version, key in rows.values_list("version__grader_versions", "key"):
        found.setdefault(version, []).append(key)
    return found


def sample_cells(document: dict[str, Any]) -> list[Any]:
    candidate, item = document["candidate"], document["item"]
    return [
        candidate["key"],
        candidate["label"],
        candidate["model"],
        candidate["answered_by"],
        item["key"],
        item["bucket"],
        document["trial"],
        document["status"],
        document["error"],
        document["output_text"],
        document["trace_id"],
        document["duration_ms"],
        document["input_tokens"],
        document["output_tokens"],
        document["cost_usd"],
        document["public_id"],
    ]


def score_cells(score: dict[str, Any] | None) -> list[Any]:
    if score is None:
        return [None] * len(SCORE_COLUMNS)
    evidence = " | ".join(
        entry["quote"] if entry.get("found") else f"{entry['quote']} (not found)" for entry in score["evidence"]
    )
    passed = None if score["passed"] is None else "yes" if score["passed"] else "no"
    return [
        score["value"],
        passed,
        score["label"],
        score["state"],
        shown_model(score["rater"], score["answered_by"] or ""),
        score["explanation"],
        evidence,
        score["reason"],
    ]


def csv_line(cells: list[Any]) -> str:
    """Return one line of CSV; missing values are empty."""
    line = StringIO()
    csv.writer(line).writerow([safe_cell(cell) for cell in cells])
    return line.getvalue()


def safe_cell(cell: Any) -> Any:
    if isinstance(cell, str) and cell.startswith(RISKY):
        return "'" + cell
    return "" if cell is None else cell
