import pytest

from evals.graders import BadConfig, grader_kind


def test_an_unknown_kind_names_the_kinds_that_there_are():
    with pytest.raises(
        BadConfig, match="string_check, text_similarity, python, rubric, score_model, label_model, multi"
    ):
        grader_kind("vibes")
