"""How a JSON text was written is told exactly: what is rebuilt from the style is the text that was sent."""

import random
import struct

import orjson
import pytest

from traces.conventions.raw import is_plainly_spaced, json_style, object_style, write_json

STYLES = ("compact", "compact_ascii", "spaced", "spaced_unicode")
LETTERS = 'ab"\\\n\t{}[],: é\x7f\x01\u2028/€'


def any_value(chance: random.Random, depth: int = 0):
    """Return a JSON value; many of its numbers and strings are ones that writers write differently."""
    kind = chance.random()
    if kind < 0.25:
        wide = struct.unpack("d", chance.randbytes(8))[0]
        narrow = round(chance.random() * 10 ** chance.randint(-8, 18), chance.randint(0, 12))
        return wide if chance.random() < 0.3 and wide == wide and abs(wide) < 1e300 else narrow
    if kind < 0.5:
        return "".join(chance.choices(LETTERS, k=chance.randint(0, 8)))
    if kind < 0.6 or depth > 3:
        return chance.choice([None, True, False, -1, 0, 10**18])
    if kind < 0.8:
        return [any_value(chance, depth + 1) for _ in range(chance.randint(0, 4))]
    return {"".join(chance.choices(LETTERS, k=3)): any_value(chance, depth + 1) for _ in range(chance.randint(0, 4))}


def test_a_style_writes_the_text_again():
    chance = random.Random(1)
    plain = 0
    for _ in range(3000):
        value = {"a": any_value(chance), "b": any_value(chance)}
        for style in STYLES:
            text = write_json(value, style)
            sent = orjson.loads(text)
            found = json_style(text, sent)
            assert found is None or write_json(sent, found) == text
            # What Python wrote is known again, but for numbers that the reader does not give back as they were.
            assert found is not None or not style.startswith("spaced") or write_json(sent, style) != text
            plain += is_plainly_spaced(text, sent)
    assert plain > 1000  # most need not be written the slow way


@pytest.mark.parametrize("number", ["0.00001", "0.000012", "1e16", "1e+16", "1e-05", "1E5", "1.50", "-0.0"])
def test_numbers_that_two_writers_write_differently(number):
    for text in (f'{{"n": {number}, "m": 1}}', f'{{"n":{number},"m":1}}'):
        value = orjson.loads(text)
        style = json_style(text, value)
        assert style is None or write_json(value, style) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"a":  1}', '{"a": 1 }', '{ "a": 1}', '{"a": [1,2], "b": 1}', '{"a": 1,"b": 2}', '{"a": "\\u0041", "b": 1}',
        '{"a": "\\/", "b": 1}', '{"a": 1, "a": 2}', '{"a": "x", "b": "\\"", "c" : 1}',
    ],
)  # fmt: skip
def test_a_text_that_no_writer_writes_has_no_style(text):
    assert json_style(text, orjson.loads(text)) is None


def test_the_style_of_arguments_that_come_again():
    assert object_style('{"a": "x, y: z"}') == "spaced"
    assert object_style('{"a":1}') == "compact"
    assert [object_style(text) for text in ("{}", "[1, 2]", "text", "", None, 3, '{"a": 1')] == [None] * 7
    long = write_json({"a": "x" * 10_000, "b": 1}, "spaced")
    assert object_style(long) == "spaced"
