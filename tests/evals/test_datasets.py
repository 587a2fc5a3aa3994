import pytest

from evals import services
from evals.models import Dataset, Item
from evals.queries.datasets import latest_revision, revision_items
from evals.services import BadItems, CandidateSpec, NewItem
from tests.factories import make_project, make_span
from traces.models import Trace
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db


def keys(revision):
    return [item.key for item in revision_items(revision)]


def test_create_dataset_takes_key_and_bucket_out_of_the_content():
    dataset = services.create_dataset(
        make_project(), name="Refund cases", items=[{"key": "a", "bucket": "refunds", "input": "hi"}]
    )
    item = Item.objects.get()
    assert (dataset.slug, item.key, item.bucket, item.content) == ("refund-cases", "a", "refunds", {"input": "hi"})
    assert latest_revision(dataset).item_count == 1


def test_items_without_a_key_get_one_from_their_content_and_adding_them_again_changes_nothing():
    rows = [{"input": "a"}, {"input": "b"}, {"input": "a"}]
    dataset = services.create_dataset(make_project(), name="D", items=rows)
    revision = services.add_items(dataset, rows)
    assert (revision.number, Item.objects.count(), len(set(keys(revision)))) == (1, 3, 3)


def test_a_change_makes_a_new_revision_and_the_earlier_one_stays_as_it_was():
    dataset = services.create_dataset(
        make_project(), name="D", items=[{"key": "a", "input": 1}, {"key": "b", "input": 2}, {"key": "c", "input": 3}]
    )
    first = latest_revision(dataset)
    second = services.add_items(dataset, [{"key": "b", "input": 20}, {"key": "d", "input": 4}])
    third = services.remove_items(dataset, ["a", "nothing"])
    assert [item.content["input"] for item in revision_items(first)] == [1, 2, 3]
    assert [item.content["input"] for item in revision_items(second)] == [1, 20, 3, 4]
    assert (keys(third), third.item_count, second.item_count) == (["b", "c", "d"], 3, 4)


def test_replace_items_drops_the_keys_that_are_not_given():
    dataset = services.create_dataset(
        make_project(), name="D", items=[{"key": "a", "input": 1}, {"key": "b", "input": 2}]
    )
    revision = services.replace_items(dataset, [{"key": "b", "input": 2}, {"key": "c", "input": 3}])
    assert (keys(revision), revision.item_count) == (["b", "c"], 2)
    assert Item.objects.get(key="b").valid_from == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"input": "a\x00"}], "NUL"),
        ([{"input": "\ud800"}], "half a character"),
        ([{"key": "k", "input": 1}, {"key": "k", "input": 2}], "used by item 1"),
        ([{"key": "x" * 200, "input": 1}], "at most 128"),
        ([{"key": "only"}], "nothing to work on"),
        (["text"], "where an object is needed"),
    ],
)
def test_items_that_cannot_be_kept_are_refused_by_number_and_nothing_is_written(rows, says):
    with pytest.raises(BadItems, match=r"^Item [12]") as caught:
        services.create_dataset(make_project(), name="D", items=rows)
    assert says in str(caught.value)
    assert not Dataset.objects.exists()


def test_two_datasets_of_one_name_get_two_slugs():
    project = make_project()
    assert [services.create_dataset(project, name="Ünïted").slug for _ in range(2)] == ["united", "united-2"]


def make_run(project, thread, **fields):
    """Store a run of an agent with one call, and return its trace."""
    root = make_span(task="7", agent_name="refunds", **fields)
    call = make_span(
        trace_id=root.trace_id,
        parent_span_id=root.span_id,
        kind="llm",
        start_ns=root.start_ns,
        input_messages=thread[:-1],
        output_messages=thread[-1:],
    )
    return Trace.objects.get(pk=ingest_spans(project, [root, call]).trace_pks[root.trace_id])


THREAD = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Where is it?"},
    {"role": "assistant", "content": "Which order?"},
    {"role": "user", "content": "A-1"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "name": "get_order", "arguments": {"id": "A-1"}}],
    },
    {"role": "tool", "tool_call_id": "c", "content": '{"status": "sent"}'},
    {"role": "assistant", "content": "It was sent."},
]


def test_an_item_from_a_trace_is_the_first_request_and_what_was_answered_to_it():
    project = make_project()
    trace = make_run(project, [*THREAD, {"role": "user", "content": "Thanks, bye!"}])
    services.dataset_from_traces(project, [trace], name="D")
    content = Item.objects.get().content
    assert (content["input"], content["reference"]) == ("Where is it?", "Which order?")
    assert [message["content"] for message in content["messages"]] == ["Be kind.", "Where is it?"]
    assert content["later_messages"][1]["content"] == "A-1"
    assert content["later_messages"][-1]["content"] == "Thanks, bye!"


def test_a_run_of_one_turn_has_no_later_messages():
    project = make_project()
    services.dataset_from_traces(project, [make_run(project, [THREAD[1], *THREAD[4:]])], name="D")
    content = Item.objects.get().content
    assert (content["input"], content["reference"]) == ("Where is it?", "It was sent.")
    assert "later_messages" not in content


def test_a_whole_conversation_from_a_trace_goes_up_to_the_last_answer_which_is_the_reference():
    project = make_project()
    trace = make_run(project, THREAD, metadata={"trial": 2})
    dataset = services.dataset_from_traces(project, [trace], name="From runs", whole=True)
    item = Item.objects.get()
    assert (item.key, item.source_trace, dataset.name) == (trace.trace_id, trace, "From runs")
    assert [message["content"] for message in item.content["messages"]] == [
        "Be kind.",
        "Where is it?",
        "Which order?",
        "A-1",
    ]
    assert (item.content["input"], item.content["reference"]) == ("A-1", "It was sent.")
    assert item.content["metadata"]["trial"] == 2
    assert item.content["metadata"]["task"] == "7"


def test_a_closing_word_of_the_user_after_the_last_answer_is_not_the_turn_that_is_asked():
    project = make_project()
    trace = make_run(project, [*THREAD, {"role": "user", "content": "###STOP###"}])
    services.dataset_from_traces(project, [trace], name="D", whole=True)
    assert Item.objects.get().content["input"] == "A-1"


def test_adding_the_same_traces_again_adds_nothing():
    project = make_project()
    trace = make_run(project, THREAD)
    dataset = services.dataset_from_traces(project, [trace], name="D")
    services.dataset_from_traces(project, [trace], dataset=dataset)
    assert dataset.revisions.count() == 1


def test_traces_without_input_are_left_out_and_none_at_all_is_refused():
    project = make_project()
    record = make_span()
    empty = Trace.objects.get(pk=ingest_spans(project, [record]).trace_pks[record.trace_id])
    with pytest.raises(BadItems, match="nothing to make items of"):
        services.dataset_from_traces(project, [empty], name="D")
    services.dataset_from_traces(project, [empty, make_run(project, THREAD)], name="D")
    assert Item.objects.count() == 1


def test_a_used_item_cannot_be_lost_by_a_new_revision():
    project = make_project()
    dataset = services.create_dataset(project, name="D", items=[{"key": "a", "input": "1"}])
    revision = latest_revision(dataset)
    grader = services.GraderSpec("g", "string_check", {"input": "a", "reference": "a"})
    comparison = services.create_comparison(
        project, name="C", revision=revision, candidates=[CandidateSpec(model="m")], graders=[grader]
    )
    services.replace_items(dataset, [NewItem({"input": "new"}, "b")])
    assert [sample.item.content for sample in comparison.runs.get().samples.all()] == [{"input": "1"}]
    assert keys(comparison.dataset_revision) == ["a"]
