"""Rubrics to start from, and the scales that a criterion can be given. Plain data."""

from typing import Any

SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "pass-fail": ((0.0, "Fail"), (1.0, "Pass")),
    "1-3": ((1.0, "Poor"), (2.0, "Partly"), (3.0, "Good")),
    "1-5": ((1.0, "Harmful"), (2.0, "Wrong"), (3.0, "Partly"), (4.0, "Right"), (5.0, "Complete")),
    "1-10": tuple((float(value), str(value)) for value in range(1, 11)),
}
SCALE_NAMES = {"pass-fail": "Pass / fail", "1-3": "1 – 3", "1-5": "1 – 5", "1-10": "1 – 10"}


def scale_of(values: list[float]) -> str:
    """Return the name of the scale with these values, or an empty text."""
    return next((name for name, levels in SCALES.items() if [value for value, _ in levels] == values), "")


def levels(*rows: tuple[float, str, str, str]) -> list[dict[str, Any]]:
    return [
        {"value": value, "label": label, "meaning": meaning, "example": example}
        for value, label, meaning, example in rows
    ]


STARTERS: dict[str, dict[str, Any]] = {
    "outcome": {
        "name": "Outcome is correct",
        "mode": "direct",
        "instructions": "Was the customer's request resolved as asked, within policy, with a reply that matches what the tools returned?",
        "pass_threshold": 4,
        "criteria": [
            {
                "key": "outcome",
                "name": "Outcome",
                "description": "Whether the task was done, and the reply says truly what was done.",
                "layer": "outcome",
                "levels": levels(
                    (
                        1,
                        "Harmful",
                        "Acts against the request or the policy.",
                        "Cancels a plan that the customer wants to keep.",
                    ),
                    (
                        2,
                        "Wrong",
                        "Understands the request, but the result is wrong, missing, or claimed without proof.",
                        "",
                    ),
                    (3, "Partly", "Partly done; the customer must write again to finish.", "Refunds one of two items."),
                    (
                        4,
                        "Right",
                        "Done and correct; one useful fact is missing.",
                        "No date for when the money arrives.",
                    ),
                    (
                        5,
                        "Complete",
                        "Done and correct; what was done, how and by when are stated and match the tool results.",
                        "",
                    ),
                ),
            }
        ],
    },
    "tools": {
        "name": "Tools are used well",
        "mode": "direct",
        "instructions": "Look at the steps only, not at the wording of the reply.",
        "pass_threshold": 2,
        "criteria": [
            {
                "key": "selection",
                "name": "Tool selection",
                "description": "Whether each call was the tool that the task needed.",
                "layer": "tool_selection",
                "levels": levels(
                    (
                        1,
                        "Poor",
                        "A needed tool was never called, or one that changes something was called without need.",
                        "",
                    ),
                    (2, "Partly", "The needed tools were called, beside calls that added nothing.", ""),
                    (3, "Good", "Every call was needed, and none was missing.", ""),
                ),
            },
            {
                "key": "arguments",
                "name": "Tool arguments",
                "description": "Whether the values passed are those that the customer or an earlier result gave.",
                "layer": "tool_arguments",
                "levels": levels(
                    (
                        1,
                        "Poor",
                        "A value was invented, or belongs to something else.",
                        "An order number passed as a customer ID.",
                    ),
                    (2, "Partly", "A wrong value was passed, noticed and put right.", ""),
                    (3, "Good", "Every value can be traced to the customer or to a result.", ""),
                ),
            },
        ],
    },
    "reference": {
        "name": "Agrees with the reference",
        "mode": "adherence",
        "instructions": "Compare what is stated and promised. Wording, order and length do not matter.",
        "pass_threshold": 1,
        "criteria": [
            {
                "key": "agreement",
                "name": "Agreement",
                "description": "Whether every fact and promise of the reference is in the answer and none contradicts it.",
                "layer": "outcome",
                "levels": levels(
                    (0, "Fail", "A fact or promise of the reference is missing or contradicted.", ""),
                    (1, "Pass", "All facts and promises of the reference are there; nothing contradicts them.", ""),
                ),
            }
        ],
    },
    "blank": {
        "name": "New rubric",
        "mode": "direct",
        "instructions": "",
        "pass_threshold": 4,
        "criteria": [
            {
                "key": "quality",
                "name": "Quality",
                "description": "",
                "layer": "outcome",
                "levels": [{"value": value, "label": label} for value, label in SCALES["1-5"]],
            }
        ],
    },
}
