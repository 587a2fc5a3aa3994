"""The real client against the test server: every way in which a provider fails, and the book of calls beside it."""

import asyncio
import logging
import time

import pytest

from providers.client import ModelClient, ProviderError
from providers.gate import gates
from providers.models import Call, CallState, Provider

pytestmark = pytest.mark.django_db(transaction=True)
ASK = {"model": "m-1", "messages": [{"role": "user", "content": "Where is FH-10234?"}]}
KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def provider(project, provider_server):
    from providers.client import learned
    from providers.secrets import encrypt

    gates.clear()
    learned.clear()
    return Provider.objects.create(
        project=project,
        name="local",
        base_url=provider_server.base_url,
        api_key_encrypted=encrypt(KEY),
        model_names=["m-*"],
    )


def run(project, work, **options):
    async def inner():
        client = ModelClient(project, **{"backoff_s": 0.01, "attempts": 3, "timeout_s": 5, **options})
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(inner())


def ask(project, **options):
    settings = {name: options.pop(name) for name in ("attempts", "timeout_s") if name in options}
    return run(project, lambda client: client.chat(**{**ASK, **options}), **settings)


def failure(project, **options) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(project, **options)
    return caught.value


def states() -> list[str]:
    return list(Call.objects.order_by("pk").values_list("state", flat=True))


def test_chat_with_a_working_provider_returns_the_answer_and_books_it(project, provider, provider_server):
    answer = ask(project, sampling={"temperature": 0.5, "top_k": 3}, job="run:1", subject="sample:2")

    assert (answer.text, answer.finish_reason, answer.tool_calls) == ("Where is FH-10234?", "stop", [])
    assert answer.usage["output_tokens"] == 18
    assert answer.duration_ms > 0
    assert provider_server.calls[0]["temperature"] == 0.5
    assert provider_server.calls[0]["top_k"] == 3
    assert provider_server.keys == [KEY]
    call = Call.objects.get()
    assert (call.state, call.job, call.subject, call.provider) == ("answered", "run:1", "sample:2", "local")
    assert (call.output_tokens, call.attempt, call.error) == (18, 1, "")
    assert call.ended_at >= call.started_at


@pytest.mark.parametrize(("mode", "says"), [("error", "500"), ("unavailable", "503 Service Unavailable")])
def test_chat_after_a_server_error_tries_again(project, provider, provider_server, mode, says):
    provider_server.script = [mode, mode]

    assert ask(project).text == "Where is FH-10234?"
    assert states() == ["failed", "failed", "answered"]
    assert says in Call.objects.first().error
    assert list(Call.objects.order_by("pk").values_list("attempt", flat=True)) == [1, 2, 3]


def test_chat_that_keeps_failing_gives_up_and_says_how_often(project, provider, provider_server):
    provider_server.mode = "error"

    error = failure(project)

    assert (error.kind, error.retryable, error.status) == ("unavailable", True, 500)
    assert 'Provider "local" answered 500 for m-1' in str(error)
    assert "Tried 3 times." in str(error)
    assert provider_server.call_count == Call.objects.count() == 3


def test_chat_rate_limited_waits_as_long_as_asked(project, provider, provider_server):
    provider_server.script, provider_server.retry_after = ["rate_limited"], "0.3"
    started = time.monotonic()

    assert ask(project).text
    assert time.monotonic() - started >= 0.3
    assert states() == ["failed", "answered"]


def test_chat_rate_limited_for_long_is_left_to_the_caller(project, provider, provider_server):
    provider_server.mode, provider_server.retry_after = "rate_limited", "3600"

    error = failure(project)

    assert (error.kind, error.retryable, error.retry_after_s) == ("rate_limited", True, 3600)
    assert provider_server.call_count == 1


def test_chat_without_credit_is_not_tried_again(project, provider, provider_server):
    provider_server.mode = "quota"

    error = failure(project)

    assert (error.kind, error.retryable, provider_server.call_count) == ("rate_limited", False, 1)
    assert "no credit left" in str(error)


@pytest.mark.parametrize(
    ("mode", "says", "state"),  # `unknown`: it may have been charged; `answered`: it says its tokens
    [
        ("not_json", "not JSON: Welcome", "unknown"),
        ("empty", "an empty body", "unknown"),
        ("no_choices", "no choices", "answered"),
        ("wrong_types", "no choices", "unknown"),
        ("null_message", "a choice without a message", "answered"),
    ],
)
def test_chat_with_a_rubbish_answer_says_what_came(project, provider, provider_server, mode, says, state):
    provider_server.mode = mode

    error = failure(project)

    assert (error.kind, error.retryable) == ("invalid_answer", False)
    assert says in str(error)
    assert states() == [state]
    assert provider_server.call_count == 1


def test_chat_with_a_rubbish_answer_that_says_its_tokens_is_booked_with_their_cost(project, provider, provider_server):
    provider_server.answer = lambda body: {
        "choices": [],
        "usage": {"prompt_tokens": 11, "completion_tokens": 5, "cost": 0.25},
    }

    error = failure(project)

    assert error.kind == "invalid_answer"
    call = Call.objects.get()
    assert (call.state, call.input_tokens, call.output_tokens, call.cost_usd) == ("answered", 11, 5, 0.25)
    assert "no choices" in call.error


def test_chat_with_an_address_where_no_model_server_is_asks_nobody(project, provider):
    Provider.objects.update(base_url="http://[::ffff:169.254.169.254]/v1")  # by whatever way it came there

    error = failure(project)

    assert (error.kind, error.retryable) == ("rejected", False)
    assert "not that of a model server" in str(error)
    assert states() == []


