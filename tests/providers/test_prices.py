import pytest

from providers.prices import price_usd


def test_price_of_a_listed_model_counts_cached_input_cheaper():
    full = price_usd("gpt-4o", 1000, 1000)

    assert full == pytest.approx(0.0125)
    assert price_usd("gpt-4o", 1000, 1000, 1000) < full


@pytest.mark.parametrize("model", ["openai/gpt-4o", "gpt-4o"])
def test_price_is_found_with_and_without_the_owner_in_the_name(model):
    assert price_usd(model, 1000, 0, provider="no-such-provider") == pytest.approx(0.0025)


@pytest.mark.parametrize("model", ["my-own-model-7b", "", "x" * 5000])
def test_price_of_an_unlisted_model_is_unknown_and_not_zero(model):
    assert price_usd(model, 1000, 1000) is None


def test_price_without_tokens_is_unknown():
    assert price_usd("gpt-4o", None, None) is None


def test_price_of_scripted_models_is_made_up_and_rises_with_quality():
    prices = [price_usd(f"demo/{name}", 1_000_000, 1_000_000) for name in ("terse", "brisk", "careful")]

    assert prices == [0.5, 2.0, 12.5]
