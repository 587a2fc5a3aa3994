"""The sample project's rubrics, dataset and candidates. Plain data, written by us for the fictional shop."""

import json
from random import Random
from typing import Any

from demo.scripts import opening
from demo.shop import POLICIES, SHOP, Case, make_case


def level(value: float, label: str, meaning: str, example: str = "") -> dict[str, Any]:
    return {"value": value, "label": label, "meaning": meaning, "example": example}


OUTCOME_1: dict[str, Any] = {
    "name": "Outcome is correct",
    "mode": "direct",
    "instructions": "Was the customer's request resolved as asked, and within the shop's policy?",
    "pass_threshold": 4,
    "criteria": [
        {
            "key": "outcome",
            "name": "Outcome",
            "description": "Whether the task was done.",
            "layer": "outcome",
            "levels": [
                level(1, "Harmful", "Acts against the request or the policy."),
                level(2, "Wrong", "Understands the request, but the result is wrong or missing."),
                level(3, "Partly", "Partly done; the customer must write again to finish."),
                level(4, "Right", "Done and correct; one useful fact is missing."),
                level(5, "Complete", "Done and correct, clear and friendly."),
            ],
        }
    ],
}
OUTCOME_2: dict[str, Any] = {
    **OUTCOME_1,
    "instructions": "Was the request resolved as asked, within the shop's policy, with a reply that matches what the tools returned?",
    "criteria": [
        {
            **OUTCOME_1["criteria"][0],
            "description": "Whether the task was done, and the reply says truly what was done.",
            "levels": [
                level(
                    1,
                    "Harmful",
                    "Acts against the request or the policy.",
                    "Cancels a plan that the customer wants to keep.",
                ),
                level(
                    2,
                    "Wrong",
                    "Understands the request, but the result is wrong, missing, or claimed without proof.",
                    "Confirms a refund that has no refund ID.",
                ),
                level(
                    3, "Partly", "Partly done; the customer must write again to finish.", "Refunds one of two items."
                ),
                level(
                    4, "Right", "Done and correct; one useful fact is missing.", "No date for when the money arrives."
                ),
                level(
                    5, "Complete", "Done and correct; amount, method and timing are stated and match the tool results."
                ),
            ],
        }
    ],
}
TOOLS_1: dict[str, Any] = {
    "name": "Tools are used well",
    "mode": "direct",
    "instructions": "Look at the steps only, not at the wording of the reply.",
    "pass_threshold": 2.5,
    "criteria": [
        {
            "key": "selection",
            "name": "Tool selection",
            "description": "Whether each call was the tool that the task needed.",
            "layer": "tool_selection",
            "levels": [
                level(
                    1, "Poor", "A needed tool was never called, or one that changes something was called without need."
                ),
                level(2, "Partly", "The needed tools were called, beside calls that added nothing."),
                level(3, "Good", "Every call was needed, and none was missing."),
            ],
        }
    ],
}
TOOLS_2: dict[str, Any] = {
    **TOOLS_1,
    "criteria": [
        *TOOLS_1["criteria"],
        {
            "key": "arguments",
            "name": "Tool arguments",
            "description": "Whether the values passed are those that the customer or an earlier result gave.",
            "layer": "tool_arguments",
            "levels": [
                level(
                    1,
                    "Poor",
                    "A value was invented, or belongs to something else.",
                    "A customer ID passed as an order number.",
                ),
                level(2, "Partly", "A wrong value was passed, noticed and put right."),
                level(3, "Good", "Every value can be traced to the customer or to a result."),
            ],
        },
    ],
}
REFERENCE_1: dict[str, Any] = {
    "name": "Agrees with the reference",
    "mode": "adherence",
    "instructions": "Compare what is stated and promised. Wording, order and length do not matter.",
    "pass_threshold": 1,
    "criteria": [
        {
            "key": "agreement",
            "name": "Agreement",
            "description": "Whether every fact and promise of the reference is in the answer.",
            "layer": "outcome",
            "levels": [
                level(0, "Fail", "A fact or promise of the reference is missing."),
                level(1, "Pass", "All facts and promises of the reference are there."),
            ],
        }
    ],
}
REFERENCE_2: dict[str, Any] = {
    **REFERENCE_1,
    "criteria": [
        {
            **REFERENCE_1["criteria"][0],
            "description": "Whether every fact and promise of the reference is in the answer and none contradicts it.",
            "levels": [
                level(
                    0,
                    "Fail",
                    "A fact or promise of the reference is missing or contradicted.",
                    "Promises a refund that the policy refuses.",
                ),
                level(1, "Pass", "All facts and promises of the reference are there; nothing contradicts them."),
            ],
        }
    ],
}
RUBRICS: list[tuple[tuple[dict[str, Any], str], tuple[dict[str, Any], str]]] = [
    ((OUTCOME_1, "First version."), (OUTCOME_2, "Catches refunds that were promised but not made.")),
    ((TOOLS_1, "First version."), (TOOLS_2, "Looks at the values passed as well.")),
    ((REFERENCE_1, "First version."), (REFERENCE_2, "A contradiction counts as a failure.")),
]

