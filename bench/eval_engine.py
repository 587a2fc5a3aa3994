"""How much the engine adds to the calls themselves: an eval run against a bare asyncio loop, same client, same server, same process.

    python bench/eval_engine.py [--items 600] [--latency 0.2] [--concurrency 50] [--rounds 3]

Each round runs both, in turn. A run counts from its start to its finished state, with every answer stored as a trace and graded; the
bare loop makes the same calls with the same library and keeps nothing. The database is made anew in a folder of its own, or is the one
of DATABASE_URL.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(port: int, latency_s: float) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.provider_server", "--port", str(port), "--latency", str(latency_s)]
    server = subprocess.Popen(command, cwd=ROOT)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=1)
            return server
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise SystemExit("The test server did not start.")


async def bare_loop(base_url: str, items: int, concurrency: int) -> None:
    """Make the calls and nothing else."""
    import httpx
    from openai import AsyncOpenAI

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=concurrency)
    http_client = httpx.AsyncClient(limits=limits, timeout=60)
    gate = asyncio.Semaphore(concurrency)
    async with AsyncOpenAI(api_key="any", base_url=base_url, http_client=http_client, max_retries=0) as client:

        async def call(number: int) -> None:
            async with gate:
                messages = [{"role": "user", "content": f"say {number}"}]
                reply = await client.chat.completions.create(model="echo", messages=messages)
                assert reply.choices[0].message.content == f"say {number}"

        await asyncio.gather(*(call(number) for number in range(items)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            MARKBOOK_DATA_DIR=folder,
            OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1",
            OPENAI_API_KEY="any",
            MARKBOOK_PROVIDER_CONCURRENCY=str(options.concurrency),
            DJANGO_SETTINGS_MODULE="config.settings",
        )
        server = start_server(port, options.latency)
        try:
            measure(options, f"http://127.0.0.1:{port}/v1")
        finally:
            server.terminate()
            server.wait()


def measure(options: argparse.Namespace, base_url: str) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    ideal = -(-options.items // options.concurrency) * options.latency
    print(
        f"{options.items} items, {options.latency * 1000:.0f} ms, {options.concurrency} at once, {connection.vendor}; ideal {ideal:.2f} s"
    )
    asyncio.run(bare_loop(base_url, 2 * options.concurrency, options.concurrency))
    run_engine(2 * options.concurrency)
    ratios = []
    for _ in range(options.rounds):
        begun, spent = time.perf_counter(), time.process_time()
        asyncio.run(bare_loop(base_url, options.items, options.concurrency))
        bare, bare_cpu = time.perf_counter() - begun, time.process_time() - spent
        engine, cpu = run_engine(options.items)
        ratios.append(engine / bare)
        print(
            f"bare {bare:.2f} s (CPU {bare_cpu:.2f} s), engine {engine:.2f} s (CPU {cpu:.2f} s), ratio {engine / bare:.3f}"
        )
    print(f"median ratio {statistics.median(ratios):.3f}")


def run_engine(items: int) -> tuple[float, float]:
    """Run an eval of so many items to its end; returns seconds and CPU seconds, and checks that everything was done."""
    from accounts.models import Project
    from evals import services
    from evals.models import Run, Sample, Score
    from evals.services import CandidateSpec, GraderSpec
    from evals.workers import worker_name

    project, _ = Project.objects.get_or_create(slug="bench", defaults={"name": "Bench"})
    rows = [{"key": str(number), "input": f"say {number}", "reference": str(number)} for number in range(items)]
    dataset = services.create_dataset(project, name="Bench", items=rows)
    grader = GraderSpec(
        "says it",
        "string_check",
        {"input": "{{ sample.output_text }}", "reference": "say {{ item.reference }}", "operation": "eq"},
    )
    begun, cpu = time.perf_counter(), time.process_time()
    comparison = services.create_comparison(
        project,
        name="Bench",
        revision=dataset.revisions.get(),
        candidates=[CandidateSpec(model="echo")],
        graders=[grader],
    )
    run = comparison.runs.get()
    asyncio.run(services.pump_run(run.pk, worker=worker_name()))
    took, spent = time.perf_counter() - begun, time.process_time() - cpu
    assert Run.objects.get(pk=run.pk).status == "finished"
    assert Sample.objects.filter(run=run, status="done").count() == items
    assert Score.objects.filter(run=run, passed=True).count() == items
    return took, spent


if __name__ == "__main__":
    main()
