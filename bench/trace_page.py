"""How long a reader waits for the page of one long run: spans sent through real ingest, then the page opened in Chromium.

    python bench/trace_page.py [--spans 10000 50000] [--turns 400] [--rounds 5] [--url http://127.0.0.1:8000] [--json]

Without --url it starts `manage.py serve` on a new data folder (or on the database that DATABASE_URL names) and stops it at the end.
Each round is a new browser profile, so nothing is cached. Times are milliseconds from the start of the navigation, medians of the rounds:
`painted`: the frame after the first rows; `alive`: every row can be scrolled to, folded and found; `selected`: a row in the middle
was clicked as soon as that was possible, and its panel is there. While it scrolls, every frame is looked at for places without a row.
Exits 1 where a limit is passed: 1 s to `selected` for 10,000 spans, 3 s for 50,000, 1 s for a conversation, or a blank row.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
START = 1_780_000_000_000_000_000
MS = 1_000_000
BATCH = 1_000
LIMITS_MS = {10_000: 1_000, 50_000: 3_000}
CONVERSATION_MS = 1_000
WATCH = """
(() => {
  const found = (window.__bench = {});
  const rows = () => document.querySelectorAll("#span-tree .wf__row:not([hidden])");
  const look = () => {
    const now = () => Math.round(performance.now() * 10) / 10;
    if (!found.painted && (rows().length || document.querySelector(".turn"))) {
      found.painted = -1;
      requestAnimationFrame(() => setTimeout(() => { found.painted = now(); }));
    }
    if (!found.alive && document.querySelector("#span-tree[data-ready]")) {
      found.alive = now();
      const row = rows()[12];
      found.wanted = new URLSearchParams(row.getAttribute("href")).get("span");
      row.click();
    }
    const shown = document.querySelector(`#span-panel #tab-raw`);
    if (found.alive && !found.selected && shown && new URLSearchParams(shown.getAttribute("href")).get("span") === found.wanted) {
      found.selected = now();
    }
    if (found.painted > 0 && (found.selected || document.querySelector(".turn"))) { found.done = true; return; }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""
SCROLL = """
(steps) => new Promise((done) => {
  const box = document.querySelector("#span-tree");
  const head = box.querySelector(".wf__head").offsetHeight, foot = box.querySelector(".wf-foot").offsetHeight;
  const frame = box.getBoundingClientRect();
  let step = 0, blank = 0, worst = 0, last = performance.now();
  const look = (now) => {
    worst = Math.max(worst, now - last);
    last = now;
    for (let y = frame.top + head + 6; y < frame.bottom - foot - 6; y += 30) {
      if (!document.elementFromPoint(frame.left + 60, y)?.closest(".wf__row")) blank++;
    }
    if (step >= steps.length) return done({ blank, worst });
    box.scrollTop = steps[step++] * (box.scrollHeight - box.clientHeight);
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})
"""


# Runs ------------------------------------------------------------------------------------------------------------


def tree_spans(count: int, trace_id: str) -> list[dict[str, Any]]:
    """Make a run of `count` spans: sub-agents of 20 spans under a root, each of model calls and the tools that they asked for."""
    chance = random.Random(count)
    total = count * 4 * MS
    spans = [
        span(
            trace_id,
            0,
            None,
            "audit.run",
            0,
            total,
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "audit"},
        )
    ]
    agent = 0
    attributes: dict[str, Any]
    for number in range(1, count):
        start = number * 4 * MS
        step = (number - 1) % 20
        if step == 0:
            agent = number
            name = f"checker {number // 20}"
            attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name}
            spans.append(span(trace_id, number, 0, name, start, start + 80 * MS, attributes))
        elif step % 2:
            words = " ".join(
                chance.choices(("page", "price", "differs", "list", "check", "again", "seems", "right"), k=40)
            )
            attributes = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.usage.input_tokens": 400 + step,
                "gen_ai.usage.output_tokens": 60,
                "gen_ai.output.messages": json.dumps(
                    [{"role": "assistant", "parts": [{"type": "text", "content": words}]}]
                ),
            }
            spans.append(span(trace_id, number, agent, "chat gpt-4o-mini", start, start + 3 * MS, attributes))
        else:
            attributes = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "read_price",
                "gen_ai.tool.call.arguments": json.dumps({"page": number}),
                "gen_ai.tool.call.result": json.dumps({"price": chance.randrange(900), "currency": "EUR"}),
            }
            is_error = chance.random() < 0.01
            spans.append(
                span(trace_id, number, agent, "execute_tool read_price", start, start + 2 * MS, attributes, is_error)
            )
    return spans


