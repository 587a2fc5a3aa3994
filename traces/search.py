"""The query language of the traces list: text in, conditions with their positions out, and back to text. Pure.

    agent:refund-bot status:error duration:>5s tool:get_order model:gpt* meta.plan:annual -tag:test "exact words" words

A query is a list of terms that must all hold; `OR` between terms and parentheses around them make alternatives. A term is
`key:value` (comma: or; `*`: any text; `-` before it: not), a quoted phrase, or a word. Keys are in `KEYS`; an app above adds its own
with `register_key`.

    query = all { "OR" all }
    all   = term { [ "AND" ] term }
    term  = [ "-" | "NOT" ] ( "(" query ")" | key:value | "phrase" | word )
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from rapidfuzz import process

MAX_LENGTH = 2000  # characters of a query
MAX_TERMS = 40
MAX_DEPTH = 12  # parentheses in parentheses
MAX_STARS = 10  # in one word or value
MAX_NUMBER = 1e15
NS = 1_000_000_000
MAX_NS = 2**63 - 1  # what a column of nanoseconds holds: the year 2262

NAME = re.compile(r"[A-Za-z_][\w.\-]*")
BETWEEN = re.compile(r"(?:OR|AND)(?=[\s()]|$)")
NOT = re.compile(r"NOT\s+(?=\S)")
OPERATOR = re.compile(r">=|<=|≥|≤|>|<|=")
NUMBER = re.compile(r"^\$?(\d+(?:\.\d+)?|\.\d+)\s*([a-zµ]*)$", re.IGNORECASE)
AGO = re.compile(r"^-?(\d{1,6})(s|min|m|h|d|w)$", re.IGNORECASE)
DURATION_UNITS = {"ms": 1.0, "s": 1000.0, "sec": 1000.0, "min": 60_000.0, "m": 60_000.0, "h": 3_600_000.0}
COUNT_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
AGO_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Kind(StrEnum):
    """What the values of a key are."""

    TEXT = "text"  # equal, with * for any text
    CHOICE = "choice"  # one of a few words
    COUNT = "count"  # 12, 1.5k, 2M
    DURATION = "duration"  # 80ms, 5s, 2min; value in ms
    MONEY = "money"  # $0.002
    NUMBER = "number"  # 3, 0.75
    TIME = "time"  # 2026-06-17, 2026-06-17T02:14Z, 7d; value in ns since 1970


NUMERIC = (Kind.COUNT, Kind.DURATION, Kind.MONEY, Kind.NUMBER)


@dataclass(frozen=True)
class Key:
    """A key of the language. A name ending in a dot is a prefix: `meta.` takes any name after it.

    `build(condition, project)` makes the filter of a key that an app above registered; None for the keys of this app.
    `names(project)` lists what may follow its prefix.
    """

    name: str
    kind: Kind
    help: str
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    sample: str = ""
    build: Callable[["Condition", Any], Any] | None = None
    names: Callable[[Any], list[str]] | None = None  # of a project: what may follow a prefix

    @property
    def is_prefix(self) -> bool:
        return self.name.endswith(".")


@dataclass(frozen=True)
class Value:
    """One value of a condition: `text` as meant, `number` where the key is numeric or a time, `pattern` where it holds *."""

    text: str
    number: float | int | None = None
    high: float | None = None  # the upper end of a range 1s..5s
    is_pattern: bool = False
    is_quoted: bool = False


@dataclass(frozen=True)
class Condition:
    """`key:value` as parsed. `name` is what follows the prefix of a prefix key. Values are alternatives."""

    key: Key
    name: str
    operator: str  # "=", ">", ">=", "<", "<="
    values: tuple[Value, ...]
    negated: bool
    start: int
    end: int
    text: str

    @property
    def label(self) -> str:
        return self.key.name + self.name if self.key.is_prefix else self.key.name

    @property
    def shown_operator(self) -> str:
        return {"=": ":", ">=": "≥", "<=": "≤"}.get(self.operator, self.operator)

    @property
    def shown_value(self) -> str:
        return ", ".join(value.text for value in self.values)


@dataclass(frozen=True)
class Words:
    """Text to look for: a word or a piece of one, or an exact phrase in quotes."""

    content: str
    negated: bool
    start: int
    end: int
    text: str
    is_exact: bool = False


@dataclass(frozen=True)
class Group:
    """Terms in parentheses, or with OR between them: one of the `choices` must hold, each of them whole."""

    choices: tuple[tuple["Condition | Words | Group", ...], ...]
    negated: bool
    start: int
    end: int
    text: str


Term = Condition | Words | Group


@dataclass(frozen=True)
class Query:
    """A parsed query; `terms` in the order of the text."""

    terms: tuple[Term, ...] = ()

    @property
    def conditions(self) -> list[Condition]:
        return [term for term in self.terms if isinstance(term, Condition)]

    @property
    def words(self) -> list[Words]:
        return [term for term in self.terms if isinstance(term, Words)]

    @property
    def said(self) -> list[Words]:
        """The words that a match may hold, those in groups included: what an excerpt shows."""
        return list(said_words(self.terms))

    @property
    def text(self) -> str:
        return join(term.text for term in self.terms)

    def without_key(self, label: str) -> "Query":
        """Return the query without the conditions on one key, such as `agent` or `meta.plan`."""
        return Query(tuple(t for t in self.terms if not (isinstance(t, Condition) and facet_label(t) == label)))

    def values(self, label: str) -> list[str]:
        """Return the plain values that the query asks for under one key, for ticking facets."""
        found = [c for c in self.conditions if c.label == label and c.operator == "=" and not c.negated]
        return [value.text for condition in found for value in condition.values if not value.is_pattern]

    def lacks(self, label: str) -> bool:
        """Say whether the query asks for traces without this field: `-has:agent`."""
        return any(c.key.name == "has" and c.negated and [v.text for v in c.values] == [label] for c in self.conditions)


def said_words(terms: Iterable[Term]) -> Iterator[Words]:
    for term in terms:
        if term.negated:
            continue
        if isinstance(term, Words):
            yield term
        elif isinstance(term, Group):
            for choice in term.choices:
                yield from said_words(choice)


class QueryError(ValueError):
    """A query that cannot be read. `start` and `end` are offsets in its text; `suggestion` is a key or value that may be meant."""

    def __init__(self, message: str, start: int, end: int, *, suggestion: str = "") -> None:
        super().__init__(message)
        self.message, self.start, self.end, self.suggestion = message, start, max(end, start + 1), suggestion

    @property
    def position(self) -> int:
        """The place counted from 1, for people."""
        return self.start + 1


# Keys ------------------------------------------------------------------------------------------------------------

STATUSES = ("ok", "error", "unset")
SOURCES = ("ingest", "import", "eval", "proxy")
KINDS = (
    "agent", "llm", "tool", "retriever", "embedding", "reranker", "guardrail", "evaluator", "prompt", "chain", "handoff", "event",
)  # fmt: skip
FIELDS = (
    "agent", "cost", "end", "environment", "error", "input", "model", "output", "prompt", "release", "root", "session",
    "note", "signal", "tag", "task", "times", "tokens", "tool", "user", "version", "workflow",
)  # fmt: skip
KEYS: dict[str, Key] = {}
ALIASES: dict[str, str] = {}


def register_key(key: Key) -> None:
    """Add a key to the language, for example `score.` from evals. Registering the same name again replaces it."""
    KEYS[key.name] = key
    for alias in key.aliases:
        ALIASES[alias] = key.name


for known in (
    Key("agent", Kind.TEXT, "Agent, by name or id", sample="support-agent"),
    Key("status", Kind.CHOICE, "How the run ended", choices=STATUSES, sample="error"),
    Key("model", Kind.TEXT, "Model of any call", sample="gpt*"),
    Key("tool", Kind.TEXT, "Tool called in the run", sample="get_order"),
    Key("session", Kind.TEXT, "Conversation id", aliases=("conversation",)),
    Key("user", Kind.TEXT, "User id"),
    Key("environment", Kind.TEXT, "Environment", aliases=("env",), sample="production"),
    Key("tag", Kind.TEXT, "Tag", aliases=("tags",)),
    Key("task", Kind.TEXT, "Task"),
    Key("signal", Kind.TEXT, "Suspected silent failure", aliases=("suspicion", "signals"), sample="repeated_call"),
    Key("note", Kind.TEXT, "What people wrote of a run", aliases=("notes",), sample="*wrong order*"),
    Key("source", Kind.CHOICE, "How it came in", choices=SOURCES, sample="import"),
    Key("duration", Kind.DURATION, "Time from start to end", aliases=("latency",), sample=">5s"),
    Key("tokens", Kind.COUNT, "Tokens in all", sample=">1k"),
    Key("input_tokens", Kind.COUNT, "Tokens sent to models", sample=">1k"),
    Key("output_tokens", Kind.COUNT, "Tokens that models answered", sample=">500"),
    Key("cost", Kind.MONEY, "Cost in US dollars", sample=">$0.01"),
    Key("spans", Kind.COUNT, "Number of spans", sample=">20"),
    Key("llm_calls", Kind.COUNT, "Number of model calls", sample=">3"),
    Key("tool_calls", Kind.COUNT, "Number of tool calls", sample="0"),
    Key("errors", Kind.COUNT, "Number of failed spans", sample=">1"),
    Key("has", Kind.CHOICE, "Something is there", choices=FIELDS, sample="error"),
    Key("after", Kind.TIME, "Started at this time or later", aliases=("since",), sample="2026-06-17"),
    Key("before", Kind.TIME, "Started before this time", aliases=("until",), sample="2026-06-18"),
    Key("kind", Kind.CHOICE, "Kind of a span in the run", choices=KINDS, sample="retriever"),
    Key("error", Kind.TEXT, "Type or text of a failed span's error", sample="*timeout*"),
    Key("name", Kind.TEXT, "Name of the run"),
    Key("id", Kind.TEXT, "Trace id", aliases=("trace", "trace_id")),
    Key("release", Kind.TEXT, "Release"),
    Key("version", Kind.TEXT, "Version"),
    Key("workflow", Kind.TEXT, "Workflow"),
    Key("prompt", Kind.TEXT, "Prompt, by name"),
    Key("meta.", Kind.TEXT, "Metadata that was sent with the run", aliases=("metadata.",), sample="meta.plan:annual"),
):
    register_key(known)


def find_key(name: str) -> tuple[Key, str] | None:
    """Return the key of a written name and what follows its prefix; None where there is no such key."""
    lower = name.lower()
    lower = ALIASES.get(lower, lower)
    if lower in KEYS and not KEYS[lower].is_prefix:
        return KEYS[lower], ""
    head, dot, rest = name.partition(".")
    prefix = ALIASES.get(head.lower() + dot, head.lower() + dot)
    if dot and rest and prefix in KEYS:
        return KEYS[prefix], rest
    return None


def closest(word: str, choices: list[str]) -> str:
    """Return the choice that is most like the word, or an empty text where none is near."""
    best = process.extractOne(word.lower(), choices, score_cutoff=60)
    return str(best[0]) if best else ""


# Reading ---------------------------------------------------------------------------------------------------------


def parse(text: str, *, now: datetime | None = None) -> Query:
    """Parse a query. Raises QueryError with the place of the first thing that cannot be read."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"The query has {len(text):,} characters; {MAX_LENGTH:,} is the most.", MAX_LENGTH, len(text))
    nul = text.find("\0")
    if nul >= 0:
        raise QueryError("The query holds a NUL character.", nul, nul + 1)
    reader = Reader(text, now or datetime.now(UTC))
    terms = reader.read_choices(0)
    if len(terms) == 1 and isinstance(terms[0], Group):
        check_partners(text, terms[0], reader.now)
    return Query(tuple(terms))


