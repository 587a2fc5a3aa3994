"""Item schemas: which are refused, what they say of a row, and that none can stop the server or make it fetch."""

import time

import pytest

from evals.openai_api.reading import BadRequest
from evals.openai_api.schemas import check_schema, row_checker, unreachable

TEXT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def test_a_row_is_told_what_is_wrong_and_where():
    check = row_checker({**TEXT, "properties": {"a": {"type": "array", "items": {"type": "integer"}}}})
    assert check({"a": [1, 2]}) is None
    assert check({"a": [1, "x"]}) == ("'x' is not of type 'integer'", ".a[1]")
    assert check({}) == ("'a' is a required property", "")


@pytest.mark.parametrize(
    "schema", [None, [], "x", {"type": "objekt"}, {"properties": 5}, {"properties": {"a": {"pattern": "("}}}]
)
def test_what_is_no_schema_is_refused(schema):
    with pytest.raises(BadRequest) as caught:
        check_schema(schema, "place")
    assert caught.value.param.startswith("place")


def test_a_pattern_that_would_take_for_ever_is_stopped():
    check = row_checker({**TEXT, "properties": {"a": {"type": "string", "pattern": "^(a|aa)+$"}}})
    begun = time.monotonic()
    reason, _ = check({"a": "a" * 60 + "!"})
    assert "takes too long" in reason
    assert time.monotonic() - begun < 5


def test_a_reference_to_another_server_is_not_fetched():
    check = row_checker({**TEXT, "properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}})
    reason, _ = check({"a": "x"})
    assert "cannot be applied" in reason


def test_references_within_the_schema_are_followed():
    schema = {"$defs": {"word": {"type": "string"}}, "type": "object", "properties": {"a": {"$ref": "#/$defs/word"}}}
    check_schema(schema, "place")
    assert row_checker(schema)({"a": "x"}) is None
    assert row_checker(schema)({"a": 5}) == ("5 is not of type 'string'", ".a")


def test_a_schema_that_refers_to_itself_without_end_says_so():
    reason, _ = row_checker({"$ref": "#"})({"a": 1})
    assert "without end" in reason


CLOSED = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"a": {"type": "object", "additionalProperties": False, "properties": {"b": {}}}, "open": {}},
}


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("item", ""),
        ("item.a.b", ""),
        ("item.a.b.c", ""),
        ("item.open.x[0]", ""),
        ("item.c", "c"),
        ("item.a.c", "c"),
        ('item["a b"]', "a b"),
    ],
)
def test_only_references_that_a_closed_schema_rules_out_are_unreachable(path, missing):
    assert unreachable(path, CLOSED) == missing
    assert unreachable(path, {"type": "object"}) == ""
