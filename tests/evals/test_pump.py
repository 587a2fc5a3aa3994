import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from evals import services
from evals.models import CandidateKind, Run, RunStatus, Sample, SampleStatus, Score
from evals.queries.progress import spending
from evals.services import CandidateSpec, GraderSpec
from evals.services.samples import Failure, store_outcomes
from evals.workers import worker_name
from providers.models import Call, CallState, Provider
from tests.evals.engine import (
    CONTAINS,
    FakeClient,
    current_scores,
    make_comparison,
    pump,
    rubric_spec,
    statuses,
    unavailable,
)
from tests.factories import make_project, make_span
from traces.models import Trace
from traces.queries import span_records
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def default_provider(settings):
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"


def test_pump_answers_and_grades_every_sample_and_finishes_the_run():
    comparison = make_comparison(items=3, trials=2)
    client = pump(comparison)
    run = comparison.runs.get()
    assert (run.status, client.count()) == (RunStatus.FINISHED, 6)
    assert set(statuses(comparison)) == {"done"}
    assert [len(scores) for scores in current_scores(comparison).values()] == [1] * 6
    assert all(score.passed for scores in current_scores(comparison).values() for score in scores)
    sample = Sample.objects.filter(run=run).first()
    assert (sample.output_text, sample.input_tokens, sample.leased_by) == ("say 0", 7, "")
    assert (sample.output["finish_reason"], sample.cost_usd) == ("stop", 0.001)


def test_pump_twice_asks_once():
    comparison = make_comparison(items=2)
    client = pump(comparison)
    pump(comparison, client)
    assert client.count() == 2
    assert Score.objects.count() == 2


def test_an_answer_is_a_trace_with_agent_and_model_call():
    comparison = make_comparison(items=[{"key": "k", "input": "where is it?", "reference": "x"}])
    pump(comparison)
    trace = Trace.objects.get()
    root, call = span_records(trace)
    assert (trace.source, trace.name, root.kind, call.kind) == ("eval", "echo", "agent", "llm")
    assert [message["content"] for message in call.input_messages] == ["where is it?"]
    assert call.output_messages[0]["content"] == "where is it?"
    assert (call.usage.input_tokens, call.usage.cost_usd) == (7, 0.001)
    assert Sample.objects.get().trace == trace
    assert Score.objects.get().trace == trace


def test_the_candidates_prompt_and_sampling_reach_the_model():
    item = {
        "key": "k",
        "messages": [{"role": "system", "content": "old"}, {"role": "user", "content": "hi"}],
        "city": "Bonn",
        "reference": "hi",
    }
    candidate = CandidateSpec(model="m", system_prompt="You live in {{ item.city }}.", sampling={"temperature": 0.5})
    client = pump(make_comparison(items=[item], candidates=[candidate]))
    call = client.calls[0]
    assert call["messages"] == [{"role": "system", "content": "You live in Bonn."}, {"role": "user", "content": "hi"}]
    assert (call["sampling"], call["model"]) == ({"temperature": 0.5}, "m")
    assert call["subject"] == f"sample:{Sample.objects.get().pk}"


def test_a_prompt_that_cannot_be_filled_in_fails_the_sample_without_a_call():
    items = [
        {"key": "has", "input": "a", "reference": "b", "city": "Bonn"},
        {"key": "lacks", "input": "a", "reference": "b"},
    ]
    comparison = make_comparison(items=items, candidates=[CandidateSpec(model="m", user_template="{{ item.city }}")])
    client = pump(comparison)
    sample = Sample.objects.get(item__key="lacks")
    assert (client.count(), sample.status, comparison.runs.get().status) == (1, "failed", "finished")
    assert "has no 'city'; it has input, reference" in sample.error


def test_a_provider_that_is_down_fails_samples_with_its_reason_and_they_can_be_retried():
    comparison = make_comparison(items=2)
    pump(comparison, FakeClient(unavailable("The provider answered 503.")))
    assert statuses(comparison) == ["failed", "failed"]
    assert Sample.objects.first().error == "The provider answered 503."
    assert services.retry_failed(comparison) == 2
    pump(comparison)
    assert statuses(comparison) == ["done", "done"]
    assert comparison.runs.get().status == RunStatus.FINISHED


