import asyncio
import json

import pytest

from providers.client import ModelClient, ProviderError
from tests.factories import make_key, make_project

ASK = {"model": "demo/brisk", "messages": [{"role": "user", "content": "Where is order FH-10234?"}]}
URL = "/v1/chat/completions"


def post(client, body, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body)
    return client.post(URL, raw, content_type="application/json", headers=headers)


@pytest.mark.django_db
def test_chat_completions_answers_a_scripted_model(client, project):
    body = post(client, ASK).json()

    assert body["system_fingerprint"] == "scripted"
    assert "FH-10234" in body["choices"][0]["message"]["content"]


@pytest.mark.django_db
def test_chat_completions_streams_what_it_would_have_answered(client, project):
    whole = post(client, ASK).json()
    response = post(client, {**ASK, "stream": True, "stream_options": {"include_usage": True}})

    events = [line[6:] for line in response.getvalue().decode().split("\n\n") if line]
    chunks = [json.loads(event) for event in events[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])

    assert response["Content-Type"] == "text/event-stream"
    assert events[-1] == "[DONE]"
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "status", "says"),
    [("gpt-4o", 404, "No provider answers"), ("demo/none", 404, "There is no scripted model"), ("", 400, "is missing")],
)
def test_chat_completions_of_another_model_says_what_to_do(client, project, model, status, says):
    response = post(client, {**ASK, "model": model})

    error = response.json()["error"]
    assert (response.status_code, error["param"], error["type"]) == (status, "model", "invalid_request_error")
    assert says in error["message"]


@pytest.mark.django_db
@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 50_000, b'{"model": "demo/echo", "messages": 1}'])
def test_chat_completions_of_a_broken_body_is_a_400(client, project, raw):
    assert post(client, raw).status_code == 400


@pytest.mark.django_db
def test_chat_completions_too_large_is_a_413(client, project, settings):
    settings.INGEST_MAX_BYTES = 100

    assert post(client, {**ASK, "x": "y" * 200}).status_code == 413


@pytest.mark.django_db
def test_endpoints_need_a_key_with_the_scope(client, login_on):
    project = make_project()
    ingest = make_key(project, scopes=("ingest",))
    write = make_key(project, scopes=("write",))

    assert post(client, ASK).status_code == 401
    assert post(client, ASK, Authorization="Bearer mb-nonsense").status_code == 401
    assert post(client, ASK, Authorization=f"Bearer {ingest}").status_code == 403
    assert post(client, ASK, Authorization=f"Bearer {write}").status_code == 200
    assert client.get("/v1/models").status_code == 401
    assert client.get(URL).status_code == 405


@pytest.mark.django_db
def test_models_lists_those_of_the_project_and_labels_the_scripted(client, project):
    from providers.models import Provider

    Provider.objects.create(project=project, name="office", base_url="http://x/v1", model_names=["qwen-max", "qwen*"])
    Provider.objects.create(project=make_project(), name="theirs", base_url="http://x/v1", model_names=["secret"])

    rows = {row["id"]: row for row in client.get("/v1/models").json()["data"]}

    assert rows["qwen-max"]["owned_by"] == "office"
    assert rows["demo/judge"]["scripted"] is True
    assert "secret" not in rows
    assert client.get("/v1/models/demo/echo").json()["id"] == "demo/echo"
    assert client.get("/v1/models/secret").status_code == 404


def run(project, **question):
    async def inner():
        client = ModelClient(project, attempts=1)
        try:
            return await client.chat(**{**ASK, **question})
        finally:
            await client.aclose()

    return asyncio.run(inner())


@pytest.mark.django_db(transaction=True)
def test_our_client_gets_the_same_answer_in_process_and_over_http(project, live_server, settings):
    settings.SELF_URL = ""
    inside = run(project)
    settings.SELF_URL = live_server.url
    outside = run(project)

    assert inside.text == outside.text
    assert inside.usage == outside.usage
    assert inside.cost_usd == outside.cost_usd > 0
    assert inside.duration_ms == outside.duration_ms > 100


@pytest.mark.django_db(transaction=True)
def test_our_client_is_let_in_with_login_on(live_server, settings):
    settings.LOGIN_REQUIRED, settings.SELF_URL = True, live_server.url

    assert "FH-10234" in run(make_project()).text


@pytest.mark.django_db(transaction=True)
def test_in_process_an_unknown_scripted_model_is_rejected(project):
    with pytest.raises(ProviderError, match="demo/careful") as caught:
        run(project, model="demo/none")

    assert caught.value.kind == "rejected"


@pytest.mark.django_db(transaction=True)
def test_trials_of_a_scripted_model_differ_by_their_seed(project):
    texts = {run(project, model="demo/careful", sampling={"seed": trial}).text for trial in range(1, 9)}

    assert len(texts) > 1
    assert (
        run(project, model="demo/careful", sampling={"seed": 1}).text
        == run(project, model="demo/careful", sampling={"seed": 1}).text
    )


@pytest.mark.django_db(transaction=True)
def test_the_unmodified_openai_client_streams_and_lists(project, live_server):
    from openai import OpenAI

    client = OpenAI(base_url=f"{live_server.url}/v1", api_key="any", max_retries=0)
    stream = client.chat.completions.create(**ASK, stream=True)

    assert "FH-10234" in "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "demo/careful" in [model.id for model in client.models.list()]
    assert client.models.retrieve("demo/judge").id == "demo/judge"
