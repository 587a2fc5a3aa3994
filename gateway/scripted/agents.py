"""The scripted support agents: careful, brisk and terse. Each states the policy's decision, or fails to, in its own way. Pure.

careful: correct and complete, polite, a bit long. brisk: mostly correct, sometimes skips the policy or the confirmation.
terse: short, often incomplete, wrong on a fair share, and sometimes claims an action that it did not make.
"""

from collections.abc import Callable

from gateway.scripted.chance import Chance
from gateway.scripted.policy import Decision, decide
from gateway.scripted.reading import Situation


def careful(seen: Situation, chance: Chance) -> str:
    """Answer well; about one answer in twelve lacks something."""
    decision = decide(seen)
    parts = [opening(seen, decision, chance), *careful_parts(seen, decision)]
    if chance.happens("forgets", 0.08) and len(parts) > 2:
        del parts[2]
    parts.append(
        chance.pick(
            "closing",
            [
                "Is there anything else that I can do for you?",
                "Just write back if anything is unclear.",
                "Please let me know if there is anything else.",
            ],
        )
    )
    return " ".join(part for part in parts if part)


def opening(seen: Situation, decision: Decision, chance: Chance) -> str:
    to = f", {seen.customer}" if seen.customer else ""
    if seen.intent == "complaint":
        return f"I am very sorry{to}: this is not how it should have gone, and I understand that you are upset."
    if decision.allowed is False:
        return f"Thank you for writing{to}, and I am sorry that I do not have better news."
    return chance.pick(
        "opening",
        [
            f"Thank you for getting in touch{to}.",
            f"Hello{to}, thank you for your message.",
            f"Thank you for asking{to}.",
        ],
    )


def careful_parts(seen: Situation, decision: Decision) -> list[str]:
    """Return the sentences that state the decision, what follows from it, and by when."""
    order, item, sum_of = named_order(seen), f"the {seen.product}", money(seen.price)
    done = dict(seen.tool_results)
    match decision.kind:
        case "refund" | "refund_approval" if "create_refund" in done and "succeeded" in done["create_refund"]:
            return [
                f"I have refunded {sum_of} for {order}.",
                "The money goes back to the original payment method and arrives within 5 working days.",
            ]
        case "refund":
            return [
                f"{cap(order)} was delivered {days(seen)} ago, which is within our 30 days.",
                f"The refund of {sum_of} for {item} goes back to the original payment method.",
                "You will see it within 5 working days.",
            ]
        case "refund_approval":
            return [
                f"{cap(order)} was delivered {days(seen)} ago, so it can be refunded.",
                f"A refund of {sum_of} is above $60 and needs a person’s approval, which I have asked for.",
                "You will hear from my colleague within 2 working days.",
            ]
        case "refund_too_late":
            return [
                f"{cap(order)} was delivered {days(seen)} ago.",
                "Refunds are made within 30 days of delivery, so it cannot be refunded any more.",
                *(
                    ["Since it came damaged, I am asking a colleague whether we can replace it."]
                    if seen.is_damaged
                    else []
                ),
            ]
        case "refund_not_delivered":
            return [
                f"{cap(order)} has not been delivered yet.",
                "A refund can be made within 30 days of delivery, so please write again once it is there.",
                f"You can follow it under {seen.tracking}." if seen.tracking else "The tracking link comes by e-mail.",
            ]
        case "address":
            to = f" to {seen.new_address}" if seen.new_address else ""
            return [
                f"{cap(order)} has not shipped yet, so the address can still be changed.",
                f"I am changing the delivery address{to}.",
                "You will get an e-mail that confirms it within the hour.",
            ]
        case "address_shipped":
            carrier = (
                f"the carrier can redirect the parcel {seen.tracking}"
                if seen.tracking
                else "the carrier has to be asked"
            )
            return [
                f"{cap(order)} has already shipped, so its address cannot be changed by us.",
                f"What still works: {carrier}.",
            ]
        case "status_packed":
            return [
                f"{cap(order)} is packed and has not shipped yet.",
                "It leaves us today or tomorrow, and the tracking link follows by e-mail.",
            ]
        case "status_shipped":
            return [
                f"{cap(order)} has shipped.",
                f"Its tracking number is {seen.tracking or 'in the e-mail that we sent'}, and parcels take 2 to 4 working days.",
            ]
        case "status_delivered":
            return [
                f"Our carrier reports that {order} was delivered {days(seen)} ago.",
                f"Its tracking number is {seen.tracking or 'in the e-mail that we sent'}.",
                "If it is not with you or a neighbour, tell me and I will ask the carrier to look for it.",
            ]
        case "subscription":
            return [
                "I have noted the change to your plan." if not done else "The change to your plan is made.",
                "It takes effect from the next box; a box that is already packed still ships.",
                "You will get an e-mail that confirms the new plan and the next payment date.",
            ]
        case "complaint":
            return [
                f"I have opened a ticket for {order} and described what went wrong.",
                "A person from our team answers you within 2 working days.",
            ]
        case "cancel":
            return [
                f"I can cancel {order} as long as it has not shipped.",
                "Please confirm that you want this, and I will do it right away; the money is back within 5 working days.",
            ]
        case "exchange":
            return [
                f"I can help you to exchange what you ordered in {order}.",
                "Please tell me for each item what you would like in its place, and confirm before I change anything: an exchange can be "
                "made once.",
            ]
    if decision.kind.endswith("_unknown"):
        return [*identify(seen), *general_policy(seen.intent)]
    return ["I want to be sure that I get this right.", *identify(seen)]


