import time

import pytest

from evals.graders import BadConfig, grader_kind
from tests.evals.graders.graded import grade


@pytest.mark.parametrize(
    ("operation", "reference", "passes"),
    [
        ("eq", "Your refund of 20 € is on its way.", True),
        ("eq", "your refund of 20 € is on its way.", False),
        ("ne", "x", True),
        ("like", "refund", True),
        ("like", "Refund", False),
        ("ilike", "REFUND", True),
        ("like", "", True),
    ],
)
def test_string_check_operations(operation, reference, passes):
    result = grade(
        "string_check", {"input": "{{ sample.output_text }}", "reference": reference, "operation": operation}
    )
    assert (result.value, result.passed, result.state) == (float(passes), passes, "ok")


def test_string_check_compares_code_points_and_normalises_nothing():
    config = {"input": "{{ item.a }}", "reference": "{{ item.b }}", "operation": "eq"}
    assert grade("string_check", config, item={"a": "é", "b": "e\u0301"}).passed is False


def test_string_check_without_the_variable_is_skipped_and_says_which():
    result = grade(
        "string_check", {"input": "{{ sample.output_text }}", "reference": "{{ item.city }}"}, item={"input": "x"}
    )
    assert (result.state, result.value) == ("skipped", None)
    assert "item has no 'city'; it has input" in result.reason


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"input": "a", "reference": "b", "operation": "sounds_like"}, "operation"),
        ({"reference": "b"}, "input"),
        ({"input": "a", "reference": 3}, "reference"),
        ({"input": "a", "reference": "b", "case": True}, "case"),
        ({"input": "a\x00", "reference": "b"}, "input"),
    ],
)
def test_string_check_settings_that_cannot_be_used_name_their_place(config, param):
    with pytest.raises(BadConfig) as caught:
        grader_kind("string_check").validate(config)
    assert caught.value.param == param


# Our own operations


@pytest.mark.parametrize(
    ("operation", "reference", "passes"),
    [
        ("contains", "refund", True),
        ("contains", "Refund", False),
        ("starts_with", "Your", True),
        ("starts_with", "refund", False),
        ("regex", r"refund of \d+ €", True),
        ("regex", "(?i)REFUND", True),
        ("regex", r"^refund", False),
        ("regex", r"way\.$", True),
    ],
)
def test_string_check_operations_of_our_own(operation, reference, passes):
    config = {"input": "{{ sample.output_text }}", "reference": reference, "operation": operation}
    assert grade("string_check", config).passed is passes


def test_contains_is_kept_as_like_so_that_the_openai_api_shows_it():
    config = {"input": "a", "reference": "b", "operation": "contains"}
    assert grader_kind("string_check").validate(config)["operation"] == "like"


@pytest.mark.parametrize("operation", ["contains", "starts_with", "regex"])
def test_the_openai_door_refuses_our_own_operations_and_names_like(operation):
    with pytest.raises(BadConfig, match="`like`") as caught:
        grader_kind("string_check").validate({"input": "a", "reference": "b", "operation": operation}, door="openai")
    assert caught.value.param == "operation"


def test_the_openai_door_needs_an_operation():
    with pytest.raises(BadConfig, match="eq, ne, like, ilike"):
        grader_kind("string_check").validate({"input": "a", "reference": "b"}, door="openai")


def test_a_value_goes_into_a_pattern_as_plain_text():
    config = {"input": "{{ item.text }}", "reference": "^{{ item.name }}$", "operation": "regex"}
    assert grade("string_check", config, item={"text": "a.c", "name": "a.c"}).passed is True
    assert grade("string_check", config, item={"text": "abc", "name": "a.c"}).passed is False


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"(a)\1", "Backreferences"),
        ("a(?=b)", "Look-ahead"),
        ("(?<!a)b", "Look-ahead"),
        ("[", "missing ]"),
        ("x" * 5001, "5,001 char"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_when_it_is_made(pattern, says):
    with pytest.raises(BadConfig, match="pattern") as caught:
        grader_kind("string_check").validate({"input": "a", "reference": pattern, "operation": "regex"})
    assert says in str(caught.value)
    assert caught.value.param == "reference"


@pytest.mark.parametrize("pattern", ["(a*)*b", "(x+x+)+y", "(a|aa)+$b"])
def test_a_pattern_that_would_never_end_elsewhere_takes_no_time(pattern):
    config = {"input": "{{ item.text }}", "reference": pattern, "operation": "regex"}
    begun = time.perf_counter()
    assert grade("string_check", config, item={"text": "a" * 900_000}).passed is False
    assert time.perf_counter() - begun < 2


def test_a_text_too_long_for_a_pattern_is_failed_and_says_so():
    config = {"input": "{{ item.text }}", "reference": "b", "operation": "regex"}
    result = grade("string_check", config, item={"text": "a" * 1_000_001})
    assert (result.state, result.value) == ("failed", None)
    assert "1,000,001 characters" in result.reason


def test_a_missing_variable_is_named_as_such_for_programs():
    assert grade("string_check", {"input": "{{ item.x }}", "reference": "b"}, item={}).problem == "invalid_variable"
