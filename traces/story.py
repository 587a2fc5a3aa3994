"""A run told in plain sentences: asked, looked up, decided, told, ended. Deterministic, without any model. Pure.

A tool's sentence comes from its name and arguments unless an engineer wrote one for it: "The agent looked up order {order_id}, which is
{result.status}." What a sentence says of a run can be seen at its span.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from traces.acts import Act, Run, canonical
from traces.pointers import as_text, parse_text
from traces.result_errors import error_in, shorten

READ = 4000  # characters of a text that are looked at for a sentence
NOTED = 1000  # characters of a sentence in which amounts and ids are looked for
QUOTE = 280  # characters of what somebody said
VALUE = 60  # characters of one argument or result
MOST_VALUES = 3
MAX_SENTENCES = 400
TAIL = 40  # of these, the last ones: how it ended
PLACE = re.compile(r"\{([A-Za-z_][\w.\-]*)\}")
NOT_GIVEN = "(not given)"
# Verbs that tools are named by, as what the agent did. A look-up changes nothing.
LOOK_UPS = {
    "get": "looked up", "find": "looked for", "search": "searched", "lookup": "looked up", "look": "looked up", "list": "listed",
    "read": "read", "fetch": "fetched", "check": "checked", "query": "queried", "retrieve": "retrieved", "view": "viewed",
    "show": "looked at", "describe": "looked at", "count": "counted", "calculate": "worked out", "compute": "worked out",
    "verify": "checked", "validate": "checked", "load": "loaded", "open": "opened", "browse": "looked through", "inspect": "looked at",
}  # fmt: skip
DEEDS = {
    "send": "sent", "make": "made", "write": "wrote", "put": "put", "set": "set", "do": "did", "run": "ran", "begin": "began",
    "buy": "bought", "pay": "paid", "give": "gave", "take": "took", "hold": "held", "reset": "reset", "think": "thought about",
    "submit": "submitted", "transfer": "transferred", "stop": "stopped", "ship": "shipped", "plan": "planned", "drop": "dropped",
    "book": "booked", "refer": "referred", "cancel": "cancelled", "modify": "modified", "apply": "applied", "notify": "notified",
    "edit": "edited", "visit": "visited", "reserve": "reserved", "return": "returned", "exchange": "exchanged", "update": "updated",
    "create": "created", "delete": "deleted", "remove": "removed", "add": "added", "change": "changed", "refund": "refunded",
    "issue": "issued", "schedule": "scheduled", "place": "placed", "process": "processed", "execute": "executed", "call": "called",
    "ask": "asked", "escalate": "escalated", "assign": "assigned", "close": "closed", "save": "saved", "store": "stored",
    "enable": "enabled", "disable": "disabled", "grant": "granted", "toggle": "switched", "reboot": "rebooted", "refuel": "topped up",
    "resume": "resumed", "suspend": "suspended", "click": "clicked", "type": "typed", "navigate": "went to", "generate": "generated",
    "summarize": "summed up", "translate": "translated", "upload": "uploaded", "download": "downloaded", "post": "posted",
    "enter": "entered", "track": "tracked", "request": "requested", "report": "reported", "log": "logged", "register": "registered",
    "install": "installed", "start": "started", "wait": "waited", "delegate": "delegated", "invite": "invited",
}  # fmt: skip
NEW = {  # what these bring about was not there before
    "sent", "made", "wrote", "created", "added", "opened", "booked", "placed", "issued", "submitted", "generated", "posted", "saved",
    "requested", "logged", "registered", "scheduled",
}  # fmt: skip
NO_ARTICLE = ("all", "any", "my", "the", "a", "an", "by", "for", "to", "with", "in", "on", "from", "as")
TAKES_BARE = {"searched", "queried", "asked", "thought about", "went to", "waited", "clicked", "typed"}
HAND_OVER = re.compile(r"^(?:transfer_to_|handoff_to_|hand_off_to_|delegate_to_)(.+)$", re.IGNORECASE)
PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
LAST_STOP = re.compile(r"[.!?:;,]$")
# Bounded and without ways to begin anew inside a match: the texts are whatever somebody sent.
MARKDOWN: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"```.*?(?:```|$)", re.DOTALL), " (code) "),
    (re.compile(r"!\[([^\]]{0,300})\]\([^)]{0,1000}\)"), r"\1"),
    (re.compile(r"\[([^\]]{1,300})\]\([^)]{0,1000}\)"), r"\1"),
    (re.compile(r"(?m)^[ \t]{0,3}(?:#{1,6}\s+|>\s*)"), ""),
    (re.compile(r"(?m)^[ \t]*(?:[-*+]|\d+[.)])\s+(.*)$"), lambda match: f" {LAST_STOP.sub('', match.group(1).rstrip())}; "),
    (re.compile(r"\*\*|__|`"), ""),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?; ?(?=[.!?]|$)"), ". "),
)  # fmt: skip
MARKER = re.compile(r"^[^\w#]*#{2,}(\w{1,100})#{2,}[^\w#]*$")  # what simulated customers end with
BARE_ERROR = re.compile(r"^\s*(?:error|exception)\s*:\s*", re.IGNORECASE)
NOTABLE = re.compile(
    r"[$€£¥]\s?\d[\d.,]*|\d[\d.,]*\s?(?:USD|EUR|GBP|%)|#?\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z#])[\w#-]{4,}\b|#\w{2,}|\b\d{4,}\b|\b[\w.+-]+@[\w-]+\.[\w.]+"
)


@dataclass(frozen=True)
class Sentence:
    """One sentence. `kind`: asked, looked_up, did, decided, told, handed_over, failed, or ended. `span_id` is where it can be seen."""

    kind: str
    text: str
    span_id: str = ""
    at_ms: float | None = None  # from the start of the run
    who: str = ""  # the sub-agent whose act it is
    is_bad: bool = False
    is_doubtful: bool = False  # reported ok, and looks like a failure

    @property
    def parts(self) -> list[tuple[str, bool]]:
        """The text in pieces; true for amounts, ids and addresses, which readers look for."""
        found: list[tuple[str, bool]] = []
        last = 0
        for match in NOTABLE.finditer(self.text, 0, NOTED):
            if match.start() > last:
                found.append((self.text[last : match.start()], False))
            found.append((match.group(), True))
            last = match.end()
        if last < len(self.text):
            found.append((self.text[last:], False))
        return found


@dataclass
class Story:
    """The sentences of a run; `left_out` counts those in the middle of a very long one."""

    sentences: list[Sentence] = field(default_factory=list)
    left_out: int = 0

    @property
    def text(self) -> str:
        """The story as plain text, a sentence a line, for a ticket."""
        lines = [f"{'  ' if one.who else ''}{one.text}" for one in self.sentences]
        if self.left_out:
            lines.insert(len(lines) - TAIL, f"({self.left_out} more steps are left out here.)")
        return "\n".join(lines)


def tell_story(run: Run, *, wording: Mapping[str, str] | None = None, customer: str = "") -> Story:
    """Tell a run. `wording` holds sentences by tool; `customer` is how the one who asks is called, where that is known."""
    sentences = [*tell_acts(run, wording or {}, customer or speaker(run)), *tell_end(run)]
    if len(sentences) > MAX_SENTENCES:
        kept = [*sentences[: MAX_SENTENCES - TAIL], *sentences[-TAIL:]]
        return Story(kept, len(sentences) - len(kept))
    return Story(sentences)


def speaker(run: Run) -> str:
    """Return what to call the one who asks: the customer of a conversation, else a request that was made once."""
    spoken = [act for act in run.messages if act.role == "user" and not act.is_sub_agent]
    return (
        "The customer" if len(spoken) > 1 or any(record.session_id or record.user_id for record in run.records) else ""
    )


def tell_acts(run: Run, wording: Mapping[str, str], customer: str) -> list[Sentence]:
    """Return the sentences of what was said and done. The same call again in a row is told once, with its number."""
    start = min((record.start_ns for record in run.records if record.start_ns is not None), default=None)
    found: list[Sentence] = []
    has_asked = False
    names = {act.agent_name for act in run.acts if act.role == "assistant" and act.agent_name and not act.is_sub_agent}
    acts, place = run.acts, 0
    while place < len(acts):
        act = acts[place]
        times = 1
        if act.kind == "call":
            while place + times < len(acts) and is_again(act, acts[place + times]):
                times += 1
        at_ms = (act.start_ns - start) / 1e6 if act.start_ns is not None and start is not None else None
        who = act.agent_name if act.is_sub_agent else ""
        agent = (
            who or (act.agent_name if len(names) > 1 else "") or "The agent"
        )  # several in one thread go by their names
        if act.kind == "call":
            found.append(tell_call(act, wording, at_ms=at_ms, who=who, times=times, agent=agent))
        else:
            follower = acts[place + 1] if place + 1 < len(acts) else None
            sentence = tell_message(act, follower, customer, has_asked=has_asked, at_ms=at_ms, who=who, agent=agent)
            has_asked = has_asked or (act.role == "user" and not act.is_sub_agent)
            found.append(sentence)
        place += times
    return found


def is_again(act: Act, other: Act) -> bool:
    """Say whether the next act is the same call of the same agent, to the same end."""
    if other.kind != "call" or (other.is_sub_agent, other.agent_name) != (act.is_sub_agent, act.agent_name):
        return False
    return other.key == act.key and other.is_error == act.is_error and canonical(other.result) == canonical(act.result)


def tell_message(
    act: Act, follower: Act | None, customer: str, *, has_asked: bool, at_ms: float | None, who: str, agent: str
) -> Sentence:
    """Return the sentence of a message."""
    more: dict[str, Any] = {"span_id": act.span_id, "at_ms": at_ms, "who": who}
    if marker := MARKER.match(act.text):
        one = (customer or "The other side") if act.role == "user" else agent
        return Sentence("told", f"{one} ended the conversation ({marker.group(1).lower()}).", **more)
    words = quote(act.text) if act.text else "something other than text" if act.has_parts else ""
    if act.role == "user":
        if act.is_sub_agent:
            return Sentence("asked", f"{act.agent_name or 'A sub-agent'} was asked: {words}", **more)
        if not customer:
            return Sentence("asked", f"{'Then the request was' if has_asked else 'The request was'}: {words}", **more)
        verb = "asked" if not has_asked or act.text.rstrip().endswith(("?", "？", "؟")) else "said"
        return Sentence("asked", f"{customer} {verb}: {words}", **more)
    if act.is_error:
        because = f": {shorten(act.error, 200)}" if act.error else ""
        return Sentence(
            "failed", f"{agent} could not answer, because the model call failed{because}.", is_bad=True, **more
        )
    if act.role == "assistant":
        asks = follower is not None and follower.kind == "call" and follower.asked_by == act.span_id
        if asks:
            return Sentence("decided", f"{agent} decided: {words}", **more)
        if who:
            return Sentence("told", f"{who} answered: {words}", **more)
        told = (
            f"told {customer[:1].lower()}{customer[1:]}"
            if customer.startswith("The ")
            else f"told {customer}"
            if customer
            else "answered"
        )
        return Sentence("told", f"{agent} {told}: {words}", **more)
    return Sentence("told", f"{act.role.capitalize() or 'Somebody'} said: {words}", **more)


def tell_call(
    act: Act, wording: Mapping[str, str], *, at_ms: float | None, who: str, times: int, agent: str = "The agent"
) -> Sentence:
    """Return the sentence of a tool call: what was done, with what, and what came of it."""
    arguments, result = parse_text(act.arguments), parse_text(act.result)
    doubt = "" if act.is_error or not act.has_result else error_in(result)
    over = HAND_OVER.match(act.name)
    template = wording.get(act.name)
    kind = "did"
    if template:
        text = fill(template, {"agent": agent, "tool": act.name, "result": result}, arguments).rstrip()
        text = text[:-1] if text.endswith(".") else text
        kind = "looked_up" if verb_of(act.name)[0] in LOOK_UPS else "did"
    elif over:
        kind, text = "handed_over", f"{agent} handed over to {' '.join(split_name(over.group(1)))}"
    else:
        kind, text = name_deed(act.name, arguments, agent)
    if act.is_error:
        text += f". It failed{': ' + shorten(BARE_ERROR.sub('', act.error), 200).rstrip('.') if act.error else ''}"
    elif doubt:
        text += f". It reported ok, but the answer looks like a failure: {doubt}"
    elif not template and not over and act.has_result:
        text += came_to(result, known={value for _, value in values_of(arguments)})
    elif not act.has_result and not over and not act.has_span:
        text += ". No result of it is in the trace"
    if times > 1:
        text += f". It did so {times} times in a row, to the same result"
    ended = text if text.endswith(("…", "”")) else text + "."
    return Sentence(
        "failed" if act.is_error else kind,
        ended,
        span_id=act.span_id,
        at_ms=at_ms,
        who=who,
        is_bad=act.is_error,
        is_doubtful=bool(doubt),
    )


def split_name(name: str) -> list[str]:
    """Return the words of a name such as get_order_details, getOrderDetails or get-order-details, in lower case."""
    return [part.lower() for part in PARTS.findall(name)] or [name]


def verb_of(name: str) -> tuple[str, list[str]]:
    """Return the first word of a tool's name and the rest. A prefix such as `mcp__shop__` is passed over."""
    words = split_name(re.split(r"__|\.|/", name)[-1])
    return words[0], words[1:]