def check_partners(text: str, group: Group, now: datetime) -> None:
    """Refuse a parenthesis without a partner in a query that is put into parentheses as a whole: it would be read anew otherwise."""
    try:
        Reader(group.text, now).read_choices(0)
    except QueryError:
        place = next((place for place, char in enumerate(text) if char in "()"), 0)
        raise QueryError(
            "A parenthesis has no partner; to look for the sign itself, use quotes.", place, place + 1
        ) from None


class Reader:
    """Reads one query from its start to its end; used once."""

    def __init__(self, text: str, now: datetime) -> None:
        self.text, self.now = text, now
        self.position = 0
        self.count = 0

    def read_choices(self, depth: int) -> list[Term]:
        """Read terms with OR between some of them, up to the closing parenthesis or the end."""
        start = self.position
        choices: list[list[Term]] = [[]]
        operator: re.Match[str] | None = None  # the last OR or AND, while nothing follows it
        while self.skip_space():
            if self.text[self.position] == ")" and depth:
                break
            word = BETWEEN.match(self.text, self.position)
            if word:
                if operator or not choices[-1]:
                    raise QueryError(
                        f'{word[0]} stands between two parts; to look for the word itself, write "{word[0]}".',
                        word.start(),
                        word.end(),
                    )
                operator = word
                self.position = word.end()
                if word[0] == "OR":
                    choices.append([])
                continue
            operator = None
            if self.count == MAX_TERMS:
                raise QueryError(f"The query has more than {MAX_TERMS} parts.", self.position, len(self.text))
            self.count += 1
            choices[-1].append(self.read_term(depth))
        if operator:
            raise QueryError(
                f'Nothing follows {operator[0]}; to look for the word itself, write "{operator[0]}".',
                operator.start(),
                operator.end(),
            )
        if len(choices) == 1:
            return choices[0]
        text = self.text[start : self.position].strip()
        return [Group(tuple(map(tuple, choices)), False, start, self.position, f"({text})")]

    def skip_space(self) -> bool:
        """Go to the next thing that is not white space. False at the end."""
        while self.position < len(self.text) and self.text[self.position].isspace():
            self.position += 1
        return self.position < len(self.text)

    def read_term(self, depth: int) -> Term:
        text, start = self.text, self.position
        position = start
        word = NOT.match(text, position)
        if word:
            position = word.end()
        elif text[position] == "-" and position + 1 < len(text) and not text[position + 1].isspace():
            position += 1
        negated = position > start
        if position < len(text) and text[position] == "(":
            return self.read_group(start, position, depth, negated=negated)
        term = read_term(text, start, position, negated=negated, now=self.now, in_group=depth > 0)
        self.position = term.end
        return term

    def read_group(self, start: int, position: int, depth: int, *, negated: bool) -> Group:
        if depth == MAX_DEPTH:
            raise QueryError(f"Parentheses stand {MAX_DEPTH} deep at most.", position, position + 1)
        self.position = position + 1
        terms = self.read_choices(depth + 1)
        if self.position >= len(self.text):
            raise QueryError(
                "The parenthesis is not closed; to look for the sign itself, use quotes.", position, position + 1
            )
        if not terms:
            raise QueryError("The parentheses hold nothing.", position, self.position + 1)
        self.position += 1
        if self.position < len(self.text) and not (
            self.text[self.position].isspace() or self.text[self.position] == ")"
        ):
            raise QueryError("A space is missing after the parenthesis.", self.position, self.position + 1)
        only = terms[0] if len(terms) == 1 else None
        choices = only.choices if isinstance(only, Group) and not only.negated else (tuple(terms),)
        return Group(choices, negated, start, self.position, self.text[start : self.position])