def test_a_judge_that_is_down_fails_its_score_only_and_the_answer_is_kept_for_the_retry():
    project = make_project()
    comparison = make_comparison(project=project, items=2, graders=[CONTAINS, rubric_spec(project)])
    client = pump(comparison, FakeClient(judge=unavailable("The judge is away.")))
    assert set(statuses(comparison)) == {"done"}
    broken = Score.objects.filter(grader_version__grader__name="Correctness")
    assert {(score.state, score.value, score.reason) for score in broken} == {("failed", None, "The judge is away.")}
    services.retry_failed(comparison)
    client.judge = None
    pump(comparison, client)
    assert client.count() == 2
    overall = [
        scores for (_, name, part), scores in current_scores(comparison).items() if name == "Correctness" and not part
    ]
    assert [[score.value for score in scores] for scores in overall] == [[5.0], [5.0]]
    assert Score.objects.filter(state="failed", is_current=False).count() == 2
    assert Score.objects.filter(grader_version__grader__name="answer given").count() == 2


def test_judges_scores_have_parts_evidence_and_cost():
    project = make_project()
    comparison = make_comparison(project=project, items=1, graders=[rubric_spec(project)])
    pump(comparison)
    overall, part = Score.objects.order_by("criterion")
    assert (overall.value, overall.passed, overall.rater, overall.rater_kind) == (5.0, True, "judge-1", "judge")
    assert (part.criterion, part.value, part.label, part.explanation) == ("facts", 5.0, "right", "It says so.")
    assert part.evidence == [
        {"quote": "say", "span_id": Trace.objects.get().root_span_id and part.evidence[0]["span_id"], "found": True}
    ]
    assert part.evidence[0]["span_id"] in {record.span_id for record in span_records(Trace.objects.get())}


def test_a_failed_gate_spares_the_judge_and_says_so():
    project = make_project()
    gate = GraderSpec(
        "says it",
        "string_check",
        {"input": "{{ sample.output_text }}", "reference": "1", "operation": "like"},
        is_gate=True,
    )
    comparison = make_comparison(project=project, items=2, graders=[rubric_spec(project), gate])
    client = pump(comparison)
    assert client.count("judge") == 1
    spared = Score.objects.get(state="skipped")
    assert spared.reason == "Not asked: the gate “says it” did not pass."


def test_equal_answers_share_one_question_to_the_judge_even_across_comparisons():
    project = make_project()
    spec = rubric_spec(project)
    item = [{"key": "k", "input": "same", "reference": "x"}]
    first = make_comparison(project=project, items=item, graders=[spec], trials=5)
    client = pump(first)
    assert (client.count(), client.count("judge")) == (5, 1)
    second = make_comparison(project=project, items=item, graders=[spec])
    pump(second, client)
    assert client.count("judge") == 1
    pump(make_comparison(project=project, items=item, graders=[spec]), client, reuse=False)
    assert client.count("judge") == 2
    assert {score.value for score in Score.objects.filter(criterion="")} == {5.0}


def test_doing_nothing_asks_nobody_and_is_graded():
    comparison = make_comparison(items=2, candidates=[CandidateSpec(kind=CandidateKind.NOTHING)])
    client = pump(comparison)
    assert client.calls == []
    assert [(sample.output_text, sample.status, sample.cost_usd) for sample in Sample.objects.all()] == [
        ("", "done", 0.0)
    ] * 2
    assert {score.value for score in Score.objects.all()} == {0.0}


def test_what_is_recorded_is_scored_from_its_trace_or_its_reference_without_a_call():
    project = make_project()
    record = make_span(input="hi", output="Order 7 is on its way.")
    trace = Trace.objects.get(pk=ingest_spans(project, [record]).trace_pks[record.trace_id])
    rows = [
        services.NewItem({"input": "hi", "reference": "order 7"}, "from-trace", source_trace_pk=trace.pk),
        services.NewItem({"input": "hi", "reference": "order 8"}, "from-reference"),
        services.NewItem({"input": "hi"}, "neither"),
    ]
    comparison = make_comparison(project=project, items=rows, candidates=[CandidateSpec(kind=CandidateKind.RECORDED)])
    client = pump(comparison)
    assert client.calls == []
    samples = {sample.item.key: sample for sample in Sample.objects.select_related("item")}
    assert (samples["from-trace"].trace, samples["from-trace"].output_text) == (trace, "Order 7 is on its way.")
    assert samples["from-reference"].output_text == "order 8"
    assert (samples["neither"].status, "no recorded answer" in samples["neither"].error) == ("failed", True)
    assert [score.passed for score in Score.objects.all()] == [True, True]


