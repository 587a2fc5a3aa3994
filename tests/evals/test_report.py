import csv
import io
import json

import pytest
from django.core.management import CommandError, call_command

from evals import services
from evals.exports import csv_lines, jsonl_lines
from evals.models import CandidateKind, Comparison, Sample, SampleStatus
from evals.queries import comparison_matrix, comparison_progress, comparison_report, sample_detail
from evals.queries.matrix import failing_cases
from evals.queries.progress import comparison_status
from evals.queries.report import letter_of
from evals.services import CandidateSpec, GraderSpec, NewScore
from providers.models import Provider
from tests.evals.engine import CONTAINS, FakeClient, make_comparison, pump, rubric_spec, unavailable
from tests.factories import make_key, make_project, make_span
from tests.provider_server import ProviderServer
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db
A, B = CandidateSpec(model="a"), CandidateSpec(model="b")


def score_all(comparison, values):
    """Mark samples as done with the given values: {letter position: [value of each item]}; None is a failed sample."""
    version = comparison.eval.eval_graders.get().grader_version
    for run in comparison.runs.order_by("position"):
        scores = []
        for sample, value in zip(run.samples.order_by("trial", "item__position"), values[run.position], strict=True):
            if value is None:
                Sample.objects.filter(pk=sample.pk).update(status=SampleStatus.FAILED, error="The provider is away.")
                continue
            record = make_span(output="answer")
            trace = ingest_spans(comparison.project, [record], source="eval").trace_pks[record.trace_id]
            Sample.objects.filter(pk=sample.pk).update(
                status=SampleStatus.DONE,
                output_text="=answer",
                duration_ms=100.0 * (run.position + 1),
                cost_usd=0.01,
                trace=trace,
            )
            scores.append(
                NewScore(
                    version,
                    trace=trace,
                    sample=sample,
                    run=run.pk,
                    rater_kind="code",
                    rater="code",
                    value=value,
                    passed=value >= 1,
                    explanation="because",
                )
            )
        services.record_scores(comparison.project, scores)
        run.status = "finished"
        run.save()


def test_the_report_has_counts_beside_every_average_and_leaves_failed_samples_out():
    comparison = make_comparison(items=12, candidates=[A, B])
    score_all(comparison, [[0.0] * 6 + [1.0] * 6, [1.0] * 11 + [None]])
    report = comparison_report(comparison)
    a, b = report.candidates
    assert (a.letter, b.letter, report.baseline, report.status, report.is_final) == ("A", "B", "A", "finished", True)
    figures = b.graders[0]
    assert (figures.n, figures.items, figures.passes, figures.pass_n) == (11, 11, 11, 11)
    assert figures.mean == 1.0
    assert (b.samples.failed, b.p50_ms, b.cost_per_sample_usd) == (1, 200.0, pytest.approx(0.01))
    pair = report.pair("B", figures.grader.pk)
    assert (pair.difference.items, pair.difference.better, pair.difference.worse, pair.difference.equal) == (
        11,
        6,
        0,
        5,
    )
    assert report.verdict.sentence.startswith("B beats A on answer given by +0.55 points (95% CI ")
    assert "It is slower" in report.verdict.trade_off
    assert "B: 1 of 12 samples failed and are in no average." in report.warnings


def test_trials_give_pass_hat_and_pass_at_curves():
    comparison = make_comparison(items=2, trials=2, candidates=[A])
    score_all(comparison, [[1.0, 1.0, 1.0, 0.0]])
    figures = comparison_report(comparison).candidates[0].graders[0]
    assert (figures.pass_hat_k, figures.pass_at_k) == ([0.75, 0.5], [0.75, 1.0])
    assert sum(count for _, _, count in figures.bins) == 4


