"""The span tree: order, roll-ups, orphans, cycles, slowest path, windows of time."""

import random

import pytest

from traces.spans import LightSpan
from traces.tree import (
    build_tree,
    make_window,
    place_bar,
    row_detail,
    row_filter,
    select_rows,
    ticks,
    tree_columns,
    window_words,
)

SECOND = 1_000_000_000


def span(span_id, parent="", start=None, end=None, **overrides):
    """A light span; times in seconds."""
    times = {
        "start_ns": None if start is None else int(start * SECOND),
        "end_ns": None if end is None else int(end * SECOND),
    }
    return LightSpan(span_id, parent, **{"name": span_id, **times, **overrides})


def outline(tree):
    """The tree as text: a dash a level."""
    return ["-" * row.depth + row.span.span_id for row in tree.rows]


def test_tree_children_stand_under_their_parent_by_start():
    tree = build_tree([span("b", "root", 2, 3), span("root", "", 0, 5), span("a", "root", 1, 2), span("a1", "a", 1, 2)])
    assert outline(tree) == ["root", "-a", "--a1", "-b"]
    assert [(row.position_in_set, row.set_size, row.size) for row in tree.rows] == [
        (1, 1, 3),
        (1, 2, 1),
        (1, 1, 0),
        (2, 2, 0),
    ]


def test_tree_is_the_same_whatever_the_order_of_arrival():
    spans = [span("r", "", 0, 9)] + [span(f"s{n}", "r" if n < 5 else f"s{n - 5}", n, n + 1) for n in range(40)]
    wanted = outline(build_tree(spans))
    for seed in range(5):
        random.Random(seed).shuffle(spans)
        assert outline(build_tree(spans)) == wanted


def test_tree_of_spans_without_times_follows_positions():
    tree = build_tree(
        [span("c", "r", position=3), span("a", "r", position=1), span("r", position=0), span("b", "r", position=2)]
    )
    assert outline(tree) == ["r", "-a", "-b", "-c"]
    assert tree.start_ns is None
    assert tree.work == []


def test_orphans_stand_under_a_row_for_the_parent_that_is_missing():
    tree = build_tree([span("later", "", 5, 6), span("one", "gone", 1, 2), span("two", "gone", 3, 4)])
    assert outline(tree) == ["gone", "-one", "-two", "later"]
    assert tree.rows[0].kind == "missing"
    assert row_detail(tree.rows[0]) == "gone"


def test_cycle_is_cut_at_its_earliest_span_and_nothing_is_lost():
    tree = build_tree(
        [
            span("a", "c", 2, 3),
            span("b", "a", 1, 2),
            span("c", "b", 3, 4),
            span("d", "c", 3, 4),
            span("self", "self", 9, 9),
        ]
    )
    assert outline(tree) == ["b", "-c", "--a", "--d", "self"]
    assert [row.span.span_id for row in tree.rows if row.is_cycle] == ["b"]


def test_several_roots_stand_side_by_side():
    assert outline(build_tree([span("two", "", 2, 3), span("one", "", 1, 2)])) == ["one", "two"]


def test_chain_of_thousands_is_laid_out_without_recursion():
    tree = build_tree([span(str(n), str(n - 1) if n else "", n, n + 1) for n in range(5000)])
    assert tree.rows[-1].depth == 4999
    assert tree.rows[0].size == 4999


def test_empty_trace_has_no_rows():
    assert build_tree([]).rows == []


def test_roll_up_adds_model_calls_and_not_the_sums_that_agents_repeat():
    tree = build_tree(
        [
            span("agent", "", 0, 9, kind="agent", input_tokens=999, output_tokens=999, cost_usd=9.0),
            span("one", "agent", 1, 2, kind="llm", input_tokens=10, output_tokens=5, cost_usd=0.25),
            span("two", "agent", 2, 3, kind="embedding", input_tokens=7),
            span("tool", "agent", 3, 4, kind="tool", status="error"),
        ]
    )
    agent = tree.rows[0]
    assert (agent.tokens, agent.cost_usd, agent.errors) == (22, 0.25, 1)


def test_roll_up_counts_a_call_inside_a_call_once():
    tree = build_tree(
        [
            span("outer", "", 0, 9, kind="llm", input_tokens=10, output_tokens=5),
            span("inner", "outer", 1, 2, kind="llm", input_tokens=10, output_tokens=5),
        ]
    )
    assert tree.rows[0].tokens == 15


