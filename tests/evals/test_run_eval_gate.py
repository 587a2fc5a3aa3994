"""`run_eval` as a gate: nothing run, or nothing graded, is never a pass, whatever the floor; what failed is printed with its reason."""

import json

import pytest
from django.core.management import CommandError, call_command

from evals import services
from evals.models import DatasetRevision, EvalGrader, Item, Run
from evals.services import CandidateSpec, GraderSpec, imported_grader
from providers.models import Call, Provider
from tests.evals.engine import CONTAINS, make_comparison, rubric_spec
from tests.factories import make_project

pytestmark = pytest.mark.django_db(transaction=True)
FLOORS = [(), ("--min-pass-rate", "0"), ("--min-pass-rate", "90%")]
BROKEN = GraderSpec("Broken", "python", {"source": "def grade(sample, item):\n    return 1 / 0\n"})
NEEDS_MORE = GraderSpec(
    "Needs a field", "string_check", {"input": "{{ sample.missing }}", "reference": "x", "operation": "eq"}
)


@pytest.fixture
def office(provider_server, settings):
    """A project whose models a server of ours answers with the last user message."""
    settings.PROVIDER_ATTEMPTS = 1
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "", "https://api.openai.com/v1"
    project = make_project(slug="default")
    Provider.objects.create(project=project, name="ours", base_url=provider_server.base_url, model_names=["echo"])
    return project


@pytest.fixture
def gate(capsys):
    """Run `run_eval Test`; returns (exit code, everything printed)."""

    def run(*arguments):
        told = ""
        try:
            call_command("run_eval", "Test", *arguments)
            code = 0
        except SystemExit as ended:
            code = ended.code
        except CommandError as error:
            code, told = error.returncode, str(error)
        printed = capsys.readouterr()
        return code, told + printed.out + printed.err

    return run


@pytest.mark.parametrize("floor", FLOORS)
@pytest.mark.parametrize(
    ("graders", "told"),
    [((BROKEN,), "has a verdict"), ((NEEDS_MORE,), "has a verdict"), ((BROKEN, NEEDS_MORE), "has a verdict")],
)
def test_where_no_grader_has_a_word_it_cannot_tell(office, gate, graders, told, floor):
    make_comparison(project=office, items=2, graders=graders)

    code, printed = gate(*floor)

    assert code == 2
    assert told in printed


@pytest.mark.parametrize("floor", FLOORS)
def test_where_no_item_has_a_graders_variable_any_more_it_is_refused_before_anything_is_asked(office, gate, floor):
    make_comparison(project=office, items=2)
    Item.objects.update(content={"input": "say 1"})

    code, printed = gate(*floor)

    assert code == 2
    assert "No item has item.reference" in printed
    assert not Call.objects.exists()


@pytest.mark.parametrize("floor", FLOORS)
def test_where_a_model_that_nobody_answers_is_asked_it_cannot_tell(office, gate, floor):
    make_comparison(project=office, items=2)

    code, printed = gate("--model", "gone", *floor)

    assert code == 2
    assert 'No provider answers the model "gone"' in printed


@pytest.mark.parametrize("floor", FLOORS)
def test_where_the_judge_is_away_it_cannot_tell(office, gate, floor):
    make_comparison(project=office, items=2, graders=(rubric_spec(office, judge="judge-that-is-gone"),))

    code, printed = gate(*floor)

    assert code == 2
    assert "judge-that-is-gone" in printed


@pytest.mark.parametrize("floor", FLOORS)
def test_where_the_graders_are_only_kept_with_imported_scores_it_cannot_tell(office, gate, floor):
    comparison = make_comparison(project=office, items=2)
    EvalGrader.objects.filter(eval=comparison.eval).update(grader_version=imported_grader(office, "Elsewhere"))

    code, printed = gate(*floor)

    assert code == 2
    assert "has a verdict" in printed
    assert "Elsewhere: Its scores came with imported data" in printed


@pytest.mark.parametrize("floor", FLOORS)
def test_where_the_dataset_has_no_items_any_more_it_cannot_tell(office, gate, floor):
    comparison = make_comparison(project=office, items=2)
    services.remove_items(comparison.dataset_revision.dataset, ["k0", "k1"])

    code, printed = gate(*floor)

    assert code == 2
    assert "has no items" in printed


@pytest.mark.parametrize("floor", FLOORS)
def test_where_the_money_is_spent_before_the_end_it_cannot_tell(office, gate, floor, provider_server):
    def dear(body):
        message = {"role": "assistant", "content": body["messages"][-1]["content"]}
        return {
            "model": "echo",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": 1.0},
        }

    provider_server.answer = dear
    Provider.objects.update(concurrency=1)
    make_comparison(project=office, items=40)

    code, printed = gate("--ceiling-usd", "0.5", *floor)

    assert code == 2
    assert "Stopped at the ceiling" in printed


@pytest.mark.parametrize("arguments", [("--trials", "0"), ("--trials", "101"), ("--ceiling-usd", "0")])
def test_a_setting_that_would_run_nothing_is_refused(office, gate, arguments):
    make_comparison(project=office, items=2)

    code, _ = gate(*arguments)

    assert code == 2
    assert Run.objects.count() == 1


def test_more_rows_than_can_be_run_are_no_verdict(office, gate):
    comparison = make_comparison(project=office, items=2)
    DatasetRevision.objects.filter(pk=comparison.dataset_revision_id).update(item_count=10_000_000)

    code, printed = gate("--min-pass-rate", "0")

    assert code == 2
    assert printed


def test_half_of_the_rows_without_a_verdict_decide_so_it_cannot_tell(office, gate):
    odd = GraderSpec(
        "Odd", "python", {"source": "def grade(sample, item):\n    return 1 / (int(item['reference']) % 2)\n"}
    )
    make_comparison(project=office, items=4, graders=(odd,))

    codes = [gate("--min-pass-rate", floor)[0] for floor in ("0.5", "0.9")]

    assert codes == [0, 2]


def test_what_did_not_pass_is_printed_with_grader_and_reason_also_as_json(office, gate):
    wrong = GraderSpec(
        "Says nine", "string_check", {"input": "{{ sample.output_text }}", "reference": "9", "operation": "like"}
    )
    make_comparison(project=office, items=2, graders=(CONTAINS, wrong), candidates=(CandidateSpec(model="echo"),))

    code, printed = gate("--min-pass-rate", "0.5")
    assert code == 1
    assert "A k0 #1  Says nine: " in printed

    code, printed = gate("--min-pass-rate", "0.5", "--json")
    document = json.loads(printed)
    assert (code, document["gate"]["exit_code"]) == (1, 1)
    assert {(case["item_key"], case["grader"]) for case in document["failing"]} == {
        ("k0", "Says nine"),
        ("k1", "Says nine"),
    }
    assert all(case["reason"] for case in document["failing"])


def test_json_holds_every_case_that_did_not_pass(office, gate):
    make_comparison(project=office, items=60, graders=(BROKEN,))

    assert len(json.loads(gate("--json")[1])["failing"]) == 60


def test_a_grader_that_skipped_is_named_where_no_other_one_settled_the_row(office, gate):
    comparison = make_comparison(project=office, items=2)
    kept = imported_grader(office, "Elsewhere")
    EvalGrader.objects.create(eval=comparison.eval, grader_version=kept, position=1)

    code, printed = gate("--min-pass-rate", "1")

    assert code == 2
    assert "A k0 #1  Elsewhere: Its scores came with imported data" in printed
