import csv
import io
import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Membership, Role, User
from evals import services
from evals.exports import safe_cell
from evals.models import Comparison, Run, Sample, Score
from evals.queries import comparison_report
from evals.queries.comparison_pages import cards, score_table
from evals.queries.progress import spending
from evals.services import CandidateSpec
from providers.models import Call
from tests.evals.scored import make_scored
from tests.factories import make_project, make_trace

pytestmark = pytest.mark.django_db
CLEAR = [[0.0] * 12, [1.0] * 11 + [0.0]]


def page(client, comparison, query=""):
    return client.get(f"/p/default/comparisons/{comparison.pk}{query}")


def fragment(client, comparison, target, query=""):
    return client.get(
        f"/p/default/comparisons/{comparison.pk}{query}", headers={"HX-Request": "true", "HX-Target": target}
    )


# The list


def test_the_list_of_an_empty_project_says_what_to_do(client, project):
    answer = client.get("/p/default/comparisons")
    assert answer.status_code == 200
    assert "No comparisons yet" in answer.text


def test_the_list_shows_status_verdict_and_candidates(client, project):
    make_scored(project, CLEAR)
    row = client.get("/p/default/comparisons").context["rows"][0]
    assert row.status == "finished"
    assert row.verdict.startswith("B beats A on Right by +0.92 points")
    assert row.candidates == [("A", "model-0"), ("B", "model-1")]


def test_a_verdict_in_the_list_follows_its_scores(client, project):
    comparison = make_scored(project, [[0.0, 0.0], [1.0, 1.0]])
    before = client.get("/p/default/comparisons").context["rows"][0].verdict
    comparison.runs.last().scores.all().delete()
    assert client.get("/p/default/comparisons").context["rows"][0].verdict != before


def test_the_list_goes_on_by_key(client, project, monkeypatch):
    monkeypatch.setattr("evals.queries.comparison_pages.LIST_PAGE", 2)
    for _ in range(3):
        make_scored(project, [[1.0]])
    first = client.get("/p/default/comparisons")
    second = client.get(f"/p/default/comparisons?before={first.context['older']}")
    shown = [row.comparison.pk for answer in (first, second) for row in answer.context["rows"]]
    assert shown == sorted(Comparison.objects.values_list("pk", flat=True), reverse=True)


# The page


def test_the_page_says_who_beats_whom_and_the_cards_and_the_table_agree(client, project):
    comparison = make_scored(project, CLEAR)
    answer = page(client, comparison)
    report = comparison_report(comparison)
    assert answer.context["verdict"]["letter"] == "B"
    assert "beats A on Right by +0.92 points" in answer.text
    table = score_table(report, report.primary)
    assert [card.value for card in cards(report, report.primary)] == [
        "+0.92",
        "0% → 92%",
        "1.00 s → 2.00 s",
        "$0.0100 → $0.0100",
    ]
    assert [round(row.main.mean, 2) for row in table.rows] == [0.0, 0.92]
    assert (table.rows[0].tone, table.rows[1].tone) == ("", "good")


def test_an_interval_that_holds_zero_is_called_unclear_and_has_no_colour(client, project):
    comparison = make_scored(project, [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]])
    answer = page(client, comparison)
    assert "No clear difference" in answer.text
    assert [row.tone for row in answer.context["table"].rows] == ["", ""]


def test_counts_stand_beside_the_mean_and_nothing_missing_is_zero(client, project):
    comparison = make_scored(project, [[1.0, "broken", "skipped", "failed"]])
    answer = page(client, comparison)
    row = answer.context["table"].rows[0]
    assert row.main.mean == 1.0
    assert row.main.counts == "1 scored, 1 failed, 1 skipped"
    assert "1 without an answer" in answer.text


@pytest.mark.parametrize("candidates", [1, 2, 6, 28])
def test_any_number_of_candidates_is_shown(client, project, candidates):
    comparison = make_scored(project, [[float(n % 2), 1.0] for n in range(candidates)])
    answer = page(client, comparison, "?sample=" + str(Sample.objects.first().item_id))
    assert answer.status_code == 200
    assert len(answer.context["matrix"].letters) == candidates


