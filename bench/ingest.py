"""Measure ingest: durable spans a second over HTTP, then the traces list with those spans loaded.

    python bench/ingest.py [--spans 50000] [--batch 200] [--connections 4] [--url http://127.0.0.1:8000] [--gzip]
        [--payloads DIR] [--read-every 0.5] [--settle 3]

Without --url it starts `manage.py serve` on an empty data folder (or on the database that DATABASE_URL names, which should be
empty) and stops it at the end. Payloads are made ahead of time in a process of its own, whose CPU time is reported; --payloads
keeps them for the next time. While spans are sent the traces list is read, page and API in turn. Spans are
counted in the database at the end, over a connection of this script's own. Then it waits until the search index has caught up: nothing
is left to be indexed, and a search by the API for words of the last batch finds their run. Sending begins --settle seconds after
the server answers: its worker is still being loaded then. Exits with 1 where spans are missing or the search is not there within
60 s of the last batch. Half of the runs speak OpenInference, half the OTel
GenAI conventions; every span holds at least 1 KB of random words that no other span holds.
"""

import argparse
import gzip
import http.client
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).resolve().parent.parent
MODELS = ["gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06", "claude-sonnet-4-5"]
SPANS_A_RUN = 10
SPANS = "SELECT count(*) FROM traces_span s JOIN traces_spanpayload p ON p.span_id = s.id"
SEARCH_S = 60  # from the last batch until its words are found
LETTERS = "abcdefghijklmnopqrstuvwxyz"


# Payloads --------------------------------------------------------------------------------------------------------


