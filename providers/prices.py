"""What tokens cost: the price list that comes with genai-prices, read offline, and made-up prices for scripted models."""

from functools import lru_cache

from providers.transports import find_transport


def price_usd(
    model: str,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_input_tokens: int | None = None,
    provider: str = "",
) -> float | None:
    """Return the price of one call in US dollars, or None where the model or its tokens are not known.

    Input includes cached. `provider` is a hint such as `openai` or `azure`; one that the list does not know is passed over.
    """
    if input_tokens is None and output_tokens is None:
        return None
    given, written = max(input_tokens or 0, 0), max(output_tokens or 0, 0)
    entry = find_transport(model)
    if entry is not None:
        prices = entry.prices.get(model)
        return None if prices is None else (given * prices[0] + written * prices[1]) / 1_000_000
    cached = min(max(cached_input_tokens or 0, 0), given)
    return listed_price(model.strip(), provider.strip().lower(), given, written, cached)


@lru_cache(maxsize=20_000)
def listed_price(model: str, provider: str, given: int, written: int, cached: int) -> float | None:
    """Look a price up in the list. The import waits until the first model that is not scripted."""
    from genai_prices import Usage, calc_price

    if not model or is_unlisted(model, provider):
        return None
    usage = Usage(input_tokens=given, output_tokens=written, cache_read_tokens=cached)
    for hint, name in candidates(model, provider):
        try:
            return float(calc_price(usage, name, provider_id=hint or None).total_price)
        except (LookupError, ValueError):  # not in the list; or counts that make no sense to it
            continue
    remember_unlisted(model, provider)
    return None


def candidates(model: str, provider: str) -> list[tuple[str, str]]:
    """Return (provider, model) pairs to try: as said, the model alone, and `openai/gpt-4o` taken apart."""
    owner, _, bare = model.rpartition("/")
    pairs = [(provider, model), ("", model)]
    if owner:
        pairs += [(owner.lower(), bare), ("", bare)]
    return list(dict.fromkeys(pairs))


unlisted: set[tuple[str, str]] = set()


def is_unlisted(model: str, provider: str) -> bool:
    return (model, provider) in unlisted


def remember_unlisted(model: str, provider: str) -> None:
    """Looking in vain is slow; a name that is not in the list never will be."""
    if len(unlisted) < 10_000:
        unlisted.add((model, provider))
