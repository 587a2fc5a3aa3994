"""One engine, two doors: what the API makes shows in the pages, and what the pages make is answered by the API."""

import httpx2
import pytest

from evals import services
from evals.models import Dataset, Sample
from evals.services import CandidateSpec, GraderSpec
from tests.evals.openai_api.made import ANSWERED, EQUAL, items_of, jsonl, make_eval, row, sampled
from tests.provider_server import completion

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_report_of_a_run_is_its_page(api, finish):
    made = make_eval(api, name="Tickets", criteria=[EQUAL, ANSWERED], with_sample=True)
    run = api.evals.runs.create(made.id, name="nightly", data_source=sampled(row("yes", "yes"), row("no")))
    for state in ("queued", "done"):
        page = httpx2.get(run.report_url)
        assert page.status_code == 200, state
        assert "Tickets: nightly" in page.text
        finish(run)
    listed = httpx2.get(f"{run.report_url.rsplit('/', 1)[0]}")
    assert "Tickets: nightly" in listed.text


@pytest.mark.parametrize("state", ["given", "canceled", "no rows"])
def test_every_state_of_a_run_has_a_page(api, finish, state):
    made = make_eval(api)
    source = jsonl(row("a", "a"), row("b", sample={"output_text": "hello"}))
    if state == "no rows":
        source = {"type": "completions", "source": {"type": "stored_completions", "metadata": {"no": "such"}}}
    run = api.evals.runs.create(made.id, data_source=source)
    if state == "canceled":
        api.evals.runs.cancel(run.id, eval_id=made.id)
    elif state == "given":
        finish(run)
    page = httpx2.get(run.report_url)
    assert page.status_code == 200


def test_rows_that_runs_bring_along_are_in_no_list_of_datasets(api, live_server, project):
    made = make_eval(api)
    api.evals.runs.create(made.id, data_source=jsonl(row("a")))
    dataset = Dataset.objects.get()
    page = httpx2.get(f"{live_server.url}/p/default/datasets")
    assert dataset.name not in page.text
    launch = httpx2.get(f"{live_server.url}/p/default/comparisons/new")
    assert dataset.name not in launch.text
    own = httpx2.get(f"{live_server.url}/p/default/datasets/{dataset.slug}")
    assert own.status_code == 200


def test_a_dataset_that_somebody_changes_is_one_of_theirs_and_the_same_rows_are_kept_anew(api, finish):
    made = make_eval(api)
    first = api.evals.runs.create(made.id, data_source=jsonl(row("a", "a")))
    services.add_items(Dataset.objects.get(), [{"key": "mine", "input": "x"}])
    again = api.evals.runs.create(made.id, data_source=jsonl(row("a", "a")))
    assert Dataset.objects.filter(is_implicit=True).count() == 1
    for run in (first, again):
        assert finish(run).result_counts.passed == 1
    api.evals.delete(made.id)
    assert [dataset.is_implicit for dataset in Dataset.objects.all()] == [False]


def test_a_comparison_of_the_pages_is_an_eval_with_runs(api, finish, project):
    rows = [{"key": f"k{number}", "input": f"say {number}", "reference": str(number)} for number in range(3)]
    dataset = services.create_dataset(project, name="Cases", items=rows)
    check = {"input": "{{ sample.output_text }}", "reference": "{{ item.reference }}", "operation": "ilike"}
    comparison = services.create_comparison(
        project,
        name="Which is better",
        revision=dataset.revisions.get(),
        candidates=[CandidateSpec(model="echo", system_prompt="Be brief."), CandidateSpec(kind="nothing")],
        graders=[GraderSpec("says it", "string_check", check)],
        trials=2,
    )
    [listed] = api.evals.list()
    assert (listed.name, listed.data_source_config.type) == ("Which is better", "custom")
    criterion = listed.testing_criteria[0]
    assert (criterion.type, criterion.name, criterion.operation) == ("string_check", "says it", "ilike")
    assert criterion.id == api.evals.retrieve(listed.id).testing_criteria[0].id
    first, second = api.evals.runs.list(listed.id)
    assert (first.model, second.model) == ("echo", None)
    assert first.data_source.input_messages.template[0].content.text == "Be brief."
    assert first.data_source.source.content[0].item["input"] == "say 0"
    done = finish(first)
    assert (done.status, done.result_counts.total, done.result_counts.passed) == ("completed", 6, 6)
    assert done.per_testing_criteria_results[0].testing_criteria == criterion.id
    items = items_of(api, done, limit=2)
    assert len({item.datasource_item_id for item in items}) == 6
    assert items[0].sample.input[0].content == "Be brief."
    assert finish(second).result_counts.failed == 6
    assert done.report_url.endswith(f"/p/default/comparisons/{comparison.pk}")
    api.evals.delete(listed.id)
    assert Dataset.objects.get().revisions.get().item_count == 3


def test_a_run_of_the_api_is_not_offered_to_be_run_again_from_a_form_that_cannot_hold_it(api, project):
    made = make_eval(api, criteria=[ANSWERED], with_sample=True)
    run = api.evals.runs.create(made.id, data_source=sampled(row("a")))
    assert "Run again" not in httpx2.get(run.report_url).text


def test_the_drawer_shows_the_tool_call_that_is_the_whole_answer(api, finish, server, live_server, project):
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "<Oslo>"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    server.answer = lambda body: (
        completion(body) | {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    )
    run = finish(api.evals.runs.create(make_eval(api, with_sample=True).id, data_source=sampled(row("Weather?"))))
    sample = Sample.objects.get(run__public_id=run.id)

    page = httpx2.get(f"{run.report_url}?sample={sample.item_id}", timeout=60).text

    assert "calls a tool:" in page
    assert "get_weather {&quot;city&quot;: &quot;&lt;Oslo&gt;&quot;}" in page
    assert "The answer is empty" not in page