def test_plots_carry_their_figures_as_data_with_a_table_of_the_same_numbers(client, project):
    answer = page(client, make_scored(project, CLEAR, trials=2))
    assert [chart.id for chart in answer.context["charts"]] == [
        "distribution",
        "against-cost",
        "against-latency",
        "reliability",
    ]
    assert '<script id="chart-distribution" type="application/json">' in answer.text
    assert "plotly.min.js" in answer.text


def test_plotly_is_loaded_only_where_something_is_plotted(client, project):
    assert "plotly" not in page(client, make_scored(project, [[None], [None]], status="queued")).text
    assert "plotly" not in client.get("/p/default/comparisons").text


def test_scripted_models_are_labelled(client, project):
    comparison = make_scored(
        project, [[1.0], [1.0]], candidates=[CandidateSpec(model="demo/careful"), CandidateSpec(model="gpt")]
    )
    text = page(client, comparison).text
    assert "scripted" in text


def test_texts_of_models_are_escaped_everywhere(client, project):
    comparison = make_scored(project, [[1.0], [0.0]], name="<script>alert(1)</script>")
    item = Sample.objects.first().item_id
    text = page(client, comparison, f"?sample={item}").text
    assert "<script>alert(1)" not in text
    assert "answer of model-0 <b>" not in text
    assert "because <i>" not in text


# The matrix


def shown_keys(client, comparison, query):
    return [row.key for row in page(client, comparison, query).context["matrix"].rows]


def test_the_matrix_is_sorted_by_disagreement_and_filters_leave_what_they_say(client, project):
    comparison = make_scored(project, [[0.0, 0.5, 1.0, 1.0], [1.0, 0.0, 1.0, "broken"]])
    assert shown_keys(client, comparison, "")[:2] == ["k0", "k1"]
    assert shown_keys(client, comparison, "?sort=position") == ["k0", "k1", "k2", "k3"]
    assert shown_keys(client, comparison, "?show=differ") == ["k0", "k1"]
    assert shown_keys(client, comparison, "?show=errors") == ["k3"]
    assert shown_keys(client, comparison, "?show=failures") == ["k0", "k1"]
    assert shown_keys(client, comparison, "?bucket=Odd&sort=position") == ["k1", "k3"]


def test_better_worse_and_equal_open_as_many_rows_as_they_count(client, project):
    comparison = make_scored(project, [[0.0, 0.5, 1.0, 1.0, 0.2], [1.0, 0.0, 1.0, "broken", 0.4]])
    difference = comparison_report(comparison).pairs[0].difference
    for show, number in (("better", difference.better), ("worse", difference.worse), ("equal", difference.equal)):
        assert len(shown_keys(client, comparison, f"?show={show}&pair=B")) == number
    assert shown_keys(client, comparison, "?show=worse&pair=B") == ["k1"]


@pytest.mark.parametrize(
    "query",
    ["?show=better", "?show=better&pair=Z", "?show=x&sort=y&bucket=nope", "?after=999999", "?grader=0", "?after=x"],
)
def test_an_address_that_makes_no_sense_still_shows_the_page(client, project, query):
    assert page(client, make_scored(project, [[1.0], [0.0]]), query).status_code == 200


def test_a_long_matrix_goes_on_by_key(client, project):
    comparison = make_scored(project, [[1.0] * 130, [0.0] * 130])
    first = page(client, comparison).context["matrix"]
    second = page(client, comparison, f"?after={first.next_after}").context["matrix"]
    assert len({row.key for row in [*first.rows, *second.rows]}) == 130
    assert second.next_after is None


def test_the_matrix_alone_is_the_same_table_as_on_the_page(client, project):
    comparison = make_scored(project, [[1.0], [0.0]])
    part = fragment(client, comparison, "samples").text
    assert "<html" not in part
    assert 'id="samples"' in part
    assert 'class="tbl matrix"' in part


# The drawer


