"""The client with which everything here asks a model. The only importer of openai, which is slow to import: on first use.

One ModelClient belongs to one event loop. It retries, keeps to the provider's limits, and writes every attempt into the book of
calls before it is sent.
"""

import asyncio
import email.utils
import importlib
import json
import random
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from accounts.models import Project
from providers.addresses import problem_of_url
from providers.completions import (
    Answer,
    InvalidAnswer,
    ProviderError,
    first_line,
    read_completion,
    read_embeddings,
    read_usage,
    redact,
    sent_cost,
    status_error,
    vectors_of,
)
from providers.fallbacks import lower_format, next_level, refused_parameter
from providers.gate import ProviderGate, gate_for
from providers.ledger import NOT_SENT, Ending, Ledger
from providers.models import Call, CallState
from providers.prices import price_usd
from providers.registry import Resolved, UnknownModel, resolve

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Answer", "Connection", "Embedding", "ModelClient", "ProviderError"]

KNOWN_S = 10.0  # how long a provider's settings are taken as read
KNOWN_SCRIPTED_S = 3600.0
LONGEST_WAIT_S = 30.0  # a provider that asks for more is left alone: the caller may try later
CONNECT_S = 10.0
MOST_CONNECTIONS = 1_000  # to one provider; its gate lets fewer calls out
MAX_BYTES = 64 * 1024 * 1024  # of one answer


@dataclass(frozen=True)
class Connection:
    """A provider that answered a test: how fast, and which models it names (None: it keeps no list)."""

    latency_ms: float
    models: list[str] | None = None


@dataclass(frozen=True)
class Embedding:
    """Vectors, one for each text, in the order of the texts. Cost and duration as in an Answer."""

    vectors: list[list[float]]
    model: str
    usage: dict[str, int | None]
    cost_usd: float | None
    duration_ms: float | None


@dataclass
class Request:
    """One question, as it stands after what the server did not accept was changed."""

    model: str
    messages: list[Any]
    sampling: dict[str, Any]
    tools: list[Any] | None
    response_format: dict[str, Any] | None
    purpose: str
    job: str
    subject: str
    format_level: int = 0
    attempt: int = 0

    path = "/chat/completions"

    def body(self) -> dict[str, Any]:
        """Return the body to send."""
        form, messages = lower_format(self.response_format, self.format_level, self.messages)
        body: dict[str, Any] = {"model": self.model, "messages": messages}
        body |= {name: value for name, value in self.sampling.items() if value is not None}
        if self.tools:
            body["tools"] = self.tools
        if form is not None:
            body["response_format"] = form
        return body

    def read(self, content: bytes) -> Answer:
        """Return what the body of an answer says. Raises InvalidAnswer."""
        return read_completion(content, asked_model=self.model)


@dataclass
class EmbeddingRequest(Request):
    """A request for the vectors of texts."""

    texts: list[str] = field(default_factory=list)

    path = "/embeddings"

    def body(self) -> dict[str, Any]:
        return {"model": self.model, "input": self.texts, "encoding_format": "float"}

    def read(self, content: bytes) -> Answer:
        return read_embeddings(content, asked_model=self.model, count=len(self.texts))


@dataclass
class Learned:
    """What a provider's model was found not to take; asked once, not for every call."""

    format_level: int = 0
    dropped: set[str] = field(default_factory=set)


certificates: ssl.SSLContext | None = (
    None  # of this process: to read them takes 20 ms, and each client would do it three times
)
learned: dict[tuple[int, str, str], Learned] = {}  # by project, address and model, for the life of the process


