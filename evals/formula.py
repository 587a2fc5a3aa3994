"""The formula of a `multi` grader: `0.7 * accuracy + 0.3 * min(style, 1)`. Pure.

Numbers, names, parentheses, + - * /, powers by ^ or ** (right-associative, before a sign: -2^2 is -4), and the functions in FUNCTIONS.
A formula is parsed into a tree of our own and never run as program text; length and depth are bounded.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 50
TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)|(?P<mark>\*\*|[-+*/^(),]))"
)
NAME = re.compile(r"[^\W\d]\w*")
FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
ANY_NUMBER = ("min", "max")  # of arguments; the others take one


class BadFormula(ValueError):
    """A text that is no formula, or names what is not there; the text says where."""


class NoValue(ArithmeticError):
    """A formula that has no value for these numbers; the text says why."""


@dataclass(frozen=True)
class Formula:
    """A parsed formula: a tree of ("number", x), ("name", n), ("call", f, parts) and (operator, parts)."""

    text: str
    tree: tuple[Any, ...]
    names: tuple[str, ...]

    def value(self, values: Mapping[str, float]) -> float:
        """Return the formula's value. Raises NoValue for what arithmetic does not allow."""
        try:
            result = float(evaluate(self.tree, values))
        except ZeroDivisionError:
            raise NoValue("The formula divides by zero.") from None
        except OverflowError:
            raise NoValue("The formula's value is too large.") from None
        except ValueError:
            raise NoValue("The formula takes a root, power or logarithm that is not a real number.") from None
        if not math.isfinite(result):
            raise NoValue("The formula's value is not a finite number.")
        return result


def parse_formula(text: str) -> Formula:
    """Parse a formula. Raises BadFormula."""
    if len(text) > MAX_LENGTH:
        raise BadFormula(f"The formula has {len(text):,} characters; at most {MAX_LENGTH:,} are read.")
    parser = Parser(text)
    tree = parser.sum(0)
    if parser.kind:
        raise BadFormula(f"{parser.here} was not expected in the formula.")
    return Formula(text, tree, tuple(dict.fromkeys(parser.names)))


class Parser:
    """Reads a formula from left to right. It is a class for its place in the text."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0
        self.kind, self.token, self.start = "", "", 0
        self.names: list[str] = []
        self.next()

    @property
    def here(self) -> str:
        return f"“{self.token}” at character {self.start + 1}" if self.kind else "The end"

    def next(self) -> None:
        """Go on to the next token; the kind is empty at the end."""
        match = TOKEN.match(self.text, self.place)
        if match is None:
            rest = self.text[self.place :].lstrip()
            if rest:
                raise BadFormula(
                    f"“{rest[0]}” at character {len(self.text) - len(rest) + 1} has no meaning in a formula."
                )
            self.kind, self.token = "", ""
            return
        self.kind = match.lastgroup or ""
        self.token, self.start, self.place = match.group(self.kind), match.start(self.kind), match.end()

    def takes(self, *marks: str) -> str:
        """Step over one of the given marks and return it; empty where another token comes."""
        if self.kind != "mark" or self.token not in marks:
            return ""
        token = self.token
        self.next()
        return token

    def sum(self, depth: int) -> tuple[Any, ...]:
        tree = self.product(depth)
        while mark := self.takes("+", "-"):
            tree = (mark, tree, self.product(depth))
        return tree

    def product(self, depth: int) -> tuple[Any, ...]:
        tree = self.signed(depth)
        while mark := self.takes("*", "/"):
            tree = (mark, tree, self.signed(depth))
        return tree

    def signed(self, depth: int) -> tuple[Any, ...]:
        if depth > MAX_DEPTH:
            raise BadFormula(f"The formula is nested deeper than {MAX_DEPTH} levels.")
        if mark := self.takes("-", "+"):
            inner = self.signed(depth + 1)
            return ("negative", inner) if mark == "-" else inner
        return self.power(depth)

    def power(self, depth: int) -> tuple[Any, ...]:
        base = self.atom(depth)
        if self.takes("^", "**"):
            return ("^", base, self.signed(depth + 1))
        return base

    def atom(self, depth: int) -> tuple[Any, ...]:
        if self.takes("("):
            tree = self.sum(depth + 1)
            self.close()
            return tree
        kind, token, here = self.kind, self.token, self.here
        if kind == "number":
            self.next()
            value = float(token)
            if not math.isfinite(value):
                raise BadFormula(f"{here} is too large.")
            return ("number", value)
        if kind != "name":
            raise BadFormula(f"{here} was not expected in the formula; a number, a name or “(” was.")
        self.next()
        if not self.takes("("):
            self.names.append(token)
            return ("name", token)
        if token not in FUNCTIONS:
            raise BadFormula(
                f"There is no function {token!r} (character {self.start}); there are {', '.join(FUNCTIONS)}."
            )
        parts = [self.sum(depth + 1)]
        while self.takes(","):
            parts.append(self.sum(depth + 1))
        self.close()
        if token not in ANY_NUMBER and len(parts) != 1:
            raise BadFormula(f"{token}() takes one value, not {len(parts)}.")
        return ("call", token, tuple(parts))

    def close(self) -> None:
        if not self.takes(")"):
            raise BadFormula(f"{self.here} was not expected in the formula; “)” was.")


def evaluate(tree: tuple[Any, ...], values: Mapping[str, float]) -> float:
    """Return the value of a tree. A chain of sums or products is as long as the text allows, so it is walked without recursion."""
    rest = []
    while tree[0] in ("+", "-", "*", "/"):
        rest.append((tree[0], tree[2]))
        tree = tree[1]
    value = leaf(tree, values)
    for mark, part in reversed(rest):
        other = evaluate(part, values)
        if mark == "+":
            value += other
        elif mark == "-":
            value -= other
        elif mark == "*":
            value *= other
        else:
            value /= other
    return value


def leaf(tree: tuple[Any, ...], values: Mapping[str, float]) -> float:
    kind = tree[0]
    if kind == "number":
        return float(tree[1])
    if kind == "name":
        return float(values[tree[1]])
    if kind == "negative":
        return -evaluate(tree[1], values)
    if kind == "^":
        return math.pow(evaluate(tree[1], values), evaluate(tree[2], values))
    return float(FUNCTIONS[tree[1]](*(evaluate(part, values) for part in tree[2])))
