"""Files: uploaded, listed, read back as they were, used by runs, and deleted."""

import io
import json

import httpx2
import openai
import pytest

from evals.models import File, FileChunk
from tests.evals.openai_api.made import EQUAL, items_of, make_eval, row, sampled
from tests.evals.openai_api.test_evals import refused

pytestmark = pytest.mark.django_db(transaction=True)


def lines(*rows):
    return "\n".join(json.dumps(entry, ensure_ascii=False) for entry in rows).encode()


def upload(api, content, *, name="rows.jsonl", purpose="evals", **more):
    return api.files.create(file=(name, io.BytesIO(content)), purpose=purpose, **more)


def from_file(file_id):
    return {"type": "jsonl", "source": {"type": "file_id", "id": file_id}}


def test_a_file_is_kept_byte_by_byte(api):
    content = bytes(range(256)) * 12_000  # more than one piece
    file = upload(api, content, name="données é.bin", purpose="user_data")
    assert file.id.startswith("file-")
    assert (file.object, file.bytes, file.filename, file.purpose, file.status) == (
        "file", len(content), "données é.bin", "user_data", "processed",
    )  # fmt: skip
    assert (file.expires_at, file.status_details) == (None, None)
    assert api.files.retrieve(file.id) == file
    assert api.files.content(file.id).read() == content
    assert FileChunk.objects.count() == 3
    gone = api.files.delete(file.id)
    assert (gone.id, gone.object, gone.deleted) == (file.id, "file", True)
    assert not FileChunk.objects.exists()
    for call in (api.files.retrieve, api.files.content, api.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file.id)


def test_files_are_listed_newest_first_by_purpose_and_page_by_page(api):
    ids = [upload(api, b"x", purpose="evals" if number % 2 else "batch").id for number in range(5)]
    assert [file.id for file in api.files.list()] == ids[::-1]
    assert [file.id for file in api.files.list(order="asc", limit=1)] == ids
    assert [file.id for file in api.files.list(purpose="evals", limit=1)] == [ids[3], ids[1]]
    assert refused(api.files.list, limit=10_001) == "limit"


def test_a_file_that_expires_is_gone_after_its_time(api):
    file = upload(api, b"x", expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    kept = File.objects.get()
    kept.expires_at = kept.created_at
    kept.save()
    with pytest.raises(openai.NotFoundError):
        api.files.retrieve(file.id)
    assert api.files.list().data == []


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"purpose": "fun"}, "purpose"),
        ({"expires_after": {"anchor": "created_at", "seconds": 60}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now", "seconds": 4000}}, "expires_after.anchor"),
    ],
)
def test_a_wrong_upload_names_its_place(api, options, param):
    assert refused(upload, api, b"x", **options) == param


def test_an_upload_without_a_file_or_not_as_multipart_is_refused(api, live_server):
    url = f"{live_server.url}/v1/files"
    answers = [
        httpx2.post(url, data={"purpose": "evals"}, files={"other": b"x"}),
        httpx2.post(url, json={"purpose": "evals"}),
        httpx2.post(url, content=b"--", headers={"content-type": "multipart/form-data"}),
    ]
    for answer in answers:
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "file"


def test_a_run_reads_a_file_and_does_not_need_it_afterwards(api, finish):
    text = b"\xef\xbb\xbf" + lines(row("a", "a"), row("é\u2028b", "é\u2028b")).replace(b"\n", b"\r\n\r\n") + b"\r\n"
    file = upload(api, text)
    made = make_eval(api)
    run = api.evals.runs.create(made.id, data_source=from_file(file.id))
    api.files.delete(file.id)
    done = finish(run)
    assert (done.result_counts.total, done.result_counts.passed) == (2, 2)
    assert done.data_source.source.to_dict() == {"type": "file_id", "id": file.id}
    assert sorted(item.datasource_item_id for item in items_of(api, done)) == [0, 1]


def test_a_model_is_sampled_for_the_rows_of_a_file(api, finish, server):
    file = upload(api, lines(row("yes"), row("no")), purpose="fine-tune")
    source = sampled() | {"source": {"type": "file_id", "id": file.id}}
    made = make_eval(api, criteria=[{**EQUAL, "input": "{{sample.output_text}}"}], with_sample=True)
    done = finish(api.evals.runs.create(made.id, data_source=source))
    assert (done.result_counts.total, done.result_counts.passed) == (2, 1)
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no rows"),
        (b"\n \n\r\n", "has no rows"),
        (lines(row("a")) + b'\n{"question": "b"}\n' + lines(row("c")), "line 2: "),
        (lines(row("a")) + b"\n\n{broken", "line 3: not JSON"),
        (b'{"item": {"question": "\xff", "answer": "x"}}', "line 1: not UTF-8 at byte 24"),
        (b"[1, 2]", "line 1: "),
        (b'{"item": {"question": 1, "answer": "x"}}', "line 1: item.question does not satisfy"),
        (b'{"item": {"question": "x", "answer": NaN}}', "line 1: "),
    ],
)
def test_a_file_with_bad_rows_lists_them(api, content, said):
    file, made = upload(api, content), make_eval(api)
    with pytest.raises(openai.BadRequestError) as caught:
        api.evals.runs.create(made.id, data_source=from_file(file.id))
    error = caught.value.response.json()["error"]
    assert error["param"] == "data_source.source.id"
    assert said in error["message"], error["message"]


def test_every_bad_line_is_counted_and_the_first_are_listed(api):
    content = b"\n".join([b"{}"] * 50)
    file, made = upload(api, content), make_eval(api)
    with pytest.raises(openai.BadRequestError) as caught:
        api.evals.runs.create(made.id, data_source=from_file(file.id))
    message = caught.value.response.json()["error"]["message"]
    assert message.startswith("50 of the rows")
    assert "line 20" in message
    assert "and 30 more" in message


def test_a_line_of_ten_megabytes_is_a_row(api, finish):
    long = "x" * (10 * 1024 * 1024)
    file, made = upload(api, lines(row(long, long), row("a", "b"))), make_eval(api)
    done = finish(api.evals.runs.create(made.id, data_source=from_file(file.id)))
    assert (done.result_counts.passed, done.result_counts.failed) == (1, 1)
