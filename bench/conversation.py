"""Measure what a long conversation costs on disk, beside what was sent: OpenInference, the history repeated in every turn.

    python bench/conversation.py [--turns 400] [--port 8129]

It starts `manage.py serve` on an empty data folder (or on the database that DATABASE_URL names), sends one span for each turn with
the whole history as flattened messages and again as JSON in `input.value`, waits for the search index, and measures the growth of
the database after VACUUM. Messages are random characters of 200 to 300 bytes, so nothing of them can be compressed much.
"""

import argparse
import json
import os
import random
import signal
import string
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LETTERS = string.ascii_letters + string.digits + string.punctuation + " "
START = 1_780_000_000_000_000_000


def make_requests(*, turns: int, seed: int) -> list[bytes]:
    """Make one OTLP request for each turn of a conversation."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    chance = random.Random(seed)
    trace_id = chance.randbytes(16)
    thread = [{"role": "system", "content": "You are a support agent."}]
    requests = []
    for turn in range(turns):
        thread.append({"role": "user", "content": text(chance)})
        answer = {"role": "assistant", "content": text(chance)}
        request = ExportTraceServiceRequest()
        span = request.resource_spans.add().scope_spans.add().spans.add(
            trace_id=trace_id, span_id=chance.randbytes(8), name="ChatCompletion",
            start_time_unix_nano=START + turn * 10**9, end_time_unix_nano=START + turn * 10**9 + 10**8,
        )  # fmt: skip
        attributes: dict[str, Any] = {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o-mini",
            "session.id": "long",
            "input.mime_type": "application/json",
            "input.value": json.dumps({"messages": thread, "model": "gpt-4o-mini"}),
            "output.value": answer["content"],
        }
        for index, message in enumerate(thread):
            for name, value in message.items():
                attributes[f"llm.input_messages.{index}.message.{name}"] = value
        for name, value in answer.items():
            attributes[f"llm.output_messages.0.message.{name}"] = value
        for key, value in attributes.items():
            span.attributes.add(key=key).value.string_value = value
        requests.append(request.SerializeToString())
        thread.append(answer)
    return requests


def text(chance: random.Random) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randint(200, 300)))


def size_of_database(cursor: Any, vendor: str) -> int:
    """Return the bytes of the database after VACUUM."""
    if vendor == "postgresql":
        cursor.execute("VACUUM FULL")
        cursor.execute("CHECKPOINT")
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])
    cursor.execute("VACUUM")
    cursor.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
    return int(cursor.fetchone()[0])


def open_database(data_dir: Path) -> tuple[Any, str]:
    """Return a cursor of this script's own, and the database's kind."""
    if os.environ.get("DATABASE_URL"):
        import psycopg

        return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True).cursor(), "postgresql"
    import sqlite3

    return sqlite3.connect(data_dir / "markbook.sqlite3", isolation_level=None, timeout=60).cursor(), "sqlite"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=400)
    parser.add_argument("--port", type=int, default=8129)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from bench.ingest import send_all, start_server

    requests = make_requests(turns=args.turns, seed=args.seed)
    sent = sum(map(len, requests))
    with tempfile.TemporaryDirectory(prefix="markbook-bench-") as name:
        server = start_server(args.port, Path(name))
        try:
            cursor, vendor = open_database(Path(name))
            before = size_of_database(cursor, vendor)
            send_all(
                f"http://127.0.0.1:{args.port}",
                requests,
                connections=1,
                headers={"Content-Type": "application/x-protobuf"},
            )
            pending = 1
            while pending:
                time.sleep(1)
                cursor.execute("SELECT count(*) FROM traces_searchpending")
                (pending,) = cursor.fetchone()
            growth = size_of_database(cursor, vendor) - before
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
    print(f"{args.turns} turns: {sent:,} bytes of protobuf sent; the database grew by {growth:,} bytes after VACUUM, "
          f"search index included: 1/{sent / growth:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
