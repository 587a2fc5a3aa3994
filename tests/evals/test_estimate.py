from evals.estimate import Asked, Judge, estimate_comparison


def estimate(**overrides):
    fields = {
        "items": 10,
        "item_chars": 400,
        "trials": 2,
        "candidates": [Asked("gpt-a", 400), Asked("gpt-b", 400)],
        "judges": [],
        "price": lambda model, given, answered: (given + answered) / 1_000_000,
        "is_scripted": lambda model: model.startswith("demo/"),
        **overrides,
    }
    return estimate_comparison(**fields)


def test_samples_are_items_times_trials_times_candidates():
    assert estimate().samples == 40
    assert estimate().calls == 40


def test_every_judge_is_asked_about_every_sample_also_of_candidates_that_ask_no_model():
    found = estimate(candidates=[Asked("gpt-a"), Asked("")], judges=[Judge("gpt-j", 1000)])
    assert (found.answer_calls, found.judge_calls) == (20, 40)


def test_cost_is_that_of_all_calls():
    assert round(estimate().cost_usd, 6) == round(40 * (210 + 250) / 1_000_000, 6)


def test_a_comparison_of_scripted_models_alone_is_marked_and_priced_as_its_books_will_be():
    found = estimate(candidates=[Asked("demo/careful")], judges=[Judge("demo/judge", 100)])
    assert found.all_scripted
    assert found.cost_usd > 0
    assert not estimate(candidates=[Asked("demo/careful"), Asked("gpt-a")]).all_scripted


def test_nothing_to_ask_costs_nothing():
    assert estimate(candidates=[Asked("")]).words == "Run 20 samples, no cost"


def test_a_model_without_a_price_is_named_and_not_counted_as_free():
    found = estimate(price=lambda *_: None)
    assert found.unpriced == ("gpt-a", "gpt-b")
    assert found.words == "Run 40 samples, cost not known"


def test_a_partly_known_cost_says_so():
    found = estimate(price=lambda model, *_: 0.01 if model == "gpt-a" else None)
    assert found.words == "Run 40 samples, about $0.20 and what is not known"