def test_roll_up_shows_a_spans_own_figure_where_nothing_below_has_one():
    tree = build_tree(
        [
            span("root", "", 0, 9),
            span("agent", "root", 0, 9, kind="agent", input_tokens=3, output_tokens=4),
            span("x", "agent", 1, 2),
        ]
    )
    assert [row.tokens for row in tree.rows] == [None, 7, None]


def test_slowest_path_is_what_the_end_waited_for():
    tree = build_tree(
        [
            span("root", "", 0, 10, kind="agent"),
            span("early", "root", 0, 3, kind="llm"),
            span("hidden", "root", 1, 2, kind="tool"),
            span("long", "root", 4, 9, kind="tool"),
        ]
    )
    assert [row.span.span_id for row in tree.rows if row.is_critical] == ["root", "early", "long"]
    assert tree.work == [("tools", 0.5), ("model calls", 0.3), ("other", 0.2)]


def test_filter_keeps_the_parents_of_what_matches_and_counts_only_matches():
    tree = build_tree(
        [span("root", "", 0, 9), span("a", "root", 1, 2), span("b", "a", 1, 2, status="error"), span("c", "root", 3, 4)]
    )
    wanted = row_filter("errors", "")
    assert wanted is not None
    assert select_rows(tree.rows, wanted) == ([0, 1, 2], 1)


@pytest.mark.parametrize(
    ("find", "hits"), [("refund", 1), ("CREATE refund", 1), ("create order", 0), ("gpt", 1), ("no such id", 1)]
)
def test_find_looks_at_names_models_tools_and_errors(find, hits):
    tree = build_tree(
        [
            span("1", "", 0, 1, name="create_refund", status="error", status_message="No such id"),
            span("2", "", 1, 2, name="answer", model="gpt-4o-mini"),
        ]
    )
    wanted = row_filter("", find)
    assert wanted is not None
    assert select_rows(tree.rows, wanted)[1] == hits


def test_columns_name_the_model_of_a_failed_call_too():
    tree = build_tree([span("1", "", 0, 1, kind="llm", model="gpt-4o-mini", status="error", status_message="Too many")])
    columns = tree_columns(tree, ["llm", "unknown"])
    assert [columns["words"][columns[name][0]] for name in ("detail", "model")] == ["Too many", "gpt-4o-mini"]


def test_no_filter_is_none():
    assert row_filter("", "  ") is None


def test_window_outside_the_trace_is_the_whole():
    assert (make_window(10, 12, 20).start, make_window(10, 5, 2).end, make_window(10, float("nan"), None).end) == (
        0,
        10,
        10,
    )
    assert make_window(10, -3, 4).is_zoomed


def test_bar_is_cut_where_the_span_goes_on_outside_the_window():
    window = make_window(10, 2, 6)
    bar = place_bar(1, 2, window)
    assert bar is not None
    assert (bar.left, bar.width, bar.cut_left, bar.cut_right) == (0, 25, True, False)
    assert place_bar(7, 1, window) is None
    assert place_bar(None, 1, window) is None
    unended = place_bar(4, None, window)
    assert unended is not None
    assert unended.cut_right


def test_bar_of_a_span_that_ends_before_it_starts_has_no_negative_width():
    bar = place_bar(4, -2, make_window(10, None, None))
    assert bar is not None
    assert bar.width == 0


def test_ticks_are_round_times():
    assert [label for _, label in ticks(make_window(14.82, None, None))] == ["0 s", "5 s", "10 s"]
    assert [label for _, label in ticks(make_window(0.2, None, None))][:3] == ["0 s", "50 ms", "100 ms"]
    assert [label for _, label in ticks(make_window(4000, None, None))] == [
        "0 s",
        "20:00 min",
        "40:00 min",
        "60:00 min",
    ]
    assert [label for _, label in ticks(make_window(20_000, None, None))][:3] == ["0 s", "2:00 h", "4:00 h"]
    assert [label for _, label in ticks(make_window(10, None, None))][-1] == ""  # it would run into the next column
    assert ticks(make_window(0, None, None)) == []


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (make_window(0.25, None, None), ("0 ms to 250 ms", "250 ms")),
        (make_window(14.82, 1.4, 10.4), ("1.4 s to 10.4 s", "14.82 s")),
        (make_window(534.87, 60, None), ("1:00 min to 8:55 min", "8:55 min")),
        (make_window(8100, None, 3600), ("0:00:00 h to 1:00:00 h", "2:15:00 h")),
    ],
)
def test_window_is_told_in_one_unit(window, words):
    assert window_words(window) == words
