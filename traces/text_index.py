"""The search index: written by an indexer that follows the traces which ingest marks pending, after the 200.

A text is indexed once: a message body however many traces hold it, and what a trace says outside its messages. `TraceTexts` says which
texts a trace holds. One indexer works at a time, in short transactions; what it was killed in is still pending.
"""

import fcntl
import logging
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError, connection, transaction
from django.db.models import QuerySet

from traces import store_postgres, store_sqlite
from traces.models import SearchPending, SearchText, SearchWords, Trace
from traces.readable import message_text, plain_text
from traces.storable import clean_text
from traces.words import halves, index_words, parts_of

log = logging.getLogger(__name__)
Numbers = np.ndarray[Any, np.dtype[np.int64]]
AT_ONCE = 200  # traces in one transaction
FLOOD_MARKS = 100  # so many traces changed within a second: ingest goes first
FLOOD_S = 20  # but not for longer
MANY_MARKS = 500  # so many changed traces wait: other looks of the process do so too
SPANS_AT_ONCE = 4_000  # spans that are read together, unless one trace has more
SHARE = 20  # a trace of more spans than that, which keeps growing, is read for at most one part in twenty of the time
LOCK = 0x6D62 << 8 | 1  # "mb": our corner of the space of advisory locks
TAKING_OVER = 0x6D62 << 8 | 3
MERGED = 8  # lists of words of one level that are merged into one of the next
TOP_LEVEL = 9
TEXTS_AT_ONCE = 400  # texts in one transaction
TEXTS_TOGETHER = 1_600  # texts whose words are one list, made ready while those before are written
LETTERS_EACH = 2_000  # characters that a text may have, on average, for so many to be taken
MOST_NAMES = 500  # names of spans that a trace is found by
LONGEST_LIST = 4_000_000  # bytes of a list of words that is not merged any more
LONGEST_NEW = 1_000_000  # bytes of a new one that is never merged: words that are so many in so few texts hardly repeat
MOST_LISTED = 420_000_000  # bytes of tokens that PostgreSQL has only listed while more are pending (of `LISTED_KB`)
LISTED_EACH = 21  # bytes of a token in that list beside its characters
ABOUT = (
    "name",
    "agent_name",
    "agent_id",
    "session_id",
    "user_id",
    "task",
    "workflow_name",
    "prompt_name",
    "release",
    "trace_id",
)
THREADS = """
    WITH RECURSIVE thread(id, parent_id, body_id) AS (
        SELECT n.id, n.parent_id, n.body_id FROM traces_messagenode n WHERE n.id IN {values}
        UNION
        SELECT n.id, n.parent_id, n.body_id FROM thread t JOIN traces_messagenode n ON n.id = t.parent_id
    )
    SELECT id, parent_id, body_id FROM thread
"""

ORPHANS = """
    SELECT t.id FROM traces_searchtext t WHERE t.project_id = %s AND t.id > %s
    AND ((t.body_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM traces_body b WHERE b.id = t.body_id))
        OR (t.trace_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM traces_trace r WHERE r.id = t.trace_id)))
    ORDER BY t.id LIMIT %s
"""


# Texts -----------------------------------------------------------------------------------------------------------


def message_words(message: Any) -> str:
    """Return what a message says, with the tools that it calls and what they are given."""
    if not isinstance(message, dict):
        return ""
    texts = [message_text(message)]
    for call in message.get("tool_calls") or []:
        if isinstance(call, dict):
            texts += [str(call.get("name") or ""), readable(call.get("arguments"))]
    return "\n".join(text for text in texts if text)


def body_words(content: bytes) -> str:
    """Return what a message body says."""
    return message_words(orjson.loads(bytes(content)))


def body_role(content: bytes) -> str:
    """Return whose message a body is."""
    message = orjson.loads(bytes(content))
    return str(message.get("role") or "") if isinstance(message, dict) else ""


