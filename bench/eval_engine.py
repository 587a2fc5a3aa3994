"""How much the engine adds to the calls themselves: an eval run against a bare asyncio loop, same client, same server, same process.

    python bench/eval_engine.py [--items 600] [--latency 0.2] [--concurrency 50] [--rounds 3] [--port 8163]

Each round runs three, in turn: the bare loop; the engine in this process; and a run of the OpenAI API against `manage.py serve`, made and
polled by the openai client. A run counts from its start to its finished state, with every answer stored as a trace and graded; an API
run from before the POST that brings its rows along to the poll that says `completed`. The bare loop makes the same calls with the same
library and keeps nothing. The database is made anew in a folder of its own, or is the one of DATABASE_URL. Exits 1 where a median is
above 1.25.
"""

import argparse
import asyncio
import os
import signal
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
LIMIT = 1.25
POLL_S = 0.1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(port: int, latency_s: float) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.provider_server", "--port", str(port), "--latency", str(latency_s)]
    server = subprocess.Popen(command, cwd=ROOT)
    wait_for(f"http://127.0.0.1:{port}/v1/models", server)
    return server


def start_serve(port: int) -> subprocess.Popen:
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    serve = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(f"http://127.0.0.1:{port}/readyz", serve)
    return serve


def wait_for(url: str, process: subprocess.Popen) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise SystemExit(f"Nothing answers at {url}.")


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=8163)
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            MARKBOOK_DATA_DIR=folder,
            MARKBOOK_LOGIN="off",
            OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1",
            OPENAI_API_KEY="any",
            MARKBOOK_PROVIDER_CONCURRENCY=str(options.concurrency),
            DJANGO_SETTINGS_MODULE="config.settings",
        )
        children = [start_server(port, options.latency)]
        try:
            children.append(start_serve(options.port))
            return measure(options, f"http://127.0.0.1:{port}/v1")
        finally:
            for child in reversed(children):
                child.send_signal(signal.SIGTERM)
                child.wait(30)


def measure(options: argparse.Namespace, base_url: str) -> int:
    import django

    django.setup()
    from django.db import connection

    ideal = -(-options.items // options.concurrency) * options.latency
    print(
        f"{options.items} items, {options.latency * 1000:.0f} ms, {options.concurrency} at once, {connection.vendor}; ideal {ideal:.2f} s"
    )
    asyncio.run(bare_loop(base_url, 2 * options.concurrency, options.concurrency))
    run_engine(2 * options.concurrency)
    run_api(options.port, 2 * options.concurrency)
    ratios: dict[str, list[float]] = {"engine": [], "API": []}
    for _ in range(options.rounds):
        begun, spent = time.perf_counter(), time.process_time()
        asyncio.run(bare_loop(base_url, options.items, options.concurrency))
        bare, bare_cpu = time.perf_counter() - begun, time.process_time() - spent
        engine, cpu = run_engine(options.items)
        time.sleep(0.5)
        api = run_api(options.port, options.items)
        ratios["engine"].append(engine / bare)
        ratios["API"].append(api / bare)
        print(
            f"bare {bare:.2f} s (CPU {bare_cpu:.2f} s), engine {engine:.2f} s (CPU {cpu:.2f} s), ratio {engine / bare:.3f}, "
            f"API run {api:.2f} s, ratio {api / bare:.3f}",
            flush=True,
        )
    medians = {way: statistics.median(found) for way, found in ratios.items()}
    print(", ".join(f"median ratio of the {way} {median:.3f}" for way, median in medians.items()))
    return 1 if max(medians.values()) > LIMIT else 0


def run_api(port: int, items: int) -> float:
    """Make and poll a run of so many rows by the openai client; returns seconds, and checks that everything was done."""
    from openai import OpenAI

    with OpenAI(api_key="any", base_url=f"http://127.0.0.1:{port}/v1") as client:
        criterion = {
            "type": "string_check",
            "name": "says it",
            "input": "{{ sample.output_text }}",
            "reference": "say {{ item.number }}",
            "operation": "eq",
        }
        schema = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
        made = client.evals.create(
            name="Bench",
            data_source_config={"type": "custom", "item_schema": schema, "include_sample_schema": True},
            testing_criteria=[criterion],
        )
        rows = [{"item": {"number": number}} for number in range(items)]
        begun = time.perf_counter()
        run = client.evals.runs.create(
            made.id,
            data_source={
                "type": "completions",
                "model": "echo",
                "source": {"type": "file_content", "content": rows},
                "input_messages": {
                    "type": "template",
                    "template": [{"role": "user", "content": "say {{ item.number }}"}],
                },
            },
        )
        while run.status in ("queued", "in_progress"):
            time.sleep(POLL_S)
            run = client.evals.runs.retrieve(run.id, eval_id=made.id)
        took = time.perf_counter() - begun
        assert run.status == "completed", run.status
        assert run.result_counts.passed == items, run.result_counts
        return took


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
    sys.exit(main())