def plain_end(text: str, start: int, *, in_group: bool, stops: str = "") -> int:
    """Return where a text without quotes ends: at white space, a stop, or in a group the parenthesis that closes the group."""
    opened = 0
    for place in range(start, len(text)):
        char = text[place]
        if char.isspace() or char in stops:
            return place
        opened += char == "("
        if char == ")":
            if in_group and not opened:
                return place
            opened = max(0, opened - 1)
    return len(text)


def read_term(
    text: str, start: int, position: int, *, negated: bool, now: datetime, in_group: bool
) -> Condition | Words:
    name = NAME.match(text, position)
    if name:
        operator, after = read_operator(text, name.end())
        if operator and not text.startswith("//", after):
            return read_condition(text, start, name, operator, after, negated=negated, now=now, in_group=in_group)
    is_exact = text.startswith('"', position)
    if is_exact:
        content, end = read_quoted(text, position)
    else:
        end = plain_end(text, position, in_group=in_group)
        content = text[position:end]
    if not content.strip():
        what = "The quotes hold" if is_exact else f"{text[start:position].strip()} has"
        raise QueryError(f"{what} nothing to look for.", start if not is_exact else position, max(end, position))
    if not is_exact:
        check_stars(content, start, end)
    return Words(content, negated, start, end, text[start:end], is_exact)