def name_deed(name: str, arguments: Any, agent: str) -> tuple[str, str]:
    """Return a call as a kind and words, from the tool's name and arguments: looked up order details (order id #W1)."""
    verb, rest = verb_of(name)
    given = values_of(arguments)
    if verb in LOOK_UPS or verb in DEEDS:
        done = LOOK_UPS.get(verb) or DEEDS[verb]
        kind = "looked_up" if verb in LOOK_UPS else "did"
        if verb == "transfer" and rest[:1] == ["to"]:
            done, kind = "handed over", "handed_over"
        what = " ".join(rest)
        if len(given) == 1 and not rest:
            return kind, f"{agent} {done} {given[0][1]}"
        if done in TAKES_BARE and not what:
            return kind, f"{agent} {done}{in_words(given)}"
        if not what:
            return kind, f"{agent} used the tool {name}{in_words(given)}"
        return kind, f"{agent} {done} {article(done, rest)}{what}{in_words(given)}"
    return "did", f"{agent} used the tool {name}{in_words(given)}"


def article(done: str, what: list[str]) -> str:
    """Return the article that a tool's object takes: a refund that was created, the order that was looked up."""
    if what[0] in NO_ARTICLE or done == "thought about":
        return ""
    if done not in NEW:
        return "the "
    if what[-1].endswith("s") and not what[-1].endswith("ss"):
        return ""
    return "an " if what[0][0] in "aeiou" else "a "


