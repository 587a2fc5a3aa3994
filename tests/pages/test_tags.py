import pytest

from pages.templatetags.pages import compact, decimals, duration, money, percent, signed, step, thousands


@pytest.mark.parametrize(
    ("usd", "places", "shown"),
    [
        (None, 4, "–"),
        (0, 4, "$0.0000"),
        (0.00003, 4, "<$0.0001"),
        (0.0312, 4, "$0.0312"),
        (71.2, 2, "$71.20"),
        (1234.5, 2, "$1,234.50"),
        (-0.5, 2, "−$0.50"),
    ],
)
def test_money_is_unknown_never_zero_and_names_what_is_too_small_to_show(usd, places, shown):
    assert money(usd, places) == shown


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.25, "0.25 ms"),
        (7.5, "7.5 ms"),
        (410, "0.41 s"),
        (14_820, "14.82 s"),
        (200_000, "3 min 20 s"),
        (7_260_000, "2 h 1 min"),
    ],
)
def test_duration_reads_as_people_say_it(ms, shown):
    assert duration(ms) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(None, "–"), (940, "940"), (9_999, "9,999"), (18_402, "18.4k"), (2_100_000, "2.1M")]
)
def test_counts_are_shortened_from_ten_thousand(number, shown):
    assert compact(number) == shown


def test_figures_have_a_true_minus_sign_and_a_dash_where_unknown():
    assert signed(-0.22) == "−0.22"
    assert signed(0.42) == "+0.42"
    assert decimals(None) == thousands(None) == percent(None) == "–"


@pytest.mark.parametrize(
    ("value", "scale", "expected"),
    [
        (0, None, 1),
        (1, None, 5),
        (1, (1, 3), 1),
        (2, (1, 3), 3),
        (3, (1, 3), 5),
        (3.81, (1, 5), 4),
        (None, None, 0),
        (2, (2, 2), 3),
        (9, (1, 5), 5),
    ],
)
def test_scores_map_to_five_steps_of_any_scale(value, scale, expected):
    assert step(value, scale) == expected
