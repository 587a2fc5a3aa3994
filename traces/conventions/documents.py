"""JSON that repeats what the record says: its long texts become places in the record, the rest is kept. Pure.

This serves every dialect (Vercel's parts, LangChain's wrappers, a provider's request as a framework logs it) without
knowing it: a text of a message, or the list of tools, is known by its value wherever it stands. See `moved.py` for the recipes
of the two conventions that most spans speak, which are smaller still.
"""

from typing import Any

from traces.conventions.raw import json_style, write_json
from traces.spans import SpanRecord

MIN_TEXT = 40  # characters; shorter ones cost as much as their place
KEY = "§"  # of an object that stands for a text or a list of the record
TOOLS = "tools"


def move_document(record: SpanRecord, name: str, sent: Any, document: Any) -> None:
    """Take an attribute that repeats messages or tools out of the record. `sent`: JSON text, or the value itself."""
    if not isinstance(document, (dict, list)):
        return
    style = json_style(sent, document) if isinstance(sent, str) else None
    if isinstance(sent, str) and style is None:
        return
    places = {text: place for place, text in known_texts(record) if len(text) >= MIN_TEXT}
    folder = Folder(places, record.available_tools)
    folded = folder.fold(document)
    if not folder.count or folder.is_ambiguous:
        return
    record.moved[name] = {"form": "document", "document": folded} | ({"style": style} if style else {})
    record.attributes.pop(name, None)


def known_texts(record: SpanRecord) -> list[tuple[str, str]]:
    """Return the texts of a record's messages, each with its place. The same texts in the same order, always."""
    found: list[tuple[str, str]] = []
    for side, messages in (("i", record.input_messages), ("o", record.output_messages)):
        for index, message in enumerate(messages):
            content = message["content"]
            if isinstance(content, str):
                found.append((f"{side}{index}", content))
            elif isinstance(content, list):
                for part, inner in enumerate(content):
                    text = inner.get("content") if isinstance(inner, dict) else None
                    if isinstance(text, str):
                        found.append((f"{side}{index}.{part}", text))
    return found


class Folder:
    """Puts places in the stead of texts and lists that a record holds."""

    def __init__(self, places: dict[str, str], tools: list[Any] | None) -> None:
        self.places, self.tools = places, tools or None
        self.count, self.is_ambiguous = 0, False

    def fold(self, value: Any) -> Any:
        """Return a value with places in it; `count` says how many."""
        if isinstance(value, str):
            place = self.places.get(value) if len(value) >= MIN_TEXT else None
            if place is None:
                return value
            self.count += 1
            return {KEY: place}
        if isinstance(value, list):
            if self.tools is not None and is_same(value, self.tools):
                self.count += 1
                return {KEY: TOOLS}
            return [self.fold(inner) for inner in value]
        if isinstance(value, dict):
            self.is_ambiguous = self.is_ambiguous or KEY in value
            return {key: self.fold(inner) for key, inner in value.items()}
        return value


def is_same(left: list[Any], right: list[Any]) -> bool:
    """Say whether two lists are the same JSON: 1, 1.0 and true are equal to Python."""
    return len(left) == len(right) and left == right and write_json(left, "compact") == write_json(right, "compact")


def write_document(record: SpanRecord, recipe: dict[str, Any]) -> Any:
    """Return the attribute that a recipe stands for."""
    texts: dict[str, Any] = dict(known_texts(record))
    texts[TOOLS] = record.available_tools

    def unfold(value: Any) -> Any:
        if isinstance(value, list):
            return [unfold(inner) for inner in value]
        if isinstance(value, dict):
            if len(value) == 1 and KEY in value:
                return texts[value[KEY]]
            return {key: unfold(inner) for key, inner in value.items()}
        return value

    document = unfold(recipe["document"])
    return write_json(document, recipe["style"]) if "style" in recipe else document