class ModelClient:
    """Asks models for one project, in one event loop. `attempts` are tries in all; the wait between them doubles from `backoff_s`."""

    def __init__(
        self,
        project: Project,
        *,
        worker: str = "",
        attempts: int | None = None,
        backoff_s: float = 0.5,
        timeout_s: float | None = None,
    ) -> None:
        self.project = project
        self.worker = worker
        self.attempts = settings.PROVIDER_ATTEMPTS if attempts is None else attempts
        self.backoff_s = backoff_s
        self.timeout_s = settings.PROVIDER_TIMEOUT_S if timeout_s is None else timeout_s
        self.ledger = Ledger()
        self._resolved: dict[str, tuple[float, Resolved]] = {}
        self._clients: dict[tuple[str, str, str], AsyncOpenAI] = {}
        self._openai: ModuleType | None = None

    async def chat(
        self,
        *,
        model: str,
        messages: list[Any],
        sampling: dict[str, Any] | None = None,
        tools: list[Any] | None = None,
        response_format: dict[str, Any] | None = None,
        purpose: str = "generate",
        job: str = "",
        subject: str = "",
    ) -> Answer:
        """Ask a model and return its answer. Raises ProviderError when it is clear that none will come for now.

        A server that does not know a response format gets the schema in words. What a judge's model does not take (temperature,
        seed) is left out; a candidate's sampling is never changed but for the name of `max_tokens`.
        """
        resolved = await self.resolve(model)
        request = Request(resolved.model, messages, dict(sampling or {}), tools, response_format, purpose, job, subject)
        known = learned.setdefault((self.project.pk, resolved.base_url, resolved.model), Learned())
        self.apply(known, request)
        return await self.ask(resolved, request, known)

    async def embed(
        self, *, model: str, texts: list[str], purpose: str = "judge", job: str = "", subject: str = ""
    ) -> Embedding:
        """Ask an embedding model for the vectors of texts. Raises ProviderError when it is clear that none will come for now."""
        resolved = await self.resolve(model)
        request = EmbeddingRequest(resolved.model, [], {}, None, None, purpose, job, subject, texts=texts)
        answer = await self.ask(resolved, request, Learned())
        return Embedding(vectors_of(answer.raw), answer.model, answer.usage, answer.cost_usd, answer.duration_ms)

    async def ask(self, resolved: Resolved, request: Request, known: Learned) -> Answer:
        """Send a request until it is answered, changed where the server refuses something that can be. Raises ProviderError."""
        tries = 0
        while True:
            try:
                return await self.attempt(resolved, request)
            except ProviderError as error:
                if self.adapt(known, request, error):
                    continue
                tries += 1
                wait_s = self.wait_before(tries, error)
                if wait_s is None:
                    raise give_up(error, tries) from None
            await asyncio.sleep(wait_s)

    async def resolve(self, model: str) -> Resolved:
        """Return where a model is asked. Raises ProviderError (rejected) where nobody answers it."""
        known = self._resolved.get(model)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        try:
            resolved = await sync_to_async(resolve)(self.project, model)
        except UnknownModel as error:
            raise ProviderError(str(error), kind="rejected") from None
        lasts = KNOWN_SCRIPTED_S if resolved.is_scripted and not resolved.asked else KNOWN_S
        self._resolved[model] = (time.monotonic() + lasts, resolved)
        return resolved

    def apply(self, known: Learned, request: Request) -> None:
        """Take into account what was learned from earlier calls."""
        request.format_level = known.format_level
        for name in known.dropped:
            self.drop(request, name)

    def adapt(self, known: Learned, request: Request, error: ProviderError) -> bool:
        """Change what the server refused, if that can be changed; True to ask again."""
        level = next_level(request.response_format, request.format_level, error)
        if level is not None:
            request.format_level = known.format_level = level
            return True
        name = refused_parameter(request.sampling, error, may_drop=request.purpose in ("judge", "test"))
        if not name:
            return False
        self.drop(request, name)
        if name == "max_tokens" or request.purpose == "judge":
            known.dropped.add(name)
        return True

    def drop(self, request: Request, name: str) -> None:
        if name == "max_tokens":
            limit = request.sampling.pop(name, None)
            if limit is not None:
                request.sampling.setdefault("max_completion_tokens", limit)
        elif request.purpose in ("judge", "test"):
            request.sampling.pop(name, None)

    def wait_before(self, tries: int, error: ProviderError) -> float | None:
        """Return how long to wait before the next try, or None to give up."""
        if not error.retryable or tries >= self.attempts:
            return None
        if error.retry_after_s is not None:
            wanted = error.retry_after_s * random.uniform(1.0, 1.1)
            return wanted if error.retry_after_s <= LONGEST_WAIT_S else None
        ceiling = min(self.backoff_s * 2 ** (tries - 1), LONGEST_WAIT_S)
        return random.uniform(ceiling / 2, ceiling)

    async def attempt(self, resolved: Resolved, request: Request) -> Answer:
        """Send one request, with its row in the book. Raises ProviderError.

        The row is written while other calls are in flight, so that no place stands empty meanwhile.
        """
        client = await self.client_for(resolved)
        gate = gate_for(self.project.pk, resolved.provider_name, resolved.concurrency)
        async with gate.forecourt.slot():
            request.attempt += 1
            pk = await self.ledger.start(self.new_call(resolved, request))
            is_sent = False
            try:
                async with gate.slot():
                    is_sent = True
                    answer = await self.send_booked(client, gate, resolved, request, pk)
            except BaseException:
                if not is_sent:
                    self.ledger.end(Ending(pk, CallState.FAILED, timezone.now(), error=NOT_SENT))
                raise
        self.ledger.end(
            Ending(
                pk,
                CallState.ANSWERED,
                timezone.now(),
                answer.usage["input_tokens"],
                answer.usage["output_tokens"],
                answer.cost_usd,
                cached_input_tokens=answer.usage.get("cached_input_tokens"),
            )
        )
        return answer

    async def send_booked(
        self, client: "AsyncOpenAI", gate: ProviderGate, resolved: Resolved, request: Request, pk: int
    ) -> Answer:
        """Send a request that is in the book; a failure is written there. Raises ProviderError."""
        sent = time.perf_counter()
        content = b""
        try:
            content = await self.send(client, request, resolved)
            answer = self.finish(request.read(content), resolved, sent)
        except InvalidAnswer as error:
            told = f'Provider "{resolved.provider_name}" answered for {resolved.model} with {redact(str(error), resolved.api_key)}.'
            problem = ProviderError(told, kind="invalid_answer", may_be_charged=True)
            self.ledger.end(self.ending_of_unusable(pk, content, resolved, told))
            raise problem from None
        except ProviderError as error:
            if error.kind == "rate_limited" and error.retryable:
                gate.slow_down(error.retry_after_s or 0.0)
            self.close(pk, error)
            raise
        except asyncio.CancelledError:
            told = "Stopped while it waited for the answer; it may have been charged."
            self.ledger.end(Ending(pk, CallState.UNKNOWN, timezone.now(), error=told))
            raise
        except BaseException as error:  # nobody else would close the row
            told = f"Broke off: {type(error).__name__}; it may have been charged."
            self.ledger.end(Ending(pk, CallState.UNKNOWN, timezone.now(), error=told))
            raise
        gate.speed_up()
        return answer

    def new_call(self, resolved: Resolved, request: Request) -> Call:
        return Call(
            project=self.project,
            provider=resolved.provider_name[:60],
            model=resolved.model[:200],
            purpose=request.purpose[:20],
            job=request.job[:60],
            subject=request.subject[:80],
            worker=self.worker[:120],
            attempt=request.attempt,
            started_at=timezone.now(),
        )

    def close(self, pk: int, error: ProviderError) -> None:
        state = CallState.UNKNOWN if error.may_be_charged else CallState.FAILED
        self.ledger.end(Ending(pk, state, timezone.now(), error=str(error)))

    def ending_of_unusable(self, pk: int, content: bytes, resolved: Resolved, told: str) -> Ending:
        """Return how a call ended whose answer cannot be used: with its cost where it says its tokens, for they are charged."""
        body = read_object(content)
        used = read_usage(body.get("usage"))
        if used["input_tokens"] is None and used["output_tokens"] is None:
            state = CallState.FAILED if body.get("error") else CallState.UNKNOWN
            return Ending(pk, state, timezone.now(), error=told)
        cost = sent_cost(body.get("usage"))
        if cost is None:
            cost = price_usd(resolved.model, used["input_tokens"], used["output_tokens"], used["cached_input_tokens"])
        return Ending(
            pk,
            CallState.ANSWERED,
            timezone.now(),
            used["input_tokens"],
            used["output_tokens"],
            cost,
            error=told,
            cached_input_tokens=used["cached_input_tokens"],
        )

    def finish(self, answer: Answer, resolved: Resolved, sent: float) -> Answer:
        """Add cost and duration to an answer."""
        took: Any = (time.perf_counter() - sent) * 1000
        if resolved.is_scripted:
            took = answer.raw.get("scripted_latency_ms", took)
        cost = sent_cost(answer.raw.get("usage"))
        if cost is None:
            used = answer.usage
            cost = price_usd(resolved.model, used["input_tokens"], used["output_tokens"], used["cached_input_tokens"])
            if cost is None and answer.model != resolved.model:
                cost = price_usd(answer.model, used["input_tokens"], used["output_tokens"], used["cached_input_tokens"])
        answered_by = resolved.model if resolved.asked else ""
        return replace(answer, cost_usd=cost, duration_ms=float(took), answered_by=answered_by)

    async def send(self, client: "AsyncOpenAI", request: Request, resolved: Resolved) -> bytes:
        """Send a request and return the body of its answer. Raises ProviderError.

        The body is plain JSON already: the library's `create` would look through it by the types of its parameters, which takes a third
        of the processor time of a call.
        """
        import httpx2

        assert self._openai is not None
        try:
            async with asyncio.timeout(self.timeout_s):
                response = await client.post(request.path, cast_to=httpx2.Response, body=request.body())
            content: bytes = response.content
            return content
        except (self._openai.APIError, TimeoutError, ValueError, TypeError, RecursionError) as error:
            raise self.told(error, resolved) from None

    def told(self, error: Exception, resolved: Resolved) -> ProviderError:
        """Say in plain words why there is no answer."""
        import aiohttp
        import httpx2

        openai = self._openai
        assert openai is not None
        name, model = resolved.provider_name, resolved.model
        if isinstance(error, openai.APIStatusError):
            return status_error(
                name,
                model,
                error.status_code,
                error.response.content,
                key=resolved.api_key,
                retry_after_s=retry_after(error.response.headers),
            )
        cause = connection_error(error)
        where = redact(resolved.base_url, resolved.api_key)
        if isinstance(cause, aiohttp.ConnectionTimeoutError):
            message = f'Provider "{name}" cannot be reached at {where} within {CONNECT_S:g} s. Is the address right?'
            return ProviderError(message, kind="timeout", retryable=True)
        if isinstance(cause, TimeoutError | httpx2.TimeoutException):
            message = f'Provider "{name}" did not answer for {model} within {self.timeout_s:g} s; the call may have been charged.'
            return ProviderError(message, kind="timeout", retryable=True, may_be_charged=True)
        reason = redact(first_line(deepest(cause).encode("utf-8", "replace")), resolved.api_key)
        if isinstance(
            cause,
            aiohttp.ClientConnectorError
            | aiohttp.ClientHttpProxyError
            | aiohttp.InvalidURL
            | httpx2.UnsupportedProtocol,
        ):
            message = (
                f'Provider "{name}" cannot be reached at {where}: {reason}. Is it running, and is the base URL right?'
            )
            return ProviderError(message, kind="unavailable", retryable=True)
        if isinstance(error, openai.APIConnectionError):
            message = (
                f'Provider "{name}" broke off while it answered for {model}: {reason}. The call may have been charged.'
            )
            return ProviderError(message, kind="unavailable", retryable=True, may_be_charged=True)
        message = f'The request for {model} could not be sent to provider "{name}": {reason}.'
        return ProviderError(message, kind="rejected")

    async def client_for(self, resolved: Resolved) -> "AsyncOpenAI":
        """Return the client of an endpoint; it is made once."""
        key = (resolved.provider_name, resolved.base_url, resolved.api_key)
        client = self._clients.get(key)
        if client is None:
            if self._openai is None:
                self._openai = await asyncio.to_thread(importlib.import_module, "openai")
            if resolved.transport is None and (problem := await asyncio.to_thread(problem_of_url, resolved.base_url)):
                raise ProviderError(f'Provider "{resolved.provider_name}" is not asked. {problem}', kind="rejected")
            client = self._clients.setdefault(key, self.make_client(resolved))
        return client

    def make_client(self, resolved: Resolved) -> "AsyncOpenAI":
        import httpx2

        assert self._openai is not None
        global certificates
        if certificates is None:
            certificates = httpx2.create_ssl_context()
        # Over aiohttp: its connections take a third of the processor time of httpx2's own, and no more when there are many of them.
        # No redirects: a call goes to the address that an administrator named and nowhere else, and is sent once.
        http_client = self._openai.DefaultAioHttpClient(
            transport=resolved.transport,
            verify=certificates,
            limits=httpx2.Limits(max_connections=MOST_CONNECTIONS),
            follow_redirects=False,
            trust_env=not resolved.is_scripted,  # our own server lies past any proxy
            timeout=httpx2.Timeout(self.timeout_s, connect=min(CONNECT_S, self.timeout_s)),
            event_hooks={"response": [cap_answer]},
        )
        client: AsyncOpenAI = self._openai.AsyncOpenAI(
            api_key=resolved.api_key or "none",
            base_url=resolved.base_url,
            max_retries=0,
            timeout=http_client.timeout,
            http_client=http_client,
        )
        return client

    async def check(self, resolved: Resolved, *, model: str = "") -> Connection:
        """Ask an endpoint for its models; where it keeps no list and `model` is given, ask that for one word. Raises ProviderError."""
        client = await self.client_for(resolved)
        started = time.perf_counter()
        assert self._openai is not None
        try:
            async with asyncio.timeout(min(self.timeout_s, 20)):
                response = await client.models.with_raw_response.list()
            return Connection((time.perf_counter() - started) * 1000, model_names(response.content, resolved))
        except (self._openai.APIError, TimeoutError, ValueError, TypeError, RecursionError) as error:
            problem = self.told(error, resolved)
        if problem.status not in (404, 405, 501) or not model:
            raise problem
        question = [{"role": "user", "content": "Answer with the word: ready"}]
        request = Request(model, question, {"max_tokens": 16}, None, None, "test", "", "")
        while True:
            try:
                answer = await self.attempt(replace(resolved, model=model), request)
                return Connection(answer.duration_ms or 0.0)
            except ProviderError as error:
                if not self.adapt(Learned(), request, error):
                    raise

    async def flush(self) -> None:
        """Wait until the book of calls is on disk."""
        await self.ledger.flush()

    async def settle(self) -> None:
        """Wait until the calls that have ended so far are in the book as ended."""
        await self.ledger.settle()

    async def aclose(self) -> None:
        """Write what is left to write, and close the connections."""
        await self.ledger.aclose()
        for client in self._clients.values():
            await client.close()
        self._clients.clear()


