from dataclasses import dataclass

from evals import overview_words


@dataclass
class Figures:
    runs: int = 0
    errors: int = 0
    recovered: int = 0


def headline(now, total=None):
    return overview_words.headline(now, total=now.runs if total is None else total, days=14, agents=2)


def test_headline_says_what_is_here():
    assert headline(Figures()) == "No runs yet"
    assert headline(Figures(), total=5) == "No runs in the last 14 days"
    assert headline(Figures(1200, 0)) == "1,200 runs by 2 agents in the last 14 days, none ended in an error"
    assert headline(Figures(100, 8)) == "100 runs by 2 agents in the last 14 days, 8% ended in an error"


def test_a_small_share_is_never_said_to_be_none():
    assert "less than 1%" in headline(Figures(10_000, 1))


def test_a_change_within_chance_is_no_change():
    said = overview_words.change(Figures(100, 8), Figures(100, 5), days=14)
    assert "no clear change in the share of errors" in said


def test_a_change_beyond_chance_is_said_with_both_shares():
    said = overview_words.change(Figures(1000, 200), Figures(1000, 50), days=14)
    assert said.endswith("the share of errors rose from 5% to 20%.")


def test_the_number_of_runs_is_compared():
    assert overview_words.change(Figures(300), Figures(100), days=14).startswith("3.0 times as many runs")
    assert overview_words.change(Figures(80), Figures(100), days=14).startswith("20% fewer runs")
    assert overview_words.change(Figures(80), Figures(0), days=14) == "There were no runs in the 14 days before."
