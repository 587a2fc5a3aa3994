"""What to change in a request that a server refuses for something it does not know: response formats and parameters. Pure."""

import json
from typing import Any

from providers.completions import ProviderError

FORMAT_WORDS = ("response_format", "json_schema", "json_object", "schema", "grammar", "structured")
FORMATS = ["json_schema", "json_object", "text"]  # each next one asks less of the server
DROPPABLE = ("temperature", "top_p", "seed")


def lower_format(
    wanted: dict[str, Any] | None, level: int, messages: list[Any]
) -> tuple[dict[str, Any] | None, list[Any]]:
    """Return response format and messages for a level of FORMATS; below json_schema the schema goes into words."""
    if wanted is None or wanted.get("type") not in FORMATS or FORMATS.index(wanted["type"]) >= level:
        return wanted, messages
    schema = (wanted.get("json_schema") or {}).get("schema")
    words = "Answer with one JSON object and nothing else."
    if schema:
        words += " It must fit this JSON schema:\n" + json.dumps(schema, ensure_ascii=False)
    told = [{"role": "system", "content": words}, *messages]
    return ({"type": "json_object"} if FORMATS[level] == "json_object" else None), told


def next_level(wanted: dict[str, Any] | None, level: int, error: ProviderError) -> int | None:
    """Return the next level to try after a refusal, or None where the response format is not what was refused."""
    if wanted is None or wanted.get("type") not in FORMATS or error.status not in (400, 404, 415, 422, 501):
        return None
    about_format = error.param.startswith("response_format") or any(word in str(error).lower() for word in FORMAT_WORDS)
    current = max(level, FORMATS.index(wanted["type"]))
    return current + 1 if about_format and current + 1 < len(FORMATS) else None


def refused_parameter(sampling: dict[str, Any], error: ProviderError, *, may_drop: bool) -> str:
    """Return the sampling parameter that a server refuses and that can be renamed or (for a judge) left out, else empty."""
    if error.status not in (400, 422):
        return ""
    text = str(error).lower()
    if "max_tokens" in sampling and (error.param == "max_tokens" or "max_completion_tokens" in text):
        return "max_tokens"
    if not may_drop:
        return ""
    return next((name for name in DROPPABLE if name in sampling and (error.param == name or f"'{name}'" in text)), "")