class Words:
    """Random words; no two texts are alike."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def text(self, size: int) -> str:
        """Return random words of about `size` characters in all."""
        letters = self.chance.choices(LETTERS, k=size)
        place = 0
        while place < size:
            place += self.chance.randrange(3, 11)
            if place < size:
                letters[place] = " "
                place += 1
        return "".join(letters)


def run_spans(number: int, words: Words) -> list[dict]:
    """Make the spans of one run in the order in which they end: name, ids, times, attributes as plain values."""
    chance = words.chance
    trace_id, ids = chance.randbytes(16), [chance.randbytes(8) for _ in range(SPANS_A_RUN)]
    is_openinference = number % 2 == 0
    now = time.time_ns() - chance.randrange(14 * 86400) * 1_000_000_000
    session, model = f"session-{number // 3}", chance.choice(MODELS)
    thread = [{"role": "system", "content": "You are a support agent. " + words.text(300)}]
    thread.append({"role": "user", "content": words.text(500)})
    question = thread[-1]["content"]
    spans = []
    for step in range(SPANS_A_RUN - 1):
        start = now + step * 400_000_000
        if step % 3 == 2:
            arguments, result = (
                {"order_id": f"A-{number}", "note": words.text(500)},
                {"text": words.text(2200), "ok": True},
            )
            call_id = f"call_{number}_{step}"
            thread.append(
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": call_id, "name": f"tool_{step}", "arguments": arguments}],
                }
            )
            thread.append({"role": "tool", "content": words.text(900), "tool_call_id": call_id})
            attributes = tool_attributes(is_openinference, f"tool_{step}", call_id, arguments, result)
            name = f"execute_tool tool_{step}"
        else:
            answer = {"role": "assistant", "content": words.text(1200)}
            attributes = call_attributes(is_openinference, model, thread[-5:], answer, step)
            name = f"chat {model}"
            if step % 3 == 1:
                thread += [answer, {"role": "user", "content": words.text(250)}]
        attributes["session.id" if is_openinference else "gen_ai.conversation.id"] = session
        spans.append(
            {"trace_id": trace_id, "span_id": ids[step + 1], "parent": ids[0], "name": name, "start": start,
             "end": start + chance.randrange(50, 390) * 1_000_000, "attributes": attributes}
        )  # fmt: skip
    attributes = {
        "user.id": f"user-{number % 500}",
        "session.id": session,
        "metadata": json.dumps({"plan": chance.choice(["free", "pro"]), "channel": "web"}),
        "notes": words.text(1100),
    }
    if is_openinference:
        attributes |= {"openinference.span.kind": "AGENT", "agent.name": f"agent-{number % 7}"}
        attributes |= {"input.value": question, "output.value": words.text(1000)}
    else:
        attributes |= {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": f"agent-{number % 7}"}
    end = now + SPANS_A_RUN * 400_000_000
    spans.append({"trace_id": trace_id, "span_id": ids[0], "parent": b"", "name": f"agent-{number % 7}", "start": now,
                  "end": end, "attributes": attributes})  # fmt: skip
    return spans


def call_attributes(is_openinference: bool, model: str, thread: list[dict], answer: dict, step: int) -> dict:
    """Return the attributes of a model call."""
    if is_openinference:
        attributes = {
            "openinference.span.kind": "LLM",
            "llm.model_name": model,
            "llm.provider": "openai",
            "llm.token_count.prompt": 400 + step,
            "llm.token_count.completion": 200,
            "input.mime_type": "application/json",
            "input.value": json.dumps({"messages": [openai_message(one) for one in thread], "model": model}),
            "llm.invocation_parameters": json.dumps({"model": model, "temperature": 0}),
        }
        for index, message in enumerate(thread):
            attributes |= flat_message(f"llm.input_messages.{index}.message.", message)
        attributes |= flat_message("llm.output_messages.0.message.", answer)
        return attributes
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.usage.input_tokens": 400 + step,
        "gen_ai.usage.output_tokens": 200,
        "gen_ai.input.messages": json.dumps([part_message(one) for one in thread]),
        "gen_ai.output.messages": json.dumps([{**part_message(answer), "finish_reason": "stop"}]),
    }


def openai_message(message: dict) -> dict:
    """Return a message in the OpenAI form."""
    calls = [
        {"id": call["id"], "type": "function",
         "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])}}
        for call in message.get("tool_calls", ())
    ]  # fmt: skip
    return {**message, "tool_calls": calls} if calls else message


def flat_message(head: str, message: dict) -> dict:
    """Return a message as flattened OpenInference attributes."""
    flat = {head + "role": message["role"]}
    if message["content"]:
        flat[head + "content"] = message["content"]
    if "tool_call_id" in message:
        flat[head + "tool_call_id"] = message["tool_call_id"]
    for index, call in enumerate(message.get("tool_calls", ())):
        place = f"{head}tool_calls.{index}.tool_call."
        flat[place + "id"], flat[place + "function.name"] = call["id"], call["name"]
        flat[place + "function.arguments"] = json.dumps(call["arguments"])
    return flat


def part_message(message: dict) -> dict:
    """Return a message in the form of the OTel GenAI conventions."""
    if message["role"] == "tool":
        parts = [{"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}]
    else:
        parts = [{"type": "text", "content": message["content"]}] if message["content"] else []
        parts += [{"type": "tool_call", **call} for call in message.get("tool_calls", ())]
    return {"role": message["role"], "parts": parts}


def tool_attributes(is_openinference: bool, name: str, call_id: str, arguments: dict, result: dict) -> dict:
    """Return the attributes of a tool call."""
    if is_openinference:
        return {
            "openinference.span.kind": "TOOL",
            "tool.name": name,
            "tool_call.id": call_id,
            "input.value": json.dumps(arguments),
            "output.value": json.dumps(result),
        }
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.call.arguments": json.dumps(arguments),
        "gen_ai.tool.call.result": json.dumps(result),
    }


def write_payloads(folder: Path, spans: int, batch: int, seed: int) -> None:
    """Write the requests as files, and beside them what they cost to make."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    words = Words(seed)
    queue: list[dict] = []
    made = written = size = 0
    number = 0
    while made < spans:
        while len(queue) < min(batch, spans - made):
            # Two runs at a time, woven: a batch holds parts of runs, and some runs lie in two batches.
            first, second = run_spans(number, words), run_spans(number + 1, words)
            queue += [span for pair in zip(first, second, strict=True) for span in pair]
            number += 2
        part, queue = queue[: min(batch, spans - made)], queue[min(batch, spans - made) :]
        request = ExportTraceServiceRequest()
        resource_spans = request.resource_spans.add()
        resource_spans.resource.attributes.add(key="service.name").value.string_value = "bench"
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.name = "bench"
        for span in part:
            message = scope_spans.spans.add(
                trace_id=span["trace_id"],
                span_id=span["span_id"],
                parent_span_id=span["parent"],
                name=span["name"],
                start_time_unix_nano=span["start"],
                end_time_unix_nano=span["end"],
            )
            for key, value in span["attributes"].items():
                pair = message.attributes.add(key=key)
                if isinstance(value, str):
                    pair.value.string_value = value
                else:
                    pair.value.int_value = value
        body = request.SerializeToString()
        (folder / f"{written:06d}.pb").write_bytes(body)
        made, written, size = made + len(part), written + 1, size + len(body)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    report = {"spans": made, "bytes": size, "cpu_s": usage.ru_utime + usage.ru_stime}
    (folder / "report.json").write_text(json.dumps(report))


