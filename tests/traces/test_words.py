"""Words of a text and what a query looks for, without a database."""

import time

import pytest

from traces.words import excerpt, fold, plan


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("ref*ded", "we refunded it", "refunded"),
        ("a*b", "a b", None),
        ("a*b", "ax xb axxb", "axxb"),
        ("b*a", "ab ab", None),
        ("aa*a", "aa", None),
        ("*a*", "xa", "a"),
        ("q*x\N{DIAERESIS}y*z", "q1x y2z", "q1x y2z"),  # the sign folds to a space
        ("q*x\N{DIAERESIS}y*z", "q1x! y2z", None),
        ("q*x\N{DIAERESIS}y*z", "q1x !y2z", None),
        ("q*\N{DIAERESIS}m\N{DIAERESIS}*z", "q m z", "q m z"),
        ("q*\N{DIAERESIS}m\N{DIAERESIS}*z", "q mm z", None),
        ("a*b\N{FULLWIDTH ASTERISK}c", "a-b*c", "a-b*c"),
    ],
)
def test_stars_stand_for_text_without_spaces(query, text, found):
    made = excerpt(text, plan(query, is_exact=False).shown)
    assert (made.found if made else None) == found


@pytest.mark.parametrize("query", ["a*e*i*!q", "a*a*a*a*a*a*a*a*a*b", "x*a\N{DIAERESIS}a*a*!q"])
def test_stars_take_no_longer_than_the_text_is_long(query):
    text = fold("aei" * 30_000)
    sought = plan(query, is_exact=False).shown
    began = time.process_time()
    assert sought.search(text) is None
    assert sought.search(text.replace("i", " ")) is None
    assert time.process_time() - began < 1
