"""From an eval to its output items, with the client as it is."""

import pytest

pytestmark = pytest.mark.django_db(transaction=True)

SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
}
EQUAL = {
    "type": "string_check",
    "name": "Equal",
    "input": "{{ item.question }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}


def test_eval_with_jsonl_rows_gives_items_and_counts(api, finish):
    made = api.evals.create(
        name="First",
        data_source_config={"type": "custom", "item_schema": SCHEMA},
        testing_criteria=[EQUAL],
        metadata={"team": "qa"},
    )
    assert made.id.startswith("eval_")
    rows = [
        {"item": {"question": "a", "answer": "a"}},
        {"item": {"question": "a", "answer": "b"}},
    ]
    run = api.evals.runs.create(
        made.id,
        name="one",
        data_source={"type": "jsonl", "source": {"type": "file_content", "content": rows}},
    )
    assert run.status == "queued"
    assert (run.result_counts.total, run.per_testing_criteria_results) == (0, None)
    done = finish(run)
    assert done.status == "completed"
    assert (done.result_counts.total, done.result_counts.passed, done.result_counts.failed) == (2, 1, 1)
    assert done.data_source.source.content[1].item == rows[1]["item"]
    [result] = done.per_testing_criteria_results
    assert (result.testing_criteria, result.passed, result.failed) == (made.testing_criteria[0].id, 1, 1)
    items = list(api.evals.runs.output_items.list(run.id, eval_id=made.id))
    assert sorted((item.datasource_item_id, item.status) for item in items) == [(0, "pass"), (1, "fail")]
    assert items[0].results[0].name == made.testing_criteria[0].id
