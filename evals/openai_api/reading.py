"""Checks of what programs send: each wrong value is refused with the name of its place. Pure."""

import math
from collections.abc import Iterable
from typing import Any

MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512
MAX_NAME = 200


class BadRequest(ValueError):
    """A request that cannot be served: answered 400. `param` is the place, such as `testing_criteria[0].operation`."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.code = param, code


def joined(place: str, name: str) -> str:
    """Return the place of a part: `data_source` and `source` give `data_source.source`."""
    return f"{place}.{name}" if place and name else place or name


def required_object(body: dict[str, Any], name: str, place: str = "") -> dict[str, Any]:
    """Return an object of the body. Raises BadRequest where it is missing or something else."""
    value = body.get(name)
    if not isinstance(value, dict):
        raise BadRequest(f"`{joined(place, name)}` is required and must be an object.", param=joined(place, name))
    return value


def optional_object(body: dict[str, Any], name: str, place: str = "") -> dict[str, Any]:
    """Return an object of the body, empty where it is null or left out. Raises BadRequest for anything else."""
    if body.get(name) is None:
        return {}
    return required_object(body, name, place)


def required_words(body: dict[str, Any], name: str, place: str = "") -> str:
    """Return a text of the body that is not empty. Raises BadRequest."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"`{joined(place, name)}` is required and must be a text.", param=joined(place, name))
    return value


def one_of(value: Any, choices: Iterable[str], place: str) -> str:
    """Return the value where it is one of the choices. Raises BadRequest naming them."""
    known = list(choices)
    if value not in known or not isinstance(value, str):
        said = "is missing" if value is None else f"is {str(value)[:60]!r}"
        raise BadRequest(f"`{place}` {said}; it must be one of {', '.join(known)}.", param=place)
    return value


def read_name(body: dict[str, Any]) -> str | None:
    """Return the name, None where it is null or left out. Raises BadRequest."""
    value = body.get("name")
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest("`name` must be a text.", param="name")
    if len(value) > MAX_NAME:
        raise BadRequest(f"`name` has {len(value)} characters; at most {MAX_NAME} fit.", param="name")
    return value


def read_metadata(value: Any, place: str = "metadata") -> dict[str, str]:
    """Return metadata: at most 16 pairs of texts; null gives none. Raises BadRequest."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"`{place}` must be an object of texts.", param=place)
    if len(value) > MAX_METADATA:
        raise BadRequest(f"`{place}` has {len(value)} keys; at most {MAX_METADATA} are taken.", param=place)
    for name, text in value.items():
        where = f"{place}.{name[:MAX_METADATA_KEY]}"
        if len(name) > MAX_METADATA_KEY:
            raise BadRequest(
                f"A key of `{place}` has {len(name)} characters; at most {MAX_METADATA_KEY} fit.", param=where
            )
        if not isinstance(text, str):
            raise BadRequest(f"`{where}` must be a text.", param=where)
        if len(text) > MAX_METADATA_VALUE:
            raise BadRequest(f"`{where}` has {len(text)} characters; at most {MAX_METADATA_VALUE} fit.", param=where)
    return value


def refuse_unstorable(value: Any, place: str = "") -> None:
    """Raise BadRequest, naming the place, where a value cannot be kept in every database.

    That is a NUL character, half a character (a lone surrogate), or a number beyond all bounds.
    """
    waiting: list[tuple[Any, str]] = [(value, place)]
    while waiting:
        part, where = waiting.pop()
        if isinstance(part, dict):
            for name, inner in part.items():
                check_text(name, where)
                waiting.append((inner, joined(where, name[:80])))
        elif isinstance(part, list):
            waiting += [(inner, f"{where}[{number}]") for number, inner in enumerate(part)]
        elif isinstance(part, str):
            check_text(part, where)
        elif isinstance(part, float) and not math.isfinite(part):
            raise BadRequest(f"`{where}` is a number too large to be kept.", param=where)


def check_text(text: str, where: str) -> None:
    if "\x00" in text:
        raise BadRequest(f"`{where}` holds a NUL character, which cannot be kept.", param=clean_place(where))
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise BadRequest(f"`{clean_place(where)}` holds half a character (a lone surrogate).", param=clean_place(where))


def clean_place(where: str) -> str:
    return where.encode("utf-8", "replace").decode()
