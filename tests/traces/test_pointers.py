"""Places in a span's record."""

import pytest

from tests.factories import make_span
from traces.pointers import NoSuchPlace, as_text, join_pointer, parse_text, read_place


def test_pointer_reaches_keys_with_slashes_and_tildes():
    record = make_span(attributes={"a/b~c": {"d": [1, {"e": "deep"}]}})
    at = join_pointer("/attributes", "a/b~c")
    assert at == "/attributes/a~1b~0c"
    assert read_place(record, f"{at}/d/1/e") == "deep"


def test_pointer_reads_into_json_kept_as_text():
    record = make_span(tool={"name": "x", "call_id": None, "arguments": None, "result": '{"rows": [{"id": 7}]}'})
    assert read_place(record, "/tool/result/rows/0/id") == 7


@pytest.mark.parametrize(
    "at", ["/nothing", "/attributes/x", "/tool/result", "/events/0", "/events/x", "/name/0", "/__class__/x"]
)
def test_pointer_to_nothing_says_so(at):
    with pytest.raises(NoSuchPlace):
        read_place(make_span(), at)


def test_empty_pointer_is_the_span_as_sent():
    document = read_place(make_span(span_id="s", attributes={"k": 1}), "")
    assert (document["span_id"], document["attributes"], document["rebuilt_attributes"]) == ("s", {"k": 1}, [])


def test_as_text_of_what_json_libraries_refuse():
    assert as_text({"n": 2**80}) == '{\n  "n": 1208925819614629174706176\n}'
    assert "\\ud800" in as_text(["\ud800"])


def test_parse_text_leaves_what_is_not_an_object_or_list():
    assert (parse_text("12"), parse_text("{no"), parse_text('[1, "a"]'), parse_text(None)) == (
        "12",
        "{no",
        [1, "a"],
        None,
    )
