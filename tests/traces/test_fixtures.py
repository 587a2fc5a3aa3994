"""Captured payloads of real SDKs, sent over HTTP and read back: the shared tool decides."""

import subprocess
import sys

import pytest


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "sdk",
    [
        "catalyst",
        "mlflow",
        "openai-agents-native",
        "openinference-openai",
        "openinference-openai-agents",
        "openllmetry",
        "openllmetry-legacy",
        "otel-genai-openai",
        "otel-openai-v2-legacy",
        "vercel-ai-sdk-6",
    ],
)
def test_every_fact_of_a_captured_sdk_holds(live_server, shared, sdk):
    command = [
        sys.executable,
        str(shared / "tools/check_fixtures.py"),
        "--base-url",
        live_server.url,
        str(shared / "fixtures/otlp"),
        sdk,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
