"""The scripted support agents: what the policy asks for, said well, hastily or wrongly. Pure and deterministic."""

import json
import re
from random import Random
from typing import Any

from gateway.scripted.reading import ORDER, Conversation

# How often an answer is right, and how often a right answer leaves something out.
SKILL = {"demo/careful": (0.94, 0.06), "demo/brisk": (0.82, 0.28), "demo/terse": (0.58, 0.45)}
TOOL_HINTS = {
    "refund": ("order", "charge", "refund"),
    "status": ("order", "track"),
    "address": ("order", "address"),
    "subscription": ("customer", "user", "plan"),
    "complaint": ("order", "ticket"),
}


def answer_customer(model: str, read: Conversation, rng: Random) -> dict[str, Any]:
    """Return the assistant's message: a tool call where a tool is offered and needed, else an answer."""
    right, sparse = SKILL[model]
    if read.tools and not read.tool_results and (model == "demo/careful" or rng.random() < right):
        call = choose_tool(read, rng)
        if call is not None:
            return {"role": "assistant", "content": None, "tool_calls": [call]}
    if rng.random() < right:
        facts, extra = right_answer(read)
        sentences = facts if rng.random() < sparse else facts + extra
    else:
        sentences = wrong_answer(read, rng)
    return {"role": "assistant", "content": phrase(model, read, sentences, rng)}


def choose_tool(read: Conversation, rng: Random) -> dict[str, Any] | None:
    """Return a call of the first offered tool that looks things up for this request, or None."""
    hints = TOOL_HINTS.get(read.intent, ("order", "customer", "user", "search"))
    reads = [tool for tool in read.tools if re.search(r"get|find|look|list|search|track", str(tool.get("name")))]
    for hint in hints:
        for tool in reads:
            if hint in str(tool.get("name")):
                arguments = fill_arguments(tool, read)
                if arguments is not None:
                    name, text = str(tool["name"]), json.dumps(arguments)
                    return {
                        "id": f"call_{rng.getrandbits(64):016x}",
                        "type": "function",
                        "function": {"name": name, "arguments": text},
                    }
    return None


def fill_arguments(tool: dict[str, Any], read: Conversation) -> dict[str, Any] | None:
    """Return the tool's required arguments from what is known, or None where one is not known."""
    parameters = tool.get("parameters") or {}
    found = ORDER.search(read.last_user) or ORDER.search(read.first_user)
    email = re.search(r"[\w.+-]+@[\w-]+\.[\w.]+[\w]", " ".join([read.last_user, read.first_user]))
    known = {
        "order": found[0] if found else "",
        "mail": email[0] if email else "",
        "track": read.facts.get("tracking", ""),
    }
    arguments = {}
    for name in parameters.get("required") or list(parameters.get("properties") or {}):
        value = next((value for hint, value in known.items() if hint in str(name).lower() and value), None)
        if value is None:
            return None
        arguments[str(name)] = value
    return arguments


def right_answer(read: Conversation) -> tuple[list[str], list[str]]:
    """Return (what has to be said, what makes it complete) by the shop's policy and the facts in sight."""
    facts = read.facts
    order = facts.get("order_id", "")
    days = int(facts["days"]) if "days" in facts else None
    amount = float(facts["amount"]) if "amount" in facts else None
    status, tracking = facts.get("status", ""), facts.get("tracking", "")
    if not order and not facts:
        return generic_answer(read)
    if read.intent == "refund":
        if status and status != "delivered":
            return [f"Order {order} has not been delivered yet."], ["A refund can be made within 30 days of delivery."]
        if days is not None and days > 30:
            said = f"Order {order} was delivered {days} days ago; refunds are made within 30 days of delivery, so it cannot be refunded."
            return [said], ["I am sorry that I have no better news; I can offer 15% off the next order."]
        if amount is not None and amount > 60:
            said = f"The refund of ${amount:.2f} for order {order} needs a person's approval, which has been asked for."
            return [said], ["You will hear from us within 2 working days."]
        if amount is not None:
            said = f"The refund of ${amount:.2f} for order {order} goes back to the original payment method."
            return [said], ["It arrives within 5 working days."]
    if read.intent == "address":
        if status in ("packed", "pending"):
            return [f"Order {order} has not shipped yet, so its address is changed as you asked."], [
                "A confirmation follows by e-mail."
            ]
        said = f"Order {order} has already shipped, so its address cannot be changed."
        return [said], [f"The carrier can redirect {tracking}." if tracking else "The carrier can redirect it."]
    if read.intent == "complaint":
        said = f"I am very sorry about this. A ticket is open for order {order}."
        return [said], ["A person answers within 2 working days."]
    if read.intent == "subscription":
        return ["The change to your plan takes effect with the next box."], [
            "A box that is already packed still ships."
        ]
    if status == "packed":
        return [f"Order {order} is packed and has not shipped yet."], ["The tracking link follows by e-mail."]
    if status == "shipped":
        return [f"Order {order} has shipped."], [f"Its tracking number is {tracking}."]
    if status == "delivered" and days is not None:
        return [f"Order {order} was delivered {days} days ago."], [f"Its tracking number is {tracking}."]
    return generic_answer(read)


def generic_answer(read: Conversation) -> tuple[list[str], list[str]]:
    """Return an answer to a request outside the shop's script, built from what was asked."""
    order = ORDER.search(" ".join([read.last_user, read.first_user]))
    asked = re.sub(r"\s+", " ", read.last_user).strip()
    topic = (asked[:90].rsplit(" ", 1)[0] + " …") if len(asked) > 90 else asked
    about = f"about {order[0]}" if order else f"about “{topic}”" if topic else "with your request"
    needs = (
        "I look at the order first and tell you what I find."
        if order
        else "Please give me your order number or e-mail address."
    )
    return [f"I can help you {about}.", needs], ["Nothing is changed before you confirm it."]


def wrong_answer(read: Conversation, rng: Random) -> list[str]:
    """Return an answer that goes wrong: a claim, a promise against the policy, the wrong fact, or nothing definite."""
    order = read.facts.get("order_id", "your order")
    amount = read.facts.get("amount")
    paid = f"${float(amount):.2f}" if amount else "the full amount"
    claims = {
        "refund": f"I have refunded {paid} for {order} to your card.",
        "address": f"I have changed the address of {order}.",
        "status": f"I have called the carrier and {order} arrives tomorrow.",
        "complaint": "We are sorry to hear that.",
        "subscription": "I have cancelled your plan.",
    }
    vague = "Please check your account page for details, or write to us again."
    wrong = {
        "refund": "Refunds take up to 90 days.",
        "status": f"{order} has not been paid yet.",
        "address": "Please order again.",
    }
    options = [claims.get(read.intent, "All done."), wrong.get(read.intent, vague), vague]
    return [rng.choices(options, [5, 2, 3])[0]]


def phrase(model: str, read: Conversation, sentences: list[str], rng: Random) -> str:
    """Say it in the model's manner."""
    name = read.facts.get("customer", "")
    body = " ".join(sentences)
    if model == "demo/terse":
        return body
    hello = f"Hello {name}. " if name else "Hello. "
    if model == "demo/brisk":
        return (f"{hello if rng.random() < 0.5 else ''}{body}{rng.choice(['', ' Anything else?', ''])}").strip()
    opening = rng.choice(
        ["Thank you for writing to us.", "Thank you for your message.", "I have looked into this for you."]
    )
    closing = rng.choice(
        ["Please write to us again if anything is unclear.", "Is there anything else that I can do for you?"]
    )
    return f"{hello}{opening} {body} {closing}"
