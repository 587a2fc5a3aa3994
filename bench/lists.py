# ruff: noqa: E402, E501
"""How fast the traces list is: every sort, facet and filter, deep pages, and text search, with many traces.

    uv run python bench/lists.py load --traces 100000          # into the database of the environment, which must be empty
    uv run python bench/lists.py check                         # 1,000 of them sent by real ingest give the same rows
    uv run python bench/lists.py measure --json lists.json     # warm; --cold too, where the database's files may be read
    uv run python bench/lists.py browser                       # some kinds of pages in Chromium, each in a new profile

A pool of 1,000 traces goes in by real ingest and the real indexer; the rest are copies of it by bulk statements, each with its own ids,
times, texts and digests. Texts hold a number of their trace (`10000042`: one trace) and one of ten traces (`g1000004`).
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ["MARKBOOK_LOGIN"] = "off"

import django

django.setup()

import numpy as np
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client

from accounts.models import Project
from traces import count_schema, list_queries, text_index
from traces.models import Body, MessageNode, SearchWords, Trace, TraceTexts
from traces.queries import span_records
from traces.services import ingest_spans
from traces.spans import SpanRecord, Usage
from traces.storable import short_digest
from traces.stored_spans import COLUMNS
from traces.summary import COLUMNS as SUMMARY

POOL = 1_000
DAYS = 90
FIRST = 10_000_000  # number of the first trace
END_NS = 1_795_000_000_000_000_000  # when the newest starts
WORDS = [
    "order",
    "parcel",
    "box",
    "week",
    "month",
    "charged",
    "twice",
    "account",
    "address",
    "street",
    "change",
    "cancel",
    "subscription",
    "annual",
    "plan",
    "monthly",
    "invoice",
    "payment",
    "card",
    "bank",
    "email",
    "phone",
    "waiting",
    "late",
    "arrived",
    "damaged",
    "broken",
    "missing",
    "wrong",
    "item",
    "size",
    "colour",
    "blue",
    "green",
    "red",
    "black",
    "return",
    "label",
    "courier",
    "depot",
    "warehouse",
    "Monday",
    "Tuesday",
    "thank",
    "please",
    "hello",
    "sorry",
    "help",
    "agent",
    "team",
    "manager",
    "policy",
    "terms",
    "within",
    "days",
    "hours",
    "today",
    "yesterday",
    "morning",
    "evening",
    "again",
    "still",
    "never",
    "always",
    "already",
    "because",
    "however",
    "therefore",
    "between",
    "without",
    "about",
    "after",
    "before",
]
MODELS = ("gpt-4o", "gpt-4o-mini", "qwen3-32b", "claude-sonnet")
TOOLS = ("get_order", "refund_order", "find_customer", "send_email", "cancel_order", "search_docs")
AGENTS = ("support", "refunds", "billing", "triage", "shipping", "sales", "retention")
IS_POSTGRES = connection.vendor == "postgresql"


# The pool --------------------------------------------------------------------------------------------------------


def make_run(number: int, *, slot_ns: int, chance: random.Random) -> list[SpanRecord]:
    """Make the twelve spans of one run."""
    trace_id, start = f"{number:032x}", END_NS - chance.randrange(slot_ns)
    own = f"case {FIRST + number} group g{(FIRST + number) // 10}"
    agent, model = AGENTS[number % 7], MODELS[number % 4]
    has_failed = chance.random() < 0.08
    text = lambda count: " ".join(chance.choices(WORDS, k=count))  # noqa: E731
    request = f"{text(20)} {own} {'common100k ' if number % 10 == 3 else ''}{text(8)}"
    thread: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": request}]
    common: dict[str, Any] = {"session_id": f"session-{number // 4}", "user_id": f"user-{number % 300}"}
    records, at = [], start + 1_000_000

    def add(kind: str, name: str, ms: int, **fields: Any) -> None:
        nonlocal at
        span_id = f"{number:08x}{len(records):08x}"
        records.append(
            SpanRecord(
                trace_id,
                span_id,
                root_id,
                name,
                kind=kind,
                start_ns=at,
                end_ns=at + ms * 1_000_000,
                status="ok",
                **common,
                **fields,
            )
        )
        at += ms * 1_000_000

    root_id = f"{number:08x}{99:08x}"
    for step in range(4):
        if step < 3:
            tool = TOOLS[(number + step) % 6]
            arguments = {"order": FIRST + number} if step == 0 else {"page": step}
            answer: dict[str, Any] = {
                "role": "assistant", "content": "", "tool_calls": [{"id": f"call_{step}", "name": tool, "arguments": arguments}]
            }  # fmt: skip
        else:
            answer = {"role": "assistant", "content": f"{text(25)} {own}"}
        usage = Usage(
            200 + chance.randrange(900),
            20 + chance.randrange(200),
            cost_usd=round(chance.random() / 100, 6),
            cost_source="sent",
        )
        add(
            "llm",
            f"chat {model}",
            200 + chance.randrange(2500),
            model=model,
            provider="bench",
            input_messages=list(thread),
            output_messages=[answer],
            usage=usage,
        )
        thread.append(answer)
        if step < 3:
            result = f"{text(15)} {own}" if step == 0 else REPLIES[step]
            add(
                "tool",
                tool,
                20 + chance.randrange(300),
                tool={"name": tool, "call_id": f"call_{step}", "arguments": arguments, "result": result},
            )
            thread.append({"role": "tool", "content": result, "tool_call_id": f"call_{step}"})
            if step < 3:
                add("chain", f"step {step}", 1 + chance.randrange(9))
    add("retriever", "search", 5 + chance.randrange(60))
    if has_failed:
        records[1].status, records[1].error_type, records[1].error_message = (
            "error",
            "TimeoutError",
            "The depot did not answer",
        )
    tags = [("beta", "vip", "test", "web")[number % 4]] if number % 3 else []
    records.append(
        SpanRecord(
            trace_id, root_id, "", f"{agent}-agent", kind="agent", start_ns=start, end_ns=at, status="error" if has_failed else "ok",
            agent_name=f"{agent}-agent", input=request, output=thread[-1]["content"], environment=("production", "staging")[number % 5 == 0],
            release=f"2026.{number % 6}", task=("answer", "refund", "cancel")[number % 3], tags=tags, metadata={"plan": ("annual", "monthly", "free")[number % 3]},
            origin={"resource": {"service.name": "bench"}, "scope": {"name": "bench", "version": "1"}}, **common,
        )
    )  # fmt: skip
    return records


SYSTEM = "You are a support agent of a shop. Be brief and kind. Look things up before you answer. Never promise what is not in the terms."
REPLIES = {1: "The customer is known and has no open claims.", 2: "The message was sent."}


# Loading ---------------------------------------------------------------------------------------------------------


def sql(text: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall() if cursor.description else []


def copy(table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    text_index.store_of().insert(table, columns, rows)


def load(count: int) -> None:
    """Load so many traces."""
    call_command("migrate", verbosity=0)
    if Trace.objects.exists():
        sys.exit("The database is not empty; name another one.")
    project = Project.objects.create(slug="bench", name="Bench")
    chance = random.Random(7)
    copies = max(1, count // POOL)
    slot_ns = DAYS * 86_400 * 10**9 // copies
    seed = make_run(0, slot_ns=slot_ns, chance=chance)
    ingest_spans(project, seed)  # what all share goes in before the pool: the system message, replies without numbers
    text_index.index_pending(for_s=60)
    tables = ("trace", "span", "body", "messagenode", "searchtext", "traceterm")
    low = {table: sql(f"SELECT max(id) FROM traces_{table}")[0][0] for table in tables}
    started = time.monotonic()
    for first in range(1, POOL + 1, 100):
        records = [
            one for number in range(first, first + 100) for one in make_run(number, slot_ns=slot_ns, chance=chance)
        ]
        ingest_spans(project, records)
    while text_index.index_pending(for_s=60):
        pass
    print(f"pool of {POOL:,} traces: {time.monotonic() - started:.1f} s by real ingest and indexer")
    Cloning(project, low, slot_ns).run(copies)
    print(f"{Trace.objects.count():,} traces, {time.monotonic() - started:.0f} s in all")


class Cloning:
    """Copies of the pool, by bulk statements."""

    def __init__(self, project: Project, low: dict[str, int], slot_ns: int) -> None:
        self.project, self.low, self.slot_ns = project, low, slot_ns
        self.high = {table: sql(f"SELECT max(id) FROM traces_{table}")[0][0] for table in low}
        self.width = {table: self.high[table] - low[table] for table in low}
        numbers = re.compile(rb"\b1\d{7}\b|\bg1\d{6}\b")
        self.numbers = lambda raw, k: numbers.sub(lambda m: shifted(m[0], k), raw)
        self.bodies = [
            (row.pk, row.kind, bytes(row.content), numbers.search(bytes(row.content)) is not None)
            for row in Body.objects.filter(pk__gt=low["body"]).order_by("pk")
        ]
        if any(not has for *_, has in self.bodies):
            own = sum(not has for *_, has in self.bodies)
            print(f"{own} bodies of the pool hold no number and are shared by all copies")
        self.shared = {pk for pk, _, _, has in self.bodies if not has}
        self.nodes = list(
            MessageNode.objects.filter(pk__gt=low["messagenode"])
            .order_by("pk")
            .values_list("pk", "digest", "parent_id", "body_id", "depth")
        )
        digests = {row.pk: bytes(row.digest) for row in MessageNode.objects.filter(pk__lte=low["messagenode"])}
        self.node_digests = digests
        self.body_digests = dict(Body.objects.values_list("pk", "digest"))
        self.texts = self.read_texts()
        self.held = [
            (pk, text_index.unpack(content))
            for pk, content in TraceTexts.objects.filter(pk__gt=low["trace"]).values_list("pk", "content")
        ]

    def read_texts(self) -> list[tuple[Any, ...]]:
        if IS_POSTGRES:
            return sql(
                "SELECT id, body_id, trace_id, part, content, array_to_string(tsvector_to_array(tokens), ' ') FROM traces_searchtext WHERE id > %s ORDER BY id",
                self.low["searchtext"],
            )
        return sql(
            "SELECT t.id, body_id, trace_id, part, content, i.tokens FROM traces_searchtext t JOIN traces_searchindex i ON i.rowid = t.id WHERE t.id > %s ORDER BY t.id",
            self.low["searchtext"],
        )

    def run(self, copies: int) -> None:
        indexes = self.drop_indexes()
        if IS_POSTGRES:
            sql("SET session_replication_role = replica")
            sql("SET synchronous_commit = off")
            sql("SET maintenance_work_mem = '1GB'")
        else:
            sql("PRAGMA synchronous = OFF")
        started = time.monotonic()
        for k in range(1, copies):
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
            self.clone_rows(k)
            self.clone_texts(k)
            with connection.cursor() as cursor:
                cursor.execute("COMMIT")
            if k % 50 == 0:
                print(f"  {k * POOL:,} copies, {time.monotonic() - started:.0f} s", flush=True)
        numbers = [str(FIRST + one).encode() for one in range(POOL, copies * POOL + 1)]
        groups = [b"g" + str(one).encode() for one in range((FIRST + POOL) // 10, (FIRST + copies * POOL) // 10 + 1)]
        every = numbers + groups
        for first in range(0, len(every), 300_000):
            SearchWords.objects.create(
                project=self.project,
                level=9,
                content=text_index.pack_words(word.decode() for word in every[first : first + 300_000]),
            )
        print(f"rows: {time.monotonic() - started:.0f} s", flush=True)
        for definition in indexes:
            sql(definition)
        for statement in count_schema.statements(connection.vendor, fill=True):
            sql(statement)
        print(f"indexes and counts: {time.monotonic() - started:.0f} s", flush=True)
        if IS_POSTGRES:
            sql("SET session_replication_role = DEFAULT")
            for table in self.low:
                sql(
                    f"SELECT setval(pg_get_serial_sequence('traces_{table}', 'id'), (SELECT max(id) FROM traces_{table}))"
                )
            sql("VACUUM ANALYZE")
        else:
            sql("INSERT INTO traces_searchindex(traces_searchindex) VALUES ('optimize')")
            sql("ANALYZE")
            sql("PRAGMA wal_checkpoint(TRUNCATE)")
        print(f"tidied: {time.monotonic() - started:.0f} s", flush=True)

    def drop_indexes(self) -> list[str]:
        """Drop the indexes of the tables that grow, to be made again at the end."""
        if not IS_POSTGRES:
            return []
        definitions = []
        for name, table, definition in sql(
            "SELECT indexname, tablename, indexdef FROM pg_indexes WHERE tablename ~ '^traces_(trace|span|body|messagenode|searchtext|traceterm|spanpayload|tracestate|tracetexts)$' AND indexname !~ '_pkey$'"
        ):
            sql(f'ALTER TABLE {table} DROP CONSTRAINT IF EXISTS "{name}" CASCADE')
            sql(f'DROP INDEX IF EXISTS "{name}"')
            definitions.append(definition)
        return definitions

    def clone_rows(self, k: int) -> None:
        """Copy traces, states, terms, spans and payloads: ids by offset, times by slot."""
        low, width = self.low, self.width
        trace, span = k * width["trace"], k * width["span"]
        shift = k * self.slot_ns
        node_low, node = low["messagenode"], k * width["messagenode"]
        hexes = "lpad(to_hex(({column})::bigint), {size}, '0')" if IS_POSTGRES else "printf('%%0{size}x', {column})"
        number = f"(id - {low['trace']} + {k * POOL})"
        replaced = lambda column: self.renumber(column, number, k)  # noqa: E731
        special = {
            "id": f"id + {trace}",
            "trace_id": hexes.format(column=number, size=32),
            "root_span_id": hexes.format(column=number, size=8) + " || substr(root_span_id, 9)",
            "start_ns": f"start_ns - {shift}", "end_ns": f"end_ns - {shift}", "sort_ns": f"sort_ns - {shift}",
            "session_id": f"'session-' || (({number}) / 4)", "session_ids": self.session_list(number),
            "input_preview": replaced("input_preview"), "output_preview": replaced("output_preview"),
        }  # fmt: skip
        self.copy_table("traces_trace", special, f"id > {low['trace']} AND id <= {self.high['trace']}")
        self.copy_table(
            "traces_tracestate",
            {"trace_id": f"trace_id + {trace}"},
            f"trace_id > {low['trace']} AND trace_id <= {self.high['trace']}",
        )
        number = f"(trace_id - {low['trace']} + {k * POOL})"
        session = f"CASE WHEN key = 'session' THEN 'session-' || ({number} / 4) ELSE value END"
        self.copy_table(
            "traces_traceterm",
            {"id": f"id + {k * width['traceterm']}", "trace_id": f"trace_id + {trace}", "value": session},
            f"id > {low['traceterm']} AND id <= {self.high['traceterm']}",
        )
        digest = "decode(md5((id + {0})::text || 'span'), 'hex')" if IS_POSTGRES else "randomblob(16)"
        heads = hexes.format(column=number, size=8)
        special = {
            "id": f"id + {span}", "trace_id": f"trace_id + {trace}", "span_id": f"{heads} || substr(span_id, 9)",
            "parent_span_id": f"CASE WHEN parent_span_id = '' THEN '' ELSE {heads} || substr(parent_span_id, 9) END",
            "start_ns": f"start_ns - {shift}", "end_ns": f"end_ns - {shift}", "session_id": f"'session-' || ({number} / 4)",
            "digest": digest.format(span),
        }  # fmt: skip
        self.copy_table("traces_span", special, f"id > {low['span']} AND id <= {self.high['span']}")
        own = lambda column: f"CASE WHEN {column} > {node_low} THEN {column} + {node} ELSE {column} END"  # noqa: E731
        of_trace = "(SELECT s.trace_id FROM traces_span s WHERE s.id = traces_spanpayload.span_id)"
        content = self.renumber("content", f"({of_trace} - {low['trace']} + {k * POOL})", k, is_bytes=True)
        special = {
            "span_id": f"span_id + {span}",
            "input_node_id": own("input_node_id"),
            "output_node_id": own("output_node_id"),
            "content": content,
        }
        self.copy_table("traces_spanpayload", special, f"span_id > {low['span']} AND span_id <= {self.high['span']}")

    def renumber(self, column: str, number: str, k: int, *, is_bytes: bool = False) -> str:
        """Write the replacement of a trace's own numbers in a text column."""
        old, new = f"({FIRST - k * POOL} + {number})", f"({FIRST} + {number})"
        text = f"convert_from({column}, 'UTF8')" if is_bytes and IS_POSTGRES else f"CAST({column} AS TEXT)"
        made = f"replace(replace({text}, CAST({old} AS TEXT), CAST({new} AS TEXT)), 'g' || ({old} / 10), 'g' || ({new} / 10))"
        if not is_bytes:
            return made
        return f"convert_to({made}, 'UTF8')" if IS_POSTGRES else f"CAST({made} AS BLOB)"

    def session_list(self, number: str) -> str:
        return (
            f"to_jsonb(ARRAY['session-' || ({number} / 4)])"
            if IS_POSTGRES
            else f"json_array('session-' || ({number} / 4))"
        )

    def copy_table(self, table: str, special: dict[str, str], where: str) -> None:
        columns = (
            [row.name for row in connection.introspection.get_table_description(connection.cursor(), table)]
            if table not in TABLES
            else TABLES[table]
        )
        TABLES[table] = columns
        names = ", ".join(f'"{name}"' for name in columns)
        values = ", ".join(special.get(name, f'"{name}"') for name in columns)
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} WHERE {where}".replace("%%", "%")
            )

    def clone_texts(self, k: int) -> None:
        """Copy bodies, message nodes and texts, with the digests that ingest would give them."""
        project, low, width = self.project.pk, self.low, self.width
        body_off, node_off, text_off, trace_off = (
            k * width[one] for one in ("body", "messagenode", "searchtext", "trace")
        )
        digests = dict(self.body_digests)
        rows = []
        for pk, kind, content, has in self.bodies:
            if has:
                raw = self.numbers(content, k)
                digests[pk] = short_digest(raw)
                rows.append((pk + body_off, project, digests[pk], kind, raw))
        copy("traces_body", ("id", "project_id", "digest", "kind", "content"), rows)
        node_digests = dict(self.node_digests)
        rows = []
        for pk, _, parent, body, depth in self.nodes:
            node_digests[pk] = short_digest(node_digests[parent] if parent else b"", bytes(digests[body]))
            above = parent + node_off if parent and parent > low["messagenode"] else parent
            own = body + body_off if body > low["body"] and body not in self.shared else body
            rows.append((pk + node_off, project, node_digests[pk], above, own, depth))
        copy("traces_messagenode", ("id", "project_id", "digest", "parent_id", "body_id", "depth"), rows)
        texts, index = [], []
        for pk, body, trace, part, content, tokens in self.texts:
            if body is not None and body in self.shared:
                continue
            tokens = self.numbers(tokens.encode(), k).decode()
            if trace is not None:
                raw = text_index.zlib.decompress(bytes(content)).decode()
                number = trace - low["trace"]
                raw = raw.replace(f"{number:032x}", f"{number + k * POOL:032x}").replace(
                    f"session-{number // 4}\n", f"session-{(number + k * POOL) // 4}\n"
                )
                raw = self.numbers(raw.encode(), k)
                tokens = " ".join(sorted(text_index.index_words(raw.decode()).tokens))
                content = text_index.zlib.compress(raw, 6)
            row = (
                pk + text_off,
                project,
                None if body is None else body + body_off,
                None if trace is None else trace + trace_off,
                part,
                content,
            )
            texts.append((*row, tokens) if IS_POSTGRES else row)
            index.append((pk + text_off, tokens))
        columns = ("id", "project_id", "body_id", "trace_id", "part", "content")
        copy("traces_searchtext", (*columns, "tokens") if IS_POSTGRES else columns, texts)
        if not IS_POSTGRES:
            copy("traces_searchindex", ("rowid", "tokens"), index)
        shared_texts = self.shared_texts()
        held = []
        for pk, keys in self.held:
            moved = np.where((keys > low["searchtext"]) & ~np.isin(keys, shared_texts), keys + text_off, keys)
            held.append((pk + trace_off, text_index.pack(moved.tolist())))
        copy("traces_tracetexts", ("trace_id", "content"), held)

    def shared_texts(self) -> list[int]:
        return [pk for pk, body, *_ in self.texts if body is not None and body in self.shared]


