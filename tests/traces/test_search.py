"""The query language: reading, errors with their place, rewriting, completing. No database."""

from datetime import UTC, datetime

import pytest

from traces import search
from traces.search import Condition, QueryError, Words, parse

NOW = datetime(2026, 6, 17, 12, 0, tzinfo=UTC)


def only(text: str) -> Condition:
    (term,) = parse(text, now=NOW).terms
    assert isinstance(term, Condition)
    return term


def test_parse_example_of_the_design_reads_every_term():
    text = (
        "agent:refund-bot status:error duration:>5s tokens:>1000 tool:get_order model:gpt* "
        'meta.plan:annual -tag:test "exact words" plain'
    )
    query = parse(text)
    assert [term.label if isinstance(term, Condition) else term.content for term in query.terms] == [
        "agent", "status", "duration", "tokens", "tool", "model", "meta.plan", "tag", "exact words", "plain",
    ]  # fmt: skip
    assert [term.negated for term in query.terms].index(True) == 7
    assert query.text == text


@pytest.mark.parametrize(
    ("text", "operator", "number"),
    [
        ("duration:>5s", ">", 5000),
        ("duration:80ms", "=", 80),
        ("duration:<=2min", "<=", 120_000),
        ("duration:≥1.5s", ">=", 1500),
        ("tokens:>1.5k", ">", 1500),
        ("tokens:2M", "=", 2_000_000),
        ("cost:>$0.002", ">", 0.002),
        ("cost>$0.002", ">", 0.002),
        ("cost:0.5", "=", 0.5),
        ("spans:>20", ">", 20),
    ],
)
def test_parse_number_with_unit_comes_out_in_the_unit_of_the_column(text, operator, number):
    condition = only(text)
    assert (condition.operator, condition.values[0].number) == (operator, number)


def test_parse_range_has_both_ends():
    value = only("duration:1s..2min").values[0]
    assert (value.number, value.high) == (1000, 120_000)


def test_parse_comma_is_or_and_quotes_keep_comma_and_star():
    values = only('agent:"a, b*",c*').values
    assert [(value.text, value.is_pattern) for value in values] == [("a, b*", False), ("c*", True)]


def test_parse_quoted_text_keeps_escaped_quote_and_backslash():
    (words,) = parse(r'"say \"hi\" \\ there"').terms
    assert isinstance(words, Words)
    assert words.content == r'say "hi" \ there'


def test_parse_address_and_clock_are_words_not_keys():
    assert [term.content for term in parse("http://shop.example/a?b=c 12:30").words] == [
        "http://shop.example/a?b=c",
        "12:30",
    ]


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("ok agnet:x", (3, 8), "Did you mean agent?"),
        ("status:eror", (7, 11), "Did you mean error?"),
        ("duration:>5", (10, 11), "5ms, 5s or 5min"),
        ("duration:>5 parsecs", (10, 11), "unit"),
        ("tokens:lots", (7, 11), "not a number"),
        ("spans:$3", (6, 8), "not a number"),
        ("agent:", (0, 6), "needs a value"),
        ("agent:a,", (0, 8), "needs a value"),
        ('x "open', (2, 7), "not closed"),
        ('agent:"a"b', (9, 10), "space is missing"),
        ("agent:>a", (0, 8), "is text"),
        ("after:>7d", (0, 9), "takes a time"),
        ("after:someday", (6, 13), "not a time"),
        ("spans:>1,2", (0, 10), "one value"),
        ("spans:5..1", (6, 10), "ends before"),
        ("tokens:9999999999999999999", (7, 26), "larger"),
        ("a\0b", (1, 2), "NUL"),
        ("ok " + "a*" * 11 + "b", (3, 26), "11 stars"),
        ("model:" + "a*" * 11, (6, 28), "11 stars"),
        ('""', (0, 2), "nothing"),
    ],
)
def test_parse_bad_query_says_where_and_what(text, place, part):
    with pytest.raises(QueryError) as caught:
        parse(text, now=NOW)
    assert (caught.value.start, caught.value.end) == place
    assert part in caught.value.message


def test_parse_endless_query_is_refused():
    with pytest.raises(QueryError, match="parts"):
        parse("a " * 100)
    with pytest.raises(QueryError, match="characters"):
        parse("a" * 5000)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("after:2026-06-17", datetime(2026, 6, 17, tzinfo=UTC)),
        ("after:2026-06-17T02:14Z", datetime(2026, 6, 17, 2, 14, tzinfo=UTC)),
        ("after:2026-06-17T02:14+02:00", datetime(2026, 6, 17, 0, 14, tzinfo=UTC)),
        ("after:today", datetime(2026, 6, 17, tzinfo=UTC)),
        ("before:7d", datetime(2026, 6, 10, 12, tzinfo=UTC)),
        ("before:-90min", datetime(2026, 6, 17, 10, 30, tzinfo=UTC)),
    ],
)
def test_parse_time_is_utc_nanoseconds(text, moment):
    assert only(text).values[0].number == int(moment.timestamp()) * 1_000_000_000


def test_parse_time_beyond_the_column_is_its_last():
    assert only("before:9999-01-01").values[0].number == 2**63 - 1


