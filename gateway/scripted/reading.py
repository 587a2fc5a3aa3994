"""What a scripted model makes of a conversation: what is wanted, about which order, and what is known of it. Pure."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

MAX_READ = 200_000  # characters of one message
KEYWORDS: dict[str, tuple[str, ...]] = {
    "refund": ("refund", "money back", "charged twice", "reimburse", "sent it back", "sent the", "return", "get my $", "double charge"),
    "exchange": ("exchange", "swap", "replace", "different size", "another colour", "another color"),
    "address": ("address", "i moved", "wrong street", "deliver to", "instead?", "moved to"),
    "subscription": ("plan", "subscription", "subscribe", "pause", "skip", "annual", "every two months", "next box", "my box", "upgrade"),
    "cancel": ("cancel",),
    "complaint": (
        "annoyed", "third time", "useless", "nobody answered", "complain", "stale", "unacceptable", "disappointed", "ridiculous",
        "do you even", "angry", "terrible", "worst",
    ),
    "status": ("where is", "shipped", "tracking", "in transit", "arrive", "status", "late", "due on", "has not come", "when will"),
}  # fmt: skip
WEIGHTS = {"complaint": 1.6, "status": 0.9, "exchange": 1.1, "cancel": 1.1}
DAMAGED = ("crack", "broken", "damaged", "wrong item", "leak", "stale", "dent", "smashed", "faulty", "defect")
ORDER = re.compile(r"(?<![\w-])(?:#?[A-Z]{1,3}-?\d{4,10}|#\d{4,10})(?![\w-])")
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")
MONEY = re.compile(r"[$€£]\s?(\d[\d,]*(?:\.\d{1,2})?)")
NEW_ADDRESS = re.compile(
    r"(?:\bto|should be|is now|at)\s+(\d+\w?\s+[^.?!\n]{4,70}?)(?:\s+instead\b|[.?!\n]|$)", re.IGNORECASE
)
NAME = re.compile(r"(?:[Mm]y name is|[Ii]'m|[Ii] am|[Tt]his is)\s+([A-Z][\w'’-]+)(?:\s+([A-Z][\w'’-]+))?")
ZIP = re.compile(r"(?:zip(?: code)?|postcode)\D{0,12}(\d{5})", re.IGNORECASE)
USER_ID = re.compile(r"\b[a-z]+_[a-z]+_\d{3,6}\b|\bcus_\w+")


@dataclass
class Situation:
    """A conversation as far as a scripted model understands it."""

    intent: str = "other"
    wish: str = ""  # the last user message
    everything: str = ""  # all user messages
    order_id: str = ""
    email: str = ""
    amount: float | None = None
    new_address: str = ""
    name: str = ""
    is_damaged: bool = False
    facts: dict[str, Any] = field(default_factory=dict)  # from JSON in system and tool messages, later ones first
    tool_results: list[tuple[str, str]] = field(default_factory=list)  # (tool name, result) after the last user message
    user_turns: int = 0

    @property
    def customer(self) -> str:
        known = self.facts.get("customer") or self.facts.get("name")
        return known if isinstance(known, str) and len(known) < 60 else self.name

    @property
    def product(self) -> str:
        items = self.facts.get("items")
        if isinstance(items, list) and items and isinstance(items[0], dict):
            return str(items[0].get("name") or "item")[:80]
        return "item"

    @property
    def price(self) -> float | None:
        """What the order cost, else the amount that the customer named."""
        items = self.facts.get("items")
        if isinstance(items, list):
            prices = [item.get("price") for item in items if isinstance(item, dict)]
            numbers = [price for price in prices if isinstance(price, int | float) and not isinstance(price, bool)]
            if numbers:
                return float(sum(numbers))
        found = self.facts.get("amount")
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else self.amount

    @property
    def status(self) -> str:
        return str(self.facts.get("status") or "").lower()

    @property
    def days(self) -> float | None:
        found = self.facts.get("days_since_delivery")
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None

    @property
    def tracking(self) -> str:
        found = self.facts.get("tracking_number") or self.facts.get("tracking")
        return str(found)[:60] if found else ""


def text_of(message: Any) -> str:
    """Return the text of a message's content, whatever form it has."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content[:MAX_READ]
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))[:MAX_READ]
    return ""