TABLES: dict[str, list[str]] = {}


def shifted(number: bytes, k: int) -> bytes:
    """Return a number of a trace, or of ten, moved by k copies of the pool."""
    if number.startswith(b"g"):
        return b"g" + str(int(number[1:]) + k * POOL // 10).encode()
    return str(int(number) + k * POOL).encode()


# Checking --------------------------------------------------------------------------------------------------------


def check(count: int = 1_000) -> int:
    """Send copies by real ingest into another project and compare all rows but keys and digests of spans. Nothing of it stays."""
    with transaction.atomic():
        differences = compare(count)
        transaction.set_rollback(True)
    return differences


def compare(count: int) -> int:
    project = Project.objects.get(slug="bench")
    again, _ = Project.objects.get_or_create(slug="bench-again", defaults={"name": "Again"})
    pks = list(Trace.objects.filter(project=project, pk__gt=2 * POOL).values_list("pk", flat=True)[:200_000:])
    chosen = random.Random(3).sample(pks, min(count, len(pks)))
    columns = [name for name in SUMMARY if name not in ("sort_ns",)]
    differences = 0
    for first in range(0, len(chosen), 100):
        traces = list(Trace.objects.filter(pk__in=chosen[first : first + 100]))
        records = []
        for trace in traces:
            trace_records = span_records(trace)
            for record in trace_records:
                record.trace_id = trace.trace_id
            records += trace_records
        ingest_spans(again, records)
    while text_index.index_pending(for_s=60):
        pass
    for pk in chosen:
        one = Trace.objects.get(pk=pk)
        two = Trace.objects.get(project=again, trace_id=one.trace_id)
        pairs = [(name, getattr(one, name), getattr(two, name)) for name in columns]
        pairs.append(
            ("terms", sorted(one.terms.values_list("key", "value")), sorted(two.terms.values_list("key", "value")))
        )
        light = [name for name in COLUMNS if name not in ("digest", "position")]
        pairs.append(
            (
                "spans",
                list(one.spans.order_by("span_id").values_list(*light)),
                list(two.spans.order_by("span_id").values_list(*light)),
            )
        )
        pairs.append(("texts", tokens_held(one), tokens_held(two)))
        for name, left, right in pairs:
            if left != right:
                differences += 1
                if differences < 10:
                    print(f"trace {one.trace_id} {name}: {str(left)[:300]} / {str(right)[:300]}")
    print(f"{len(chosen):,} copies compared with real ingest: {differences} differences")
    return differences


def tokens_held(trace: Trace) -> list[str]:
    keys = text_index.unpack(TraceTexts.objects.get(pk=trace.pk).content).tolist()
    if IS_POSTGRES:
        rows = sql(
            "SELECT array_to_string(tsvector_to_array(tokens), ' ') FROM traces_searchtext WHERE id = ANY(%s)", keys
        )
    else:
        rows = sql(f"SELECT tokens FROM traces_searchindex WHERE rowid IN ({', '.join(map(str, keys))})")
    return sorted(" ".join(sorted(row[0].split())) for row in rows)


# Measuring -------------------------------------------------------------------------------------------------------


def queries(count: int) -> dict[str, dict[str, str]]:
    """Return what is asked, by name: parameters of the page."""
    number = FIRST + count // 2
    asked: dict[str, dict[str, str]] = {"all time": {}, "last 14 days": {"range": "14d"}}
    asked |= {f"sort {sort}": {"sort": sort} for name in list_queries.SORTS for sort in (name, f"-{name}")}
    filters = (
        "status:error status:ok agent:refunds-agent agent:re* model:gpt-4o model:gpt* tool:get_order tool:refund_order,send_email tag:vip -tag:test "
        "environment:staging task:refund source:ingest source:import user:user-7 session:session-77 release:2026.3 meta.plan:annual kind:retriever "
        "error:TimeoutError error:*depot* duration:>5s duration:<2s tokens:>3k cost:>$0.02 spans:>20 errors:>0 has:error -has:tag name:billing-agent "
        f"id:{count // 2:032x} id:{count // 2:031x}* has:signal input_tokens:>3k input_tokens:>9M output_tokens:>500 output_tokens:<1 llm_calls:>3 llm_calls:>90 "
        "tool_calls:3 tool_calls:0 version:none workflow:none prompt:none name:none release:none agent:none model:none* tool:*none* session:*none* user:*7 "
        "meta.plan:none meta.none:x error:none note:none -has:times has:note has:session status:unset source:eval score.none:<3 -agent:refunds-agent"
    ).split()
    asked |= {f"filter {one}": {"q": one} for one in filters}
    asked |= {
        "filter agent + tool + status": {"q": "agent:refunds-agent tool:get_order status:error"},
        "filter OR": {"q": "(agent:refunds-agent status:error) OR tag:vip"},
        "filter model, by cost": {"q": "model:gpt-4o", "sort": "-cost"},
        "filter rare, by latency": {"q": f"session:session-{count // 8}", "sort": "-latency"},
        "filter dates": {"q": "after:2026-09-20 before:2026-09-21"},
        "last 24 hours, by cost": {"range": "24h", "sort": "-cost"},
        "last 30 days, by latency": {"range": "30d", "sort": "-latency"},
        "filter nothing has, by cost": {"q": "release:none", "sort": "-cost"},
        "filter status + date": {"q": "status:error after:2026-09-20"},
        "text 1 hit": {"q": str(number)},
        "text 10 hits": {"q": f"g{number // 10}"},
        "text 10 hits, by cost": {"q": f"g{number // 10}", "sort": "-cost"},
        "text 10% hits": {"q": "common100k"},
        "text 10% hits, by latency": {"q": "common100k", "sort": "-latency"},
        "text 10% hits + filter": {"q": "common100k agent:refunds-agent"},
        "text piece of a word": {"q": "ommon100"},
        "text in every trace": {"q": "parcel"},
        "text phrase in every trace": {"q": '"support agent of a shop"'},
        "text two words": {"q": f"common100k g{(number // 10) - 1}"},
        "text two letters": {"q": "ar"},
        "text no hits": {"q": "nowhere"},
        "text not": {"q": "-common100k"},
        "text 10% hits OR filter": {"q": "common100k OR user:user-7"},
        "text 10% hits with a filter OR another": {"q": "(common100k status:error) OR tag:vip"},
    }  # fmt: skip
    return asked


def timed(client: Client, path: str, *, headers: dict[str, str] | None = None) -> tuple[float, Any]:
    started, cpu, taken = time.perf_counter(), time.process_time(), stolen_ms()
    answer = client.get(path, headers=headers or {})
    took = (time.perf_counter() - started) * 1000
    stolen.append(stolen_ms() - taken)
    spent.append((time.process_time() - cpu) * 1000)
    if answer.status_code != 200:
        sys.exit(f"{path}: {answer.status_code} {answer.content[:300]!r}")
    return took, answer


spent: list[float] = []  # processor time of this process for each request, ms
stolen: list[float] = []  # and for how long a core was taken from the machine meanwhile


def stolen_ms() -> float:
    """Return for how many ms a core of this machine has been taken by its host so far (Linux, in steps of 5 to 10; else 0): no work
    of the server makes that longer or shorter, and single requests of a second and more were found to be nothing else."""
    file = Path("/proc/stat")
    if not file.exists():
        return 0.0
    return int(file.read_text().split(maxsplit=9)[8]) * 1000 / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)


