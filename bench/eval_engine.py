"""How much the engine adds to the calls themselves: an eval run against a bare asyncio loop, same client, same server, same process.

    python bench/eval_engine.py [--items 600] [--latency 0.2] [--concurrency 50] [--rounds 3] [--port 8163]

First the engine in this process, then a run of the OpenAI API against `manage.py serve`, made and polled by the openai client; before
each a bare loop in a process of its own, which makes the same calls with the same library and keeps nothing. A run counts from its start
to its finished state, with every answer stored as a trace and graded; an API run from before the POST that brings its rows along to the
poll that says `completed`. The database is made anew in a folder of its own, or is the one of DATABASE_URL. Exits 1 where a median ratio
is above 1.25.
"""

import argparse
import asyncio
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
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
    from openai import AsyncOpenAI, DefaultAioHttpClient

    http_client = DefaultAioHttpClient(timeout=60)  # as ours
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
            return measure(options, f"http://127.0.0.1:{port}/v1", children)
        finally:
            for child in reversed(children):
                child.send_signal(signal.SIGTERM)
                child.wait(30)


def measure(options: argparse.Namespace, base_url: str, children: list[subprocess.Popen]) -> int:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    ideal = -(-options.items // options.concurrency) * options.latency
    print(
        f"{options.items} items, {options.latency * 1000:.0f} ms, {options.concurrency} at once, {connection.vendor}; ideal {ideal:.2f} s"
    )
    medians = [compare("engine", options, base_url, run_engine)]
    # The server is started after that: its worker would take its share of any run that is there.
    children.append(start_serve(options.port))
    medians.append(compare("API run", options, base_url, partial(run_api, options.port)))
    return 1 if max(medians) > LIMIT else 0


def compare(name: str, options: argparse.Namespace, base_url: str, run: Callable[[int], float]) -> float:
    """Return the median ratio of a way to run, after a small run to warm up."""
    run(2 * options.concurrency)
    ratios = []
    for _ in range(options.rounds):
        bare = run_bare(options, base_url)
        took = run(options.items)
        ratios.append(took / bare)
        print(f"bare {bare:.2f} s, {name} {took:.2f} s, ratio {took / bare:.3f}", flush=True)
    print(f"median ratio of the {name} {statistics.median(ratios):.3f}", flush=True)
    return statistics.median(ratios)


def run_bare(options: argparse.Namespace, base_url: str) -> float:
    """Run the bare loop in a process of its own, which holds nothing else; returns seconds."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(timed_bare_loop, base_url, 2 * options.concurrency, options.concurrency).result()
        return pool.submit(timed_bare_loop, base_url, options.items, options.concurrency).result()


def timed_bare_loop(base_url: str, items: int, concurrency: int) -> float:
    begun = time.perf_counter()
    asyncio.run(bare_loop(base_url, items, concurrency))
    return time.perf_counter() - begun


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


def run_engine(items: int) -> float:
    """Run an eval of so many items to its end; returns seconds, and checks that everything was done."""
    from accounts.models import Project
    from evals import services
    from evals.models import Run, Sample, Score
    from evals.services import CandidateSpec, GraderSpec
    from evals.workers import worker_name

    project, _ = Project.objects.get_or_create(slug="default", defaults={"name": "Default"})
    rows = [{"key": str(number), "input": f"say {number}", "reference": str(number)} for number in range(items)]
    dataset = services.create_dataset(project, name="Bench", items=rows)
    grader = GraderSpec(
        "says it",
        "string_check",
        {"input": "{{ sample.output_text }}", "reference": "say {{ item.reference }}", "operation": "eq"},
    )
    begun = time.perf_counter()
    comparison = services.create_comparison(
        project,
        name="Bench",
        revision=dataset.revisions.get(),
        candidates=[CandidateSpec(model="echo")],
        graders=[grader],
    )
    run = comparison.runs.get()
    asyncio.run(services.pump_run(run.pk, worker=worker_name()))
    took = time.perf_counter() - begun
    assert Run.objects.get(pk=run.pk).status == "finished"
    assert Sample.objects.filter(run=run, status="done").count() == items
    assert Score.objects.filter(run=run, passed=True).count() == items
    return took


if __name__ == "__main__":
    sys.exit(main())