def chat_spans(turns: int, trace_id: str) -> list[dict[str, Any]]:
    """Make a conversation of many turns; each call repeats the whole history, as models do."""
    chance = random.Random(turns)
    words = [
        "where",
        "is",
        "my",
        "order",
        "it",
        "was",
        "due",
        "on",
        "monday",
        "please",
        "send",
        "another",
        "one",
        "and",
        "refund",
        "the",
        "first",
    ]
    history: list[dict[str, Any]] = []
    spans = [
        span(
            trace_id,
            0,
            None,
            "chat.run",
            0,
            turns * 1000 * MS,
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "chat"},
        )
    ]
    for number in range(turns):
        history.append({"role": "user", "parts": [{"type": "text", "content": " ".join(chance.choices(words, k=45))}]})
        answer = {"role": "assistant", "parts": [{"type": "text", "content": " ".join(chance.choices(words, k=45))}]}
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 100 + 60 * number,
            "gen_ai.usage.output_tokens": 60,
            "gen_ai.input.messages": json.dumps(history),
            "gen_ai.output.messages": json.dumps([answer]),
        }
        spans.append(
            span(
                trace_id, number + 1, 0, "chat gpt-4o-mini", number * 1000 * MS, (number * 1000 + 700) * MS, attributes
            )
        )
        history.append(answer)
    return spans


