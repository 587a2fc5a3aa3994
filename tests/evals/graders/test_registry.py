import re
from pathlib import Path

import pytest

from evals.formula import FUNCTIONS
from evals.graders import REGISTRY, BadConfig, grader_kind
from evals.graders.python import (
    CHECK_LIMITS,
    LIMITS,
    MEMORY_LIMIT_BYTES,
    MODULES,
    OUTPUT_LIMIT_BYTES,
    TIME_LIMIT_S,
)
from evals.graders.string_check import OPERATIONS
from evals.graders.text_similarity import ALL_METRICS


def test_an_unknown_kind_names_the_kinds_that_there_are():
    with pytest.raises(
        BadConfig, match="string_check, text_similarity, python, rubric, score_model, label_model, multi"
    ):
        grader_kind("vibes")


DOCS = (Path(__file__).resolve().parents[3] / "docs" / "graders.md").read_text()


def test_the_docs_have_every_kind_operation_and_metric():
    for name in (*REGISTRY, *OPERATIONS, "regex", "contains", *FUNCTIONS):
        assert f"`{name}`" in DOCS
    for metric in set(ALL_METRICS) - {"rouge_2", "rouge_3", "rouge_4"}:
        assert f"`{metric}`" in DOCS


def test_the_docs_list_the_modules_of_the_sandbox_and_its_limits():
    listed = DOCS[DOCS.index("**Modules**") : DOCS.index("They are not complete")]
    assert re.findall(r"`(\w+)`", listed) == list(MODULES)
    for limit in (
        f"{TIME_LIMIT_S:g} s a call",
        f"{CHECK_LIMITS['max_feed_duration_secs']:g} s for the definitions",
        f"{MEMORY_LIMIT_BYTES // 1024**2} MB",
        f"{OUTPUT_LIMIT_BYTES // 1024} kB",
        f"{LIMITS['max_recursion_depth']} levels",
    ):
        assert limit in DOCS
