"""What a scripted model understands of a request: the last question, the facts in sight, the tools offered. Pure."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

ORDER = re.compile(r"(?:FH-\d{3,}|#[A-Z]?\d{4,}|\b[A-Z]-\d{3,}\b)")
INTENTS = {
    "refund": r"refund|money back|charged twice|charge|reimburse|return",
    "status": r"where is|track|shipped|arriv|deliver(?:y|ed)|transit|status",
    "address": r"address|street|moved|instead\?|send .* to",
    "subscription": r"subscri|plan|pause|monthly|annual|membership|cancel",
    "complaint": r"third time|stale|annoyed|useless|complain|angry|nobody answered|ridiculous|terrible|unacceptable",
}
ORDER_OF_INTENTS = ["complaint", "address", "refund", "subscription", "status"]


@dataclass
class Conversation:
    """A request as read. `facts` are names and values found in the system prompt, the messages and the tool results."""

    system: str
    messages: list[dict[str, Any]]
    last_user: str
    first_user: str
    tools: list[dict[str, Any]]
    tool_results: list[str]
    facts: dict[str, str] = field(default_factory=dict)
    intent: str = ""
    digest: str = ""


def text_of(content: Any) -> str:
    """Return a message's content as text; parts that are not text are left out."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return ""


def read_conversation(body: dict[str, Any]) -> Conversation:
    """Read a chat-completions request."""
    messages = body["messages"]
    users = [text_of(message.get("content")) for message in messages if message.get("role") == "user"]
    system = "\n".join(
        text_of(message.get("content")) for message in messages if message.get("role") in ("system", "developer")
    )
    results = [text_of(message.get("content")) for message in messages if message.get("role") == "tool"]
    tools = [
        tool["function"]
        for tool in body.get("tools") or []
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    read = Conversation(
        system=system,
        messages=messages,
        last_user=users[-1] if users else "",
        first_user=users[0] if users else "",
        tools=tools,
        tool_results=results,
    )
    read.facts = find_facts("\n".join([system, *users, *results]))
    read.intent = find_intent(read.last_user) or find_intent(" ".join(users))
    canonical = json.dumps([[message.get("role"), text_of(message.get("content"))] for message in messages])
    read.digest = hashlib.sha256(canonical.encode()).hexdigest()
    return read


def find_intent(text: str) -> str:
    """Return what the customer wants, or an empty text."""
    lowered = text.lower()
    return next((intent for intent in ORDER_OF_INTENTS if re.search(INTENTS[intent], lowered)), "")


def find_facts(text: str) -> dict[str, str]:
    """Return the facts that a support answer needs, where the text has them."""
    facts: dict[str, str] = {}
    patterns = {
        "order_id": r'"order_id":\s*"([^"]+)"',
        "status": r'"status":\s*"(delivered|shipped|packed|pending|processed|cancelled)"',
        "days": r'"days_since_delivery":\s*(\d+)',
        "amount": r'"(?:price|amount)":\s*([\d.]+)',
        "product": r'"items":\s*\[\{"name":\s*"([^"]+)"',
        "tracking": r'"tracking_number":\s*"([^"]+)"',
        "customer": r'"customer":\s*"([^"]+)"',
        "address": r'"address":\s*"([^"]+)"',
    }
    for name, pattern in patterns.items():
        found = re.search(pattern, text)
        if found:
            facts[name] = found[1]
    if "order_id" not in facts:
        found = ORDER.search(text)
        if found:
            facts["order_id"] = found[0]
    return facts
