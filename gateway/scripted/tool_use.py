"""Which tool a scripted model calls next, from those it was offered. Pure.

A tool is called when every argument that it requires can be taken from the conversation: nothing is invented (but by demo/terse).
"""

import json
from typing import Any

from gateway.scripted.chance import Chance
from gateway.scripted.policy import decide
from gateway.scripted.reading import NAME, USER_ID, ZIP, Situation

MAX_CALLS = 5  # since the last user message
READS = ("get", "find", "list", "track", "look", "search", "fetch", "check", "read", "query")
ACTIONS = {
    "refund": ("refund",),
    "address": ("address",),
    "subscription": ("plan", "subscription"),
    "complaint": ("ticket", "escalate", "transfer"),
}


def offered(tools: Any) -> dict[str, dict[str, Any]]:
    """Return the offered functions by name."""
    found: dict[str, dict[str, Any]] = {}
    for tool in tools if isinstance(tools, list) else []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            found[function["name"]] = function
    return found


def next_call(model: str, seen: Situation, tools: Any, chance: Chance) -> dict[str, Any] | None:
    """Return the tool call to make now, in OpenAI form, or None to answer in words."""
    functions = offered(tools)
    called = [name for name, _ in seen.tool_results]
    if not functions or len(called) >= MAX_CALLS:
        return None
    if model == "demo/terse" and (called or chance.happens("no tool", 0.45)):
        return None
    known = known_values(seen)
    for name, function in functions.items():
        if is_read(name) and name not in called and is_wanted(model, name, seen, called):
            arguments = fill(function, known)
            if arguments is not None:
                return as_call(name, arguments, chance)
    action = next((name for name in functions if not is_read(name) and acts_on(name, seen.intent)), None)
    if action is None or action in called or not may_act(model, seen, chance):
        return None
    arguments = fill(functions[action], known)
    return as_call(action, arguments, chance) if arguments is not None else None


def is_read(name: str) -> bool:
    return name.lower().startswith(READS)


def acts_on(name: str, intent: str) -> bool:
    return any(word in name.lower() for word in ACTIONS.get(intent, ()))


def is_wanted(model: str, name: str, seen: Situation, called: list[str]) -> bool:
    """Say whether looking this up helps with what is asked; the brisk one looks up one thing only."""
    if model != "demo/careful" and called:
        return False
    low = name.lower()
    if "track" in low:
        return seen.intent == "status" and bool(seen.tracking)
    if "charge" in low or "payment" in low:
        return seen.intent == "refund"
    if "order" in low:
        return bool(seen.order_id)
    return "product" not in low or seen.intent == "exchange"


def may_act(model: str, seen: Situation, chance: Chance) -> bool:
    """Say whether the policy lets the model act; the brisk one skips that check at times, the terse one always."""
    if model == "demo/terse" or (model == "demo/brisk" and chance.happens("policy", 0.28)):
        return True
    decision = decide(seen)
    return decision.kind in ("refund", "address", "complaint", "subscription")


def known_values(seen: Situation) -> dict[str, Any]:
    """Return values by the names under which tools usually ask for them."""
    values: dict[str, Any] = {
        name: value for name, value in seen.facts.items() if isinstance(value, str | int | float | bool)
    }
    text = seen.everything
    name, user, place = NAME.search(text), USER_ID.search(text), ZIP.search(text)
    extra = {
        "order_id": seen.order_id,
        "order_number": seen.order_id,
        "email": seen.email,
        "first_name": name.group(1) if name else "",
        "last_name": (name.group(2) or "") if name else "",
        "zip": place.group(1) if place else "",
        "user_id": user.group(0) if user else result_id(seen),
        "customer_id": user.group(0) if user else result_id(seen),
        "amount": seen.price,
        "address": seen.new_address,
        "new_address": seen.new_address,
        "tracking_number": seen.tracking,
        "plan": next((word for word in ("annual", "monthly", "pause") if word in text.lower()), ""),
        "subject": f"{seen.intent} {seen.order_id}".strip(),
        "summary": " ".join(seen.wish.split())[:120],
        "reason": " ".join(seen.wish.split())[:120],
        "priority": "high" if seen.intent == "complaint" else "normal",
        "query": " ".join(seen.wish.split())[:120],
    }
    for key, value in extra.items():
        if value not in (None, ""):
            # What the customer says now goes before what an earlier lookup said about them.
            if key in ("address", "new_address", "order_id", "order_number", "email"):
                values[key] = value
            else:
                values.setdefault(key, value)
    return values


def result_id(seen: Situation) -> str:
    """Return an id that a lookup gave as its whole answer."""
    for _, result in reversed(seen.tool_results):
        found = USER_ID.fullmatch(result.strip().strip('"'))
        if found:
            return found.group(0)
    return ""


def fill(function: dict[str, Any], known: dict[str, Any]) -> dict[str, Any] | None:
    """Return arguments for every required parameter, or None where one is not known."""
    parameters = function.get("parameters")
    schema = parameters if isinstance(parameters, dict) else {}
    properties = schema.get("properties")
    required = schema.get("required")
    arguments: dict[str, Any] = {}
    for name in required if isinstance(required, list) else []:
        if not isinstance(name, str) or name not in known:
            return None
        rule = properties.get(name) if isinstance(properties, dict) else None
        value = cast_to(known[name], rule if isinstance(rule, dict) else {})
        if value is None:
            return None
        arguments[name] = value
    return arguments


def cast_to(value: Any, rule: dict[str, Any]) -> Any:
    """Return a value as the schema wants it, or None where it cannot be."""
    choices = rule.get("enum")
    if isinstance(choices, list):
        return value if value in choices else None
    if rule.get("type") in ("number", "integer"):
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        return int(number) if rule["type"] == "integer" else number
    return str(value) if rule.get("type") == "string" else value


def as_call(name: str, arguments: dict[str, Any], chance: Chance) -> dict[str, Any]:
    text = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": f"call_{chance.digits('call ' + name, 16)}",
        "type": "function",
        "function": {"name": name, "arguments": text},
    }
