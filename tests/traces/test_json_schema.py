"""Schemas that somebody sent: none makes the server fetch anything, wait, or stop."""

import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from traces.json_schema import NotApplicable, find_errors, make_validator

SLOW = "^(a|aa)+$"
LONG = "a" * 60 + "!"
DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
LAUGHS = {f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(40)} | {"d40": {}}


def test_errors_come_with_their_place_and_as_many_as_asked_for():
    validator = make_validator({"properties": {"a": {"type": "string"}, "b": {"type": "string"}}})
    assert [list(one.absolute_path) for one in find_errors(validator, {"a": 1, "b": 2}, most=5)] == [["a"], ["b"]]
    assert len(find_errors(validator, {"a": 1, "b": 2})) == 1
    assert find_errors(validator, {"a": "x"}) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": SLOW}}},
        {"properties": {"a": {**DIALECT, "pattern": SLOW}}},
        {"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": SLOW}}},
        {"patternProperties": {SLOW: {}}},
        {"patternProperties": {SLOW: {}}, "additionalProperties": False},
        {"patternProperties": {SLOW: {}}, "unevaluatedProperties": False},
        {"$defs": LAUGHS, "$ref": "#/$defs/d0"},
        {"$defs": LAUGHS, "allOf": [{"$ref": "#/$defs/d0"}], "unevaluatedProperties": False},
        {"properties": {"many": {"uniqueItems": True}}},
        {"$defs": {}, "$ref": "#"},
        {"$ref": "http://["},
        {"$ref": "#/nowhere"},
        {"$ref": "file:///etc/hostname"},
        {"properties": {"a": {"pattern": "("}}},
    ],
)
def test_a_schema_that_cannot_be_applied_says_so_in_time(schema):
    begun = time.monotonic()
    with pytest.raises(NotApplicable):
        find_errors(make_validator(schema), {"a": LONG, LONG: 1, "many": [{"n": number} for number in range(20_000)]})
    assert time.monotonic() - begun < 5


def test_additional_properties_beside_patterns():
    schema = {"properties": {"a": {}}, "patternProperties": {"^x_": {"type": "integer"}}}
    closed = make_validator({**schema, "additionalProperties": False})
    assert find_errors(closed, {"a": 1, "x_b": 2}) == []
    assert "'c'" in find_errors(closed, {"a": 1, "c": 2})[0].message
    typed = make_validator({**schema, "additionalProperties": {"type": "string"}})
    assert find_errors(typed, {"c": "x"}) == []
    assert list(find_errors(typed, {"c": 2})[0].absolute_path) == ["c"]


def test_many_texts_may_be_unique_or_not():
    validator = make_validator({"uniqueItems": True})
    assert find_errors(validator, [str(number) for number in range(5_000)]) == []
    assert find_errors(validator, [str(number % 4_999) for number in range(5_000)])


def test_no_other_server_is_asked():
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(NotApplicable):
            find_errors(make_validator({"$ref": f"http://127.0.0.1:{server.server_port}/schema.json"}), {"a": 1})
        server.shutdown()
    assert asked == []