def test_no_more_calls_are_in_flight_than_the_provider_takes(provider_server):
    project = make_project()
    Provider.objects.create(
        project=project, name="small", base_url=provider_server.base_url, model_names=["echo"], concurrency=3
    )
    provider_server.latency_s = 0.03
    comparison = make_comparison(project=project, items=20)
    asyncio.run(services.pump_run(comparison.runs.get().pk, worker="test:1:x"))
    assert provider_server.most_in_flight == 3
    assert set(statuses(comparison)) == {"done"}


def test_hardly_more_calls_are_made_ready_than_the_provider_takes():
    project = make_project()
    Provider.objects.create(
        project=project, name="small", base_url="http://127.0.0.1:9/v1", model_names=["echo"], concurrency=10
    )
    comparison = make_comparison(project=project, items=40)
    client = pump(comparison, FakeClient(delay=0.01))
    assert client.most_in_flight == 13


def test_a_model_that_nobody_answers_fails_the_run_as_a_whole_and_says_what_to_do(settings):
    settings.OPENAI_BASE_URL = "https://api.openai.com/v1"
    settings.OPENAI_API_KEY = ""
    comparison = make_comparison(items=2, candidates=[CandidateSpec(model="nobody-has-this")])
    client = pump(comparison)
    run = comparison.runs.get()
    assert (run.status, client.calls) == (RunStatus.FAILED, [])
    assert "nobody-has-this" in run.status_reason


# Leases


def test_two_workers_never_hold_one_sample():
    comparison = make_comparison(items=30)
    run = comparison.runs.get()

    def claim(worker):
        try:
            found = []
            while claimed := services.claim_samples(run.pk, limit=4, worker=worker):
                found += [sample.pk for sample in claimed]
            return found
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as threads:
        held = [pk for part in threads.map(claim, ["a", "b", "c"]) for pk in part]
    assert sorted(held) == sorted(Sample.objects.values_list("pk", flat=True))


def test_two_workers_share_a_run_and_it_finishes_once():
    project = make_project()
    Provider.objects.create(
        project=project, name="p", base_url="http://127.0.0.1:9/v1", model_names=["echo"], concurrency=2
    )
    comparison = make_comparison(project=project, items=40)
    run = comparison.runs.get()
    client = FakeClient(delay=0.01)

    async def both():
        await asyncio.gather(*(services.pump_run(run.pk, worker=f"host:{n}:x", client=client) for n in (1, 2)))

    asyncio.run(both())
    assert client.count() == 40
    assert set(statuses(comparison)) == {"done"}
    assert [len(scores) for scores in current_scores(comparison).values()] == [1] * 40
    run.refresh_from_db()
    assert run.status == RunStatus.FINISHED


def test_an_expired_lease_is_claimed_again_and_the_open_calls_of_its_worker_become_unknown():
    comparison = make_comparison(items=1)
    run = comparison.runs.get()
    (claimed,) = services.claim_samples(run.pk, limit=5, worker="dead")
    call = Call.objects.create(
        project=comparison.project,
        provider="p",
        model="echo",
        purpose="generate",
        job=f"run:{run.pk}",
        subject=f"sample:{claimed.pk}",
        started_at=timezone.now(),
    )
    assert services.claim_samples(run.pk, limit=5, worker="other") == []
    Sample.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert [sample.pk for sample in services.claim_samples(run.pk, limit=5, worker="other")] == [claimed.pk]
    call.refresh_from_db()
    assert call.state == CallState.UNKNOWN


def test_a_worker_that_lost_its_lease_changes_nothing():
    comparison = make_comparison(items=1)
    run = comparison.runs.get()
    (claimed,) = services.claim_samples(run.pk, limit=1, worker="slow")
    Sample.objects.update(leased_by="other")
    assert store_outcomes(comparison.project, [Failure(claimed.pk, "late")], worker="slow") == {}
    assert Sample.objects.get().status == SampleStatus.PENDING