async def cap_answer(response: Any) -> None:
    """Let no answer be longer than MAX_BYTES."""
    response.stream = capped(response.stream, MAX_BYTES)


def capped(stream: Any, limit: int) -> Any:
    """Return the stream of a body that breaks off beyond `limit` bytes."""
    import httpx2

    class CappedStream(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in stream:
                size += len(chunk)
                if size > limit:
                    raise httpx2.RemoteProtocolError(f"its answer is longer than {limit:,} bytes")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return CappedStream()


def warm_up() -> None:
    """Load what the first call would otherwise wait for: about a second for the client library."""
    global certificates
    import httpx2

    importlib.import_module("openai")
    importlib.import_module("aiohttp")
    if certificates is None:
        certificates = httpx2.create_ssl_context()


def read_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; an empty one where there is none."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def model_names(content: bytes, resolved: Resolved) -> list[str]:
    """Return the names in a list of models. Raises ProviderError where the body is something else."""
    rows = read_object(content).get("data")
    if not isinstance(rows, list):
        said = redact(first_line(content), resolved.api_key)
        message = f'"{resolved.provider_name}" answers, but not as an OpenAI-compatible server does: {said}. Does the base URL end in /v1?'
        raise ProviderError(message, kind="invalid_answer")
    return sorted(str(row["id"])[:200] for row in rows if isinstance(row, dict) and row.get("id"))


def retry_after(headers: Any) -> float | None:
    """Return how many seconds a server asks to wait, from `retry-after-ms` or `Retry-After` (seconds or a date)."""
    text = headers.get("retry-after-ms")
    try:
        seconds = float(text) / 1000 if text else float(headers.get("retry-after") or "nan")
    except ValueError:
        parsed = email.utils.parsedate_tz(headers.get("retry-after") or "")
        seconds = email.utils.mktime_tz(parsed) - time.time() if parsed else float("nan")
    return max(0.0, seconds) if seconds == seconds and seconds < 86400 * 365 else None


def connection_error(error: BaseException) -> BaseException:
    """Return what aiohttp raised, where it is behind an error; else what is next behind it. httpx2's names for these say less: a
    connection that broke off is a ConnectTimeout there.
    """
    import aiohttp

    found: BaseException | None = error
    while found is not None:
        if isinstance(found, aiohttp.ClientError):
            return found
        found = found.__cause__
    return error if isinstance(error, TimeoutError) else error.__cause__ or error


def deepest(error: BaseException) -> str:
    """Return what the operating system said, where it is behind an error; else the error's own words."""
    found: BaseException | None = error
    for _ in range(10):
        if isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        if found is None:
            break
        found = found.__cause__ or found.__context__
    return str(error)


def give_up(error: ProviderError, tries: int) -> ProviderError:
    """Return the error with how often it was tried, where it was more than once."""
    if tries > 1:
        error.args = (f"{error} Tried {tries} times.",)
    return error