def check_stars(content: str, start: int, end: int) -> None:
    """Raise QueryError where a word or value has more stars than are looked for."""
    count = content.count("*")
    if count > MAX_STARS:
        raise QueryError(
            f"This part has {count} stars (*); {MAX_STARS} is the most. To look for the sign itself, use quotes.",
            start,
            end,
        )


def read_operator(text: str, position: int) -> tuple[str, int]:
    """Read `:`, `:>`, `>` and the like. Returns an empty operator where there is none."""
    has_colon = text.startswith(":", position)
    position += has_colon
    sign = OPERATOR.match(text, position)
    if sign:
        return {"≥": ">=", "≤": "<="}.get(sign[0], sign[0]), sign.end()
    return ("=" if has_colon else ""), position


def read_quoted(text: str, start: int) -> tuple[str, int]:
    """Read a quoted text whose opening quote is at `start`; a backslash keeps the next quote or backslash."""
    content, position = [], start + 1
    while position < len(text):
        char = text[position]
        if char == "\\" and text[position + 1 : position + 2] in ('"', "\\"):
            content.append(text[position + 1])
            position += 2
            continue
        if char == '"':
            return "".join(content), position + 1
        content.append(char)
        position += 1
    raise QueryError("The quote is not closed.", start, len(text))


def read_condition(
    text: str,
    start: int,
    name: re.Match[str],
    operator: str,
    position: int,
    *,
    negated: bool,
    now: datetime,
    in_group: bool = False,
) -> Condition:
    found = find_key(name[0])
    if found is None:
        near = closest(name[0], [key for key in KEYS if not KEYS[key].is_prefix] + list(ALIASES))
        hint = f"Did you mean {near}?" if near else 'To search for the words, put them in "quotes".'
        raise QueryError(f"There is no key {name[0]!r}. {hint}", name.start(), name.end(), suggestion=near)
    key, rest = found
    values: list[Value] = []
    while True:
        if text.startswith('"', position):
            content, end = read_quoted(text, position)
            quoted = True
        else:
            end = plain_end(text, position, in_group=in_group, stops=",")
            content, quoted = text[position:end], False
        if not content:
            sample = f"; for example {key.name}:{key.sample}" if key.sample and not key.is_prefix else ""
            raise QueryError(f"{name[0]} needs a value{sample}.", start, end)
        values.append(read_value(key, content, position, end, quoted=quoted, now=now))
        position = end
        if not text.startswith(",", position):
            break
        position += 1
    if position < len(text) and not text[position].isspace() and not (in_group and text[position] == ")"):
        raise QueryError("A space is missing after the closing quote.", position, position + 1)
    if operator != "=" and key.kind not in NUMERIC:
        words = "takes a time" if key.kind == Kind.TIME else "is text"
        raise QueryError(
            f"{name[0]} {words}, so {operator} does not work here; write {name[0]}:value.", start, position
        )
    if len(values) > 1 and (operator != "=" or key.kind == Kind.TIME):
        raise QueryError(f"{name[0]} takes one value here, not {len(values)}.", start, position)
    if operator != "=" and values[0].high is not None:
        raise QueryError(f"Use either {operator} or a range with two dots, not both.", start, position)
    return Condition(key, rest, operator, tuple(values), negated, start, position, text[start:position])