def test_leases_of_a_dead_process_of_this_host_are_freed_at_once_and_a_living_ones_kept():
    comparison = make_comparison(items=2)
    run = comparison.runs.get()
    host, pid, _ = worker_name().rsplit(":", 2)
    services.claim_samples(run.pk, limit=1, worker=f"{host}:{pid}:12345#1")
    services.claim_samples(run.pk, limit=1, worker=f"{worker_name()}#1")
    assert services.release_dead_leases() == 1
    assert [bool(sample.leased_by) for sample in Sample.objects.order_by("pk")] == [False, True]


def test_an_answered_sample_is_only_graded_when_it_is_claimed_again():
    comparison = make_comparison(items=1)
    client = pump(comparison)
    Score.objects.all().delete()
    Sample.objects.update(status=SampleStatus.ANSWERED, finished_at=None)
    comparison.runs.update(status=RunStatus.RUNNING)
    pump(comparison, client)
    assert client.count() == 1
    assert (Sample.objects.get().status, Score.objects.get().passed) == ("done", True)
    assert Trace.objects.count() == 1


def test_grades_from_the_stored_trace_have_the_same_input_as_those_from_the_fresh_answer():
    project = make_project()
    comparison = make_comparison(project=project, items=1, graders=[rubric_spec(project)])
    client = pump(comparison)
    digest = Score.objects.filter(criterion="").get().input_digest
    Score.objects.all().delete()
    Sample.objects.update(status=SampleStatus.ANSWERED)
    comparison.runs.update(status=RunStatus.RUNNING)
    pump(comparison, client)
    assert Score.objects.filter(criterion="").get().input_digest == digest


# Pause, cancel, ceiling, stop


def run_in_thread(comparison, client, **options):
    def work():
        try:
            pump(comparison, client, **options)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def small_provider(project):
    Provider.objects.create(
        project=project, name="p", base_url="http://127.0.0.1:9/v1", model_names=["echo"], concurrency=2
    )


def test_a_paused_run_keeps_what_is_answered_and_resumes_without_asking_again():
    project = make_project()
    small_provider(project)
    comparison = make_comparison(project=project, items=60)
    client = FakeClient(delay=0.1)
    thread = run_in_thread(comparison, client)
    wait_for(lambda: client.count() >= 6)
    services.pause_comparison(comparison)
    thread.join(20)
    assert comparison.runs.get().status == RunStatus.PAUSED
    done = statuses(comparison).count("done")
    assert done == client.count() < 60
    assert not Sample.objects.exclude(leased_by="").exists()
    services.resume_comparison(comparison)
    client.delay = 0
    pump(comparison, client)
    assert client.count() == 60
    assert comparison.runs.get().status == RunStatus.FINISHED


def test_a_cancelled_run_gets_no_more_samples_and_stays_cancelled():
    project = make_project()
    small_provider(project)
    comparison = make_comparison(project=project, items=60)
    client = FakeClient(delay=0.1)
    thread = run_in_thread(comparison, client)
    wait_for(lambda: "done" in statuses(comparison))
    services.cancel_comparison(comparison)
    done = statuses(comparison).count("done")
    thread.join(20)
    assert statuses(comparison).count("done") == done
    assert set(statuses(comparison)) == {"done", "cancelled"}
    assert comparison.runs.get().status == RunStatus.CANCELLED
    assert services.cancel_comparison(comparison) == 0


def test_an_orderly_stop_stores_what_is_in_flight_and_gives_the_rest_back():
    project = make_project()
    small_provider(project)
    comparison = make_comparison(project=project, items=60)
    client, stop = FakeClient(delay=0.1), threading.Event()
    thread = run_in_thread(comparison, client, stop=stop)
    wait_for(lambda: client.count() >= 4)
    stop.set()
    thread.join(20)
    assert statuses(comparison).count("done") == client.count()
    assert not Sample.objects.exclude(leased_by="").exists()
    assert comparison.runs.get().status == RunStatus.RUNNING


def test_the_ceiling_stops_the_comparison_with_the_figures_and_raising_it_goes_on():
    project = make_project()
    small_provider(project)
    comparison = make_comparison(project=project, items=40, ceiling_usd=0.05)

    def priced(call):
        Call.objects.create(
            project=project, provider="p", model="echo", purpose="generate", job=call["job"], subject=call["subject"],
            state=CallState.ANSWERED, started_at=timezone.now(), cost_usd=0.01,
        )  # fmt: skip
        connections.close_all()  # of this thread

    async def answer(call):
        await asyncio.to_thread(priced, call)

    client = FakeClient(answer, cost=0.01)
    pump(comparison, client)
    comparison.refresh_from_db()
    run = comparison.runs.get()
    assert run.status == RunStatus.PAUSED
    assert comparison.stop_reason.startswith("Stopped at the ceiling of $0.05: $0.0")
    assert "of 40 samples are done" in comparison.stop_reason
    assert 5 <= client.count() <= 7
    services.resume_comparison(comparison, ceiling_usd=5)
    pump(comparison, client)
    assert comparison.runs.get().status == RunStatus.FINISHED
    assert client.count() == 40