def readable(value: Any) -> str:
    """Return a value as text in which words stand as they are read: JSON without escapes."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    if isinstance(value, str):
        return value
    texts: list[str] = []
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            for key, inner in reversed(one.items()):
                rest += [inner, str(key)]
        elif isinstance(one, list):
            rest += reversed(one)
        elif one is not None:
            texts.append(str(one))
    return " ".join(texts)


def span_texts(payload: dict[str, Any]) -> Iterator[str]:
    """Give what a span says outside its messages: what a tool was given and gave, input and output, what went wrong."""
    tool = payload.get("tool")
    if isinstance(tool, dict):
        yield str(tool.get("name") or "")
        yield readable(tool.get("arguments"))
        yield readable(tool.get("result"))
    for name in ("input", "output"):
        value = payload.get(name)
        if value not in (None, ""):
            yield value if isinstance(value, str) else plain_text(value)
    for name in ("error_message", "status_message"):
        yield str(payload.get(name) or "")


def pack(keys: Iterable[int]) -> bytes:
    """Write keys as bytes: eight each; many as compressed differences, since those of one thread lie close together."""
    numbers = np.array(sorted(set(keys)), dtype="<i8")
    if len(numbers) <= 32:
        return b"\0" + numbers.tobytes()
    return b"\1" + zlib.compress(np.diff(numbers, prepend=0).tobytes(), 6)


def unpack(content: bytes | memoryview | None) -> Numbers:
    """Read what `pack` wrote."""
    if content is None:
        return np.zeros(0, dtype=np.int64)
    raw = bytes(content)
    if raw[:1] == b"\1":
        return np.cumsum(np.frombuffer(zlib.decompress(raw[1:]), dtype="<i8"))
    return np.frombuffer(raw, dtype="<i8", offset=1).astype(np.int64)


# The indexer -----------------------------------------------------------------------------------------------------


@contextmanager
def alone() -> Iterator[bool]:
    """Hold the indexer's place; False where another has it."""
    if connection.vendor == "postgresql":
        (held,) = store_postgres.read("SELECT pg_try_advisory_lock(%s)", [LOCK])[0]
        try:
            yield held
        finally:
            if held:
                store_postgres.read("SELECT pg_advisory_unlock(%s)", [LOCK])
        return
    name = str(connection.settings_dict["NAME"])
    if ":memory:" in name or "mode=memory" in name:
        yield True
        return
    with open(f"{name}-index", "ab") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


resting: dict[int, float] = {}  # large traces that were read, and until when they are left alone (monotonic)


def ready_marks() -> QuerySet[SearchPending]:
    """Return what is pending, but for large traces that were read just now."""
    now = time.monotonic()
    for pk in [pk for pk, until in resting.items() if until <= now]:
        del resting[pk]
    return SearchPending.objects.exclude(trace_id__in=list(resting))


def is_flooded() -> bool:
    """Say whether so much is coming in just now that indexing would take the processor and the turn to write from it.

    The oldest mark does not wait longer than FLOOD_S for that.
    """
    now_ns = time.time_ns()
    newest = list(ready_marks().order_by("-pk").values_list("since_ns", flat=True)[:FLOOD_MARKS])
    oldest = ready_marks().order_by("pk").values_list("since_ns", flat=True).first()
    return (
        oldest is not None
        and len(newest) == FLOOD_MARKS
        and newest[-1] > now_ns - 10**9
        and oldest > now_ns - FLOOD_S * 10**9
    )


def is_behind() -> bool:
    """Say whether very many changed traces wait."""
    return SearchPending.objects.order_by("pk").values("pk")[MANY_MARKS - 1 : MANY_MARKS].exists()