def read_value(key: Key, content: str, start: int, end: int, *, quoted: bool, now: datetime) -> Value:
    if key.kind == Kind.TEXT:
        if not quoted:
            check_stars(content, start, end)
        return Value(content, is_pattern=not quoted and "*" in content, is_quoted=quoted)
    if key.kind == Kind.CHOICE:
        word = content.lower()
        if word not in key.choices:
            near = closest(word, list(key.choices))
            hint = f"Did you mean {near}?" if near else f"It takes {', '.join(key.choices)}."
            raise QueryError(f"{key.name} has no value {content!r}. {hint}", start, end, suggestion=near)
        return Value(word)
    if key.kind == Kind.TIME:
        return Value(content, read_time(content, start, end, now=now))
    low, dots, high = content.partition("..")
    low_number = read_number(key, low, start, end)
    if not dots:
        return Value(content, low_number)
    high_number = read_number(key, high, start, end)
    if high_number < low_number:
        raise QueryError(f"The range {content} ends before it starts.", start, end)
    return Value(content, low_number, high_number)


def read_number(key: Key, text: str, start: int, end: int) -> float:
    """Read a number with the units of its key. Durations come out in ms, money in US dollars."""
    match = NUMBER.match(text)
    units = {Kind.DURATION: DURATION_UNITS, Kind.COUNT: COUNT_UNITS}.get(key.kind, {"": 1.0})
    sample = key.sample.lstrip("><") or "3"
    if match is None or (text.startswith("$") and key.kind != Kind.MONEY):
        raise QueryError(
            f"{text!r} is not a number for {key.name}; write for example {key.name}:>{sample}.", start, end
        )
    number, unit = float(match[1]), match[2].lower()
    if key.kind == Kind.DURATION and not unit and number:
        raise QueryError(f"Say the unit of {text}: {text}ms, {text}s or {text}min.", start, end)
    if unit not in units and not (key.kind == Kind.DURATION and not unit):
        known = ", ".join(unit for unit in units if unit) or "none"
        raise QueryError(f"{key.name} does not know the unit {match[2]!r}; units: {known}.", start, end)
    number *= units.get(unit, 1.0)
    if number > MAX_NUMBER:
        raise QueryError(f"{text} is larger than {key.name} can be.", start, end)
    return number