def values_of(value: Any) -> list[tuple[str, str]]:
    """Return the plain values of arguments or of a result with their names: order id, #W1."""
    if isinstance(value, dict):
        found = []
        for key, inner in value.items():
            if isinstance(inner, str | int | float) and not isinstance(inner, bool) and str(inner).strip():
                found.append((" ".join(split_name(str(key))), shorten(inner, VALUE)))
            elif isinstance(inner, bool):
                found.append((" ".join(split_name(str(key))), "yes" if inner else "no"))
            elif isinstance(inner, list) and inner and all(isinstance(one, str | int | float) for one in inner):
                found.append((" ".join(split_name(str(key))), shorten(", ".join(map(str, inner)), VALUE)))
        return found
    if isinstance(value, str) and value.strip():
        return [("", shorten(value, VALUE))]
    return []


def in_words(given: list[tuple[str, str]]) -> str:
    """Return arguments in brackets, the first few of them."""
    if not given:
        return ""
    shown = ", ".join(f"{name} {value}".strip() for name, value in given[:MOST_VALUES])
    more = f", and {len(given) - MOST_VALUES} more" if len(given) > MOST_VALUES else ""
    return f" ({shown}{more})"


def came_to(result: Any, *, known: Collection[str] = ()) -> str:
    """Return what a call came to, in words; empty where there is nothing short to say. Values that are known are not said again."""
    if isinstance(result, list):
        texts = [str(one["text"]) for one in result if isinstance(one, dict) and isinstance(one.get("text"), str)]
        if texts and len(texts) == len(result):
            return came_to(parse_text("\n".join(texts)), known=known)
        return f" and got {len(result)} result{'' if len(result) == 1 else 's'}" if result else " and got nothing"
    if isinstance(result, dict):
        inner = result.get("content")
        if isinstance(inner, list) and set(result) <= {"content", "structuredContent", "isError", "_meta"}:
            return came_to(inner, known=known)
        found = [(name, value) for name, value in values_of(result) if len(value) <= 40 and value not in known]
        first = [
            pair for pair in found if pair[0] in ("status", "state", "message", "result", "name", "total", "answer")
        ]
        shown = (first + [pair for pair in found if pair not in first])[:MOST_VALUES]
        if not result:
            return " and got nothing"
        return f" and got: {', '.join(f'{name} {value}' for name, value in shown)}" if shown else ""
    text = as_text(result).strip() if result is not None else ""
    if not text:
        return " and got nothing"
    return f" and got: {shorten(plain(text[:READ]), 120).rstrip('.')}"