def test_a_running_comparison_is_said_not_to_be_final():
    comparison = make_comparison(items=3, candidates=[A, B])
    score_all(comparison, [[0.0] * 3, [1.0] * 3])
    comparison.runs.update(status="running")
    Sample.objects.filter(pk=Sample.objects.last().pk).update(status=SampleStatus.PENDING)
    report = comparison_report(comparison)
    assert not report.is_final
    assert "so far" in report.verdict.sentence
    assert "not final" in report.verdict.text


def test_one_candidate_alone_gets_its_mean_and_pass_rate_as_the_verdict():
    comparison = make_comparison(items=4, candidates=[A])
    score_all(comparison, [[1.0, 1.0, 1.0, 0.0]])
    assert (
        comparison_report(comparison).verdict.sentence
        == "A scores 0.75 on answer given (4 items, 95% CI 0.00 to 1.00). 75% pass."
    )


def test_the_floor_that_does_nothing_is_not_the_contender_of_the_verdict():
    comparison = make_comparison(items=8, candidates=[A, B, CandidateSpec(kind=CandidateKind.NOTHING)])
    score_all(comparison, [[1.0] * 8, [0.0] * 8, [1.0] * 8])
    assert comparison_report(comparison).verdict.sentence.startswith("A beats B")


def test_three_items_are_no_win_however_alike_they_are():
    comparison = make_comparison(items=3, candidates=[A, B])
    score_all(comparison, [[1.0] * 3, [0.0] * 3])
    assert "but not beyond chance" in comparison_report(comparison).verdict.sentence


def test_the_report_takes_the_same_number_of_queries_however_many_samples(django_assert_max_num_queries):
    comparison = make_comparison(items=20, candidates=[A, B])
    score_all(comparison, [[1.0] * 20, [0.0] * 20])
    with django_assert_max_num_queries(16):
        comparison_report(comparison)


def test_an_empty_comparison_has_a_report_too():
    report = comparison_report(make_comparison(items=1, candidates=[A, B]))
    assert report.status == "queued"
    assert "No item has a score" in report.verdict.sentence
    assert report.progress.seconds_left is None


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["queued", "queued"], "queued"),
        (["finished", "queued"], "running"),
        (["running", "paused"], "running"),
        (["paused", "finished"], "paused"),
        (["finished", "failed"], "failed"),
        (["finished", "cancelled"], "cancelled"),
        (["finished"], "finished"),
    ],
)
def test_a_comparison_has_the_status_that_its_runs_make(statuses, status):
    assert comparison_status(statuses) == status