def test_calls_that_may_have_been_charged_count_at_the_mean_of_their_model():
    comparison = make_comparison(items=1)
    job = f"run:{comparison.runs.get().pk}"
    shared = {
        "project": comparison.project,
        "provider": "p",
        "model": "echo",
        "purpose": "generate",
        "job": job,
        "started_at": timezone.now(),
    }
    Call.objects.create(**shared, state=CallState.ANSWERED, cost_usd=0.2)
    Call.objects.create(**shared, state=CallState.ANSWERED, cost_usd=None)
    Call.objects.create(**shared, state=CallState.UNKNOWN)
    spent = spending(comparison.pk)
    assert (spent.known_usd, spent.unsure_usd, spent.unsure_calls, spent.unpriced_calls) == (0.2, 0.2, 1, 1)


# Hostile answers


@pytest.mark.parametrize(
    "text", ["a\x00b", "half \ud800 a character", "<script>alert(1)</script>" * 1000, "", "עברית ‮ rtl"]
)
def test_any_text_that_a_model_answers_is_stored_and_graded(text):
    comparison = make_comparison(items=1)
    pump(comparison, FakeClient(lambda call: text))
    sample = Sample.objects.get()
    assert (sample.status, sample.error) == ("done", "")
    assert sample.output_text == text.replace("\x00", "").replace("\ud800", "?")


def test_an_answer_with_tool_calls_only_is_graded_on_its_calls():
    call = {"id": "c1", "type": "function", "function": {"name": "refund", "arguments": '{"order": "A-1"}'}}
    function = "sample.output_tools[0].function"
    template = f"{{{{ {function}.name }}}} {{{{ {function}.arguments.order }}}}"
    grader = GraderSpec("asks for a refund", "string_check", {"input": template, "reference": "refund A-1"})
    comparison = make_comparison(items=1, graders=[grader])
    pump(comparison, FakeClient(lambda _: {"role": "assistant", "content": None, "tool_calls": [call]}))
    assert Score.objects.get().passed is True


def test_a_python_grader_that_breaks_on_one_sample_leaves_the_run_going():
    source = "def grade(sample, item):\n    if sample['output_text'] == 'say 1':\n        raise ValueError('no')\n    return 1"
    comparison = make_comparison(items=3, graders=[GraderSpec("code", "python", {"source": source})])
    pump(comparison)
    assert sorted(Score.objects.values_list("state", flat=True)) == ["failed", "ok", "ok"]
    assert set(statuses(comparison)) == {"done"}


def test_a_rubric_version_in_use_is_frozen():
    project = make_project()
    spec = rubric_spec(project)
    make_comparison(project=project, graders=[spec])
    spec.rubric_version.refresh_from_db()
    assert spec.rubric_version.is_frozen


def test_a_deeply_nested_answer_is_kept_as_far_as_it_can_be():
    comparison = make_comparison(items=1)
    deep = "x"
    for _ in range(3000):
        deep = [deep]
    pump(
        comparison,
        FakeClient(
            lambda call: {
                "role": "assistant",
                "content": deep if call["messages"][-1]["content"] == "say 1" else "fine",
            }
        ),
    )
    assert Run.objects.get().status == RunStatus.FINISHED
    assert set(statuses(comparison)) == {"done"}


def test_a_client_that_breaks_in_an_unforeseen_way_fails_its_sample_and_no_other():
    def answer(call):
        if call["messages"][-1]["content"] == "say 1":
            raise ZeroDivisionError("by zero")

    comparison = make_comparison(items=3)
    pump(comparison, FakeClient(answer))
    assert sorted(statuses(comparison)) == ["done", "done", "failed"]
    assert "ZeroDivisionError: by zero" in Sample.objects.get(status="failed").error
    assert Run.objects.get().status == RunStatus.FINISHED
