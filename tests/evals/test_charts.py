import json

from evals.charts import Series, against_chart, distribution_chart, ramp_step, reliability_chart

A = Series("A", "one", [1, 1, 5, 5], 3.0, 2.0, 4.0, 0.02, 4000, [0.5, 0.25])
B = Series("B", "two", [5, 5, 5, 5], 5.0, 5.0, 5.0, None, 2000, [1.0, 1.0])
SCALE = (1.0, 5.0)


def test_ramp_steps_take_the_nearest_of_five():
    assert [ramp_step(value, SCALE) for value in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 5]
    assert [ramp_step(value, (0.0, 1.0)) for value in (0, 1)] == [1, 5]
    assert ramp_step(3, (2.0, 2.0)) == 3


def test_distribution_shows_the_share_of_outputs_on_each_step():
    chart = distribution_chart([A, B], grader="Right", scale=SCALE)
    assert [trace["x"] for trace in chart.figure["data"]] == [[0.5, 0], [0, 0], [0, 0], [0, 0], [0.5, 1.0]]
    assert chart.rows == [["A", "4", "50%", "0%", "0%", "0%", "50%"], ["B", "4", "0%", "0%", "0%", "0%", "100%"]]


def test_distribution_without_a_score_is_no_chart():
    assert distribution_chart([Series("A", "one")], grader="Right", scale=SCALE) is None


def test_a_candidate_without_a_price_is_in_the_table_and_named_but_not_drawn_at_zero():
    chart = against_chart([A, B], grader="Right", axis_name="cost")
    assert [trace["name"] for trace in chart.figure["data"]] == ["A"]
    assert "Not known for B" in chart.subtitle
    assert chart.rows[1] == ["B", "5.00", "5.00 to 5.00", "–"]


def test_error_bars_reach_to_the_ends_of_the_interval():
    bars = against_chart([A], grader="Right", axis_name="latency").figure["data"][0]["error_y"]
    assert (bars["array"], bars["arrayminus"]) == ([1.0], [1.0])


def test_reliability_needs_two_trials():
    assert reliability_chart([Series("A", "one", pass_hat_k=[0.5])], grader="Right") is None
    assert reliability_chart([A, B], grader="Right").rows[0] == ["A", "50%", "25%"]


def test_candidates_beyond_the_marks_have_the_neutral_colour():
    chart = reliability_chart([Series("G", "seventh", pass_hat_k=[1.0, 1.0])], grader="Right")
    assert chart.figure["data"][0]["line"]["color"] == "token:--ink-2"


def test_names_that_plotly_would_read_as_markup_are_escaped_and_figures_are_json():
    chart = against_chart([A], grader="<a href='x'>y</a>", axis_name="cost")
    assert "<a" not in json.dumps(chart.figure)


def test_axes_are_read_without_si_prefixes_and_without_a_label_for_each_of_thirty_trials():
    series = [Series("A", "a", [0.5], 0.5, 0.4, 0.6, 0.0002, 900.0, [1.0] * 30)]
    cost = against_chart(series, grader="g", axis_name="cost").figure["layout"]["xaxis"]
    assert cost["exponentformat"] == "none"
    reliability = reliability_chart(series, grader="g").figure["layout"]["xaxis"]
    assert 30 / reliability["dtick"] <= 10
    assert reliability["tickangle"] == 0
