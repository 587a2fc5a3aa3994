"""Reads of the evals room, one subject a file."""

from evals.queries.datasets import latest_revision, revision_items
from evals.queries.matrix import (
    Cell,
    FailingCase,
    Matrix,
    MatrixRow,
    SampleDetail,
    comparison_matrix,
    failing_cases,
    item_title,
    sample_detail,
)
from evals.queries.progress import Counts, Progress, Spending, comparison_progress, comparison_status, spending
from evals.queries.report import (
    CandidateFigures,
    ComparisonReport,
    GraderFigures,
    GraderHead,
    Pair,
    comparison_report,
    letter_of,
)

__all__ = [
    "CandidateFigures",
    "Cell",
    "ComparisonReport",
    "Counts",
    "FailingCase",
    "GraderFigures",
    "GraderHead",
    "Matrix",
    "MatrixRow",
    "Pair",
    "Progress",
    "SampleDetail",
    "Spending",
    "comparison_matrix",
    "comparison_progress",
    "comparison_report",
    "comparison_status",
    "failing_cases",
    "item_title",
    "latest_revision",
    "letter_of",
    "revision_items",
    "sample_detail",
    "spending",
]
