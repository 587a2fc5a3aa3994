"""Chance that is the same every time: drawn from the model, the messages and the seed. Pure."""

import hashlib
import json
from typing import Any, TypeVar

T = TypeVar("T")


class Chance:
    """Draws by name. `case` draws do not depend on the seed: what is hard about an item is hard in every trial."""

    def __init__(self, model: str, messages: list[Any], seed: Any) -> None:
        said = json.dumps(messages, sort_keys=True, default=str).encode("utf-8", "replace")
        self.case_key = hashlib.sha256(model.encode("utf-8", "replace") + b"\0" + said).digest()
        self.trial_key = hashlib.sha256(self.case_key + repr(seed).encode("utf-8", "replace")).digest()

    def trial(self, name: str) -> float:
        """Return a number in [0, 1) that changes with the seed."""
        return draw(self.trial_key, name)

    def case(self, name: str) -> float:
        """Return a number in [0, 1) that is the same for every seed."""
        return draw(self.case_key, name)

    def happens(self, name: str, share: float) -> bool:
        """Say whether something happens that does so in about `share` of all answers, more alike within a case than between cases."""
        if share <= 0:
            return False
        return 0.6 * self.case(name) + 0.4 * self.trial(name) < quantile(share)

    def pick(self, name: str, options: list[T]) -> T:
        return options[int(self.trial(name) * len(options))]

    def digits(self, name: str, count: int) -> str:
        return hashlib.sha256(self.trial_key + name.encode()).hexdigest()[:count]


def draw(key: bytes, name: str) -> float:
    return int.from_bytes(hashlib.sha256(key + name.encode()).digest()[:6], "big") / 2**48


def quantile(share: float) -> float:
    """Return x with P(0.6 u + 0.4 v < x) = share, for u and v uniform on [0, 1]: a trapezoid's distribution."""
    a, b = 0.6, 0.4
    edge = b / (2 * a)  # P at x = b
    if share <= edge:
        return float((2 * a * b * share) ** 0.5)
    if share >= 1 - edge:
        return float(1 - (2 * a * b * (1 - share)) ** 0.5)
    return a * share + b / 2