def fill(template: str, known: Mapping[str, Any], arguments: Any) -> str:
    """Put values into the {places} of a sentence: an argument, {result.field}, {agent} or {tool}; dots lead inside."""

    def value_at(match: re.Match[str]) -> str:
        path = match.group(1).split(".")
        own = isinstance(arguments, dict) and path[0] in arguments
        value: Any = arguments if own else known
        for key in path:
            value = parse_text(value)
            if isinstance(value, Mapping) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return NOT_GIVEN
        if value is None or value == "":
            return NOT_GIVEN
        if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
            value = ", ".join(map(str, value))
        return shorten(as_text(value), 120)

    return PLACE.sub(value_at, template)


def places_of(template: str) -> list[str]:
    """Return the names in the {places} of a sentence."""
    return [match.group(1) for match in PLACE.finditer(template)]


def plain(text: str) -> str:
    """Return Markdown as running text."""
    for pattern, put in MARKDOWN:
        text = pattern.sub(put, text)
    return " ".join(text.split())


def quote(text: str) -> str:
    """Return what was said, in quotation marks, cut after a sentence where it is long."""
    words = plain(text[:READ])
    if len(words) > QUOTE:
        cut = words[:QUOTE]
        end = max(cut.rfind(mark) for mark in (". ", "! ", "? ", "。", "！", "？"))
        words = cut[: end + 1] + " …" if end > QUOTE // 3 else cut.rsplit(" ", 1)[0] + " …"
    return f"“{words}”"


