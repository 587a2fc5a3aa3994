import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import Membership, Role, User
from evals import services
from evals.models import Dataset, Item
from tests.evals.test_datasets import make_run
from tests.factories import make_project, make_trace

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>"


def make_dataset(project, items=3, **fields):
    rows = (
        items
        if isinstance(items, list)
        else [{"key": f"k{n}", "input": f"ask {n}", "reference": f"say {n}"} for n in range(items)]
    )
    return services.create_dataset(project, **{"name": "Cases", "items": rows, **fields})


def keys(dataset):
    return sorted(Item.objects.filter(dataset=dataset, valid_to=None).values_list("key", flat=True))


def test_the_list_of_a_project_without_datasets_says_what_to_do(client, project):
    answer = client.get("/p/default/datasets")
    assert answer.status_code == 200
    assert "No datasets yet" in answer.text


def test_the_list_keeps_its_number_of_queries(client, project, django_assert_max_num_queries):
    make_dataset(project)
    with django_assert_max_num_queries(8) as few:
        client.get("/p/default/datasets")
    for number in range(5):
        make_dataset(project, name=f"More {number}")
    with django_assert_max_num_queries(len(few.captured_queries)):
        assert "More 4" in client.get("/p/default/datasets").text


def test_a_file_of_lines_becomes_a_dataset(client, project):
    file = SimpleUploadedFile("cases.jsonl", b'{"input": "a", "key": "one", "bucket": "B"}\n{"input": "b"}\n')
    answer = client.post("/p/default/new-dataset", {"name": "Cases", "file": file})
    assert answer.status_code == 302
    dataset = Dataset.objects.get()
    assert answer["Location"] == f"/p/default/datasets/{dataset.slug}"
    assert dataset.items.count() == 2


def test_wrong_lines_are_listed_by_number_and_nothing_is_kept(client, project):
    answer = client.post("/p/default/new-dataset", {"name": "Cases", "text": '{"input": "a"}\nnot json ' + HOSTILE})
    assert answer.status_code == 422
    assert "not JSON" in answer.text
    assert "1 line is wrong" in answer.text
    assert HOSTILE not in answer.text
    assert not Dataset.objects.exists()


def test_good_lines_are_kept_when_the_user_says_so(client, project):
    client.post("/p/default/new-dataset", {"name": "Cases", "text": '{"input": "a"}\nnot json', "keep_good": "on"})
    assert Dataset.objects.get().items.count() == 1


def test_a_file_that_is_no_text_is_refused_in_place(client, project):
    answer = client.post("/p/default/new-dataset", {"name": "Cases", "file": SimpleUploadedFile("x", b"\xff\xfe\x00")})
    assert answer.status_code == 422
    assert "not UTF-8" in answer.text


def test_items_page_shows_keys_and_escapes_their_content(client, project):
    make_dataset(project, [{"key": "k", "input": HOSTILE, "bucket": "<b>"}])
    text = client.get("/p/default/datasets/cases").text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_items_page_by_key_and_lose_none(client, project):
    make_dataset(project, 250)
    address, seen = "/p/default/datasets/cases", 0
    for _ in range(10):
        answer = client.get(address)
        page = answer.context["page"]
        seen += len(page.rows)
        if not page.next_key:
            break
        address = f"/p/default/datasets/cases?revision=1&after={page.next_key}"
    assert seen == 250
    back = client.get(f"/p/default/datasets/cases?revision=1&before={page.previous_key}").context["page"]
    assert [row.item.key for row in back.rows] == [f"k{n}" for n in range(100, 200)]


def test_a_bucket_leaves_only_its_items(client, project):
    make_dataset(project, [{"key": "a", "input": "x", "bucket": "Orders"}, {"key": "b", "input": "y"}])
    page = client.get("/p/default/datasets/cases?bucket=Orders").context["page"]
    assert [row.item.key for row in page.rows] == ["a"]


@pytest.mark.parametrize("query", ["revision=9", "revision=x", "item=999", "item=-1", f"item={'9' * 40}", "revision=²"])
def test_a_revision_or_item_that_is_not_there_is_a_404(client, project, query):
    make_dataset(project)
    assert client.get(f"/p/default/datasets/cases?{query}").status_code == 404


@pytest.mark.parametrize("key", ["", "1", "-", "a-b", "²-³", f"{'9' * 19}-{'9' * 19}"])
def test_a_page_key_that_is_none_shows_a_page(client, project, key):
    make_dataset(project)
    assert client.get("/p/default/datasets/cases", {"after": key}).status_code == 200


