import asyncio

import pytest

from providers.client import ModelClient, ProviderError
from providers.models import Call
from tests.provider_server import ProviderServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(settings):
    with ProviderServer() as running:
        settings.OPENAI_BASE_URL = running.base_url
        settings.OPENAI_API_KEY = "test-key"
        yield running


def embed(project, texts, **options):
    async def once():
        client = ModelClient(project, backoff_s=0.001, **options)
        try:
            return await client.embed(model="text-embedding-3-small", texts=texts, job="run:1", subject="sample:2")
        finally:
            await client.aclose()

    return asyncio.run(once())


def test_vectors_come_in_the_order_of_the_texts_and_the_call_is_in_the_book(project, server):
    found = embed(project, ["aab", "cd"])
    assert found.vectors == [[2.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    assert server.calls[0]["input"] == ["aab", "cd"]
    assert found.duration_ms > 0
    call = Call.objects.get()
    assert (call.model, call.purpose, call.job, call.state) == ("text-embedding-3-small", "judge", "run:1", "answered")
    assert (call.input_tokens, call.output_tokens) == (5, 0)


def test_a_busy_endpoint_is_asked_again(project, server):
    server.script = ["rate_limited", "echo"]
    assert len(embed(project, ["a"]).vectors) == 1
    assert Call.objects.count() == 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"data": []}, "something other than a list of 1 vectors"),
        ({"data": [{"embedding": "AAAA"}]}, "not a list of numbers"),
        ({"data": [{"embedding": [None]}]}, "not a list of numbers"),
        ({"object": "list"}, "something other than a list"),
    ],
)
def test_an_answer_without_vectors_is_an_error_that_says_what_is_there(project, server, answer, says):
    server.answer = lambda body: answer
    with pytest.raises(ProviderError, match=says) as caught:
        embed(project, ["a"])
    assert caught.value.kind == "invalid_answer"
