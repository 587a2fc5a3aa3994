"""Captures made anew: real SDKs trace the refund agent into a real `serve`, and the run is read back."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)


def complete(body: dict[str, Any]) -> dict[str, Any]:
    """The model: it asks for the order, then answers."""
    has_result = any(message["role"] == "tool" for message in body["messages"])
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_order", "arguments": '{"order_id": "A-1001"}'},
    }
    message = {"content": "Yes, a full refund."} if has_result else {"content": None, "tool_calls": [call]}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1795231731, "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "finish_reason": "stop" if has_result else "tool_calls", "message": {"role": "assistant", **message}}],
        "usage": {"prompt_tokens": 152, "completion_tokens": 38, "total_tokens": 190},
    }  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server of its own, embedded, on a free port; its address."""
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL", "MARKBOOK_LOGIN")
    }
    environment = {**kept, "MARKBOOK_DATA_DIR": str(folder), "MARKBOOK_LOGIN": "off"}
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    log = folder / "serve.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while read(f"{address}/readyz") is None:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def read(address: str) -> Any:
    """Return the JSON of an address, True for another answer of 200, None where there is none."""
    try:
        with urllib.request.urlopen(address, timeout=10) as response:
            body = response.read()
    except (OSError, urllib.error.HTTPError):
        return None
    return json.loads(body) if body[:1] == b"{" else True


def run_sdk(name: str, address: str, model_url: str) -> dict[str, Any]:
    """Run the agent under an SDK and return its run as the read API gives it."""
    listed = read(f"{address}/api/traces")
    before = {trace["trace_id"] for trace in listed["data"]} if listed else set()
    environment = {
        **os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": address, "OPENAI_BASE_URL": model_url, "OPENAI_API_KEY": "any",
        "OTEL_SERVICE_NAME": "shop", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.sdk_programs", name],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    [summary] = [trace for trace in read(f"{address}/api/traces")["data"] if trace["trace_id"] not in before]
    return read(f"{address}/api/traces/{summary['trace_id']}")


def check_refund(found: dict[str, Any]) -> None:
    """Hold what both SDKs must show of the run."""
    calls = [span for span in found["spans"] if span["kind"] == "llm"]
    assert [span["model"] for span in calls] == ["gpt-4o-mini-2024-07-18"] * 2
    assert (found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == (304, 76)
    assert [entry["role"] for entry in found["conversation"]] == ["system", "user", "assistant", "tool", "assistant"]
    [asked] = found["conversation"][2]["tool_calls"]
    assert (asked["name"], asked["arguments"]) == ("get_order", {"order_id": "A-1001"})
    assert "Trail shoes" in found["conversation"][3]["content"]
    assert found["input"] == "I want a refund for order A-1001. Can I get one?"
    assert found["output"] == "Yes, a full refund."
    assert (found["missing_root"], found["error_count"]) == (False, 0)
    assert [span["unrecognised_attributes"] for span in calls] == [[], []]


def test_openinference_as_it_is_today_reads_well(served, provider_server):
    provider_server.answer = complete
    found = run_sdk("openinference", served, provider_server.base_url)
    check_refund(found)
    assert (found["name"], found["session_id"], found["user_id"]) == ("support-agent", "session-refund-42", "user-7")
    assert (found["tags"], found["metadata"]["channel"]) == (["refund"], "web")
    assert [tool["function"]["name"] for tool in found["spans"][1]["available_tools"]] == ["get_order"]


def test_opentelemetrys_instrumentation_as_it_is_today_joins_its_log_records(served, provider_server):
    provider_server.answer = complete
    found = run_sdk("openai_v2", served, provider_server.base_url)
    check_refund(found)
    assert (found["agent_name"], found["session_id"]) == ("support-agent", "s-42")