def tell_end(run: Run) -> list[Sentence]:
    """Return how the run ended: its state, time, calls, tokens and cost."""
    if not run.records:
        return []
    roots = run.roots
    root = roots[0] if roots else run.records[0]
    starts = [record.start_ns for record in run.records if record.start_ns is not None]
    ends = [record.end_ns for record in run.records if record.end_ns is not None]
    facts = []
    if starts and ends and max(ends) >= min(starts):
        facts.append(f"It took {time_in_words((max(ends) - min(starts)) / 1e9)}")
    models = sum(record.kind == "llm" for record in run.records)
    facts.append(
        f"{'with' if facts else 'It took'} {counted(models, 'model call')} and {counted(len(run.calls), 'tool call')}"
    )
    failed = [record for record in run.records if record.status == "error" and record is not root]
    tail = " ".join(facts)
    at_ms = (max(ends) - min(starts)) / 1e6 if starts and ends else None
    if root.status == "error":
        message = root.error_message or root.status_message or root.error_type
        because = f": {shorten(message, 200)}" if message else ""
        return [
            Sentence(
                "ended",
                f"The run ended in an error{because}{'' if because.endswith(('.', '…')) else '.'} {tail}.",
                root.span_id,
                at_ms,
                is_bad=True,
            )
        ]
    if root.start_ns is not None and root.end_ns is None:
        return [
            Sentence("ended", f"The run has not ended yet, or its end was not received. {tail}.", root.span_id, at_ms)
        ]
    beside = f" {counted(len(failed), 'step')} on the way failed." if failed else ""
    state = "The run ended." if root.status == "unset" else "The run ended without an error of its own."
    return [Sentence("ended", f"{state}{beside} {tail}.", root.span_id, at_ms)]


def counted(number: int, word: str) -> str:
    """Return a number with its word: no tool call, 1 tool call, 3 tool calls."""
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def time_in_words(seconds: float) -> str:
    """Return a length of time as people say it."""
    if seconds < 1:
        return "less than a second"
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            whole, rest = divmod(round(seconds), size)
            small = {"day": (3_600, "hour"), "hour": (60, "minute"), "minute": (1, "second")}[word]
            return counted(whole, word) + (f" and {counted(rest // small[0], small[1])}" if rest // small[0] else "")
    return counted(round(seconds), "second")


def tools_of(runs: Iterable[Run]) -> list[str]:
    """Return the names of the tools that runs called, each once."""
    return sorted({call.name for run in runs for call in run.calls})