def index_pending(*, for_s: float = 8.0, stop: Callable[[], bool] = bool) -> int:
    """Index the traces that are pending, oldest mark first, for at most some seconds, or until `stop` says so.

    Returns how many marks were done. Safe at any time, in any number: one works and the others return at once.
    """
    until = time.monotonic() + for_s
    done = 0
    with alone() as mine:
        while mine and time.monotonic() < until and not stop():
            marks = list(ready_marks().order_by("pk").values_list("pk", "trace_id")[: 10 * AT_ONCE])
            if not marks:
                break
            traces = list(dict.fromkeys(trace for _, trace in marks))[:AT_ONCE]
            while len(traces) > 1 and count_spans(traces) > SPANS_AT_ONCE:
                traces = traces[: len(traces) // 2]
            chosen = set(traces)
            began = time.monotonic()
            index_apart(traces)
            if len(traces) == 1 and count_spans(traces) > SPANS_AT_ONCE:
                ended = time.monotonic()
                resting[traces[0]] = ended + SHARE * (ended - began)
            with store_of().in_turn(), transaction.atomic():
                for part in store_sqlite.chunks((pk for pk, trace in marks if trace in chosen), 500):
                    SearchPending.objects.filter(pk__in=part).delete()
            done += sum(trace in chosen for _, trace in marks)
    return done


def count_spans(trace_pks: Sequence[int]) -> int:
    return sum(Trace.objects.filter(pk__in=trace_pks).values_list("span_count", flat=True))


def store_of() -> Any:
    return store_postgres if connection.vendor == "postgresql" else store_sqlite


def mark_pending(project_pk: int, trace_pks: Iterable[int], *, now_ns: int) -> None:
    """Leave traces to be indexed. Part of the transaction that changes them."""
    rows = [(project_pk, pk, now_ns) for pk in trace_pks]
    store_of().insert("traces_searchpending", ("project_id", "trace_id", "since_ns"), rows)


def index_apart(trace_pks: Sequence[int]) -> None:
    """Index traces together; where that fails, one by one. One that fails alone is logged and set aside until it changes."""
    try:
        index_traces(trace_pks)
        return
    except Exception as error:
        if passes(error):
            raise
    for pk in trace_pks:
        try:
            index_traces([pk])
        except Exception as error:
            if passes(error):
                raise
            log.exception("Trace %s cannot be put into the search index; it is tried again when it changes.", pk)


def passes(error: Exception) -> bool:
    """Say whether an error has to do with the database as it is now (away, locked, full), and not with what was written."""
    if not isinstance(error, DatabaseError | InterfaceError):
        return False
    state = str(getattr(error.__cause__, "sqlstate", None) or "")
    # 54: a limit of PostgreSQL, such as the size of a tsvector, which Django takes for trouble of the server.
    return isinstance(error, OperationalError | InterfaceError) and not state.startswith("54")


def index_traces(trace_pks: Sequence[int]) -> None:
    """Bring the index up to what the given traces hold now. Reads first, then writes in short transactions."""
    traces = list(
        Trace.objects.filter(pk__in=trace_pks).only("pk", "project_id", "input_preview", "output_preview", *ABOUT)
    )
    by_project: dict[int, list[Trace]] = {}
    for trace in traces:
        by_project.setdefault(trace.project_id, []).append(trace)
    for project_pk, own in by_project.items():
        ProjectIndexing(project_pk).index(own)


@dataclass
class NewText:
    """A text to be put into the index. `tokens` and, where it is not that of a body, `content` are made ready by `make_ready`."""

    body: int | None
    trace: int | None
    part: int
    text: str
    key: int = 0
    tokens: str = ""
    content: bytes | None = None


@dataclass
class Ready:
    """Texts ready to be written; the size of the list of their words in bytes, 0 where they have none, and that list compressed."""

    texts: list[NewText]
    size: int
    words: bytes


def make_ready(texts: list[NewText]) -> Ready:
    """Make tokens of texts, and a list of all their words. Asks no database."""
    words: set[str] = set()
    for one in texts:
        indexed = index_words(one.text)
        one.tokens = " ".join(indexed.tokens)
        words |= indexed.words
        if one.trace is not None:
            one.content = zlib.compress(one.text.encode("utf-8", "replace"), 2)
        one.text = ""
    listed = write_words(words) if words else b""
    return Ready(texts, len(listed), pack_list(listed))


def ready_ahead(groups: Iterable[list[NewText]]) -> Iterator[Ready]:
    """Yield groups of texts ready to be written; the next one is made ready in a thread meanwhile, since a database that writes
    leaves Python free.
    """
    rest = iter(groups)
    first, second = next(rest, None), next(rest, None)
    if second is None:
        yield from [make_ready(first)] if first else []
        return
    with ThreadPoolExecutor(1, thread_name_prefix="words") as thread:
        made: Future[Ready] = thread.submit(make_ready, first or [])
        following: list[NewText] | None = second
        while following is not None:
            made, before = thread.submit(make_ready, following), made
            yield before.result()
            following = next(rest, None)
        yield made.result()


def whole_bodies(texts: Iterable[NewText], size: int) -> Iterator[list[NewText]]:
    """Yield texts in lists of about `size`, of fewer where they are long; the parts of one body are in one list, since any of them says
    that the body is indexed.
    """
    chunk: list[NewText] = []
    letters = 0
    for text in texts:
        is_full = len(chunk) >= size or letters >= size * LETTERS_EACH
        if is_full and (text.body is None or text.body != chunk[-1].body):
            yield chunk
            chunk, letters = [], 0
        chunk.append(text)
        letters += len(text.text) + len(text.tokens)
    if chunk:
        yield chunk


class ProjectIndexing:
    """The indexing of some traces of one project; used once."""

    def __init__(self, project_pk: int) -> None:
        self.project_pk = project_pk
        self.store = store_of()

    def index(self, traces: Sequence[Trace]) -> None:
        """Index what is new in some traces, and say which texts each holds."""
        pks = [trace.pk for trace in traces]
        bodies, said, names = self.read_spans(pks)
        contents = self.read_bodies(set().union(*bodies.values()) if bodies else set())
        keys = self.find_bodies(contents)
        new = [
            NewText(body, None, part, text)
            for body in sorted(contents)
            if not keys[body]
            for part, text in enumerate(parts_of(contents[body]))
        ]
        own = {
            trace.pk: own_texts(
                trace,
                [contents[body] for body in sorted(bodies.get(trace.pk, ()))],
                said.get(trace.pk, ()),
                names.get(trace.pk, set()),
            )
            for trace in traces
        }
        own_keys, new_own, old_keys = self.compare_own(own)
        self.write_texts([*new, *new_own])
        for text in new:
            keys[text.body or 0] += [text.key] if text.key else []
        for text in new_own:
            own_keys[text.trace or 0] += [text.key] if text.key else []
        held = {
            trace.pk: pack([*(key for body in bodies.get(trace.pk, ()) for key in keys[body]), *own_keys[trace.pk]])
            for trace in traces
        }
        with self.store.in_turn(), transaction.atomic():
            delete_texts(old_keys)
            self.write_held(held)
        merge_words(self.project_pk)

    def where_in(self, sql: str, values: Iterable[Any]) -> list[tuple[Any, ...]]:
        given = list(values)
        return self.store.read_where_in(sql, [], given) if given else []

    def read_spans(
        self, pks: Sequence[int]
    ) -> tuple[dict[int, set[int]], dict[int, dict[str, None]], dict[int, set[str]]]:
        """Return by trace: its message bodies, what its spans say outside messages, the names of its spans."""
        rows = self.where_in(
            "SELECT s.trace_id, s.id, s.name, p.input_node_id, p.output_node_id, p.content FROM traces_span s"
            " JOIN traces_spanpayload p ON p.span_id = s.id WHERE s.trace_id IN {values}",
            pks,
        )
        rows.sort(key=lambda row: row[1])
        ends: dict[int, set[int]] = {}
        said: dict[int, dict[str, None]] = {}
        names: dict[int, set[str]] = {}
        for trace_pk, _, name, input_node, output_node, content in rows:
            ends.setdefault(trace_pk, set()).update(node for node in (input_node, output_node) if node is not None)
            said.setdefault(trace_pk, {}).update(dict.fromkeys(filter(None, span_texts(orjson.loads(content)))))
            if len(names.setdefault(trace_pk, set())) < MOST_NAMES:
                names[trace_pk].add(name)
        nodes = {
            node: (parent, body)
            for node, parent, body in self.where_in(THREADS, set().union(*ends.values()) if ends else ())
        }
        bodies: dict[int, set[int]] = {}
        for trace_pk, tails in ends.items():
            seen: set[int] = set()
            for tail in tails:
                node: int | None = tail
                while node is not None and node not in seen and node in nodes:
                    seen.add(node)
                    node = nodes[node][0]
            bodies[trace_pk] = {nodes[node][1] for node in seen}
        return bodies, said, names

    def read_bodies(self, pks: set[int]) -> dict[int, str]:
        """Return what bodies say."""
        rows = self.where_in("SELECT id, content FROM traces_body WHERE id IN {values}", sorted(pks))
        found = {pk: body_words(content) for pk, content in rows}
        return {pk: found.get(pk, "") for pk in pks}

    def find_bodies(self, contents: Iterable[int]) -> dict[int, list[int]]:
        """Return the keys of the texts of bodies that are indexed."""
        keys: dict[int, list[int]] = {pk: [] for pk in contents}
        for body, key in self.where_in("SELECT body_id, id FROM traces_searchtext WHERE body_id IN {values}", keys):
            keys[body].append(key)
        return keys

    def compare_own(self, texts: dict[int, list[str]]) -> tuple[dict[int, list[int]], list[NewText], list[int]]:
        """Compare what traces say outside their messages with what is indexed: keys that stay, new texts, keys that go."""
        keys: dict[int, list[int]] = {pk: [] for pk in texts}
        sql = "SELECT trace_id, part, id, content FROM traces_searchtext WHERE trace_id IN {values}"
        stored = {(pk, part): (key, zlib.decompress(content)) for pk, part, key, content in self.where_in(sql, texts)}
        new = []
        for trace_pk, own in texts.items():
            for part, text in enumerate(own):
                content = text.encode("utf-8", "replace")
                if (trace_pk, part) in stored and stored[trace_pk, part][1] == content:
                    keys[trace_pk].append(stored.pop((trace_pk, part))[0])
                else:
                    new.append(NewText(None, trace_pk, part, text))
        return keys, new, [key for key, _ in stored.values()]

    def write_texts(self, texts: Sequence[NewText]) -> None:
        """Write texts with their words, so many in a transaction that those who send do not wait long; a kill between two leaves
        whole bodies, and words of texts that are to come. Those of what was deleted meanwhile get no key.
        """
        for ready in ready_ahead(whole_bodies(texts, TEXTS_TOGETHER)):
            is_listed = not ready.size
            for chunk in whole_bodies(ready.texts, TEXTS_AT_ONCE):
                with self.store.in_turn(), transaction.atomic():
                    some = self.still_there(chunk)
                    self.write_chunk(some)
                    if some and not is_listed:
                        write_list(self.project_pk, TOP_LEVEL if ready.size > LONGEST_NEW else 0, ready.words)
                        is_listed = True

    def write_chunk(self, texts: Sequence[NewText]) -> None:
        """Write texts with their tokens."""
        for key, text in zip(self.store.next_ids("traces_searchtext", len(texts)), texts, strict=True):
            text.key = key
        delete_texts(self.find_places((text.trace, text.part) for text in texts if text.trace is not None))
        rows = [(one.key, self.project_pk, one.body, one.trace, one.part, one.content) for one in texts]
        columns = ("id", "project_id", "body_id", "trace_id", "part", "content")
        if connection.vendor == "postgresql":
            joined = [(*row, one.tokens) for row, one in zip(rows, texts, strict=True)]
            insert_texts("traces_searchtext", (*columns, "tokens"), joined)
            Listed.add(sum(len(one.tokens) + LISTED_EACH * (one.tokens.count(" ") + 1) for one in texts))
            return
        insert_texts("traces_searchtext", columns, rows)
        insert_texts("traces_searchindex", ("rowid", "tokens"), [(one.key, one.tokens) for one in texts])

    def still_there(self, texts: Sequence[NewText]) -> list[NewText]:
        """Return the texts whose body or trace is there, and keep it there until the end of the transaction."""
        self.store.lock_joins(
            self.project_pk, (), alone=False
        )  # shared with those who write spans, not with a deletion
        bodies = {text.body for text in texts if text.body is not None}
        traces = {text.trace for text in texts if text.trace is not None}
        there = {row[0] for row in self.where_in("SELECT id FROM traces_body WHERE id IN {values}", bodies)}
        open_traces = {row[0] for row in self.where_in("SELECT id FROM traces_trace WHERE id IN {values}", traces)}
        return [text for text in texts if text.body in there or text.trace in open_traces]

    def find_places(self, places: Iterable[tuple[int | None, int]]) -> list[int]:
        """Return the keys of the texts that stand where new ones of the same traces go."""
        wanted = set(places)
        sql = "SELECT trace_id, part, id FROM traces_searchtext WHERE trace_id IN {values}"
        rows = self.where_in(sql, {trace for trace, _ in wanted})
        return [key for trace, part, key in rows if (trace, part) in wanted]

    def write_held(self, held: dict[int, bytes]) -> None:
        """Write which texts traces hold."""
        sql = "SELECT trace_id FROM traces_tracetexts WHERE trace_id IN {values}"
        known = {row[0] for row in self.where_in(sql, held)}
        # A trace that was deleted meanwhile stays away.
        there = {row[0] for row in self.where_in("SELECT id FROM traces_trace WHERE id IN {values}", held)}
        old = [(content, pk) for pk, content in held.items() if pk in known]
        new = [(pk, content) for pk, content in held.items() if pk not in known and pk in there]
        self.store.update("traces_tracetexts", "trace_id", ("content",), old)
        self.store.insert("traces_tracetexts", ("trace_id", "content"), new)
        gone = [pk for pk in held if pk not in there]
        if gone:
            SearchText.objects.filter(trace_id__in=gone).delete()


def insert_texts(table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows by as few statements as there can be: while SQLite does one, the thread that makes words ready can work."""
    if connection.vendor == "postgresql":
        store_postgres.insert(table, columns, rows)
        return
    one = f"({store_sqlite.marks(len(columns))})"
    for part in store_sqlite.chunks(rows, store_sqlite.AT_ONCE // len(columns)):
        values = ", ".join([one] * len(part))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values}",  # noqa: S608
                [value for row in part for value in row],
            )


def own_texts(trace: Trace, messages: Iterable[str], said: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return what a trace says outside its messages: what it is called, then what its spans say that no message says."""
    known = set(messages)
    own = [text for text in said if text not in known]
    about = dict.fromkeys(text for text in (*(getattr(trace, name) for name in ABOUT), *sorted(names)) if text)
    if not known and not own:
        about |= dict.fromkeys(text for text in (trace.input_preview, trace.output_preview) if text)
    # Names and ids are one part; with very many names in characters of many bytes, the first of them.
    return [halves(clean_text("\n".join(about)))[0], *(parts_of(clean_text("\n".join(own))) if own else [])]


def delete_texts(keys: Sequence[int]) -> None:
    """Remove texts from the index."""
    for part in store_sqlite.chunks(keys, 500):
        SearchText.objects.filter(pk__in=part).delete()


def forget_bodies(body_pks: Sequence[int], *, now_ns: int | None = None) -> int:
    """Remove bodies from the index, for bodies that are deleted or whose text is replaced. Returns how many texts went.

    Deleting a `Body` row does so by itself. Traces whose bodies were replaced are to be marked pending (`mark_pending`).
    """
    gone = 0
    for part in store_sqlite.chunks(body_pks, 500):
        gone += SearchText.objects.filter(body_id__in=part).delete()[0]
    return gone


def sweep_texts(project_pk: int) -> None:
    """Remove the texts of a project whose body or trace is gone."""
    last = 0
    while found := [row[0] for row in store_of().read(ORPHANS, [project_pk, last, 500])]:
        with store_of().in_turn(), transaction.atomic():
            delete_texts(found)
        last = found[-1]


# Words -----------------------------------------------------------------------------------------------------------


def merge_words(project_pk: int) -> None:
    """Merge lists of words that have become many. The work is done before the transaction: one indexer works at a time."""
    while True:
        counts = Counter(SearchWords.objects.filter(project_id=project_pk).values_list("level", flat=True))
        level = next((one for one, count in sorted(counts.items()) if count >= MERGED and one < TOP_LEVEL), None)
        if level is None:
            return
        rows = list(SearchWords.objects.filter(project_id=project_pk, level=level).order_by("pk")[:MERGED])
        merged = set().union(*(unpack_words(row.content)[1:-1].split(b"\n") for row in rows))
        content = b"\n" + b"\n".join(sorted(merged)) + b"\n"  # sorted, they take less room
        packed = pack_list(content)
        above = TOP_LEVEL if len(content) > LONGEST_LIST else level + 1
        with store_of().in_turn(), transaction.atomic():
            SearchWords.objects.filter(pk__in=[row.pk for row in rows]).delete()
            write_list(project_pk, above, packed)


def write_list(project_pk: int, level: int, packed: bytes) -> None:
    """Write a compressed list of words."""
    store_of().insert("traces_searchwords", ("project_id", "level", "content"), [(project_pk, level, packed)])


def write_words(words: Iterable[str]) -> bytes:
    """Write words as a list, one a line, with a line end before and after each."""
    listed = "\n" + "\n".join(words) + "\n"
    return listed.encode("utf-8", "replace")


def pack_list(listed: bytes) -> bytes:
    return zlib.compress(listed, 1)


def pack_words(words: Iterable[str]) -> bytes:
    """Write words as a compressed list."""
    return pack_list(write_words(words))


def unpack_words(content: bytes | memoryview) -> bytes:
    return zlib.decompress(bytes(content))


# The list of PostgreSQL ------------------------------------------------------------------------------------------


class Listed:
    """About how many bytes of tokens this process wrote since PostgreSQL took them over; 1 at the start: others may have left some."""

    size = 1
    lock = threading.Lock()

    @classmethod
    def add(cls, size: int) -> None:
        with cls.lock:
            cls.size += size

    @classmethod
    def clear(cls) -> int:
        """Begin anew, and return how many there were."""
        with cls.lock:
            size, cls.size = cls.size, 0
        return size


def is_to_be_taken_over() -> bool:
    """Say whether PostgreSQL is to take new tokens over into the index: where nothing is pending any more, or they are very many."""
    if connection.vendor != "postgresql" or not Listed.size:
        return False
    return Listed.size > MOST_LISTED or not ready_marks().exists()


def take_over() -> bool:
    """Have PostgreSQL take over into the index what it has only listed of new texts (`text_schema.LISTED_KB`). Returns whether it did.

    A search reads that list too: this keeps it short. Ten million tokens take a minute or two, in which others go on writing. It may
    end at any time: what was taken over stays so. Where another process does it already, or the index is not ours, it is left alone.
    """
    size = Listed.clear()
    try:
        with transaction.atomic():
            (held,) = store_postgres.read("SELECT pg_try_advisory_xact_lock(%s)", [TAKING_OVER])[0]
            if not held:
                Listed.add(size)  # it may be past them already
                return False
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 0")
                # Not every system can do this: it ends where this process does.
                with suppress(DatabaseError), transaction.atomic():
                    cursor.execute("SET LOCAL client_connection_check_interval = 2000")
                cursor.execute("SELECT gin_clean_pending_list('search_text_tokens')")
        return True
    except ProgrammingError as error:
        log.info("New words are left to autovacuum: %s", error)
    except (DatabaseError, InterfaceError) as error:  # ended, or the database is away
        Listed.add(size)
        log.warning("New words could not be taken over into the search index; trying again later: %s", error)
    return False