def read_time(text: str, start: int, end: int, *, now: datetime) -> int:
    """Read a date, a time (UTC where no zone is given), `today`, `yesterday`, or a time ago such as 7d. Returns ns since 1970."""
    word = text.lower()
    ago = AGO.match(word)
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if ago:
            moment = now - timedelta(seconds=int(ago[1]) * AGO_UNITS[ago[2].lower()])
        elif word in ("today", "yesterday", "now"):
            moment = {"today": midnight, "yesterday": midnight - timedelta(days=1), "now": now}[word]
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return whole_ns(moment)
    except (ValueError, OverflowError):
        message = f"{text!r} is not a time; write for example 2026-06-17, 2026-06-17T02:14Z, today or 7d."
        raise QueryError(message, start, end) from None


def whole_ns(moment: datetime) -> int:
    """Return nanoseconds since 1970, without a detour over floats; a time beyond 2262 is the last that can be kept."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    ns = (delta.days * 86_400 + delta.seconds) * NS + delta.microseconds * 1000
    return max(-MAX_NS, min(MAX_NS, ns))


# Writing ---------------------------------------------------------------------------------------------------------


def join(parts: Any) -> str:
    """Join the texts of terms into a query."""
    return " ".join(part for part in parts if part)


def quote(value: str) -> str:
    """Write a value so that it is read back as it is: quoted where it must be."""
    if value and not re.search(r'[\s",*\\]|^[<>=≥≤]', value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def facet_label(condition: Condition) -> str:
    """Return the facet that a condition belongs to: its key, or the field that `-has:field` says is missing."""
    if condition.key.name == "has" and condition.negated and len(condition.values) == 1:
        return condition.values[0].text
    return condition.label


def toggle(query: Query, label: str, value: str) -> str:
    """Return the text of the query with one facet value added (as an alternative) or taken away."""
    terms: list[str] = []
    done = False
    for term in query.terms:
        is_home = isinstance(term, Condition) and term.label == label and term.operator == "=" and not term.negated
        if not is_home or done:
            terms.append(term.text)
            continue
        assert isinstance(term, Condition)
        kept = [v for v in term.values if v.text != value or v.is_pattern]
        if len(kept) == len(term.values):
            kept.append(Value(value, is_quoted=True))
        done = True
        if kept:
            terms.append(f"{label}:{','.join(v.text if v.is_pattern else quote(v.text) for v in kept)}")
    if not done:
        terms.append(f"{label}:{quote(value)}")
    return join(terms)


def toggle_missing(query: Query, label: str) -> str:
    """Return the text of the query with `-has:label` added or taken away."""
    own = f"-has:{label}"
    if query.lacks(label):
        return join(t.text for t in query.terms if t.text != own)
    return join([*(t.text for t in query.without_key(label).terms), own])


def drop_term(query: Query, index: int) -> str:
    """Return the text of the query without one of its terms."""
    return join(term.text for place, term in enumerate(query.terms) if place != index)


def merge(query: Query, added: Query) -> str:
    """Return the text of both queries; a term that is there already is not repeated."""
    texts = [term.text for term in query.terms]
    return join([*texts, *(term.text for term in added.terms if term.text not in texts)])


# Completing ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unfinished:
    """The end of a text that is being typed. `key` is None while the key itself is typed."""

    start: int
    prefix: str  # "-" or ""
    key: Key | None
    name: str  # the key as written, or what may become one
    operator: str
    typed: str  # what stands after the operator, without opening quote


def unfinished(text: str) -> Unfinished:
    """Find what is being typed at the end of a text, for completions."""
    start, position, in_quotes = 0, 0, False
    while position < len(text):
        char = text[position]
        if char == "\\" and in_quotes:
            position += 1
        elif char == '"':
            in_quotes = not in_quotes
        elif char.isspace() and not in_quotes:
            start = position + 1
        position += 1
    start += len(re.match(r"(?:-?\()*", text[start:])[0])  # type: ignore[index]  # matches the empty text too
    token = text[start:]
    prefix = "-" if token.startswith("-") else ""
    match = NAME.match(token, len(prefix))
    if match is None:
        return Unfinished(start, prefix, None, token[len(prefix) :], "", "")
    operator, after = read_operator(token, match.end())
    found = find_key(match[0])
    if not operator or found is None:
        return Unfinished(start, prefix, None, match[0] if match.end() == len(token) else token[len(prefix) :], "", "")
    cut = after
    in_quotes = False
    for place in range(after, len(token)):
        if token[place] == '"':
            in_quotes = not in_quotes
        elif token[place] == "," and not in_quotes:
            cut = place + 1
    typed = token[cut:].removeprefix('"').removesuffix('"')
    return Unfinished(start, prefix, found[0], token[len(prefix) : cut], operator, typed)


def complete_with(text: str, end: Unfinished, value: str) -> str:
    """Return the text with its unfinished end replaced: a key gets its colon, a value its quotes."""
    if end.key is None:
        return text[: end.start] + end.prefix + value + ("" if value.endswith(".") else ":")
    return text[: end.start] + end.prefix + end.name + quote(value) + " "


def range_query(query: Query, *, after: datetime | None, before: datetime | None) -> str:
    """Return the text of the query bound to a time range, in place of the range that it had. None: open at that end."""
    terms = [t.text for t in query.terms if not (isinstance(t, Condition) and t.key.kind == Kind.TIME)]
    ends = [f"{name}:{stamp(moment)}" for name, moment in (("after", after), ("before", before)) if moment is not None]
    return join([*terms, *ends])


def stamp(moment: datetime) -> str:
    """Write a moment as `after:` and `before:` take it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
