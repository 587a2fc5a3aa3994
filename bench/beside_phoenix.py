"""Measure ingest and the list beside Arize Phoenix: the same requests, one server after the other on the same machine.

    python -m venv /somewhere && /somewhere/bin/pip install arize-phoenix
    python bench/beside_phoenix.py --phoenix /somewhere/bin/python [--spans 10000] [--connections 4] [--payloads DIR]

A span of Phoenix counts as readable once its own API says that it is there, one of Markbook once it is a committed row, which its
API reads; the clock runs from the first request until all are (or until --wait seconds after the last answer). Then the list of
traces is opened in Chromium, three times, and the median time until its first row can be seen is taken. Phoenix runs with its own
defaults (SQLite in a folder of its own).
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest import count_spans, send_all, start_server, write_payloads

HEADERS = {"Content-Type": "application/x-protobuf"}
COUNT = "{ projects { edges { node { id name recordCount } } } }"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Outcome:
    """What was measured of one server."""

    name: str
    readable: int
    took_s: float
    list_ms: float | None

    @property
    def rate(self) -> float:
        return self.readable / self.took_s


def start_phoenix(python: str, port: int, folder: Path) -> subprocess.Popen:
    """Start Phoenix and wait until it answers."""
    environment = {
        **os.environ,
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(port + 1),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    environment.pop("DATABASE_URL", None)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [python, "-m", "phoenix.server.main", "serve"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return server
        except OSError:
            time.sleep(0.3)
            if server.poll() is not None:
                break
    sys.exit(f"Phoenix did not start:\n{(folder / 'log').read_text()[-2000:]}")


def phoenix_project(url: str) -> dict[str, Any]:
    """Return Phoenix's default project: id and how many spans can be read."""
    request = urllib.request.Request(
        url + "/graphql", json.dumps({"query": COUNT}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        edges = json.loads(answer.read())["data"]["projects"]["edges"]
    return next((edge["node"] for edge in edges if edge["node"]["name"] == "default"), {"id": "", "recordCount": 0})


def measure(
    name: str, url: str, bodies: list[bytes], wanted: int, count: Callable[[], int], page: Callable[[], str], args: Any
) -> Outcome:
    """Send all, wait until all can be read, open the list."""
    begun = time.perf_counter()
    send_all(url, bodies, connections=args.connections, headers=HEADERS)
    sent = time.perf_counter()
    readable = count()
    while readable < wanted and time.perf_counter() - sent < args.wait:
        time.sleep(0.2)
        readable = count()
    took = time.perf_counter() - begun
    list_ms = open_list(page())
    print(f"{name}: {readable:,} of {wanted:,} spans readable after {took:.1f} s, {readable / took:,.0f} a second; "
          f"all answered after {sent - begun:.1f} s; list " + ("not measured" if list_ms is None else f"{list_ms:,.0f} ms"))  # fmt: skip
    return Outcome(name, readable, took, list_ms)


def open_list(url: str) -> float | None:
    """Return the median milliseconds until the first row of a list can be seen; None without Playwright or Chromium."""
    browser_path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if browser_path is None:
        return None
    took = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            begun = time.perf_counter()
            page.goto(url, wait_until="commit")
            page.locator("table tbody tr").first.wait_for(state="visible", timeout=60_000)
            took.append((time.perf_counter() - begun) * 1000)
            page.close()
        browser.close()
    return statistics.median(took)


def stop(server: subprocess.Popen) -> None:
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phoenix", required=True, help="the Python of an environment with arize-phoenix")
    parser.add_argument("--spans", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--wait", type=float, default=120, help="seconds that readers wait for what was accepted")
    parser.add_argument("--port", type=int, default=8129)
    parser.add_argument("--payloads", type=Path, help="a folder in which the requests are kept for the next time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="markbook-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        payloads = args.payloads or folder / "payloads"
        payloads.mkdir(parents=True, exist_ok=True)
        if not (payloads / "report.json").exists():
            write_payloads(payloads, args.spans, args.batch, 7)
        bodies = [path.read_bytes() for path in sorted(payloads.glob("*.pb"))][: args.spans // args.batch]
        wanted = len(bodies) * args.batch
        peer = folder / "phoenix"
        peer.mkdir()
        server = start_phoenix(args.phoenix, args.port + 10, peer)
        url = f"http://127.0.0.1:{args.port + 10}"
        try:
            theirs = measure(
                "Phoenix", url, bodies, wanted, lambda: phoenix_project(url)["recordCount"],
                lambda: f"{url}/projects/{phoenix_project(url)['id']}/traces", args,
            )  # fmt: skip
        finally:
            stop(server)
        server = start_server(args.port, folder / "data")
        own = f"http://127.0.0.1:{args.port}"
        try:
            ours = measure(
                "Markbook", own, bodies, wanted, lambda: count_spans(folder / "data"), lambda: f"{own}/p/default/traces", args
            )  # fmt: skip
        finally:
            stop(server)
    print(f"readable spans a second: {ours.rate / theirs.rate:.1f} times as many as Phoenix")
    if ours.list_ms and theirs.list_ms:
        print(f"until the list can be used: Phoenix takes {theirs.list_ms / ours.list_ms:.1f} times as long")


if __name__ == "__main__":
    main()
