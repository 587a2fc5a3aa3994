"""What Fernhill Coffee's policies say about a request: the decision that a good answer states. Pure.

Refunds within 30 days of delivery, above $60 by a person; damaged items refunded or replaced at no cost; an address can be changed
until the parcel ships; plan changes count from the next box; a complaint gets an apology, a ticket and a date.
"""

from dataclasses import dataclass

from gateway.scripted.reading import Situation

REFUND_DAYS = 30
APPROVAL_USD = 60.0


@dataclass(frozen=True)
class Decision:
    """What to do: `kind` names the case, `allowed` whether what is asked for can be done (None: not known yet)."""

    kind: str
    allowed: bool | None


def decide(seen: Situation) -> Decision:
    """Apply the policies to what is known."""
    known = bool(seen.status)
    if seen.intent == "refund":
        if not known:
            return Decision("refund_unknown", None)
        if seen.status != "delivered":
            return Decision("refund_not_delivered", False)
        if seen.days is not None and seen.days > REFUND_DAYS:
            return Decision("refund_too_late", False)
        if seen.price is not None and seen.price > APPROVAL_USD:
            return Decision("refund_approval", True)
        return Decision("refund", True)
    if seen.intent == "address":
        if not known:
            return Decision("address_unknown", None)
        is_open = seen.status in ("packed", "pending", "processing", "placed")
        return Decision("address" if is_open else "address_shipped", is_open)
    if seen.intent == "status":
        return Decision(
            f"status_{seen.status}" if seen.status in ("packed", "shipped", "delivered") else "status_unknown", None
        )
    if seen.intent in ("subscription", "complaint", "cancel", "exchange"):
        return Decision(seen.intent, None)
    return Decision("other", None)