def test_letters_go_on_after_z():
    assert [letter_of(position) for position in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


def test_the_matrix_sorts_by_disagreement_and_filters():
    rows = [
        {"key": f"k{n}", "input": f"q{n}", "reference": "r", "bucket": "odd" if n % 2 else "even"} for n in range(4)
    ]
    comparison = make_comparison(items=rows, candidates=[A, B])
    score_all(comparison, [[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, None]])
    matrix = comparison_matrix(comparison)
    assert matrix.rows[0].key == "k1"
    assert matrix.counts == {"all": 4, "differ": 1, "failures": 2, "errors": 1, "open": 0}
    assert matrix.buckets == [("even", 2), ("odd", 2)]
    assert [row.key for row in comparison_matrix(comparison, show="errors").rows] == ["k3"]
    assert [row.key for row in comparison_matrix(comparison, bucket="even", sort="position").rows] == ["k0", "k2"]
    cell = matrix.rows[0].cells[1]
    assert (cell.mean, cell.passed, cell.judged, cell.state) == (0.0, 0, 1, "ok")


def test_the_matrix_pages_by_key_without_repeating_a_row():
    comparison = make_comparison(items=7, candidates=[A])
    seen, after = [], None
    while True:
        page = comparison_matrix(comparison, limit=3, after=after)
        seen += [row.key for row in page.rows]
        after = page.next_after
        if after is None:
            break
    assert sorted(seen) == [f"k{n}" for n in range(7)]


def test_sample_detail_puts_the_candidates_side_by_side_with_scores():
    comparison = make_comparison(items=2, candidates=[A, B])
    score_all(comparison, [[1.0, 0.0], [0.0, 1.0]])
    item = comparison.runs.first().samples.first().item
    detail = sample_detail(comparison, item.pk)
    assert [(side.letter, side.scores[0].score.value, bool(side.trace_id)) for side in detail.samples] == [
        ("A", 1.0, True),
        ("B", 0.0, True),
    ]
    assert detail.title == "say 0"
    assert sample_detail(comparison, item.pk, trial=9) is None


def test_progress_counts_and_estimates_the_time_left():
    comparison = make_comparison(items=4, candidates=[A])
    progress = comparison_progress(comparison)
    assert (progress.counts.total, progress.counts.pending, progress.is_active, progress.seconds_left) == (
        4,
        4,
        True,
        None,
    )


# Files


def test_csv_and_jsonl_hold_every_sample_and_every_score():
    comparison = make_comparison(
        items=3,
        candidates=[A, B],
        graders=[GraderSpec('odd, "name"', "string_check", {"input": "a", "reference": "a"})],
    )
    score_all(comparison, [[1.0, 0.0, None], [1.0, 1.0, 1.0]])
    rows = list(csv.DictReader(io.StringIO("".join(csv_lines(comparison)))))
    assert len(rows) == 6
    assert [row["candidate"] for row in rows].count("B") == 3
    assert (rows[0]['odd, "name" value'], rows[0]['odd, "name" passed'], rows[0]['odd, "name" explanation']) == (
        "1.0",
        "yes",
        "because",
    )
    assert rows[0]["output_text"] == "'=answer"
    assert (rows[2]["status"], rows[2]["error"], rows[2]['odd, "name" value']) == (
        "failed",
        "The provider is away.",
        "",
    )
    documents = [json.loads(line) for line in jsonl_lines(comparison)]
    assert [len(document["scores"]) for document in documents] == [1, 1, 0, 1, 1, 1]
    assert documents[0]["output_text"] == "=answer"
    assert documents[0]["item"]["content"] == {"input": "say 0", "reference": "0"}
    assert documents[0]["trace_id"]


# API


def test_the_api_gives_the_report_samples_and_scores_of_its_project_only(client, settings):
    settings.LOGIN_REQUIRED = True
    comparison = make_comparison(items=3, candidates=[A, B])
    score_all(comparison, [[1.0, 0.0, 1.0], [1.0, 1.0, None]])
    headers = {"Authorization": f"Bearer {make_key(comparison.project)}"}
    (row,) = client.get("/api/comparisons", headers=headers).json()["data"]
    assert (row["id"], row["status"], row["dataset"]["item_count"]) == (comparison.pk, "finished", 3)
    report = client.get(f"/api/comparisons/{comparison.pk}", headers=headers).json()
    assert [candidate["key"] for candidate in report["candidates"]] == ["A", "B"]
    assert report["candidates"][1]["samples"] == {
        "total": 3,
        "ok": 2,
        "failed": 1,
        "skipped": 0,
        "pending": 0,
        "cancelled": 0,
    }
    assert {"n", "mean", "ci_low", "ci_high", "pass_rate", "pass_hat_k", "pass_at_k", "failed", "skipped"} <= set(
        report["candidates"][0]["graders"][0]
    )
    assert (report["pairs"][0]["n_items"], report["pairs"][0]["better"], report["pairs"][0]["worse"]) == (2, 1, 0)
    first = client.get(f"/api/comparisons/{comparison.pk}/samples?limit=4", headers=headers).json()
    rest = client.get(
        f"/api/comparisons/{comparison.pk}/samples?limit=4&cursor={first['next_cursor']}", headers=headers
    ).json()
    assert (len(first["data"]), len(rest["data"]), rest["next_cursor"]) == (4, 2, None)
    run = report["candidates"][0]["run"]
    assert len(client.get(f"/api/scores?run={run}", headers=headers).json()["data"]) == 3
    assert client.get("/api/scores?grader=nobody", headers=headers).json()["data"] == []
    stranger = {"Authorization": f"Bearer {make_key(make_project())}"}
    assert client.get(f"/api/comparisons/{comparison.pk}", headers=stranger).status_code == 404
    assert client.get("/api/scores", headers=stranger).json()["data"] == []
    assert client.get("/api/comparisons").status_code == 401


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=501", "limit=²", "cursor=x", "cursor=99999999999999999999", "run=%00"]
)
def test_the_api_answers_400_naming_the_parameter(client, project, query):
    answer = client.get(f"/api/scores?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.split("=")[0])


# run_eval


@pytest.fixture
def gate(transactional_db, settings, capsys):
    """Run `run_eval` against a server of ours; returns (exit code, what was printed)."""
    with ProviderServer() as server:
        settings.PROVIDER_ATTEMPTS = 1
        project = make_project(slug="default")
        Provider.objects.create(project=project, name="ours", base_url=server.base_url, model_names=["*"])
        comparison = make_comparison(
            project=project, items=4, candidates=[CandidateSpec(model="old", system_prompt="Be kind.")]
        )

        def run(*arguments):
            try:
                call_command("run_eval", "Test", *arguments)
                code = 0
            except SystemExit as ended:
                code = ended.code
            except CommandError as error:
                return error.returncode, str(error)
            return code, capsys.readouterr().out

        run.server, run.comparison = server, comparison
        yield run


def test_run_eval_passes_above_the_floor_and_prints_the_table(gate):
    code, printed = gate("--model", "one", "--model", "two", "--min-pass-rate", "1")
    assert code == 0
    assert "one" in printed
    assert "4/4 100%" in printed
    assert "Above the floor of 100%." in printed
    assert {body["model"] for body in gate.server.calls} == {"one", "two"}
    assert gate.server.calls[0]["messages"][0] == {"role": "system", "content": "Be kind."}


def test_run_eval_below_the_floor_exits_one_and_lists_the_failing_cases(gate):
    gate.server.answer = lambda body: {
        "model": "m",
        "choices": [{"message": {"role": "assistant", "content": "no"}, "finish_reason": "stop"}],
    }
    code, printed = gate("--model", "one", "--min-pass-rate", "50%")
    assert code == 1
    assert "A k0 #1  answer given: “no” contains (any case) “0”: no." in printed


@pytest.mark.parametrize("floor", [(), ("--min-pass-rate", "0")])
def test_run_eval_with_nothing_answered_cannot_tell_whatever_the_floor(gate, floor):
    gate.server.mode = "bad_request"
    code, printed = gate("--model", "one", *floor)
    assert code == 2
    assert "Could not tell" in printed


def test_run_eval_of_an_unknown_name_or_project_exits_two_and_names_what_there_is(gate):
    with pytest.raises(CommandError, match="'Test'") as caught:
        call_command("run_eval", "nothing")
    assert caught.value.returncode == 2
    assert gate("--project", "nowhere")[0] == 2


def test_run_eval_as_json_holds_report_gate_and_failing_cases(gate):
    code, printed = gate("--model", "one", "--json", "--trials", "2")
    document = json.loads(printed)
    assert (code, document["gate"]["exit_code"], document["trials"]) == (0, 0, 2)
    assert document["gate"]["candidates"][0]["passed"] == 8
    assert document["failing"] == []


def test_failing_cases_name_the_grader_and_the_reason(transactional_db, settings):
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    project = make_project()
    comparison = make_comparison(project=project, items=2, graders=[CONTAINS, rubric_spec(project)])
    pump(comparison, FakeClient(lambda call: "nothing", judge=unavailable("The judge is away.")))
    cases = [(case.letter, case.item_key, case.grader, case.reason) for case in failing_cases(comparison)]
    assert len(cases) == 4
    assert cases[1] == ("A", "k0", "Correctness", "The judge is away.")
    assert Comparison.objects.count() == 1
