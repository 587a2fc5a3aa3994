"""Two runs side by side."""

import time

from tests.traces.signals.test_signals import make_run
from traces.acts import Act, Run
from traces.alignment import MAX_ACTS, align, alone, fold

ASKED = ("user", "Where is my order?")
FOUND = ("get_order", {"id": "A1"}, "delivered")
SAID = ("agent", "It was delivered.")


def states(a, b):
    return [pair.state for pair in align(make_run(*a), make_run(*b)).pairs]


def test_equal_runs_never_part():
    alignment = align(make_run(ASKED, FOUND, SAID), make_run(ASKED, FOUND, SAID))
    assert alignment.parting is None
    assert [pair.state for pair in alignment.pairs] == ["same"] * 3


def test_json_and_white_space_written_otherwise_is_the_same():
    assert (
        states(
            [("get_order", {"id": "A1"}, "x"), ("agent", "a  b\n")],
            [("get_order", '{ "id": "A1" }', "x"), ("agent", "a b")],
        )
        == ["same"] * 2
    )


def test_changed_arguments_results_and_words_are_named():
    a = make_run(ASKED, FOUND, ("cancel", {"id": "A1"}, "ok"), SAID)
    b = make_run(
        ASKED,
        ("get_order", {"id": "A2"}, "delivered"),
        ("cancel", {"id": "A1"}, "too late"),
        ("agent", "I cannot find it."),
    )
    alignment = align(a, b)
    assert [(pair.state, pair.what) for pair in alignment.pairs] == [
        ("same", ()), ("changed", ("arguments",)), ("changed", ("result",)), ("changed", ("text",)),
    ]  # fmt: skip
    assert alignment.parting == 1


def test_extra_steps_stand_alone_and_the_rest_stays_paired():
    assert states([ASKED, FOUND, SAID], [ASKED, ("search", {"q": "x"}, "y"), FOUND, SAID]) == [
        "same",
        "only_b",
        "same",
        "same",
    ]
    assert states([ASKED, FOUND, SAID], [ASKED, SAID]) == ["same", "only_a", "same"]


def test_a_failed_call_beside_one_that_worked():
    (pair,) = align(make_run(("f", {"x": 1}, "no", "error")), make_run(("f", {"x": 1}, "yes"))).pairs
    assert pair.what == ("outcome",)


def test_an_empty_run_beside_another():
    assert states([], [ASKED, SAID]) == ["only_b", "only_b"]
    assert align(Run(), Run()).pairs == []


def test_agreement_is_folded_but_the_steps_beside_a_difference():
    same = [("user", f"{n}") for n in range(10)]
    stretches = fold(align(make_run(*same, ("agent", "yes"), *same), make_run(*same, ("agent", "no"), *same)))
    assert [(one.is_folded, one.first, len(one.pairs)) for one in stretches] == [
        (True, 1, 9), (False, 10, 1), (False, 11, 1), (False, 12, 1), (True, 13, 9),
    ]  # fmt: skip


def test_what_one_run_has_alone_is_summed():
    acts = [Act("message", "s", text=str(n), role="assistant", tokens=n, cost_usd=0.5) for n in range(1, 4)]
    assert alone(align(Run(acts), Run(acts[:1])), "only_a") == (2, 5, 1.0)
    assert alone(align(Run(acts[:1]), Run(acts)), "only_a") == (0, None, None)


def make_long(seed, number=1000):
    return Run(
        [
            Act(
                "call",
                f"s{n}",
                name=f"tool{(n * seed) % 7}",
                arguments={"n": (n * seed) % 13},
                result=n % 3,
                has_result=True,
            )
            if n % 2
            else Act("message", f"s{n}", role="assistant", text=f"step {(n * seed) % 17} of many")
            for n in range(number)
        ]
    )


def test_a_thousand_steps_each_take_less_than_a_fifth_of_a_second():
    a, b = make_long(3), make_long(5)
    started = time.perf_counter()
    alignment = align(a, b)
    fold(alignment)
    took = time.perf_counter() - started
    assert len(alignment.pairs) >= 1000
    assert took < 1.0  # a fifth on a quiet machine, see bench; a busy one gets room


def test_a_thousand_equal_steps_beside_nine_hundred():
    a = Run([Act("call", f"s{n}", name="f", arguments={}) for n in range(1000)])
    alignment = align(a, Run(a.acts[:900]))
    assert (alignment.count("same"), alignment.count("only_a")) == (900, 100)


def test_very_long_runs_are_compared_up_to_a_bound_that_the_alignment_names():
    acts = [Act("message", "s", role="user", text=f"{number}") for number in range(MAX_ACTS + 7)]
    other = [Act("message", "s", role="user", text=f"other {number}") for number in range(50_000)]
    alignment = align(Run(acts), Run(other))
    assert alignment.left_out == (7, 50_000 - MAX_ACTS)
    assert len(alignment.pairs) == MAX_ACTS
    assert align(Run(acts[:5]), Run(acts[:9])).left_out == (0, 0)