BUCKETS = {"everyday": 20, "policy limits": 12, "upset customers": 8}
SYSTEM_PROMPT = (
    f"You are a support agent of {SHOP}. Policies: {' '.join(POLICIES.values())} "
    "What the tools returned for this customer: {{ item.context }} Answer the customer in a few sentences."
)
NAMES_THE_ORDER = '''def grade(sample, item):
    """The answer names the order that the customer asked about."""
    named = item["order_id"] in sample["output_text"]
    return {"score": 1.0 if named else 0.0, "passed": named, "rationale": "order named" if named else "order not named"}
'''


def dataset_items() -> list[dict[str, Any]]:
    """Return the 40 items: key, bucket, and content with input, context, reference, order_id and topic."""
    items = []
    for bucket, count in BUCKETS.items():
        for number in range(count):
            rng = Random(f"markbook-demo-item-{bucket}-{number}")
            topic = topic_of(bucket, number)
            case = fit_case(bucket, make_case(rng))
            items.append(
                {
                    "key": f"{bucket.replace(' ', '-')}-{number + 1:02d}",
                    "bucket": bucket,
                    "content": {
                        "input": opening(topic, case, rng),
                        "context": json.dumps(
                            case.order() | {"customer": case.customer, "plan": case.plan, "charge_id": case.charge_id}
                        ),
                        "reference": reference(topic, case),
                        "order_id": case.order_id,
                        "topic": topic,
                    },
                }
            )
    return items


def topic_of(bucket: str, number: int) -> str:
    """Return which kind of request an item is."""
    topics = {
        "everyday": ["order_status", "refund_request", "address_change", "order_status"],
        "policy limits": ["refund_request", "address_change", "refund_request"],
        "upset customers": ["complaint"],
    }[bucket]
    return topics[number % len(topics)]


def fit_case(bucket: str, case: Case) -> Case:
    """Make a case belong to its bucket: at the limits of the policy, the request has to be refused."""
    from dataclasses import replace

    if bucket == "policy limits":
        return replace(case, status="delivered", days_since_delivery=31 + case.days_since_delivery)
    return replace(case, days_since_delivery=min(case.days_since_delivery, 27))


def reference(topic: str, case: Case) -> str:
    """Return the reference answer that the policy asks for."""
    if topic == "refund_request":
        if case.status != "delivered":
            return f"Order {case.order_id} has not been delivered yet. A refund can be made within 30 days of delivery."
        if case.days_since_delivery > 30:
            return (
                f"Order {case.order_id} was delivered {case.days_since_delivery} days ago. Refunds are made within 30 days of delivery, "
                "so it cannot be refunded."
            )
        if case.amount > 60:
            return f"The refund of ${case.amount:.2f} for order {case.order_id} needs a person's approval, which has been asked for."
        return f"The refund of ${case.amount:.2f} for order {case.order_id} goes back to the original payment method within 5 working days."
    if topic == "address_change":
        if case.status == "packed":
            return f"The address of order {case.order_id} is changed, since it has not shipped yet."
        return f"Order {case.order_id} has already shipped, so its address cannot be changed; the carrier can redirect {case.tracking}."
    if topic == "order_status":
        if case.status == "packed":
            return f"Order {case.order_id} is packed and has not shipped yet; the tracking link follows by e-mail."
        if case.status == "shipped":
            return f"Order {case.order_id} has shipped. Its tracking number is {case.tracking}."
        return f"Order {case.order_id} was delivered {case.days_since_delivery} days ago. Its tracking number is {case.tracking}."
    return f"We are sorry. A ticket is open for order {case.order_id}, and a person answers within 2 working days."