def test_register_key_adds_a_prefix_of_another_app():
    search.register_key(search.Key("mark.", search.Kind.NUMBER, "Score", build=lambda condition, project: None))
    try:
        condition = only("mark.tone:<3")
        assert (condition.label, condition.operator, condition.values[0].number) == ("mark.tone", "<", 3)
    finally:
        del search.KEYS["mark."]
    with pytest.raises(QueryError):
        parse("mark.tone:<3")


def test_toggle_adds_joins_and_removes_a_value():
    assert search.toggle(parse("refund"), "agent", "a b") == 'refund agent:"a b"'
    assert search.toggle(parse("agent:x refund"), "agent", "y") == "agent:x,y refund"
    assert search.toggle(parse("agent:x,y refund"), "agent", "x") == "agent:y refund"
    assert search.toggle(parse("agent:x refund"), "agent", "x") == "refund"


@pytest.mark.parametrize(
    "value", ["plain", "a b", 'say "hi"', "a,b", "gpt*", "back\\slash", "تجربة", "<b>", "-x", ">5"]
)
def test_toggle_any_value_reads_back_as_itself(value):
    query = parse(search.toggle(parse("agent:other"), "agent", value))
    assert query.values("agent") == ["other", value]
    assert parse(search.toggle(parse(""), "agent", value)).values("agent") == [value]


def test_toggle_keeps_pattern_and_its_plain_namesake_apart():
    assert search.toggle(parse("model:gpt*"), "model", "gpt*") == 'model:gpt*,"gpt*"'


def test_toggle_missing_replaces_other_values_of_the_field():
    assert search.toggle_missing(parse("agent:x env:prod"), "agent") == "env:prod -has:agent"
    assert search.toggle_missing(parse("env:prod -has:agent"), "agent") == "env:prod"


def test_range_query_replaces_the_times_it_had():
    bound = search.range_query(parse("after:7d refund"), after=NOW, before=datetime(2026, 6, 18, tzinfo=UTC))
    assert bound == "refund after:2026-06-17T12:00:00Z before:2026-06-18T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "value", "whole"),
    [
        ("ag", "agent", "agent:"),
        ("status:error -ag", "agent", "status:error -agent:"),
        ("met", "meta.", "meta."),
        ("agent:re", "refund bot", 'agent:"refund bot" '),
        ("agent:a,b", "billing", "agent:a,billing "),
        ('agent:"refund b', "refund bot", 'agent:"refund bot" '),
    ],
)
def test_complete_with_replaces_what_is_being_typed(text, value, whole):
    assert search.complete_with(text, search.unfinished(text), value) == whole


def shape(terms) -> list:
    return [(("not", shape_of(term)) if term.negated else shape_of(term)) for term in terms]


def shape_of(term):
    if isinstance(term, search.Group):
        return [shape(choice) for choice in term.choices]
    return term.label if isinstance(term, Condition) else term.content


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a OR b", [[["a"], ["b"]]]),
        ("a b OR c", [[["a", "b"], ["c"]]]),
        ("a AND b", ["a", "b"]),
        ("x (a OR b)", ["x", [["a"], ["b"]]]),
        ("-(a b)", [("not", [["a", "b"]])]),
        ("NOT tag:x", [("not", "tag")]),
        ("(status:ok OR (tag:a model:b)) c", [[["status"], [[["tag", "model"]]]], "c"]),
        ("f(x) y", ["f(x)", "y"]),
        ("(f(x) y)", [[["f(x)", "y"]]]),
        ("(agent:a,b)", [[["agent"]]]),
        ('("x")', [[["x"]]]),
        ("or ORDER and", ["or", "ORDER", "and"]),
        ('"OR" a', ["OR", "a"]),
    ],
)
def test_parse_or_and_parentheses(text, expected):
    query = parse(text)
    assert shape(query.terms) == expected
    again = parse(query.text)
    assert shape(again.terms) == expected
    assert parse(search.toggle(query, "agent", "z")).values("agent")[-1:] == ["z"]


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("OR a", (0, 2), "between two parts"),
        ("a OR", (2, 4), "Nothing follows OR"),
        ("a OR OR b", (5, 7), "between two parts"),
        ("(a", (0, 1), "not closed"),
        ("a ()", (2, 4), "hold nothing"),
        ("(a)b", (3, 4), "space is missing"),
        ("(" * 13 + "a", (12, 13), "deep at most"),
        ("(stauts:ok)", (1, 7), "Did you mean status?"),
        ("kind:tol", (5, 8), "Did you mean tool?"),
    ],
)
def test_parse_bad_groups_say_where_and_what(text, place, part):
    with pytest.raises(QueryError) as caught:
        parse(text, now=NOW)
    assert (caught.value.start, caught.value.end) == place
    assert part in caught.value.message


def test_parse_never_breaks_otherwise():
    import random

    chance = random.Random(5)
    pieces = [
        "(",
        ")",
        "-",
        '"',
        "\\",
        "OR",
        "AND",
        "NOT",
        " ",
        "  ",
        "agent:",
        "tokens:>",
        "x",
        ",",
        "*",
        "5..",
        "é",
        "退",
        "\u202e",
        "has:",
        "after:1e9",
    ]
    for _ in range(3000):
        text = "".join(chance.choices(pieces, k=chance.randrange(1, 14)))
        search.unfinished(text)
        try:
            query = parse(text)
        except QueryError as caught:
            error = caught
        else:
            assert shape(parse(query.text).terms) == shape(query.terms), text
            continue
        assert 0 <= error.start < error.end <= len(text) + 1, text
