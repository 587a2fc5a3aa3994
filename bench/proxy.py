"""What the recording proxy adds to a call: the same local server asked directly, and through `manage.py serve`.

    python bench/proxy.py [--calls 200] [--latency 0.05] [--workers 2]

Each way is asked `--calls` times, streamed and not, one at a time and eight at a time, in turns of 50. A call's time is from sending to
the last byte. The provider is a process of its own that answers after `--latency` seconds; SQLite in a new folder, or DATABASE_URL.
At the end recorded traces and the book are counted against the calls. Exits 1 where a median adds 10 ms or more, or a trace is missing.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parent.parent
LIMIT_MS = 10.0
TURN = 50
TEXT = "Where is order FH-10234? It was due on Monday. " * 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--port", type=int, default=8161)
    options = parser.parse_args()
    provider = [
        sys.executable,
        "-m",
        "tests.stream_server",
        "--port",
        str(options.port + 1),
        "--latency",
        str(options.latency),
    ]
    serve = [sys.executable, "manage.py", "serve", "--port", str(options.port), "--workers", str(options.workers)]
    direct, proxied = f"http://127.0.0.1:{options.port + 1}/v1", f"http://127.0.0.1:{options.port}/v1"
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "MARKBOOK_DATA_DIR": folder, "OPENAI_BASE_URL": direct, "OPENAI_API_KEY": "any"}
        environment |= {"MARKBOOK_LOGIN": "off"}
        children = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            for command in (provider, serve)
        ]
        try:
            wait_for(f"http://127.0.0.1:{options.port}/readyz")
            is_good = measure(direct, proxied, options.calls)
            return 0 if count(options.port, 4 * options.calls + 2 * TURN) and is_good else 1
        finally:
            for child in reversed(children):
                child.send_signal(signal.SIGTERM)
                child.wait(15)


def wait_for(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if httpx2.get(url, timeout=2).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"Nothing answers at {url}.")


def measure(direct: str, proxied: str, calls: int) -> bool:
    """Print a row for each setting; True where every median is below the limit."""
    is_good = True
    print(f"{'setting':26} {'direct':>9} {'proxied':>9} {'added':>8} {'p95 added':>10}")
    for is_stream in (False, True):
        ask(proxied, is_stream, TURN, 1)  # imports and connections
    for is_stream in (False, True):
        for concurrency in (1, 8):
            times: dict[str, list[float]] = {direct: [], proxied: []}
            while len(times[proxied]) < calls:
                for url, found in times.items():
                    found += ask(url, is_stream, min(TURN, calls - len(found)), concurrency)
            medians = {url: statistics.median(found) for url, found in times.items()}
            tails = {url: statistics.quantiles(found, n=20)[-1] for url, found in times.items()}
            added = medians[proxied] - medians[direct]
            is_good = is_good and added < LIMIT_MS
            name = f"{'streamed' if is_stream else 'whole'}, {concurrency} at a time"
            row = f"{name:26} {medians[direct]:6.1f} ms {medians[proxied]:6.1f} ms {added:5.1f} ms"
            print(f"{row} {tails[proxied] - tails[direct]:7.1f} ms", flush=True)
    return is_good


def ask(url: str, is_stream: bool, calls: int, concurrency: int) -> list[float]:
    """Return the milliseconds of each call."""
    body = {"model": "any", "messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": TEXT}]}
    body |= {"stream": is_stream, "stream_options": {"include_usage": True}} if is_stream else {}
    content = json.dumps(body).encode()
    headers = {"content-type": "application/json", "x-markbook-session": "bench"}
    with httpx2.Client(timeout=60) as client, ThreadPoolExecutor(concurrency) as pool:

        def one(number: int) -> float:
            start = time.perf_counter()
            response = client.post(f"{url}/chat/completions", content=content, headers=headers)
            took = (time.perf_counter() - start) * 1000
            assert response.status_code == 200, response.text
            return took

        list(pool.map(one, range(concurrency)))  # open the connections
        return list(pool.map(one, range(calls)))


def count(port: int, expected: int) -> bool:
    """Say whether every call is recorded once."""
    time.sleep(2)
    found, cursor = 0, ""
    while True:
        url = f"http://127.0.0.1:{port}/api/traces?limit=500&q=&cursor={cursor}"
        page = httpx2.get(url, timeout=30).json()
        found += len(page["data"])
        cursor = page["next_cursor"] or ""
        if not cursor:
            break
    print(f"{found} traces recorded (at least {expected} calls)")
    return found >= expected


if __name__ == "__main__":
    sys.exit(main())