def machine_ms() -> tuple[float, float]:
    """Return how long two million turns of a loop take just now, and how much of it was processor time: a measure of the machine."""
    started, cpu, total = time.perf_counter(), time.process_time(), 0
    for number in range(2_000_000):
        total += number * number
    return (time.perf_counter() - started) * 1000, (time.process_time() - cpu) * 1000


def forget_files() -> None:
    """Let the system forget the pages of the database's files, and the connection its own."""
    if IS_POSTGRES:
        # Its own memory too, as far as that can be done from outside: by reading more of something else than it holds.
        (middle,) = sql("SELECT max(span_id) / 2 FROM traces_spanpayload")[0]
        sql(
            "SELECT sum(length(content)) FROM traces_spanpayload WHERE span_id > %s AND span_id < %s",
            middle,
            middle + 400_000,
        )
        (folder,) = sql("SELECT current_setting('data_directory') || '/' || pg_relation_filepath('traces_trace')")[0]
        files = list(Path(folder).parent.iterdir())
    else:
        files = [Path(settings.DATA_DIR) / "markbook.sqlite3"]  # the rest goes with the last connection
    connection.close()
    for file in files:
        with open(file, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(args: argparse.Namespace) -> None:
    """Ask everything, several times, and print a line each."""
    settings.ALLOWED_HOSTS = ["testserver"]
    count = sql(
        "SELECT count(*) FROM traces_trace WHERE project_id = (SELECT id FROM accounts_project WHERE slug = 'bench')"
    )[0][0]
    client, path = Client(), "/p/bench/traces"
    results = []
    client.get(path)
    asked = {name: given for name, given in queries(count).items() if args.only in name}
    part, parts = (int(one) for one in args.part.split("/"))
    asked = dict(list(asked.items())[part - 1 :: parts])
    print(
        f"{count:,} traces, {connection.vendor}; whole page, ms at the server (cpu: of this process; undisturbed: the 95th percentile of"
        " those requests during which the host took a core for less than 10 ms)"
    )
    print("machine: 2M turns of a loop take {:.0f} ms, {:.0f} of them processor time".format(*machine_ms()))
    for name, given in asked.items():
        address = f"{path}?{urlencode({'range': 'all', **given})}"
        cold = None
        if args.cold:
            forget_files()
            cold, taken = timed(client, address)[0], stolen[-1]
            if taken >= 10:
                print(f"  a core was taken for {taken:.0f} ms of the next one's cold request")
        else:
            timed(client, address)
        spent.clear()
        stolen.clear()
        times = [timed(client, address)[0] for _ in range(args.times)]
        answer = timed(client, address)[1]
        rows = answer.content.count(b"<tr data-trace=")
        results.append(report(name, times, cold, rows))
    deeps = {f"deep page by {one}": {"sort": one} for name in list_queries.SORTS for one in (f"-{name}", name)}
    deeps |= {"deep page of 10% hits": {"q": "common100k"}, "deep page of a filter": {"q": "agent:refunds-agent"}}
    for name, given in list(deeps.items())[part - 1 :: parts]:
        if args.only in name:
            results.append(deep(client, path, given, name, args))
    print("machine: 2M turns of a loop take {:.0f} ms, {:.0f} of them processor time".format(*machine_ms()))
    slow = [one for one in results if one["p95"] > 300]
    print(f"{len(results)} kinds of pages; p95 over 300 ms: {', '.join(one['name'] for one in slow) or 'none'}")
    if args.json:
        Path(args.json).write_text(
            json.dumps({"traces": count, "database": connection.vendor, "results": results}, indent=1)
        )


def deep(client: Client, path: str, given: dict[str, str], name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Follow `after` links, then ask for the page that was reached."""
    project = Project.objects.get(slug="bench")
    after, pages = "", 0
    started = time.perf_counter()
    for pages in range(1, args.links + 1):  # noqa: B007
        page = list_queries.trace_page(
            project,
            given.get("q", ""),
            sort=given.get("sort", "-started"),
            after=after,
            fields=["id", list_queries.SORTS[given.get("sort", "-started").lstrip("-")]],
        )
        if not page.next_key:
            break
        after = page.next_key
    walked = (time.perf_counter() - started) * 1000
    address = f"{path}?{urlencode({'range': 'all', **given, 'after': after})}"
    fragment = {"HX-Request": "true", "HX-Target": "results"}
    cold = None
    if args.cold:
        forget_files()
        cold = timed(client, address, headers=fragment)[0]
    spent.clear()
    stolen.clear()
    times = [timed(client, address, headers=fragment)[0] for _ in range(args.times)]
    return report(f"{name}, {pages} links ({walked / pages:.0f} ms each)", times, cold, -1)


# In the browser --------------------------------------------------------------------------------------------------

BROWSED = (
    "all time",
    "last 14 days",
    "sort -cost",
    "filter model:gpt-4o",
    "filter release:none",
    "filter user:user-7",
    "text 10 hits",
    "text 10% hits",
)
WATCH = """
(() => {
  const found = (window.__bench = {});
  const look = () => {
    const now = () => Math.round(performance.now());
    const table = document.querySelector("#results tbody tr, #results .note, #results .empty");
    if (!found.painted && table) {
      found.painted = -1;
      requestAnimationFrame(() => setTimeout(() => { found.painted = now(); }));
    }
    if (found.painted > 0 && window.htmx && document.readyState === "complete") { found.usable = now(); return; }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""
PRESS = """
() => new Promise((done) => {
  const link = document.querySelector(".facet__value");
  if (!link) return done(null);
  const begun = performance.now();
  document.addEventListener("htmx:afterSettle", () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun))), { once: true });
  link.click();
})
"""


def browse(args: argparse.Namespace) -> None:
    """Open some kinds of pages in Chromium: ms from the start of the navigation until the whole page has come, rows are painted, and the
    page is usable (scripts and styles are there, links are live), then from a click on the first facet until its list is painted."""
    from playwright.sync_api import sync_playwright

    count = Trace.objects.filter(project__slug="bench").count()
    asked = queries(count)
    url = f"http://127.0.0.1:{args.port}"
    environment = {**os.environ, "MARKBOOK_LOGIN": "off"}
    command = [sys.executable, str(ROOT / "manage.py"), "serve", "--port", str(args.port)]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    connection.close()
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        time.sleep(15)  # its other processes start too
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        print(f"{count:,} traces, {connection.vendor}; in the browser, ms, median and worst of {args.times}")
        print("machine: 2M turns of a loop take {:.0f} ms, {:.0f} of them processor time".format(*machine_ms()))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            )
            for name in BROWSED:
                if args.only in name:
                    browse_one(
                        browser, f"{url}/p/bench/traces?{urlencode({'range': 'all', **asked[name]})}", name, args
                    )
            browser.close()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def browse_one(browser: Any, address: str, name: str, args: argparse.Namespace) -> None:
    for _ in range(4):  # each process of the server has seen it
        urllib.request.urlopen(address, timeout=60).read()
    found: dict[str, list[float]] = {"whole": [], "painted": [], "usable": [], "facet": []}
    for _ in range(args.times):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(address, wait_until="commit")
        page.wait_for_function("() => window.__bench?.usable", timeout=60_000)
        figures = page.evaluate("() => window.__bench")
        figures["whole"] = page.evaluate("() => performance.getEntriesByType('navigation')[0].responseEnd")
        figures["facet"] = page.evaluate(PRESS)
        for key, value in figures.items():
            if value is not None:
                found[key].append(value)
        context.close()
    parts = [f"{key} {statistics.median(some):5.0f} / {max(some):5.0f}" for key, some in found.items() if some]
    print(f"{name:28} {'   '.join(parts)}", flush=True)


def report(name: str, times: list[float], cold: float | None, rows: int) -> dict[str, Any]:
    p95 = high_end(times)
    kept = [took for took, taken in zip(times, stolen, strict=False) if taken < 10]
    first = "" if cold is None else f"  cold {cold:7.0f}"
    cpu = statistics.median(spent)
    print(
        f"{name:52} p50 {statistics.median(times):6.0f}  p95 {p95:6.0f}  cpu {cpu:5.0f}{first}  rows {rows}"
        f"  undisturbed {high_end(kept):6.0f} of {len(kept)}",
        flush=True,
    )
    undisturbed = {"p95": high_end(kept), "times": len(kept)}
    middle = statistics.median(times)
    return {"name": name, "p50": middle, "p95": p95, "cpu": cpu, "cold": cold, "rows": rows, "undisturbed": undisturbed}


def high_end(times: list[float]) -> float:
    """Return the 95th percentile, 0 of nothing."""
    return sorted(times)[max(0, round(0.95 * len(times)) - 1)] if times else 0.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["load", "check", "measure", "browser"])
    parser.add_argument("--traces", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--links", type=int, default=1_000)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--only", default="", help="only what holds this text")
    parser.add_argument("--part", default="1/1", help="2/3: the second third of the kinds, for turns of a few minutes")
    parser.add_argument("--port", type=int, default=8164)
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    if given.what == "load":
        load(given.traces)
    elif given.what == "check":
        sys.exit(bool(check()))
    elif given.what == "browser":
        browse(given)
    else:
        measure(given)
