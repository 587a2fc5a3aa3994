"""The fictional shop: Fernhill Coffee, its products, customers, orders, policies and tools. Pure and deterministic."""

from dataclasses import dataclass
from random import Random
from typing import Any

SHOP = "Fernhill Coffee"
PRODUCTS = [
    ("Kenya AA, 1 kg", 38.00),
    ("House espresso, 500 g", 17.50),
    ("Decaf Huila, 250 g", 11.20),
    ("Ethiopia Guji, 500 g", 21.00),
    ("Hand grinder", 64.00),
    ("French press, 1 l", 32.00),
    ("Paper filters, 200", 9.80),
    ("Monthly box", 29.00),
    ("Gift card", 50.00),
    ("Pour-over kettle", 58.00),
]
FIRST_NAMES = [
    "Ada",
    "Bruno",
    "Chiara",
    "Dmitri",
    "Elif",
    "Farid",
    "Greta",
    "Hiro",
    "Ines",
    "Jonas",
    "Kofi",
    "Lucía",
    "Mara",
    "Nils",
    "Olena",
]
STREETS = ["Mill Lane", "Harbour Street", "Oak Avenue", "Station Road", "Quarry Hill", "Garden Walk"]
TOWNS = ["Leith", "Whitby", "Ludlow", "Hexham", "Totnes", "Ely"]

POLICIES = {
    "refunds": "Refunds are made to the original payment method within 30 days of delivery. Above $60 a person approves the refund.",
    "damaged": "Damaged or wrong items are replaced or refunded at no cost. A photo is asked for above $50.",
    "address": "An address can be changed until the parcel has shipped. After that the carrier has to be asked.",
    "subscription": "Plan changes and pauses take effect from the next box. A box that is already packed still ships.",
    "complaints": "Say sorry, name what went wrong, open a ticket, and say when the customer will hear back (2 working days).",
}

TOOLS: list[dict[str, Any]] = [
    {"name": "get_customer", "description": "Find a customer by e-mail address", "required": {"email": "string"}},
    {"name": "get_order", "description": "Look an order up by its number", "required": {"order_id": "string"}},
    {"name": "list_charges", "description": "List a customer's charges", "required": {"customer_id": "string"}},
    {
        "name": "create_refund",
        "description": "Refund a charge",
        "required": {"charge_id": "string", "amount": "number"},
    },
    {
        "name": "track_parcel",
        "description": "Ask the carrier where a parcel is",
        "required": {"tracking_number": "string"},
    },
    {
        "name": "change_address",
        "description": "Change an order's address",
        "required": {"order_id": "string", "address": "string"},
    },
    {
        "name": "change_plan",
        "description": "Change or pause a plan",
        "required": {"customer_id": "string", "plan": "string"},
    },
    {
        "name": "open_ticket",
        "description": "Hand over to a person",
        "required": {"subject": "string", "priority": "string"},
    },
]


def tool_definitions() -> list[dict[str, Any]]:
    """Return the tools in the form in which chat models are offered them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool["name"],
                "description": tool["description"],
                "parameters": {
                    "type": "object",
                    "properties": {name: {"type": kind} for name, kind in tool["required"].items()},
                    "required": list(tool["required"]),
                },
            },
        }
        for tool in TOOLS
    ]


@dataclass(frozen=True)
class Case:
    """A customer with an order: what a scripted conversation is about. Money in US dollars."""

    customer: str
    customer_id: str
    email: str
    plan: str
    order_id: str
    charge_id: str
    tracking: str
    product: str
    amount: float
    status: str
    days_since_delivery: int
    address: str

    def order(self) -> dict[str, Any]:
        """Return the order as the tool get_order gives it."""
        return {
            "order_id": self.order_id,
            "customer_id": self.customer_id,
            "status": self.status,
            "items": [{"name": self.product, "price": self.amount}],
            "days_since_delivery": self.days_since_delivery if self.status == "delivered" else None,
            "tracking_number": self.tracking if self.status in ("shipped", "delivered") else None,
            "address": self.address,
        }


def make_case(rng: Random) -> Case:
    """Draw a customer with an order."""
    number = rng.randrange(10_000, 99_999)
    name = rng.choice(FIRST_NAMES)
    product, amount = rng.choice(PRODUCTS)
    return Case(
        customer=name,
        customer_id=f"cus_{number % 7919:04d}",
        email=f"{name.lower().replace('í', 'i')}.{number % 997}@example.com",
        plan=rng.choice(["monthly", "monthly", "annual", "none"]),
        order_id=f"FH-{number}",
        charge_id=f"ch_{number:x}",
        tracking=f"TRK{number * 7 % 1_000_000:06d}",
        product=product,
        amount=amount,
        status=rng.choice(["delivered", "delivered", "shipped", "packed"]),
        days_since_delivery=rng.choice([2, 4, 6, 9, 14, 21, 27, 34, 48]),
        address=f"{rng.randrange(1, 120)} {rng.choice(STREETS)}, {rng.choice(TOWNS)}",
    )