def last_user_text(messages: list[Any]) -> str:
    """Return the text of the last user message, or an empty text."""
    texts = (text_of(message) for message in reversed(messages) if message.get("role") == "user")
    return next(texts, "")


def read_situation(messages: list[Any]) -> Situation:
    """Read a conversation in OpenAI chat form."""
    said = [text_of(message) for message in messages if message.get("role") == "user"]
    found = Situation(wish=said[-1] if said else "", everything="\n".join(said), user_turns=len(said))
    for message in messages:
        if message.get("role") in ("system", "developer", "tool"):
            for value in json_objects(text_of(message)):
                entries = flat(value)
                if not {"order_id", "items", "days_since_delivery"} & set(entries):
                    entries.pop("status", None)  # of the action, not of the order
                found.facts.update(entries)
    found.intent = intent_of(found.wish)
    if found.intent == "other":
        found.intent = next((intent for text in reversed(said) if (intent := intent_of(text)) != "other"), "other")
    found.order_id = first(ORDER, [found.wish, *reversed(said)]) or str(found.facts.get("order_id") or "")[:40]
    found.email = first(EMAIL, [found.wish, *reversed(said)])
    money = first(MONEY, [found.wish, *reversed(said)], group=1)
    found.amount = float(money.replace(",", "")) if money else None
    found.new_address = first(NEW_ADDRESS, [found.wish, *reversed(said)], group=1).strip(" ,")
    name = NAME.search(found.everything)
    found.name = name.group(1) if name else ""
    found.is_damaged = any(word in found.everything.lower() for word in DAMAGED)
    found.tool_results = results_since_last_user(messages)
    return found


def intent_of(text: str) -> str:
    """Return what a text asks for; `other` where no keyword says."""
    low = text.lower()
    scores = {
        intent: WEIGHTS.get(intent, 1.0) * sum(word in low for word in words) for intent, words in KEYWORDS.items()
    }
    best = max(scores, key=lambda intent: scores[intent])
    return best if scores[best] > 0 else "other"


def first(pattern: re.Pattern[str], texts: list[str], *, group: int = 0) -> str:
    """Return the first match in the first text that has one, or an empty text."""
    for text in texts:
        match = pattern.search(text)
        if match:
            return match.group(group)
    return ""


def json_objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects that stand in a text, at most 20."""
    decoder = json.JSONDecoder()
    found: list[dict[str, Any]] = []
    at = text.find("{")
    tries = 0
    while at != -1 and len(found) < 20 and tries < 200:
        tries += 1
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(value, dict):
            found.append(value)
        at = text.find("{", end)
    return found


def flat(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object's entries, those of objects within it beside its own; empty values are left out."""
    entries = {name: inner for name, inner in value.items() if inner not in (None, "", [], {})}
    for inner in list(entries.values()):
        if isinstance(inner, dict):
            for name, deep in inner.items():
                if deep not in (None, "", [], {}):
                    entries.setdefault(name, deep)
    charges = entries.get("charges")
    if isinstance(charges, list) and charges and isinstance(charges[0], dict):
        entries.setdefault("charge_id", charges[0].get("charge_id"))
    return entries


def results_since_last_user(messages: list[Any]) -> list[tuple[str, str]]:
    """Return the tool results that came after the last user message, each with its tool's name."""
    names: dict[str, str] = {}
    results: list[tuple[str, str]] = []
    for message in messages:
        if message.get("role") == "user":
            results = []
        for call in message.get("tool_calls") or []:
            if isinstance(call, dict):
                function = call.get("function")
                name = function.get("name") if isinstance(function, dict) else call.get("name")
                names[str(call.get("id"))] = str(name or "")
        if message.get("role") == "tool":
            results.append(
                (names.get(str(message.get("tool_call_id")), str(message.get("name") or "")), text_of(message))
            )
    return results
