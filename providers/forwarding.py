"""Requests that are passed on to a provider as they are, and answers that come back as they are. Blocking; a thread a call.

One HTTP client per base URL, with a pool of connections; httpx2 is slow to import, so on first use.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from providers.addresses import problem_of_url
from providers.completions import first_line, redact
from providers.registry import Resolved

if TYPE_CHECKING:
    import httpx2

CONNECT_S = 10.0
READ_S = 600.0  # between two parts of an answer; the caller's own patience is as a rule the shorter one
POOL = 200  # connections to one provider
KEPT = 50  # of them, while they are idle
MOST_JOINED = 500  # pieces of an answer that are passed on as one
SENT = ("content-type", "accept", "user-agent", "idempotency-key", "x-client-request-id", "openai-beta")
# What belongs to one connection, to this server's answer, or to the provider's own site, is not passed back.
DROPPED = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "date", "server", "set-cookie", "alt-svc", "strict-transport-security",
        "content-security-policy", "content-security-policy-report-only", "x-frame-options", "referrer-policy", "report-to",
        "nel", "x-content-type-options", "cross-origin-opener-policy", "clear-site-data", "refresh", "link",
    )
)  # fmt: skip


class ForwardingError(Exception):
    """The provider gave no answer; the text says why, and holds no key. `status`: what the caller is told, 502 or 504.

    `may_be_charged`: the request had gone out.
    """

    def __init__(self, message: str, *, status: int, code: str, may_be_charged: bool) -> None:
        super().__init__(message)
        self.status, self.code, self.may_be_charged = status, code, may_be_charged


class Forwarded:
    """A provider's answer whose head is there and whose body is still to come. Close it in any case."""

    def __init__(self, response: "httpx2.Response", resolved: Resolved) -> None:
        self.response, self.resolved = response, resolved
        self.status = response.status_code

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers to be passed back, in order."""
        listed = {name.strip().lower() for name in self.response.headers.get("connection", "").split(",")}
        return [
            (name, value)
            for name, value in self.response.headers.multi_items()
            if name.lower() not in DROPPED | listed and not name.lower().startswith("access-control-")
        ]

    def chunks(self) -> Iterator[bytes]:
        """Give the body's bytes as they come. Raises ForwardingError where it breaks off.

        What has arrived already is given in one piece: each piece costs the caller a packet.
        """
        import httpx2

        held: list[bytes] = []
        try:
            for chunk in self.response.iter_raw():
                held.append(chunk)
                if len(held) < MOST_JOINED and self.has_next():
                    continue
                yield b"".join(held)
                held.clear()
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            if held:
                yield b"".join(held)
            raise told(error, self.resolved) from None
        if held:
            yield b"".join(held)

    def has_next(self) -> bool:
        """Say whether the next piece has arrived whole enough to be had without waiting.

        httpx2 does not tell, so this looks where its HTTP parser keeps what it has not parsed: the end of the last chunk, the size line of
        the next one, and some of its data. Where that is not found, the answer is no, and nothing is joined.
        """
        place: Any = self.response.stream
        for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state", "_receive_buffer", "_data"):
            place = getattr(place, name, None)
        if not isinstance(place, bytearray):
            return False
        end = place.find(b"\r\n", 2)
        return 0 < end < len(place) - 2

    def read(self, limit: int) -> bytes:
        """Return the body, at most `limit` bytes of it. Raises ForwardingError."""
        parts, size = [], 0
        for part in self.chunks():
            parts.append(part)
            size += len(part)
            if size >= limit:
                break
        return b"".join(parts)[:limit]

    def close(self) -> None:
        """Give the connection back to the pool; one whose answer was not read to its end is closed."""
        self.response.close()


@dataclass
class Clients:
    """The HTTP clients of this process."""

    pid: int
    by_url: dict[str, "httpx2.Client"]


lock = threading.Lock()
clients = Clients(0, {})


class ForbiddenAddress(ValueError):
    """No model server can be at the address."""


def client_for(base_url: str) -> "httpx2.Client":
    """Return the client of a base URL, shared by all threads of this process. Raises ForbiddenAddress."""
    global clients
    if clients.pid == os.getpid() and base_url in clients.by_url:
        return clients.by_url[base_url]
    problem = problem_of_url(base_url)
    if problem:
        raise ForbiddenAddress(problem)
    with lock:
        import httpx2

        if clients.pid != os.getpid():
            clients = Clients(os.getpid(), {})
        client = clients.by_url.get(base_url)
        if client is None:
            client = clients.by_url[base_url] = httpx2.Client(
                timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
                limits=httpx2.Limits(max_connections=POOL, max_keepalive_connections=KEPT),
                follow_redirects=False,
            )
    return client


def forward(resolved: Resolved, path: str, body: bytes, headers: dict[str, str]) -> Forwarded:
    """Send a request's body on, and return the answer once its head is there. Raises ForwardingError.

    Of the caller's headers (names in lower case) those of SENT and the client library's own `x-stainless-…` go along.
    """
    import httpx2

    sent = {name: value for name, value in headers.items() if name in SENT or name.startswith("x-stainless-")}
    sent |= {"content-type": "application/json", "accept-encoding": "identity"}
    if resolved.api_key:
        sent["authorization"] = f"Bearer {resolved.api_key}"
    try:
        client = client_for(resolved.base_url)
    except ForbiddenAddress as error:
        message = f'Provider "{resolved.provider_name}" is not asked. {error}'
        raise ForwardingError(message, status=502, code="provider_unavailable", may_be_charged=False) from None
    try:
        request = client.build_request("POST", resolved.base_url + path, content=body, headers=sent)
        response = client.send(request, stream=True)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise told(error, resolved) from None
    if 300 <= response.status_code < 400:
        response.close()
        raise ForwardingError(
            f'Provider "{resolved.provider_name}" sends the request elsewhere ({response.status_code}). Give the address that it '
            "redirects to as its base URL, under Settings, Model providers.",
            status=502,
            code="provider_redirects",
            may_be_charged=False,
        )
    return Forwarded(response, resolved)


def told(error: Exception, resolved: Resolved) -> ForwardingError:
    """Say in plain words why there is no answer, or no more of it."""
    import httpx2

    name, where = resolved.provider_name, redact(resolved.base_url, resolved.api_key)
    reason = redact(first_line(str(error).encode("utf-8", "replace")), resolved.api_key)
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        message = f'Provider "{name}" cannot be reached at {where} within {CONNECT_S:g} s. Is the address right?'
        return ForwardingError(message, status=504, code="provider_timeout", may_be_charged=False)
    if isinstance(error, httpx2.TimeoutException):
        message = f'Provider "{name}" sent nothing for {READ_S:g} s. The call may have been charged.'
        return ForwardingError(message, status=504, code="provider_timeout", may_be_charged=True)
    if isinstance(
        error, httpx2.ConnectError | httpx2.UnsupportedProtocol | httpx2.ProxyError | httpx2.InvalidURL | ValueError
    ):
        message = f'Provider "{name}" cannot be reached at {where}: {reason}. Is it running, and is the base URL right?'
        return ForwardingError(message, status=502, code="provider_unavailable", may_be_charged=False)
    message = f'Provider "{name}" broke off its answer: {reason}. The call may have been charged.'
    return ForwardingError(message, status=502, code="provider_broke_off", may_be_charged=True)