# Sending ---------------------------------------------------------------------------------------------------------


def send_all(url: str, bodies: list[bytes], *, connections: int, headers: dict[str, str]) -> tuple[float, list[float]]:
    """Send bodies over some connections at once. Returns the seconds that it took, and those of each request."""
    parts = urlsplit(url)
    rest = iter(bodies)
    lock, times, failures = threading.Lock(), [], []

    def work() -> None:
        try:
            send()
        except OSError as error:
            failures.append(repr(error))

    def send() -> None:
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=120)
        while True:
            with lock:
                body = next(rest, None)
            if body is None:
                break
            while True:
                begun = time.perf_counter()
                connection.request("POST", "/v1/traces", body, headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status == 503:
                    time.sleep(float(answer.headers.get("Retry-After", "1")))
                    continue
                break
            times.append(time.perf_counter() - begun)
            if answer.status != 200 or content:
                failures.append(f"{answer.status} {content[:300]!r}")
                break
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    if failures:
        sys.exit(f"A batch was not taken: {failures[0]}")
    return took, times


def read_list(url: str, every_s: float, done: threading.Event, took: list[float]) -> None:
    """Read the list, as a page and by the API in turn, until done."""
    paths = ("/p/default/traces", "/api/traces")
    while not done.wait(every_s):
        begun = time.perf_counter()
        with urllib.request.urlopen(url + paths[len(took) % 2], timeout=60) as answer:
            answer.read()
        took.append((time.perf_counter() - begun) * 1000)


def count_rows(data_dir: Path, sql: str) -> int:
    """Count rows over a connection of our own."""
    if os.environ.get("DATABASE_URL"):
        import psycopg

        with psycopg.connect(os.environ["DATABASE_URL"]) as database:
            return database.execute(sql).fetchone()[0]
    import sqlite3

    with sqlite3.connect(f"file:{data_dir / 'markbook.sqlite3'}?mode=ro", uri=True) as database:
        return database.execute(sql).fetchone()[0]


def wait_for_search(url: str, data_dir: Path, body: bytes, headers: dict[str, str]) -> float:
    """Return the seconds until nothing is left to be indexed and words of a request's last answer are found, four minutes at most."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    begun = time.perf_counter()
    sent = ExportTraceServiceRequest.FromString(gzip.decompress(body) if "Content-Encoding" in headers else body)
    spans = [
        (span, pair.value.string_value)
        for span in sent.resource_spans[0].scope_spans[0].spans
        for pair in span.attributes
        if pair.key in ("gen_ai.output.messages", "llm.output_messages.0.message.content")
    ]
    span, said = spans[-1]
    longest = re.findall("[a-z ]{200,}", said)[-1]
    words = " ".join(longest.split()[2:7])
    query = url + "/api/traces?" + urlencode({"q": f'"{words}"'})
    key = {name: value for name, value in headers.items() if name == "Authorization"}
    while time.perf_counter() - begun < 4 * SEARCH_S:
        if not count_rows(data_dir, "SELECT count(*) FROM traces_searchpending"):
            with urllib.request.urlopen(urllib.request.Request(query, headers=key), timeout=60) as answer:
                if any(row["trace_id"] == span.trace_id.hex() for row in json.load(answer)["data"]):
                    break
        time.sleep(0.5)
    return time.perf_counter() - begun


def measure_gets(url: str, times: int = 10) -> float:
    """Return the median milliseconds of sequential GETs."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        with urllib.request.urlopen(url, timeout=60) as answer:
            answer.read()
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took)


