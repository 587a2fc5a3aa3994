"""Evals: made, read, listed, changed, deleted, and refused with the place that is wrong."""

import httpx2
import openai
import pytest

from evals.models import Comparison, Dataset, Eval, Item, Run, Sample, Score
from tests.evals.openai_api.made import ANSWERED, EQUAL, SCHEMA, jsonl, make_eval, row
from tests.factories import make_key, make_project

pytestmark = pytest.mark.django_db(transaction=True)


def refused(call, *arguments, **options):
    with pytest.raises(openai.BadRequestError) as caught:
        call(*arguments, **options)
    assert caught.value.request_id.startswith("req_")
    body = caught.value.response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert body["type"] == "invalid_request_error"
    return body["param"]


def test_a_created_eval_is_answered_with_its_schema_wrapped_and_its_criteria_normalised(api):
    judge = {
        "type": "score_model",
        "name": "Näme with /slash {brace}",
        "model": "judge",
        "input": [{"role": "system", "content": "Grade."}, {"role": "user", "content": "{{ item.question }}"}],
        "range": [1, 7],
        "pass_threshold": 5,
    }
    answer = api.evals.with_raw_response.create(
        name="Named",
        metadata={"team": "qa"},
        data_source_config={"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True},
        testing_criteria=[EQUAL, judge],
    )
    assert answer.status_code == 201
    assert answer.headers["x-request-id"].startswith("req_")
    made = answer.parse()
    assert (made.object, made.name, made.metadata) == ("eval", "Named", {"team": "qa"})
    assert made.data_source_config.type == "custom"
    schema = made.data_source_config.schema_
    assert schema["properties"]["item"] == SCHEMA
    assert schema["required"] == ["item", "sample"]
    first, second = made.testing_criteria
    assert first.id.startswith("Equal-")
    assert second.id.startswith("Näme with /slash {brace}-")
    message = answer.http_response.json()["testing_criteria"][1]["input"][0]
    assert message == {"type": "message", "role": "system", "content": {"type": "input_text", "text": "Grade."}}
    again = api.evals.retrieve(made.id)
    assert again.model_dump(warnings=False) == made.model_dump(warnings=False)
    assert "updated_at" not in answer.http_response.json()


def test_without_a_name_and_metadata_there_are_readable_defaults(api):
    made = api.evals.create(
        data_source_config={"type": "custom", "item_schema": SCHEMA}, testing_criteria=[EQUAL], metadata=None
    )
    assert made.name == "Eval of Equal"
    assert made.metadata == {}
    assert made.data_source_config.schema_["required"] == ["item"]


@pytest.mark.parametrize("kind", ["logs", "stored_completions"])
def test_an_eval_over_logs_is_answered_with_its_filter(api, kind):
    made = api.evals.create(
        name="Logs",
        data_source_config={"type": kind, "metadata": {"usecase": "push"}},
        testing_criteria=[ANSWERED],
    )
    assert made.data_source_config.type == kind
    assert made.data_source_config.metadata == {"usecase": "push"}
    assert made.data_source_config.schema_["required"] == ["item", "sample"]
    bare = api.evals.create(
        data_source_config={"type": kind, "metadata": None}, testing_criteria=[{**ANSWERED, "input": "x"}]
    )
    assert bare.data_source_config.metadata == {}


def test_two_criteria_of_one_name_and_content_stay_two_with_ids_of_their_own(api):
    made = make_eval(api, criteria=[EQUAL, EQUAL])
    ids = [criterion.id for criterion in made.testing_criteria]
    assert len(set(ids)) == 2
    assert [criterion.name for criterion in made.testing_criteria] == ["Equal", "Equal"]


def test_a_criterion_may_have_the_name_of_another_kind_of_grader(api):
    make_eval(api)
    python = {"type": "python", "name": "Equal", "source": "def grade(sample, item):\n    return 1.0"}
    made = make_eval(api, criteria=[{**python, "image_tag": "2025-05-08"}])
    assert made.testing_criteria[0].name == "Equal"
    assert made.testing_criteria[0].image_tag == "2025-05-08"


def test_update_changes_name_and_metadata_and_keeps_what_is_left_out(api):
    made = make_eval(api, metadata={"a": "1"})
    renamed = api.evals.update(made.id, name="Renamed")
    assert (renamed.name, renamed.metadata) == ("Renamed", {"a": "1"})
    marked = api.evals.update(made.id, metadata={"b": "2"})
    assert (marked.name, marked.metadata) == ("Renamed", {"b": "2"})
    assert marked.testing_criteria == made.testing_criteria


def test_deleting_an_eval_deletes_its_runs_rows_items_and_scores(api, finish):
    made = make_eval(api)
    run = api.evals.runs.create(made.id, data_source=jsonl(row("a", "a"), row("b")))
    finish(run)
    assert Score.objects.count() == 2
    gone = api.evals.delete(made.id)
    assert (gone.object, gone.deleted, gone.eval_id) == ("eval.deleted", True, made.id)
    for model in (Eval, Run, Sample, Score, Comparison, Item, Dataset):
        assert not model.objects.exists(), model
    with pytest.raises(openai.NotFoundError):
        api.evals.retrieve(made.id)


def test_lists_page_one_by_one_in_both_orders_and_say_when_they_end(api):
    made = [make_eval(api, name=f"E{number}").id for number in range(5)]
    for order, wanted in (("asc", made), ("desc", made[::-1])):
        assert [entry.id for entry in api.evals.list(limit=1, order=order)] == wanted
        assert [entry.id for entry in api.evals.list(limit=2, order=order)] == wanted
    page = api.evals.list(limit=5)
    assert page.has_more is False
    assert (page.first_id, page.last_id) == (made[0], made[-1])


def test_an_empty_list_has_no_ids(api):
    page = api.evals.list()
    assert (page.data, page.has_more, page.first_id, page.last_id) == ([], False, None, None)


def test_order_by_updated_at_puts_a_changed_eval_last(api):
    first, second = make_eval(api).id, make_eval(api).id
    api.evals.update(first, name="Later")
    assert [entry.id for entry in api.evals.list(order_by="updated_at")] == [second, first]
    assert [entry.id for entry in api.evals.list(order_by="updated_at", limit=1)] == [second, first]
    assert [entry.id for entry in api.evals.list(order_by="created_at")] == [first, second]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"order": "up"}, "order"),
        ({"order_by": "name"}, "order_by"),
        ({"after": "eval_nowhere"}, "after"),
    ],
)
def test_a_wrong_list_parameter_is_named(api, options, param):
    assert refused(api.evals.list, **options) == param