@pytest.mark.parametrize("mode", ["disconnect", "half"])
def test_chat_broken_off_may_have_been_charged(project, provider, provider_server, mode):
    provider_server.mode = mode

    error = failure(project, attempts=2)

    assert (error.kind, error.retryable, error.may_be_charged) == ("unavailable", True, True)
    assert states() == ["unknown", "unknown"]
    assert provider_server.call_count == 2


def test_chat_too_slow_times_out_and_may_have_been_charged(project, provider, provider_server):
    provider_server.mode = "slow"

    error = failure(project, attempts=1, timeout_s=0.3)

    assert (error.kind, error.retryable) == ("timeout", True)
    assert states() == ["unknown"]


def test_chat_with_nobody_listening_says_so(project, provider):
    provider.base_url = "http://127.0.0.1:9/v1"
    provider.save()

    error = failure(project, attempts=1)

    assert (error.kind, error.retryable) == ("unavailable", True)
    assert "cannot be reached at http://127.0.0.1:9/v1" in str(error)
    assert states() == ["failed"]


def test_chat_redirected_is_not_followed(project, provider, provider_server):
    provider_server.mode = "redirect"

    error = failure(project)

    assert error.kind == "rejected"
    assert "as the base URL" in str(error)
    assert provider_server.call_count == Call.objects.count() == 1


@pytest.mark.parametrize("mode", ["unknown_model", "bad_request"])
def test_chat_rejected_is_not_tried_again(project, provider, provider_server, mode):
    provider_server.mode = mode

    error = failure(project)

    assert (error.kind, error.retryable, provider_server.call_count) == ("rejected", False, 1)


def test_chat_with_a_wrong_key_names_the_provider_and_never_the_key(project, provider, provider_server, caplog):
    caplog.set_level(logging.DEBUG)
    provider_server.key = "another"

    error = failure(project)

    assert error.status == 401
    assert "Settings, Model providers" in str(error)
    for text in (str(error), repr(error), repr(vars(error)), Call.objects.get().error, caplog.text):
        assert KEY not in text
        assert KEY[3:] not in text


def test_chat_for_an_unclaimed_model_says_what_to_do_and_books_nothing(project, settings):
    settings.OPENAI_API_KEY = ""
    settings.OPENAI_BASE_URL = "https://api.openai.com/v1"

    error = failure(project, model="nobody-7")

    assert error.kind == "rejected"
    assert "Settings, Model providers" in str(error)
    assert not Call.objects.exists()


def test_chat_with_a_refused_schema_asks_in_words_and_remembers(project, provider, provider_server):
    provider_server.mode = "no_json"
    form = {"type": "json_schema", "json_schema": {"name": "v", "schema": {"type": "object", "title": "Verdict"}}}

    async def twice(client):
        await client.chat(**ASK, response_format=form)
        await client.chat(**ASK, response_format=form)

    run(project, twice)

    sent = [(body.get("response_format") or {}).get("type") for body in provider_server.calls]
    assert sent == ["json_schema", "json_object", None, None]
    assert '"title": "Verdict"' in provider_server.calls[-1]["messages"][0]["content"]
    assert states() == ["failed", "failed", "answered", "answered"]


def test_chat_of_a_judge_leaves_out_a_temperature_that_is_refused(project, provider, provider_server):
    provider_server.mode = "no_temperature"

    assert ask(project, purpose="judge", sampling={"temperature": 0}).text
    assert failure(project, purpose="generate", sampling={"temperature": 0}).kind == "rejected"


def test_calls_received_never_exceed_calls_started(project, provider, provider_server):
    provider_server.script = [
        "error",
        "echo",
        "disconnect",
        "rate_limited",
        "not_json",
        "half",
        "echo",
        "unavailable",
    ] * 8

    async def many(client):
        await asyncio.gather(*(client.chat(**ASK) for _ in range(40)), return_exceptions=True)

    run(project, many)

    assert provider_server.call_count == Call.objects.count() >= 40
    assert CallState.STARTED not in states()


def test_calls_in_flight_stay_within_the_limit_of_the_provider(project, provider, provider_server):
    provider.concurrency = 4
    provider.save()
    provider_server.latency_s = 0.02

    async def many(client):
        await asyncio.gather(*(client.chat(**ASK) for _ in range(30)))

    run(project, many)

    assert provider_server.most_in_flight == 4


def test_calls_are_booked_while_others_are_in_flight_and_those_that_were_not_sent_say_so(
    project, provider, provider_server
):
    provider.concurrency = 4
    provider.save()
    provider_server.mode = "slow"

    async def stop(client):
        tasks = [asyncio.ensure_future(client.chat(**ASK)) for _ in range(20)]
        while provider_server.call_count < 4 or await Call.objects.acount() < 6:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert (provider_server.call_count, await Call.objects.acount()) == (4, 6)  # two are ready to be sent
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(project, stop)

    assert sorted(states()) == ["failed"] * 2 + ["unknown"] * 4
    assert {call.error for call in Call.objects.filter(state="failed")} == {"Not sent: the work was stopped first."}


def test_chat_cancelled_in_flight_leaves_an_unknown_call(project, provider, provider_server):
    provider_server.mode = "slow"

    async def stop(client):
        task = asyncio.ensure_future(client.chat(**ASK))
        while not provider_server.call_count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(project, stop)

    assert states() == ["unknown"]


def test_chat_cancelled_before_it_is_sent_leaves_no_open_call(project, provider, provider_server):
    async def stop(client):
        await client.chat(**ASK)
        task = asyncio.ensure_future(client.chat(**ASK))
        await asyncio.sleep(0)
        while not client.ledger.starts and not (client.ledger.writer and not client.ledger.writer.done()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(project, stop)

    assert provider_server.call_count <= Call.objects.count()
    assert CallState.STARTED not in states()
