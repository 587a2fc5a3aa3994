"""Regular expressions in linear time, by RE2: no pattern and no text can make a search take for ever. Pure.

RE2 has no look-around and no backreferences; a pattern with them is refused when the grader is made.
"""

from functools import lru_cache
from typing import Any

import re2

from evals.templating import REFERENCE, as_inserted, look_up

MAX_PATTERN = 5_000  # characters, values included
MAX_TEXT = 1_000_000  # characters that are searched
MAX_MEMORY = 8 * 1024 * 1024  # bytes of one compiled pattern


class PatternError(ValueError):
    """A pattern that cannot be used, or a text too long for one; the text says why."""


def pattern_of(template: str, *, item: Any = None, sample: Any = None) -> Any:
    """Return the compiled pattern of a template whose values go in as plain text. Raises PatternError or MissingVariable.

    Without item and sample the pattern is compiled with a letter for each value, to check it.
    """
    if item is None and sample is None:
        return compiled(REFERENCE.sub("x", template))
    roots = {"item": item, "sample": sample}
    return compiled(REFERENCE.sub(lambda match: re2.escape(as_inserted(look_up(match.group(1), roots))), template))


@lru_cache(256)
def compiled(pattern: str) -> Any:
    """Compile a pattern. Raises PatternError."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"The pattern has {len(pattern):,} characters; at most {MAX_PATTERN:,} can be used.")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError) as error:
        said = error.args[0] if error.args else "unknown"
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise PatternError(f"The pattern cannot be used: {reason}.{hint(pattern)}") from None


def hint(pattern: str) -> str:
    """Say what to do about what RE2 does not have."""
    if any(mark in pattern for mark in ("(?=", "(?!", "(?<=", "(?<!")):
        return " Look-ahead and look-behind are not there, because they can make a search endless; use two graders."
    if any(f"\\{digit}" in pattern for digit in "123456789") or "(?P=" in pattern:
        return " Backreferences such as \\1 are not there, because they can make a search endless; use a Python grader."
    return ""


def search(pattern: Any, text: str) -> bool:
    """Say whether a pattern is found anywhere in a text. Raises PatternError for a text that is too long."""
    if len(text) > MAX_TEXT:
        raise PatternError(f"The text has {len(text):,} characters; at most {MAX_TEXT:,} are searched.")
    return pattern.search(text.encode("utf-8", "replace").decode()) is not None
