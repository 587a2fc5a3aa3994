"""Which traces hold a text: the read side of the search index.

The index gives the texts that may match; where tokens do not decide, the texts themselves are looked at. From there are two ways to
the traces. Few texts: from each to the traces that hold it. Many texts: along the list, in its order, asking of each trace
whether it holds one of them; with many hits a page is soon full, and the number of hits does not matter.
"""

import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

from accounts.models import Project
from traces.models import SearchPending, SearchWords, Trace, TraceTexts
from traces.search import Words
from traces.text_index import Numbers, body_role, body_words, store_of, unpack, unpack_words
from traces.words import Excerpt, Need, Plan, Sought, encode, excerpt, expand, fold, parts_of, plan

MANY = 5_000  # texts that are held as a list of keys; beyond it each is asked for when it is met
SURELY_MANY = 50_000  # texts that PostgreSQL expects, so that they are not counted first
FEW = 1_500  # texts from which the way to their traces is followed
MOST_TRACES = 4_000  # traces that are held as a list of keys
MOST_WORDS = 1_000  # words of the index that a piece of a word stands for
CACHED_WORDS = 64 * 1024 * 1024  # bytes of lists of words that a process keeps at hand
IN_TIME_S = 0.08  # for looking along the list, before a page is given with what was found
GRACE_MS = 15  # for a statement that is nearly done when time is over
STEPS = 1_000  # of SQLite's machine between two looks at the clock: some 30 rows
GROWTH = 4  # of a stretch of the list over the one before
BELOW = """
    WITH RECURSIVE below(id) AS (
        SELECT n.id FROM traces_messagenode n WHERE n.body_id IN {values}
        UNION
        SELECT n.id FROM below b JOIN traces_messagenode n ON n.parent_id = b.id
    )
    SELECT id FROM below LIMIT %s
"""


# Words of the index ----------------------------------------------------------------------------------------------

lists: dict[int, bytes] = {}  # lists of words never change: kept by their key, the oldest first


def word_lists(project: Project) -> list[bytes]:
    """Return the lists of words of a project."""
    own = SearchWords.objects.filter(project=project)
    keys = list(own.order_by("pk").values_list("pk", flat=True))
    missing = [key for key in keys if key not in lists]
    fresh = {pk: unpack_words(content) for pk, content in own.filter(pk__in=missing).values_list("pk", "content")}
    found = [fresh[key] if key in fresh else lists[key] for key in keys if key in fresh or key in lists]
    lists.update(fresh)
    size = sum(map(len, list(lists.values())))
    for key in list(lists):
        if size <= CACHED_WORDS:
            break
        size -= len(lists.pop(key, b""))
    return found


# Matching --------------------------------------------------------------------------------------------------------


@dataclass
class TextMatch:
    """The texts of a project that match one word or phrase, as far as they are known.

    `expression`: what the index is asked, or None where it cannot help. `keys`: all texts that it names, or None beyond MANY.
    """

    project: Project
    plan: Plan
    expression: str | None
    pattern: Sought | None
    keys: Numbers | None
    checked: dict[int, bool] = field(default_factory=dict)
    few: list[int] | None = None
    is_followed: bool = False

    def candidates(self, keys: Numbers) -> Numbers:
        """Return those of some texts that the index names."""
        if self.keys is not None:
            return keys[np.isin(keys, self.keys)]
        if self.expression is None or not len(keys):
            return keys
        return np.array(sorted(index_filter(self.expression, keys)), dtype=np.int64)

    def matching(self, keys: Numbers) -> Numbers:
        """Return those of some texts that match."""
        found = self.candidates(keys)
        if self.pattern is None or not len(found):
            return found
        unknown = [key for key in found.tolist() if key not in self.checked]
        for key, text in read_texts(unknown).items():
            self.checked[key] = self.pattern.search(fold(text)) is not None
        return np.array([key for key in found.tolist() if self.checked.get(key)], dtype=np.int64)

    def hold(self, held: Sequence[Numbers]) -> list[bool]:
        """Say of traces, given by the texts that they hold, whether each holds one that matches."""
        sizes = np.array([len(one) for one in held], dtype=np.int64)
        if not sizes.sum():
            return [False] * len(held)
        every = np.concatenate(held)
        hits = np.isin(every, self.matching(np.unique(every)))
        ends = np.cumsum(sizes)
        counts = np.concatenate([[0], np.cumsum(hits)])
        return list((counts[ends] - counts[ends - sizes]) > 0)

    def few_traces(self) -> list[int] | None:
        """Return the keys of the traces that hold a match, where these are few enough to be held in a list."""
        if not self.is_followed:
            self.is_followed = True
            if self.keys is not None and len(self.keys) <= FEW:
                self.few = follow(self.matching(self.keys).tolist())
        return self.few

    def all_traces(self) -> list[int]:
        """Return the keys of all traces that hold a match, however many: reads along the whole project."""
        few = self.few_traces()
        if few is not None:
            return few
        found: list[int] = []
        own = TraceTexts.objects.filter(trace__project=self.project)
        for part in batches(own.order_by("pk").values_list("pk", "content").iterator(chunk_size=5_000), 5_000):
            keep = self.hold([unpack(content) for _, content in part])
            found += [pk for (pk, _), is_hit in zip(part, keep, strict=True) if is_hit]
        return found


