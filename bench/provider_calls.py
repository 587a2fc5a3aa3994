"""How much the book of calls, retries and limits cost: our ModelClient against a bare loop with the same openai client.

    python bench/provider_calls.py [--calls 600] [--latency 0.2] [--concurrency 50] [--rounds 3]

A test server in a process of its own answers each call after the latency. Both sides ask it the same number of times at the same
concurrency, in turn; ours writes two rows' worth to the database for each call (SQLite in a new folder, or DATABASE_URL). At the
end the rows are counted against the calls that the server received.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
MESSAGES = [{"role": "user", "content": "Where is order FH-10234? It was due on Monday."}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=8161)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ["MARKBOOK_PROVIDER_CONCURRENCY"] = str(options.concurrency)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MARKBOOK_DATA_DIR"] = folder
        command = [
            sys.executable,
            "-m",
            "tests.provider_server",
            f"--port={options.port}",
            f"--latency={options.latency}",
        ]
        server = subprocess.Popen(command, cwd=ROOT)
        try:
            measure(options)
        finally:
            server.terminate()
            server.wait()


def measure(options: argparse.Namespace) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from accounts.models import Project
    from providers.models import Call, Provider

    call_command("migrate", verbosity=0)
    url = f"http://127.0.0.1:{options.port}/v1"
    wait_for(url)
    project = Project.objects.create(slug=f"bench-{time.time_ns()}", name="Bench")
    Provider.objects.create(project=project, name="bench", base_url=url, model_names=["echo"])
    bare, ours = [], []
    for number in range(options.rounds):
        cpu = time.process_time()
        bare.append(asyncio.run(run_bare(url, options)))
        cpu_bare, cpu = time.process_time() - cpu, time.process_time()
        ours.append(asyncio.run(run_ours(project, options)))
        cpu_ours = time.process_time() - cpu
        print(
            f"round {number + 1}: bare {bare[-1]:.3f} s, ours {ours[-1]:.3f} s, {ours[-1] / bare[-1]:.3f}×; "
            f"CPU {cpu_bare:.2f} and {cpu_ours:.2f} s"
        )
    ideal = options.latency * -(-options.calls // options.concurrency)
    booked = Call.objects.filter(project=project)
    print(f"database {connection.vendor}; ideal {ideal:.2f} s")
    print(
        f"median: bare {statistics.median(bare):.3f} s, ours {statistics.median(ours):.3f} s, "
        f"{statistics.median(ours) / statistics.median(bare):.3f}×"
    )
    print(f"booked {booked.count()} calls, {booked.filter(state='answered').count()} answered")
    Project.objects.filter(pk=project.pk).delete()


def wait_for(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{url}/models", timeout=1).read()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The test server did not start.")


async def run_bare(url: str, options: argparse.Namespace) -> float:
    """Return the seconds that a plain loop with the openai client needs."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=DefaultAioHttpClient())
    places = asyncio.Semaphore(options.concurrency)

    async def ask() -> None:
        async with places:
            answer = await client.chat.completions.create(model="echo", messages=MESSAGES)  # type: ignore[arg-type]
            assert answer.choices[0].message.content == MESSAGES[0]["content"]

    await ask()
    started = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(options.calls)))
    took = time.perf_counter() - started
    await client.close()
    return took


async def run_ours(project: object, options: argparse.Namespace) -> float:
    """Return the seconds that our client needs, until everything is on disk."""
    from providers.client import ModelClient

    client = ModelClient(project)  # type: ignore[arg-type]

    async def ask() -> None:
        answer = await client.chat(model="echo", messages=MESSAGES, job="run:1", subject="sample:1")
        assert answer.text == MESSAGES[0]["content"]

    await ask()
    started = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(options.calls)))
    await client.flush()
    took = time.perf_counter() - started
    await client.aclose()
    return took


if __name__ == "__main__":
    main()