def span(
    trace_id: str,
    number: int,
    parent: int | None,
    name: str,
    start: int,
    end: int,
    attributes: dict[str, Any],
    is_error: bool = False,
) -> dict[str, Any]:
    """Return one span as OTLP JSON. Ids are random enough not to compress."""

    def span_id(of: int) -> str:
        return f"{random.Random(f'{trace_id}{of}').getrandbits(64):016x}"

    return {
        "traceId": trace_id,
        "spanId": span_id(number),
        "parentSpanId": "" if parent is None else span_id(parent),
        "name": name,
        "startTimeUnixNano": str(START + start),
        "endTimeUnixNano": str(START + end),
        "status": {"code": 2, "message": "No such page"} if is_error else {"code": 1},
        "attributes": [
            {"key": key, "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}}
            for key, value in attributes.items()
        ],
    }


def send(url: str, spans: list[dict[str, Any]], batch: int) -> float:
    """Send spans in batches. Returns the seconds that it took."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=120)
    begun = time.perf_counter()
    for first in range(0, len(spans), batch):
        body = {
            "resourceSpans": [{"scopeSpans": [{"scope": {"name": "bench"}, "spans": spans[first : first + batch]}]}]
        }
        headers = {"Content-Type": "application/json", "X-Markbook-Project": "default"}
        for _ in range(50):
            connection.request("POST", "/v1/traces", json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 503:
                break
            time.sleep(0.5)
        if answer.status != 200:
            sys.exit(f"A batch was not taken: {answer.status} {content[:300]!r}")
    connection.close()
    return time.perf_counter() - begun


# Reading ---------------------------------------------------------------------------------------------------------


def server_figures(url: str, rounds: int) -> dict[str, float]:
    """Return the median milliseconds to the first byte and to the last, and the bytes as sent (gzip)."""
    first, whole, size = [], [], 0
    for _ in range(rounds):
        request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
        begun = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:
            first.append((time.perf_counter() - begun) * 1000)
            size = len(answer.read())
            whole.append((time.perf_counter() - begun) * 1000)
    return {"first_byte": statistics.median(first), "whole": statistics.median(whole), "bytes": size}


def browser_figures(browser: Any, url: str, rounds: int, *, is_tree: bool) -> dict[str, float]:
    """Open a page some times, each in a new profile. Returns medians, and of the scrolling the worst."""
    found: list[dict[str, float]] = []
    steps = [number / 40 for number in range(41)] + [random.Random(number).random() for number in range(40)]
    steps += [0.5 + number / 4000 for number in range(40)]
    for _ in range(rounds):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(url, wait_until="commit")
        end = time.monotonic() + 60
        while not page.evaluate("() => window.__bench?.done === true"):
            if time.monotonic() > end:
                sys.exit(f"{url} was not there after a minute: {page.evaluate('() => window.__bench')}")
            time.sleep(0.05)
        figures = page.evaluate("() => window.__bench")
        if is_tree:
            figures |= page.evaluate(SCROLL, steps)
        found.append(figures)
        context.close()
    names = ("painted", "alive", "selected", "blank", "worst") if is_tree else ("painted",)
    return {
        name: (max if name in ("blank", "worst") else statistics.median)(one[name] for one in found) for name in names
    }


def measure(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Send the runs, open their pages; returns the figures by name."""
    from playwright.sync_api import sync_playwright

    chromium = next(
        (path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None
    )
    if chromium is None:
        sys.exit("There is no Chromium on this machine.")
    report: dict[str, Any] = {}
    runs = []
    for count in options.spans:
        trace_id = f"{random.Random(count).getrandbits(128):032x}"
        took = send(url, tree_spans(count, trace_id), BATCH)
        print(f"{count:,} spans sent in {took:.1f} s", file=sys.stderr)
        runs += [
            (f"tree of {count:,}", f"traces/{trace_id}", count),
            (f"timeline of {count:,}", f"traces/{trace_id}/timeline", count),
        ]
    trace_id = f"{random.Random(options.turns + 1).getrandbits(128):032x}"
    send(url, chat_spans(options.turns, trace_id), 20)
    runs.append((f"conversation of {options.turns} turns", f"traces/{trace_id}/conversation", 0))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        for name, path, count in runs:
            address = f"{url}/p/default/{path}"
            report[name] = {"spans": count, "server": server_figures(address, options.rounds)}
            report[name]["browser"] = browser_figures(browser, address, options.rounds, is_tree=bool(count))
        browser.close()
    return report


def judge(report: dict[str, Any]) -> list[str]:
    """Return what is over its limit."""
    found = []
    for name, one in report.items():
        figures = one["browser"]
        limit = LIMITS_MS.get(one["spans"]) if one["spans"] else CONVERSATION_MS
        reached = figures.get("selected", figures["painted"])
        if limit and reached > limit:
            found.append(f"{name}: {reached:.0f} ms, the limit is {limit} ms")
        if figures.get("blank"):
            found.append(f"{name}: {figures['blank']} places without a row while scrolling")
    return found


def print_table(report: dict[str, Any]) -> None:
    heads = ("first byte", "whole", "KB", "painted", "alive", "selected", "blank", "worst frame")
    print(" " * 26 + "".join(f"{head:>13}" for head in heads))
    for name, one in report.items():
        server, figures = one["server"], one["browser"]
        values = [server["first_byte"], server["whole"], server["bytes"] / 1000, *figures.values()]
        print(f"{name:26}" + "".join(f"{value:13.0f}" for value in values))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--turns", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", default="")
    parser.add_argument("--port", type=int, default=8163)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.url:
        report = measure(options.url.rstrip("/"), options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report = serve_and_measure(Path(folder), options)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print_table(report)
    problems = judge(report)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def serve_and_measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure on a server of our own."""
    url = f"http://127.0.0.1:{options.port}"
    environment = {**os.environ, "MARKBOOK_DATA_DIR": str(folder), "MARKBOOK_LOGIN": "off"}
    command = [sys.executable, str(ROOT / "manage.py"), "serve", "--port", str(options.port)]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        return measure(url, options)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


if __name__ == "__main__":
    raise SystemExit(main())
