"""Chromium for the browser tests: a page that fails its test on any console message, and a helper that sends spans.

Needs a Chromium or Chrome on the machine in PATH; without one these tests are skipped by name.
"""

import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder: `browser`, and a real database that threads share."""
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Where Chromium is, or skip."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if not found:
        pytest.skip("no Chromium on this machine: install the package chromium")
    return found


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Any]:
    """One headless Chromium for a module, no longer: while Playwright runs, its event loop counts as running in this thread.

    The ORM is told that this is fine; tests of other rooms that start a loop of their own come after it has ended.
    """
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        browser.close()


class Console(list[str]):
    """What the browser complained about. A test that causes an answer of 4xx on purpose calls `expect`."""

    def expect(self, text: str) -> None:
        """Take out every message that holds `text`. Raises AssertionError where there is none."""
        found = [message for message in self if text in message]
        assert found, f"No console message holds {text!r}; there are {list(self)}"
        self[:] = [message for message in self if message not in found]


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def context(browser: Any, live_server: Any) -> Iterator[Any]:
    """A browser context of 1440x900 that may copy, whose relative addresses lie on the live server."""
    context = browser.new_context(base_url=live_server.url, viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=live_server.url)
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def page(context: Any, console: Console, live_server: Any) -> Iterator[Any]:
    """A page; console messages, page errors and requests to other hosts fail the test at its end."""
    page = context.new_page()
    page.on("console", lambda message: console.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: console.append(f"error: {error}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((live_server.url, "data:", "blob:", "about:"))
            else console.append(f"request to another host: {request.url}")
        ),
    )
    yield page
    page.close()
    assert list(console) == []


@pytest.fixture
def phone(browser: Any, live_server: Any, console: Console) -> Iterator[Any]:
    """As `page`, 390x844."""
    context = browser.new_context(base_url=live_server.url, viewport={"width": 390, "height": 844}, has_touch=True)
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.on("console", lambda message: console.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: console.append(f"error: {error}"))
    yield page
    context.close()
    assert list(console) == []


@pytest.fixture
def post_spans(live_server: Any) -> Callable[..., dict[str, Any]]:
    """Send spans through the server's own ingest, as an SDK would.

    `post_spans([{"traceId": …, "spanId": …, "name": …, "attributes": {…}}], project="default", key="")`; attributes may
    be a plain dict. Returns the answer as a dict.
    """

    def post(
        spans: list[dict[str, Any]], *, project: str = "default", key: str = "", service: str = "test-agent"
    ) -> dict[str, Any]:
        body = {
            "resourceSpans": [
                {
                    "resource": {"attributes": otlp_attributes({"service.name": service})},
                    "scopeSpans": [{"scope": {"name": "tests"}, "spans": [otlp_span(span) for span in spans]}],
                }
            ]
        }
        headers = {"Content-Type": "application/json", "X-Markbook-Project": project}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{live_server.url}/v1/traces", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"{}")

    return post


def otlp_span(span: dict[str, Any]) -> dict[str, Any]:
    """Fill in the times of a span that has none, and turn its plain attributes into OTLP ones."""
    start = 1_780_000_000_000_000_000
    filled = {"startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 1_000_000_000), "kind": 1, **span}
    if isinstance(filled.get("attributes"), dict):
        filled["attributes"] = otlp_attributes(filled["attributes"])
    return filled


def otlp_attributes(plain: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": otlp_value(value)} for key, value in plain.items()]


def otlp_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [otlp_value(item) for item in value]}}
    return {"stringValue": str(value)}