def test_the_item_drawer_is_in_the_page_and_alone_for_htmx(client, project):
    dataset = make_dataset(
        project, [{"key": "k", "messages": [{"role": "user", "content": HOSTILE}], "plan": "annual"}]
    )
    item = dataset.items.get()
    page = client.get(f"/p/default/datasets/cases?item={item.pk}").text
    part = client.get(
        f"/p/default/datasets/cases?item={item.pk}", headers={"HX-Request": "true", "HX-Target": "drawer"}
    ).text
    for text in (page, part):
        assert "&lt;script&gt;" in text
        assert "annual" in text
    assert "<html" in page
    assert "<html" not in part


def test_adding_editing_and_removing_an_item_make_revisions_that_keep_the_old_ones(client, project):
    trace = make_trace(project)
    dataset = make_dataset(project, [services.NewItem({"input": "old"}, "k0", "", trace.pk)])
    item = dataset.items.get()
    client.post("/p/default/datasets/cases/add", {"key": "new", "bucket": "B", "content": '{"input": "n"}'})
    client.post(f"/p/default/datasets/cases/items/{item.pk}", {"bucket": "C", "content": '{"input": "changed"}'})
    current = dataset.items.get(key="k0", valid_to=None)
    assert (current.content, current.bucket, current.source_trace) == ({"input": "changed"}, "C", trace)
    client.post(f"/p/default/datasets/cases/items/{current.pk}/remove")
    assert keys(dataset) == ["new"]
    assert dataset.revisions.count() == 4
    first = client.get("/p/default/datasets/cases?revision=1").context["page"]
    assert first.rows[0].item.content == {"input": "old"}


def test_a_key_that_is_taken_is_refused_when_adding(client, project):
    make_dataset(project)
    answer = client.post("/p/default/datasets/cases/add", {"key": "k0", "content": '{"input": "n"}'})
    assert answer.status_code == 422
    assert "is taken" in answer.text


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"input": "\\u0000"}', '{"a": ' + "[" * 100_000, '{"n": 1e999}']
)
def test_content_that_is_no_item_is_refused_with_the_reason(client, project, content):
    make_dataset(project)
    assert client.post("/p/default/datasets/cases/add", {"key": "x", "content": content}).status_code == 422


def test_revisions_say_what_changed_and_show_the_difference(client, project):
    dataset = make_dataset(project, 2)
    services.add_items(
        dataset, [{"key": "k0", "input": "ask otherwise", "reference": "say 0"}, {"key": "k9", "input": "new"}]
    )
    services.remove_items(dataset, ["k1"])
    rows = client.get("/p/default/datasets/cases/revisions").context["rows"]
    assert [(row.revision.number, row.added, row.changed, row.removed) for row in rows] == [
        (3, [], [], ["k1"]),
        (2, ["k9"], ["k0"], []),
        (1, ["k0", "k1"], [], []),
    ]
    answer = client.get("/p/default/datasets/cases/revisions?new=2&old=1")
    assert [change.key for change in answer.context["diff"].changed] == ["k0"]
    assert "<ins>" in answer.text
    assert client.get("/p/default/datasets/cases/revisions?new=3&old=1").context["diff"].removed[0].key == "k1"


def test_the_export_makes_the_same_dataset_again(client, project):
    make_dataset(
        project, [{"key": "k", "bucket": "B", "input": "ü", "reference": {"n": 1}}, {"key": "l", "input": "x"}]
    )
    lines = client.get("/p/default/datasets/cases/export.jsonl").getvalue().decode()
    client.post("/p/default/new-dataset", {"name": "Copy", "text": lines})
    copy = Dataset.objects.get(name="Copy")
    assert json.loads(lines.splitlines()[0]) == {"key": "k", "bucket": "B", "input": "ü", "reference": {"n": 1}}
    assert keys(copy) == ["k", "l"]


def test_a_file_added_to_a_dataset_replaces_same_keys(client, project):
    dataset = make_dataset(project, 1)
    client.post(
        "/p/default/datasets/cases/import", {"text": '{"key": "k0", "input": "other"}\n{"key": "z", "input": "z"}'}
    )
    assert keys(dataset) == ["k0", "z"]
    assert dataset.revisions.order_by("-number").first().number == 2


# From traces


