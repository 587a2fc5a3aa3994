"""Template tags of the evals pages."""

from django import template

from evals.queries.report import letter_of

register = template.Library()


@register.simple_tag
def letter_at(position: int) -> str:
    """Return the letter of the candidate at a position from 0."""
    return letter_of(position)


@register.simple_tag
def join_pair(a: str, b: str) -> str:
    """Return two letters as the address has them."""
    return f"{a},{b}"
