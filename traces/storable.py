"""Values that any database and any JSON reader takes: clean text, cut to size; JSON bytes of whatever was sent. Pure."""

import json
import re
from hashlib import blake2b
from typing import Any

import orjson

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
MAX_INTEGER = 2**63 - 1
MAX_TOKENS = 2**40  # a count beyond it is a broken one; so many that sums stay within 64 bits


class TooDeep(ValueError):
    """A value that nests deeper than JSON readers take."""


def clean_text(text: str, size: int | None = None) -> str:
    """Replace NUL and lone surrogates by U+FFFD, and cut to `size` characters."""
    if size is not None and len(text) > size:
        text = text[:size]
    return text if text.isascii() and "\0" not in text else UNSTORABLE.sub("\ufffd", text)


def is_storable(text: str) -> bool:
    """Say whether a text can be kept as it is."""
    return (text.isascii() and "\0" not in text) or UNSTORABLE.search(text) is None


def clean_json(value: Any, depth: int = 0) -> Any:
    """Return a JSON value that any database's JSON type takes. Raises TooDeep."""
    if depth > 100:
        raise TooDeep("a value nests deeper than 100 levels")
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_json(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(inner, depth + 1) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else clean_text(str(value))


def json_bytes(value: Any) -> bytes:
    """Return a value as JSON in UTF-8; NUL stays as an escape, a lone surrogate becomes U+FFFD. Raises TooDeep."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        pass
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, ValueError) as error:
        raise TooDeep("a value nests too deep to be kept") from error
    encoded = re.sub("[\ud800-\udfff]", "\ufffd", text).encode()
    try:
        orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        raise TooDeep("a value nests too deep to be kept") from error
    return encoded


def short_digest(*parts: bytes) -> bytes:
    """Return 16 bytes that name the parts."""
    return blake2b(parts[0] if len(parts) == 1 else b"".join(parts), digest_size=16).digest()


def token_count(value: Any) -> int | None:
    """Return a count of tokens, or None where it is none."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TOKENS:
        return value
    if isinstance(value, float) and 0 <= value < MAX_TOKENS:
        return int(value)
    return None


def amount_usd(value: Any) -> float | None:
    """Return an amount of money, rounded to 12 decimals so that sums do not depend on their order; None where it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and -1e12 < value < 1e12:
        return round(float(value), 12)
    return None