def test_selected_traces_are_asked_where_to_go_and_then_become_items(client, project):
    traces = [make_trace(project, input_preview=f"ask {n}") for n in range(2)]
    ids = [trace.trace_id for trace in traces]
    asked = client.post("/p/default/dataset-from-traces", {"trace": ids})
    assert asked.status_code == 200
    assert "2 traces will become 2 items" in asked.text
    made = client.post("/p/default/dataset-from-traces", {"trace": ids, "name": "From runs", "dataset": ""})
    assert made.status_code == 302
    assert keys(Dataset.objects.get(name="From runs")) == sorted(ids)


def test_selected_traces_join_a_dataset_that_exists_once(client, project):
    dataset = make_dataset(project, 1)
    trace = make_trace(project, input_preview="ask")
    for _ in range(2):
        client.post("/p/default/dataset-from-traces", {"trace": [trace.trace_id], "dataset": "cases", "name": ""})
    assert keys(dataset) == sorted(["k0", trace.trace_id])


def test_all_traces_that_match_a_query_can_be_chosen(client, project):
    make_trace(project, input_preview="a", agent_name="one")
    make_trace(project, input_preview="b", agent_name="two")
    client.post("/p/default/dataset-from-traces", {"all": "1", "q": "agent:two", "name": "Two"})
    assert Dataset.objects.get().items.count() == 1


def test_a_query_that_cannot_be_read_is_said(client, project):
    answer = client.post("/p/default/dataset-from-traces", {"all": "1", "q": "nothing:x", "name": "Two"})
    assert answer.status_code == 422
    assert "There is no key" in answer.text


def test_no_selection_says_so(client, project):
    answer = client.post("/p/default/dataset-from-traces", {})
    assert answer.status_code == 422
    assert "No traces were selected" in answer.text


def test_the_picker_offers_this_projects_datasets_only(client, project):
    make_dataset(project)
    make_dataset(make_project(), name="Other project's")
    text = client.get("/p/default/dataset-picker").text
    assert "Cases" in text
    assert "Other project" not in text


# Who may


def test_another_projects_dataset_and_traces_are_not_there(client, project):
    other = make_project()
    dataset = make_dataset(other)
    trace = make_trace(other, input_preview="secret")
    assert client.get("/p/default/datasets/cases").status_code == 404
    assert client.get("/p/default/datasets/cases/export.jsonl").status_code == 404
    assert client.post(f"/p/default/datasets/cases/items/{dataset.items.first().pk}/remove").status_code == 404
    assert client.post("/p/default/dataset-from-traces", {"trace": [trace.trace_id], "name": "Mine"}).status_code == 422


def test_a_viewer_reads_and_cannot_change(login_on, project):
    dataset = make_dataset(project)
    user = User.objects.create_user("viewer", password="pass-word-1")
    Membership.objects.create(user=user, project=project, role=Role.VIEWER)
    client = Client()
    client.force_login(user)
    assert client.get("/p/default/datasets/cases").status_code == 200
    assert client.get("/p/default/new-dataset").status_code == 403
    assert client.post(f"/p/default/datasets/cases/items/{dataset.items.first().pk}/remove").status_code == 403
    assert client.post("/p/default/dataset-from-traces", {"trace": ["x"]}).status_code == 403


def test_the_dialog_shows_what_will_be_taken_and_its_error_stays_in_it(client, project):
    thread = [
        {"role": "user", "content": "Where is <b>it</b>?"},
        {"role": "assistant", "content": "Which order?"},
        {"role": "user", "content": "A-1"},
        {"role": "assistant", "content": "It was sent."},
    ]
    trace = make_run(project, thread)
    shown = client.get(f"/p/default/dataset-picker?trace={trace.trace_id}").text
    assert "Where is &lt;b&gt;it&lt;/b&gt;?" in shown
    assert "It was sent." in shown
    headers = {"HX-Request": "true", "HX-Target": "dataset-picker"}
    answer = client.post("/p/default/dataset-from-traces", {"trace": trace.trace_id, "name": ""}, headers=headers)
    assert answer.status_code == 200
    assert "Give the new dataset a name" in answer.text
    assert "<html" not in answer.text
    sent = {"trace": trace.trace_id, "name": "D", "take": "whole"}
    assert client.post("/p/default/dataset-from-traces", sent, headers=headers)["HX-Redirect"]
    assert Item.objects.get().content["input"] == "A-1"
