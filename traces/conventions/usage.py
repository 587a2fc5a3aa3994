"""Tokens and cost, in the names of the providers' APIs: one reader for all the places that repeat a provider's usage. Pure."""

from typing import Any

from traces.conventions.raw import read_amount, read_count
from traces.spans import Usage


def first_count(found: dict[str, Any], *names: str) -> int | None:
    """Return the first of some names that holds a count."""
    for name in names:
        if name in found and (count := read_count(found[name])) is not None:
            return count
    return None


def read_usage(document: Any) -> Usage:
    """Return the usage of a provider's answer: OpenAI's chat or Responses names, Anthropic's, LangChain's.

    Anthropic's `input_tokens` leave cached tokens out, so those given beside them are added: input always includes cached.
    """
    found = document if isinstance(document, dict) else {}
    given = details(found, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    written = details(found, "completion_tokens_details", "output_tokens_details", "output_token_details")
    usage = Usage(
        input_tokens=first_count(found, "prompt_tokens", "input_tokens"),
        output_tokens=first_count(found, "completion_tokens", "output_tokens"),
        cached_input_tokens=first_count(given, "cached_tokens", "cache_read", "cache_read_tokens"),
        cache_write_tokens=first_count(given, "cache_write_tokens", "cache_creation", "cache_creation_tokens"),
        reasoning_tokens=first_count(written, "reasoning_tokens", "reasoning"),
    )
    apart = [first_count(found, name) for name in ("cache_read_input_tokens", "cache_creation_input_tokens")]
    if any(count is not None for count in apart):
        if usage.input_tokens is not None:
            usage.input_tokens += sum(filter(None, apart))
        usage.cached_input_tokens, usage.cache_write_tokens = apart
    if usage.cached_input_tokens is None:
        usage.cached_input_tokens = first_count(found, "cached_input_tokens", "cached_tokens")
    if usage.cache_write_tokens is None:
        usage.cache_write_tokens = first_count(found, "cache_write_input_tokens")
    if usage.reasoning_tokens is None:
        usage.reasoning_tokens = first_count(found, "reasoning_tokens")
    return usage


def details(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the first of some names that holds an object; an empty one where none does."""
    return next((inner for name in names if isinstance(inner := found.get(name), dict)), {})


def fill_usage(usage: Usage, more: Usage) -> None:
    """Take counts from another source where a span has none yet; details that are missing are filled in."""
    if usage.input_tokens is None and usage.output_tokens is None:
        usage.input_tokens, usage.output_tokens = more.input_tokens, more.output_tokens
    for name in ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens"):
        if getattr(usage, name) is None:
            setattr(usage, name, getattr(more, name))


def fill_cost(usage: Usage, amount: Any) -> None:
    """Take a cost that was sent, where there is none yet."""
    if usage.cost_usd is None and (cost := read_amount(amount)) is not None:
        usage.cost_usd, usage.cost_source = cost, "sent"