def test_after_an_eval_that_was_deleted_meanwhile_is_refused(api):
    gone = make_eval(api).id
    make_eval(api)
    api.evals.delete(gone)
    assert refused(api.evals.list, after=gone) == "after"


CUSTOM = {"type": "custom", "item_schema": SCHEMA}
CLOSED = {"type": "custom", "item_schema": {**SCHEMA, "additionalProperties": False}}


WRONG_EVALS = [
        (None, [EQUAL], "data_source_config"),
        ({"type": "table"}, [EQUAL], "data_source_config.type"),
        ({"type": "custom"}, [EQUAL], "data_source_config.item_schema"),
        ({"type": "custom", "item_schema": {"type": "objekt"}}, [EQUAL], "data_source_config.item_schema.type"),
        ({**CUSTOM, "include_sample_schema": "yes"}, [EQUAL], "data_source_config.include_sample_schema"),
        ({"type": "logs", "metadata": {"a": 1}}, [EQUAL], "data_source_config.metadata.a"),
        (CUSTOM, None, "testing_criteria"),
        (CUSTOM, [], "testing_criteria"),
        (CUSTOM, ["Equal"], "testing_criteria[0]"),
        (CUSTOM, [EQUAL, {"name": "x"}], "testing_criteria[1].type"),
        (CUSTOM, [{**EQUAL, "type": "exact"}], "testing_criteria[0].type"),
        (CUSTOM, [{**EQUAL, "name": None}], "testing_criteria[0].name"),
        (CUSTOM, [{**EQUAL, "operation": "contains"}], "testing_criteria[0].operation"),
        (CUSTOM, [{**EQUAL, "operation": "regex"}], "testing_criteria[0].operation"),
        (CUSTOM, [{**EQUAL, "reference": 5}], "testing_criteria[0].reference"),
        (CUSTOM, [{**EQUAL, "reference": "a\x00b"}], "testing_criteria[0].reference"),
        (CUSTOM, [{"type": "python", "name": "p", "source": "def grade(sample):\n    return 1"}], "testing_criteria[0].source"),
        (CUSTOM, [{"type": "python", "name": "p", "source": "def grade("}], "testing_criteria[0].source"),
        (
            CUSTOM,
            [{"type": "text_similarity", "name": "t", "input": "a", "reference": "b", "evaluation_metric": "bleu"}],
            "testing_criteria[0].pass_threshold",
        ),
        (
            CUSTOM,
            [{"type": "score_model", "name": "s", "model": "gone-1", "input": [{"role": "user", "content": "x"}]}],
            "testing_criteria[0].model",
        ),
        (CLOSED, [{**EQUAL, "input": "{{ item.questoin }}"}], "testing_criteria[0].input"),
    ]  # fmt: skip