def start_server(port: int, data_dir: Path) -> subprocess.Popen:
    """Start `manage.py serve` and wait until it answers."""
    environment = {**os.environ, "MARKBOOK_DATA_DIR": str(data_dir)}
    command = [sys.executable, str(ROOT / "manage.py"), "serve", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return server
        except OSError:
            time.sleep(0.2)
            if server.poll() is not None:
                break
    sys.exit("The server did not start.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--port", type=int, default=8129)
    parser.add_argument("--url", help="a server that is running; its data folder is MARKBOOK_DATA_DIR")
    parser.add_argument("--key", help="an API key, where login is on")
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--payloads", type=Path, help="a folder in which the requests are kept for the next time")
    parser.add_argument("--read-every", type=float, default=0.5, help="seconds between two looks at the list; 0: none")
    parser.add_argument(
        "--settle", type=float, default=3, help="seconds from the server's first answer to the first batch"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="markbook-bench-") as name:
        folder = Path(name)
        payloads = args.payloads or folder
        payloads.mkdir(parents=True, exist_ok=True)
        if not (payloads / "report.json").exists():
            maker = multiprocessing.Process(target=write_payloads, args=(payloads, args.spans, args.batch, args.seed))
            maker.start()
            maker.join()
        report = json.loads((payloads / "report.json").read_text())
        print(f"payloads: {report['spans']:,} spans, mean {report['bytes'] / report['spans']:,.0f} bytes, "
              f"generator CPU {report['cpu_s']:.1f} s")  # fmt: skip
        bodies = [path.read_bytes() for path in sorted(payloads.glob("*.pb"))]
        headers = {"Content-Type": "application/x-protobuf"}
        if args.key:
            headers["Authorization"] = f"Bearer {args.key}"
        if args.gzip:
            bodies = [gzip.compress(body, 1) for body in bodies]
            headers["Content-Encoding"] = "gzip"
        data_dir = Path(os.environ.get("MARKBOOK_DATA_DIR", folder / "data")) if args.url else folder / "data"
        server = None if args.url else start_server(args.port, data_dir)
        url = args.url or f"http://127.0.0.1:{args.port}"
        if server is not None:
            time.sleep(args.settle)
        try:
            before = count_rows(data_dir, SPANS)
            done = threading.Event()
            reads: list[float] = []
            reader = threading.Thread(target=read_list, args=(url, args.read_every, done, reads))
            if args.read_every:
                reader.start()
            own = resource.getrusage(resource.RUSAGE_SELF)
            try:
                took, times = send_all(url, bodies, connections=args.connections, headers=headers)
            finally:
                done.set()
            ended = time.perf_counter()
            after = resource.getrusage(resource.RUSAGE_SELF)
            stored = count_rows(data_dir, SPANS) - before
            sender = after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime
            times.sort()
            print(f"ingest: {stored:,} spans in the database, {took:.1f} s, {stored / took:,.0f} spans/s; "
                  f"batch p50 {statistics.median(times) * 1000:.0f} ms, p99 {times[int(len(times) * 0.99)] * 1000:.0f} ms; "
                  f"sender CPU {sender:.1f} s")  # fmt: skip
            if args.read_every:
                reader.join()
                print(f"list meanwhile: {len(reads)} GETs, median {statistics.median(reads):.0f} ms, "
                      f"slowest {max(reads):.0f} ms")  # fmt: skip
            print(f"list: median of ten GETs {measure_gets(url + '/p/default/traces'):.0f} ms (page), "
                  f"{measure_gets(url + '/api/traces'):.0f} ms (API)")  # fmt: skip
            if stored != report["spans"]:
                sys.exit(f"{report['spans'] - stored:,} spans of {report['spans']:,} are missing.")
            waited = time.perf_counter() - ended + wait_for_search(url, data_dir, bodies[-1], headers)
            print(f"search: words of the last batch found, and nothing left to be indexed, {waited:.0f} s after it")
            if waited > SEARCH_S:
                sys.exit(f"The search has not caught up within {SEARCH_S} s.")
        finally:
            if server is not None:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait(30)
                used = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu_s = used.ru_utime + used.ru_stime - report["cpu_s"]
                print(f"server CPU with its children, start included: {cpu_s:.1f} s")


if __name__ == "__main__":
    main()