def identify(seen: Situation) -> list[str]:
    """Ask for what is missing to look a customer or an order up."""
    if seen.order_id:
        return [
            f"I am looking into {seen.order_id}.",
            "Could you tell me the e-mail address of your account, so that I can open it?",
        ]
    if seen.email:
        return [
            f"I see your account {seen.email}.",
            "Which order is it about? Its number is in the confirmation e-mail.",
        ]
    if seen.name:
        return [
            f"Thank you, {seen.name}.",
            "Could you also give me the order number, or the e-mail address of your account?",
        ]
    return ["Could you give me the order number, or the e-mail address of your account? Then I can look it up."]


def general_policy(intent: str) -> list[str]:
    return {
        "refund": ["In general we refund to the original payment method within 30 days of delivery."],
        "address": ["In general an address can be changed until the parcel has shipped."],
    }.get(intent, [])


def brisk(seen: Situation, chance: Chance) -> str:
    """Answer in short, mostly right; skips the policy in about a quarter of the answers where it matters, and dates in a third."""
    decision = decide(seen)
    skips_policy = chance.happens("policy", 0.28)
    no_date = chance.happens("date", 0.35)
    order, sum_of = named_order(seen), money(seen.price)
    to = f" to {seen.new_address}" if seen.new_address else ""
    number = f". Its tracking number is {seen.tracking}" if seen.tracking else ""
    hello = f"Hi {seen.customer}, " if seen.customer and chance.trial("hello") < 0.7 else "Hi, "
    if skips_policy and decision.kind in ("refund_too_late", "refund_not_delivered", "refund_approval"):
        return (
            hello
            + f"no problem, I am refunding {sum_of} for {order}."
            + ("" if no_date else " It arrives within 5 working days.")
        )
    if skips_policy and decision.kind == "address_shipped":
        return hello + f"sure, I will change the address of {order}{to}."
    if skips_policy and decision.kind == "complaint":
        return hello + f"thanks for the feedback about {order}, we will pass it on."
    short = {
        "refund": (
            f"{order} is within 30 days, so {sum_of} goes back to the original payment method",
            " within 5 working days",
        ),
        "refund_approval": (
            f"the refund of {sum_of} for {order} needs a person’s approval; I have asked for it",
            " and you hear from us within 2 working days",
        ),
        "refund_too_late": (
            f"{order} was delivered {days(seen)} ago. We refund within 30 days of delivery, so it cannot be refunded",
            "",
        ),
        "refund_not_delivered": (
            f"{order} has not been delivered yet. You can ask for a refund within 30 days of delivery",
            "",
        ),
        "address": (f"{order} has not shipped, so I am changing the address{to}", ". A confirmation comes by e-mail"),
        "address_shipped": (
            f"{order} has already shipped, so its address cannot be changed. The carrier can redirect {seen.tracking or 'it'}",
            "",
        ),
        "status_packed": (f"{order} is packed and has not shipped yet", "; the tracking link follows by e-mail"),
        "status_shipped": (f"{order} has shipped", number),
        "status_delivered": (f"{order} was delivered {days(seen)} ago", number),
        "subscription": ("your plan changes from the next box", "; a box that is already packed still ships"),
        "complaint": (
            f"sorry about that. I opened a ticket for {order}",
            " and a person answers within 2 working days",
        ),
        "cancel": (f"I will cancel {order} if it has not shipped", ". Please confirm"),
        "exchange": (
            "tell me which items you want in exchange and I will set it up",
            ". It can be done once for each order",
        ),
    }.get(decision.kind)
    if short is None:
        return hello + lower_first(" ".join(identify(seen)))
    return hello + short[0] + ("" if no_date else short[1]) + "."


def terse(seen: Situation, chance: Chance) -> str:
    """Answer in a few words: wrong or claimed without doing it in about two of five, and rarely with the facts."""
    decision = decide(seen)
    order = seen.order_id
    if chance.happens("claims", 0.42):
        claimed = {
            "refund": "Refunded.",
            "address": "Address changed.",
            "status": "It will arrive tomorrow.",
            "subscription": "Done, your plan is changed.",
            "complaint": "Noted.",
            "cancel": "Cancelled.",
            "exchange": "Exchanged.",
        }.get(seen.intent, "Done.")
        return claimed if chance.trial("names") < 0.5 or not order else f"{claimed[:-1]} ({order})."
    plain = {
        "refund": f"{money(seen.price)} will be refunded.",
        "refund_approval": "A person has to approve this refund.",
        "refund_too_late": f"No refund: more than 30 days since delivery of {order}.",
        "refund_not_delivered": f"{order} is not delivered yet.",
        "address": f"Changing the address of {order}.",
        "address_shipped": f"{order} has shipped. Ask the carrier.",
        "status_packed": f"{order}: packed, not shipped.",
        "status_shipped": f"{order}: shipped, {seen.tracking}.",
        "status_delivered": f"{order}: delivered {days(seen)} ago.",
        "subscription": "Your plan changes with the next box.",
        "complaint": f"Sorry. Ticket opened{' for ' + order if order else ''}.",
        "cancel": "Please confirm the cancellation.",
        "exchange": "Which items?",
    }.get(decision.kind)
    return plain or ("Order number?" if not order else "Account e-mail?")


AGENTS: dict[str, Callable[[Situation, Chance], str]] = {
    "demo/careful": careful,
    "demo/brisk": brisk,
    "demo/terse": terse,
}


def named_order(seen: Situation) -> str:
    return f"order {seen.order_id}" if seen.order_id else "your order"


def money(amount: float | None) -> str:
    return f"${amount:,.2f}" if amount is not None else "the amount"


def days(seen: Situation) -> str:
    if seen.days is None:
        return "some days"
    return "1 day" if seen.days == 1 else f"{seen.days:g} days"


def lower_first(text: str) -> str:
    return text if text.startswith("I ") else text[:1].lower() + text[1:]


def cap(text: str) -> str:
    return text[:1].upper() + text[1:]
