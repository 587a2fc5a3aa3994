"""Loading the sample project: its runs through the real OTLP endpoint, its rubrics, dataset and comparison."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from itertools import islice

import httpx2
from django.core.wsgi import get_wsgi_application
from django.utils import timezone

from accounts.access import internal_token
from accounts.models import Project
from accounts.services import create_project
from demo.content import NAMES_THE_ORDER, RUBRICS, SYSTEM_PROMPT, dataset_items
from demo.plan import plan_runs
from demo.recorder import Recorder
from demo.telemetry import as_request
from evals.models import Comparison, Dataset
from evals.services.comparisons import CandidateSpec, create_comparison
from evals.services.datasets import create_dataset
from evals.services.graders import GraderSpec, ensure_grader_version
from evals.services.pump import pump_run
from evals.services.recorded import grade_traces
from rubrics.models import Rubric, RubricVersion
from rubrics.services import create_rubric, publish_version, save_draft
from rubrics.standard import standard_from
from traces.models import Trace

SLUG = "demo"
NAME = "Fernhill demo"
BATCH_BYTES = 2_000_000  # of one POST
SEND_S = 120.0  # for one POST: the socket is open before the server that will answer has started
MARKED = 100  # recorded runs that the judge marks
COMPARISON = "Which model answers Fernhill's customers?"
JUDGE = "demo/judge"
CANDIDATES = ["demo/careful", "demo/brisk", "demo/terse"]


class LoadFailed(RuntimeError):
    """The sample project could not be loaded; the text says at which step."""


def load_demo(
    *, run: bool = True, progress: Callable[[str], None] = print, now: datetime | None = None, url: str = ""
) -> Project:
    """Create the sample project, or complete it; a repeat changes nothing.

    With `run` its comparison is run to the end by the scripted models; otherwise it is left waiting for a worker. With the `url`
    of our own server, which may still be starting, the runs are sent to it while this process does the rest; else they are
    taken in by this process, before the rest.
    """
    project = Project.objects.filter(slug=SLUG).first() or create_project(NAME, slug=SLUG)
    aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="send")
    try:
        sent: Future[None] | None = None
        if not Trace.objects.filter(project=project, source="ingest").exists():
            runs = list(plan_runs(now or timezone.now()))
            token = internal_token(project)
            if url:
                sent = aside.submit(send_runs, token, runs, progress, url)
            else:
                send_runs(token, runs, progress)
        versions = ensure_rubrics(project)
        dataset = ensure_dataset(project)
        comparison = ensure_comparison(project, dataset, versions)
        if run:
            run_comparison(comparison)
            progress("Three scripted models compared on 40 cases.")
        if sent is not None:
            sent.result()
    finally:
        # Who asks to stop is not kept waiting for an answer: the server goes, and the sending with it.
        aside.shutdown(wait=False)
    if run:
        count = mark_recent_runs(project, versions[1])
        progress(f"{count} recent runs marked by the rubric “{versions[1].rubric.name}”.")
    return project


def send_runs(token: str, runs: list[Recorder], progress: Callable[[str], None], url: str = "") -> None:
    """Send runs to our own POST /v1/traces, in protobuf, a batch at a time: over HTTP to `url`, else in this process.

    Asks nothing of the database itself, so that it may run in a thread. Raises LoadFailed.
    """
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-protobuf"}
    transport = httpx2.HTTPTransport() if url else httpx2.WSGITransport(app=get_wsgi_application())
    base = url or "http://127.0.0.1"
    try:
        with httpx2.Client(transport=transport, base_url=base, headers=headers, timeout=SEND_S) as client:
            for body in batches(runs):
                answer = client.post("/v1/traces", content=body)
                if answer.status_code != 200:
                    raise LoadFailed(
                        f"Sending the sample runs failed with status {answer.status_code}: {answer.text[:300]}"
                    )
    except httpx2.HTTPError as error:
        raise LoadFailed(f"Sending the sample runs to {base} failed: {error!r}") from error
    progress(f"{len(runs)} runs of scripted agents sent.")


def batches(runs: list[Recorder]) -> Iterator[bytes]:
    """Yield OTLP requests joined to larger ones: the concatenation of protobuf messages is their union."""
    body = b""
    for run in runs:
        body += as_request(run)
        if len(body) > BATCH_BYTES:
            yield body
            body = b""
    if body:
        yield body


def ensure_rubrics(project: Project) -> list[RubricVersion]:
    """Create the three rubrics with their two versions, where they are missing. Returns the newest version of each."""
    newest: list[RubricVersion] = []
    for (old, first_note), (new, second_note) in RUBRICS:
        rubric = Rubric.objects.filter(project=project, name=old["name"]).first()
        if rubric is None:
            rubric = create_rubric(project, name=old["name"], standard=standard_from(old))
            publish_version(rubric, note=first_note)
            save_draft(rubric, standard_from(new))
            publish_version(rubric, note=second_note)
        newest += islice(rubric.versions.exclude(frozen_at=None).order_by("-number"), 1)
    return newest


def ensure_dataset(project: Project) -> Dataset:
    """Create the dataset of 40 cases, where it is missing."""
    name = "Support cases"
    found = Dataset.objects.filter(project=project, name=name).first()
    if found is not None:
        return found
    items = [{"key": item["key"], "bucket": item["bucket"], **item["content"]} for item in dataset_items()]
    text = "Forty requests to the fictional shop, each with the answer that its policy asks for."
    return create_dataset(project, name=name, items=items, description=text, note="First version.")


def ensure_comparison(project: Project, dataset: Dataset, versions: list[RubricVersion]) -> Comparison:
    """Create the comparison of three scripted models with two trials, where it is missing."""
    found = Comparison.objects.filter(project=project, name=COMPARISON).first()
    if found is not None:
        return found
    outcome, _, reference = versions
    graders = [
        GraderSpec(name=outcome.rubric.name, kind="rubric", config={"judge": JUDGE}, rubric_version=outcome),
        GraderSpec(name=reference.rubric.name, kind="rubric", config={"judge": JUDGE}, rubric_version=reference),
        GraderSpec(name="Names the order", kind="python", config={"source": NAMES_THE_ORDER}),
    ]
    candidates = [
        CandidateSpec(model=model, system_prompt=SYSTEM_PROMPT, sampling={"temperature": 0.2}) for model in CANDIDATES
    ]
    revision = dataset.revisions.order_by("-number")[0]
    return create_comparison(
        project, name=COMPARISON, revision=revision, candidates=candidates, graders=graders, trials=2
    )


def mark_recent_runs(project: Project, version: RubricVersion) -> int:
    """Have the scripted judge mark the newest recorded runs by a rubric version. Returns how many; a repeat adds nothing."""
    spec = GraderSpec(name=version.rubric.name, kind="rubric", config={"judge": JUDGE}, rubric_version=version)
    newest = Trace.objects.filter(project=project, source="ingest", span_count__lt=200).order_by("-sort_ns", "-id")[
        :MARKED
    ]
    grade_traces(project, newest, [ensure_grader_version(project, spec)], worker="demo")
    return len(newest)


def run_comparison(comparison: Comparison) -> None:
    """Run every unfinished run of the comparison to its end, side by side."""

    async def pump_all(runs: list[int]) -> None:
        await asyncio.gather(*(pump_run(pk, worker="demo") for pk in runs))

    asyncio.run(pump_all(list(comparison.runs.values_list("pk", flat=True))))