def test_the_drawer_puts_two_answers_side_by_side_with_what_changed(client, project):
    comparison = make_scored(project, [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    item = Sample.objects.get(item__key="k0", run__position=0).item_id
    part = fragment(client, comparison, "drawer", f"?sample={item}&versus=A,C").text
    assert "<html" not in part
    assert "answer of model-0" in part
    assert "answer of model-2" in part
    assert "answer of model-1" not in part
    assert "<del>" in part
    assert "not found" in part


def test_the_drawer_puts_two_trials_of_one_candidate_side_by_side(client, project):
    comparison = make_scored(project, [[1.0], [0.0]], trials=3)
    runs = {run.position: run for run in comparison.runs.all()}
    for trial in (1, 3):
        sample = runs[1].samples.get(trial=trial)
        sample.output_text, sample.trace = f"said in trial {trial}", make_trace(project, trace_id=f"run-{trial}")
        sample.save()
    item = sample.item_id
    assert "Two trials of B" in fragment(client, comparison, "drawer", f"?sample={item}").text
    answer = fragment(client, comparison, "drawer", f"?sample={item}&versus=B&trial=1&against=3")
    sides = answer.context["versus"].sides
    assert [(side.sample.letter, side.sample.sample.trial) for side in sides] == [("B", 1), ("B", 3)]
    assert f"{reverse('traces:compare_runs', args=['default'])}?a=run-1&amp;b=run-3" in answer.text
    assert "of B, from trial 1 to trial 3" in answer.text


@pytest.mark.parametrize("against", ["", "0", "4", "x", "9" * 30])
def test_a_trial_that_is_not_there_leaves_the_candidates_side_by_side(client, project, against):
    comparison = make_scored(project, [[1.0], [0.0]], trials=2)
    item = Sample.objects.first().item_id
    shown = fragment(client, comparison, "drawer", f"?sample={item}&against={against}").context["versus"]
    assert [side.sample.letter for side in shown.sides] == ["A", "B"]


def test_the_drawer_goes_to_the_neighbours_in_the_order_of_the_matrix(client, project):
    comparison = make_scored(project, [[0.0, 0.5, 1.0], [1.0, 0.0, 1.0]])
    items = {sample.item.key: sample.item_id for sample in Sample.objects.select_related("item")}
    context = page(client, comparison, f"?sample={items['k1']}").context
    assert (context["previous_sample"], context["next_sample"]) == (items["k0"], items["k2"])
    narrowed = page(client, comparison, f"?show=differ&sample={items['k1']}").context
    assert (narrowed["previous_sample"], narrowed["next_sample"]) == (items["k0"], None)


def test_the_drawer_shows_one_candidate_alone_and_a_failed_sample_with_its_reason(client, project):
    comparison = make_scored(project, [["failed"]])
    text = page(client, comparison, f"?sample={Sample.objects.get().item_id}").text
    assert "The provider answered 503." in text


@pytest.mark.parametrize("query", ["sample=999", "sample=x", "sample=1&trial=99", f"sample={'9' * 30}"])
def test_a_sample_that_is_not_there_is_a_404(client, project, query):
    assert page(client, make_scored(project, [[1.0]]), f"?{query}&trial=9").status_code == 404


# On the way


def test_a_running_comparison_asks_again_and_stops_when_done(client, project):
    comparison = make_scored(project, [[1.0, None], [0.0, None]], status="running")
    text = page(client, comparison).text
    assert 'hx-trigger="every 2s"' in text
    assert "so far" in text
    part = fragment(client, comparison, "progress")
    assert 'hx-swap-oob="true"' in part.text
    Run.objects.update(status="finished")
    assert fragment(client, comparison, "progress")["HX-Refresh"] == "true"
    assert 'hx-trigger="every' not in page(client, comparison).text


def steer(client, comparison, action, **fields):
    answer = client.post(f"/p/default/comparisons/{comparison.pk}/steer", {"action": action, **fields})
    return answer.status_code, sorted(set(comparison.runs.values_list("status", flat=True)))


def test_pause_resume_and_cancel(client, project):
    comparison = make_scored(project, [[1.0, None], [0.0, None]], status="running")
    assert steer(client, comparison, "pause") == (302, ["paused"])
    assert "Go on" in page(client, comparison).text
    assert steer(client, comparison, "resume", ceiling_usd="2.5") == (302, ["queued"])
    comparison.refresh_from_db()
    assert comparison.ceiling_usd == 2.5
    assert steer(client, comparison, "cancel") == (302, ["cancelled"])
    assert Sample.objects.filter(status="cancelled").count() == 2
    assert page(client, comparison).status_code == 200


def test_a_ceiling_that_is_no_amount_changes_nothing(client, project):
    comparison = make_scored(project, [[1.0, None]], status="paused")
    for text in ("much", "-1", "nan", "1e99"):
        assert steer(client, comparison, "resume", ceiling_usd=text) == (302, ["paused"])


def test_what_failed_can_be_tried_again(client, project):
    comparison = make_scored(project, [["failed", 1.0]])
    assert "Retry what failed" in page(client, comparison).text
    assert steer(client, comparison, "retry") == (302, ["queued"])
    assert sorted(Sample.objects.values_list("status", flat=True)) == ["done", "pending"]


def test_an_unknown_action_is_a_404(client, project):
    assert steer(client, make_scored(project, [[1.0]]), "explode")[0] == 404


# Files and access


def test_files_hold_every_sample(client, project):
    comparison = make_scored(project, [[1.0, "failed"], [0.0, 1.0]], trials=2)
    rows = list(
        csv.DictReader(
            io.StringIO(client.get(f"/p/default/comparisons/{comparison.pk}/export.csv").getvalue().decode())
        )
    )
    lines = client.get(f"/p/default/comparisons/{comparison.pk}/export.jsonl").getvalue().decode().splitlines()
    assert len(rows) == len(lines) == 8
    assert {
        json.loads(line)["item"]["key"] if isinstance(json.loads(line)["item"], dict) else json.loads(line)["item"]
        for line in lines
    } == {"k0", "k1"}


def test_another_projects_comparison_is_not_there(client, project):
    other = make_scored(make_project(), [[1.0]])
    for path in ("", "/export.csv", "/export.jsonl"):
        assert client.get(f"/p/default/comparisons/{other.pk}{path}").status_code == 404
    assert client.post(f"/p/default/comparisons/{other.pk}/steer", {"action": "cancel"}).status_code == 404


def test_a_viewer_reads_and_cannot_steer(login_on, project):
    comparison = make_scored(project, [[1.0, None]], status="running")
    user = User.objects.create_user("viewer", password="pass-word-1")
    Membership.objects.create(user=user, project=project, role=Role.VIEWER)
    client = Client()
    client.force_login(user)
    assert page(client, comparison).status_code == 200
    assert "Pause" not in page(client, comparison).text
    assert steer(client, comparison, "pause")[0] == 403
    assert client.get("/p/default/comparisons/new").status_code == 403


# Figures on the way


def make_call(comparison, *, run=0, purpose="generate", sample=1, cost=0.01, state="answered", model="m", ended=None):
    return Call.objects.create(
        project=comparison.project,
        provider="p",
        model=model,
        purpose=purpose,
        job=f"run:{comparison.runs.get(position=run).pk}",
        subject=f"sample:{sample}",
        state=state,
        started_at=(ended or timezone.now()) - timedelta(seconds=1),
        ended_at=None if state == "started" else ended or timezone.now(),
        cost_usd=cost if state == "answered" else None,
    )


def test_reliability_is_of_the_trials_that_every_item_has_while_a_run_goes_on(client, project):
    comparison = make_scored(project, [[1.0] * 3, [1.0, 0.0, 1.0]], trials=5, status="running")
    first = Sample.objects.filter(item__key="k0")
    keep = first.filter(trial__lte=4) | Sample.objects.exclude(item__key="k0").filter(trial__lte=2)
    open_ = Sample.objects.exclude(pk__in=keep)
    Score.objects.filter(sample__in=open_).delete()
    open_.update(status="pending", finished_at=None)
    report = comparison_report(comparison)
    table = score_table(report, report.primary)
    assert (table.k, [round(row.reliability, 2) for row in table.rows]) == (2, [1.0, 0.67])
    assert "pass^2" in page(client, comparison).text
    assert "pass^5" not in page(client, comparison).text
    assert reliability_title(cards(report, report.primary)) == "Reliability, pass^2"


def reliability_title(found):
    return next(card.title for card in found if card.title.startswith("Reliability"))


def test_reliability_of_a_finished_run_is_of_all_its_trials_though_one_failed(client, project):
    comparison = make_scored(project, [[1.0, 0.0], [1.0, 1.0]], trials=3)
    broken = Sample.objects.filter(item__key="k0", trial=3, run__position=0)
    Score.objects.filter(sample__in=broken).delete()
    broken.update(status="failed", error="x")
    report = comparison_report(comparison)
    table = score_table(report, report.primary)
    assert (table.k, [row.reliability for row in table.rows]) == (3, [0.0, 1.0])


def test_what_it_may_come_to_is_from_the_calls_made_not_from_the_few_samples_scored(client, project):
    comparison = make_scored(project, [[1.0] * 2 + [None] * 38], status="running")
    open_ = list(Sample.objects.filter(status="pending").values_list("pk", flat=True)[:28])
    Sample.objects.filter(pk__in=open_).update(status="answered")  # 30 of 40 answered, 2 of them scored
    for pk in [*open_, 0, 1]:
        make_call(comparison, sample=pk, cost=0.10)
    facts = page(client, comparison).context["facts"]
    assert "$3.00 spent of about $4.00" in facts


def test_what_a_judge_will_take_is_in_the_forecast(client, project):
    comparison = make_scored(project, [[1.0] * 10 + [None] * 10], status="running")
    Sample.objects.filter(status="pending").update(status="answered")
    for pk in range(20):
        make_call(comparison, sample=pk, cost=0.10)
    for pk in range(10):
        make_call(comparison, sample=pk, purpose="judge", cost=0.30)
    assert "$5.00 spent of about $8.00" in page(client, comparison).context["facts"]


def test_too_little_to_say_what_it_will_come_to_is_said(client, project):
    comparison = make_scored(project, [[1.0] + [None] * 39, [None] * 40], status="running")
    make_call(comparison, cost=0.10)
    assert "$0.10 spent so far" in page(client, comparison).context["facts"]


def test_the_time_left_is_from_the_pace_of_the_calls(client, project):
    comparison = make_scored(project, [[1.0] + [None] * 119], status="running")
    now = timezone.now()
    Run.objects.update(started_at=now - timedelta(seconds=30))
    answered = list(Sample.objects.filter(status="pending").values_list("pk", flat=True)[:59])
    Sample.objects.filter(pk__in=answered).update(status="answered")
    for place, pk in enumerate([0, *answered]):
        make_call(comparison, sample=pk, ended=now - timedelta(seconds=30 - place / 2))
    left = comparison_report(comparison).progress.seconds_left
    assert 20 < left < 45  # 60 calls in 30 s, 60 to go; by scored samples it would be an hour


def test_a_pause_is_not_counted_in_the_pace(client, project):
    comparison = make_scored(project, [[1.0] + [None] * 119], status="running")
    now = timezone.now()
    Run.objects.update(started_at=now - timedelta(seconds=600), resumed_at=now - timedelta(seconds=20))
    answered = list(Sample.objects.filter(status="pending").values_list("pk", flat=True)[:59])
    Sample.objects.filter(pk__in=answered).update(status="answered")
    for place, pk in enumerate([0, *answered]):
        make_call(comparison, sample=pk, ended=now - timedelta(seconds=20 - place / 3))
    left = comparison_report(comparison).progress.seconds_left
    assert 13 < left < 30  # 60 calls in 20 s, 60 to go; over the last minute it would be a minute


def test_going_on_and_trying_again_note_when(client, project):
    comparison = make_scored(project, [[1.0, None]], status="paused")
    services.resume_comparison(comparison)
    first = Run.objects.get().resumed_at
    assert first is not None
    assert timezone.now() - first < timedelta(seconds=10)
    Run.objects.update(status="finished", resumed_at=None)
    Sample.objects.filter(status="pending").update(status="failed")
    services.retry_failed(comparison)
    assert Run.objects.get().resumed_at is not None


# What failed


def test_a_comparison_where_all_failed_says_so_and_why_first(client, project):
    comparison = make_scored(project, [["failed"] * 3, ["failed"] * 3])
    text = page(client, comparison).text
    assert "Every sample failed" in report_text(comparison)
    assert "The provider answered 503." in report_text(comparison)
    trouble = page(client, comparison).context["trouble"]
    assert (trouble.failed, trouble.total, trouble.reasons[0].count) == (6, 6, 6)
    assert f"?sample={trouble.reasons[0].item_pk}" in text
    assert text.index("Retry what failed") < text.index('id="scores"')
    assert "status--ok" not in text.partition('id="scores"')[0].rpartition("verdict__status")[2]


def report_text(comparison):
    return comparison_report(comparison).verdict.text


def test_the_most_common_reason_comes_first_and_ids_in_it_do_not_split_it(client, project):
    comparison = make_scored(project, [["failed"] * 4 + [1.0] * 2])
    for place, sample in enumerate(Sample.objects.filter(status="failed").order_by("pk")):
        said = f"Timeout after {20 + place} s, request req_{place}ab" if place else "Refused."
        Sample.objects.filter(pk=sample.pk).update(error=said)
    reasons = page(client, comparison).context["trouble"].reasons
    assert [reason.count for reason in reasons] == [3, 1]
    assert reasons[0].text.startswith("Timeout after 2")


def test_graders_that_broke_on_everything_are_told_up_front_too(client, project):
    comparison = make_scored(project, [["broken", "broken"]])
    trouble = page(client, comparison).context["trouble"]
    assert (trouble.failed, trouble.broken, trouble.reasons[0].text) == (0, 2, "Right: It broke.")
    assert "Every sample" in report_text(comparison)


def test_a_comparison_without_failures_has_no_trouble(client, project):
    assert page(client, make_scored(project, CLEAR)).context["trouble"] is None


def test_after_go_on_a_comparison_that_has_samples_is_not_waiting_to_start(client, project):
    comparison = make_scored(project, [[1.0, None]], status="queued")
    text = page(client, comparison).text
    assert "Waiting to start" not in text
    assert "Waiting for a worker" in text


# Files


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_of_a_file_starts_a_formula(start):
    assert safe_cell(f"{start}1+1") == f"'{start}1+1"


# Money that may have been spent


def test_a_call_cut_off_of_a_model_without_an_answer_counts_as_its_dearest_peer(project):
    comparison = make_scored(project, [[None], [None]], status="running")
    make_call(comparison, model="cheap", cost=0.02)
    make_call(comparison, model="cheap", purpose="judge", cost=0.05)
    make_call(comparison, model="new", run=1, state="unknown")
    assert spending(comparison.pk).unsure_usd == pytest.approx(0.05)
    other = make_scored(project, [[None]], status="running")
    make_call(other, model="new", cost=0.75)
    assert spending(comparison.pk).unsure_usd == pytest.approx(0.75)


def test_a_call_cut_off_that_nothing_prices_is_among_those_without_a_price(project):
    comparison = make_scored(project, [[None]], status="running")
    make_call(comparison, state="unknown")
    spent = spending(comparison.pk)
    assert (spent.unsure_usd, spent.unsure_calls, spent.unpriced_calls) == (0.0, 1, 1)


# Queries


@pytest.mark.parametrize("query", ["", "?show=failures", "?sort=position"])
def test_the_page_takes_the_same_queries_however_many_samples(client, project, query):
    def queries_of(items):
        comparison = make_scored(project, [[1.0, 0.0] * items, [0.0, 1.0] * items])
        page(client, comparison, query)  # whatever is read once
        with CaptureQueriesContext(connection) as seen:
            assert page(client, comparison, query).status_code == 200
        return len(seen)

    few = queries_of(2)
    assert few <= 30
    assert queries_of(40) == few


def test_the_drawer_takes_the_same_queries_however_many_samples(client, project):
    def queries_of(items):
        comparison = make_scored(project, [[1.0, 0.0] * items, [0.0, 1.0] * items])
        item = Sample.objects.filter(run__comparison=comparison).first().item_id
        fragment(client, comparison, "drawer", f"?sample={item}")
        with CaptureQueriesContext(connection) as seen:
            assert fragment(client, comparison, "drawer", f"?sample={item}").status_code == 200
        return len(seen)

    few = queries_of(2)
    assert few <= 30
    assert queries_of(40) == few


def test_pass_of_one_trial_is_no_column_beside_the_pass_rate(client, project):
    comparison = make_scored(project, [[1.0, 0.0]], status="running", trials=2)
    Score.objects.filter(sample__trial=2).delete()
    Sample.objects.filter(trial=2).update(status="pending")
    assert page(client, comparison).context["table"].k == 0