def batches(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    part = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


# One request asks several times for the same words; what is known of them lives as long as the parsed query.
matches: WeakKeyDictionary[Words, dict[int, TextMatch]] = WeakKeyDictionary()


def text_match(project: Project, words: Words) -> TextMatch:
    """Return what the index knows of a word or phrase of a query."""
    known = matches.setdefault(words, {})
    if project.pk not in known:
        known[project.pk] = find_texts(project, words)
    return known[project.pk]


def find_texts(project: Project, words: Words) -> TextMatch:
    asked = plan(words.content, is_exact=words.is_exact)
    pattern = asked.pattern
    groups: list[list[str]] = []
    at_hand: list[bytes] | None = None
    for need in asked.needs:
        if need.place in ("in", "end"):
            at_hand = word_lists(project) if at_hand is None else at_hand
            found = expand(at_hand, need, limit=MOST_WORDS)
            if found is None:
                pattern = asked.shown  # too many words to name: the texts are looked at instead
                continue
            if not found:
                return TextMatch(project, asked, None, None, np.zeros(0, dtype=np.int64))
            groups.append([term(encode(word)) for word in found])
        else:
            groups.append([term(encode(need.word), is_prefix=is_prefix(need))])
    expression = join_terms(groups) if groups else None
    keys = index_keys(project, expression) if expression else None
    return TextMatch(project, asked, expression, pattern, keys)


def is_prefix(need: Need) -> bool:
    return need.place == "start"


def term(token: str, *, is_prefix: bool = False) -> str:
    """Write a token for the index; it holds a-z and 0-9 only."""
    if connection.vendor == "postgresql":
        return f"'{token}':*" if is_prefix else f"'{token}'"
    return f'"{token}" *' if is_prefix else f'"{token}"'


def join_terms(groups: Sequence[Sequence[str]]) -> str:
    """Write what a text must have: one of each group."""
    both, either = (" & ", " | ") if connection.vendor == "postgresql" else (" AND ", " OR ")
    return both.join(f"({either.join(group)})" if len(group) > 1 else group[0] for group in groups)


def index_keys(project: Project, expression: str) -> Numbers | None:
    """Return the keys of the texts that the index names, or None beyond MANY."""
    if connection.vendor == "postgresql":
        sql = "SELECT id FROM traces_searchtext WHERE tokens @@ %s::tsquery AND project_id = %s LIMIT %s"
        # The index gives none before it has gathered all, so that many are not asked for where PostgreSQL expects that many.
        ((guess,),) = store_of().read(f"EXPLAIN (FORMAT JSON) {sql.replace(' LIMIT %s', '')}", [expression, project.pk])
        if guess[0]["Plan"]["Plan Rows"] > SURELY_MANY:
            return None
    else:
        sql = (
            "SELECT t.id FROM traces_searchindex CROSS JOIN traces_searchtext t ON t.id = traces_searchindex.rowid"
            " WHERE traces_searchindex MATCH %s AND t.project_id = %s LIMIT %s"
        )
    rows = store_of().read(sql, [expression, project.pk, MANY + 1])
    return None if len(rows) > MANY else np.array(sorted(row[0] for row in rows), dtype=np.int64)


def index_filter(expression: str, keys: Numbers) -> set[int]:
    """Return those of some texts that the index names."""
    if connection.vendor == "postgresql":
        # Apart, or all that the index names would be read each time, to be narrowed down to these few.
        sql = (
            "WITH asked AS MATERIALIZED (SELECT id, tokens FROM traces_searchtext WHERE id = ANY(%s))"
            " SELECT id FROM asked WHERE tokens @@ %s::tsquery"
        )
        return {row[0] for row in store_of().read(sql, [keys.tolist(), expression])}
    sql = "SELECT rowid FROM traces_searchindex WHERE traces_searchindex MATCH %s AND rowid BETWEEN %s AND %s"
    found: set[int] = set()
    for near in runs(keys):
        found.update(row[0] for row in store_of().read(sql, [expression, int(near[0]), int(near[-1])]))
    return found


def runs(keys: Numbers, *, gap: int = 20_000) -> list[Numbers]:
    """Cut sorted keys where they lie far apart: texts that came together lie together."""
    return np.split(keys, np.flatnonzero(np.diff(keys) > gap) + 1)


def read_texts(keys: Sequence[int]) -> dict[int, str]:
    """Return texts by key."""
    if not keys:
        return {}
    rows = store_of().read_where_in(
        "SELECT t.id, t.part, t.content, b.content FROM traces_searchtext t LEFT JOIN traces_body b ON b.id = t.body_id"
        " WHERE t.id IN {values}",
        [],
        keys,
    )
    found = {}
    for key, part, own, body in rows:
        if own is not None:
            found[key] = zlib.decompress(bytes(own)).decode("utf-8", "replace")
        elif body is not None:
            text = body_words(body)
            parts = parts_of(text)
            found[key] = parts[part] if part < len(parts) else ""
    return found


def follow(keys: Sequence[int]) -> list[int] | None:
    """Return the keys of the traces that hold one of some texts; None beyond MOST_TRACES."""
    store = store_of()
    if not keys:
        return []
    rows = store.read_where_in("SELECT body_id, trace_id FROM traces_searchtext WHERE id IN {values}", [], keys)
    traces = {trace for _, trace in rows if trace is not None}
    bodies = sorted({body for body, _ in rows if body is not None})
    if bodies:
        nodes: list[int] = []
        for part in (bodies[start : start + 5_000] for start in range(0, len(bodies), 5_000)):
            if connection.vendor == "postgresql":
                sql, values = BELOW.replace("IN {values}", "= ANY(%s)"), [part, 3 * MOST_TRACES + 1]
            else:
                sql = BELOW.replace("{values}", "(" + ", ".join(str(int(one)) for one in part) + ")")
                values = [3 * MOST_TRACES + 1]
            nodes += [row[0] for row in store.read(sql, values)]
            if len(nodes) > 3 * MOST_TRACES:
                return None
        for column in ("input_node_id", "output_node_id"):
            found = store.read_where_in(
                f"SELECT DISTINCT s.trace_id FROM traces_spanpayload p JOIN traces_span s ON s.id = p.span_id"  # noqa: S608
                f" WHERE p.{column} IN {{values}}",
                [],
                nodes,
            )
            traces.update(row[0] for row in found)
            if len(traces) > MOST_TRACES:
                return None
    # What is not indexed as it stands now waits for the indexer, which says so on the page.
    return sorted(traces)


# Along the list --------------------------------------------------------------------------------------------------


class TooLate(Exception):
    """A statement was ended since the time was over."""


class Clock:
    """How long looking along the list may still take."""

    def __init__(self, seconds: float = IN_TIME_S) -> None:
        self.until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, 0 when it is over."""
        return max(0.0, self.until - time.monotonic())

    def part(self, share: float) -> "Clock":
        """Return a clock for a share of the time that is left."""
        return Clock(self.left * share)

    def fitting(self, size: int, took: float, *, most: int) -> int:
        """Return how many to look at next where `size` took so many seconds: what surely fits into the time left, 0 for too few."""
        fits = int(0.8 * size * self.left / max(took, 1e-4))
        return min(fits, GROWTH * size, most) if fits >= max(1, size // 8) else 0

    @contextmanager
    def bounding(self) -> Iterator[None]:
        """Let the database end a statement that goes on after the time is over: rows that lie on a disk take much longer than those before.

        Raises TooLate for it. Within a transaction PostgreSQL ends nothing, as that would end it too.
        """
        if connection.vendor == "sqlite":
            with interrupting(self.until + GRACE_MS / 1000):
                yield
            return
        if connection.in_atomic_block:
            yield
            return
        try:
            with transaction.atomic():  # the bound ends with it, whoever gets the connection then
                with connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL statement_timeout = {1 + int(1000 * self.left) + GRACE_MS}")
                yield
        except (OperationalError, QueryCanceled) as problem:
            if isinstance(problem, QueryCanceled) or isinstance(problem.__cause__, QueryCanceled):
                raise TooLate from problem
            raise


@contextmanager
def interrupting(until: float) -> Iterator[None]:
    """Let SQLite end a read that goes on after a time of `time.monotonic`. Raises TooLate for it; a transaction goes on."""
    connection.ensure_connection()
    own = connection.connection
    own.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        yield
    except OperationalError as problem:
        if getattr(problem.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise TooLate from problem
        raise
    finally:
        own.set_progress_handler(None, STEPS)


# What the page shows ---------------------------------------------------------------------------------------------


def excerpts(project: Project, traces: Sequence[Trace], words: Sequence[Words]) -> dict[int, Excerpt]:
    """Return by trace a place where one of some words was said; one in a system message, a name or an id only where there is no other."""
    if not words or not traces:
        return {}
    held = dict(TraceTexts.objects.filter(pk__in=[trace.pk for trace in traces]).values_list("pk", "content"))
    texts = {pk: unpack(content) for pk, content in held.items()}
    every = np.unique(np.concatenate(list(texts.values()))) if texts else np.zeros(0, dtype=np.int64)
    found: dict[int, Excerpt] = {}
    for one in words:
        match = text_match(project, one)
        hits = match.matching(every)
        chosen: dict[int, list[int]] = {}
        for pk, keys in texts.items():
            own = keys[np.isin(keys, hits)] if pk not in found else keys[:0]
            if len(own):
                chosen[pk] = own.tolist()
        wanted = sorted({key for keys in chosen.values() for key in (*keys[:3], keys[-1])})
        late = about_texts(wanted) | system_texts(wanted)
        contents = read_texts(wanted)
        for pk, some in chosen.items():
            for key in sorted((k for k in some if k in contents), key=lambda k: (k in late, k)):
                made = excerpt(contents[key], match.plan.shown)
                if made is not None:
                    found[pk] = made
                    break
    return found


def about_texts(keys: Sequence[int]) -> set[int]:
    """Return those of some texts that are the names and ids of a trace."""
    if not keys:
        return set()
    sql = "SELECT id FROM traces_searchtext WHERE trace_id IS NOT NULL AND part = 0 AND id IN {values}"
    return {row[0] for row in store_of().read_where_in(sql, [], keys)}


def system_texts(keys: Sequence[int]) -> set[int]:
    """Return those of some texts that are system messages."""
    if not keys:
        return set()
    sql = (
        "SELECT t.id, b.content FROM traces_searchtext t JOIN traces_body b ON b.id = t.body_id WHERE t.id IN {values}"
    )
    rows = store_of().read_where_in(sql, [], keys)
    return {key for key, content in rows if body_role(content) in ("system", "developer")}


@dataclass(frozen=True)
class Lag:
    """How far the index is behind: marks that wait (up to a thousand), and since when the first."""

    waiting: int
    since_ns: int | None


def lag(project: Project) -> Lag:
    """Say how far behind the search index is."""
    waiting = list(
        SearchPending.objects.filter(project=project).order_by("pk").values_list("trace_id", "since_ns")[:1000]
    )
    return Lag(len({row[0] for row in waiting}), waiting[0][1] if waiting else None)