def test_an_eval_that_cannot_be_is_refused_with_its_place(api):
    for config, criteria, param in WRONG_EVALS:
        said = refused(api.evals.create, data_source_config=config, testing_criteria=criteria)
        assert said == param, (config, criteria)


@pytest.mark.parametrize(
    ("metadata", "is_taken"),
    [
        ({f"k{number}": "v" for number in range(16)}, True),
        ({f"k{number}": "v" for number in range(17)}, False),
        ({"k" * 64: "v"}, True),
        ({"k" * 65: "v"}, False),
        ({"k": "v" * 512}, True),
        ({"k": "v" * 513}, False),
        ({"k": 1}, False),
    ],
)
def test_metadata_has_its_limits(api, metadata, is_taken):
    if is_taken:
        assert make_eval(api, metadata=metadata).metadata == metadata
    else:
        assert refused(make_eval, api, metadata=metadata).startswith("metadata")


def test_a_body_that_is_no_json_object_is_refused(api, live_server):
    for body in (b"[1]", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000):
        answer = httpx2.post(f"{live_server.url}/v1/evals", content=body)
        assert answer.status_code == 400, body[:10]
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_no_address_redirects_and_unknown_ones_are_json(live_server, project):
    answer = httpx2.post(f"{live_server.url}/v1/evals/", json={})
    assert answer.status_code in (404, 405)
    assert answer.json()["error"]["message"]
    assert answer.headers["x-request-id"]
    assert httpx2.put(f"{live_server.url}/v1/evals", json={}).status_code == 405


def test_a_wrong_key_is_401_and_an_eval_of_another_project_404(api, live_server, settings):
    made = make_eval(api)
    settings.LOGIN_REQUIRED = True
    url = f"{live_server.url}/v1"
    with pytest.raises(openai.AuthenticationError) as caught:
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).evals.list()
    assert caught.value.code == "invalid_api_key"
    assert caught.value.type == "authentication_error"
    other = openai.OpenAI(base_url=url, api_key=make_key(make_project()), max_retries=0)
    assert other.evals.list().data == []
    with pytest.raises(openai.NotFoundError):
        other.evals.retrieve(made.id)
    reader = openai.OpenAI(base_url=url, api_key=make_key(make_project(), scopes=("read",)), max_retries=0)
    with pytest.raises(openai.PermissionDeniedError):
        make_eval(reader)
