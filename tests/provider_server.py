"""An OpenAI-compatible server of ours for the tests: it answers, is slow, refuses, breaks, and counts what it received.

    with ProviderServer() as server:            # a thread with a loop of its own, on a free port of loopback
        server.mode = "rate_limited"            # every call; or server.script = ["error", "echo"]: call by call, then `mode`
        client = OpenAI(base_url=server.base_url, api_key="any")
        assert server.call_count == len(server.calls)

Modes: `echo` (answers with the last user message), `slow` (echo after `slow_s`), `rate_limited` (429 with Retry-After),
`quota` (429 without credit left), `error` (500), `unavailable` (503, HTML), `not_json`, `empty`, `no_choices`, `wrong_types`,
`null_message`, `disconnect` (closes without an answer), `half` (closes in the middle), `unknown_model` (404), `bad_request` (400),
`no_schema` (400 for json_schema), `no_json` (400 for any response_format), `no_temperature` (400 where temperature is sent),
`redirect` (307). With `key` set, any other key is answered 401. `latency_s` delays every answer.
Also runs alone: `python -m tests.provider_server --port 8161 --latency 0.2`.
"""

import argparse
import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

Reply = tuple[int, dict[str, str], bytes]


class ProviderServer:
    def __init__(self, *, mode: str = "echo", latency_s: float = 0.0, key: str = "", port: int = 0) -> None:
        self.mode = mode
        self.script: list[str] = []
        self.latency_s = latency_s
        self.slow_s = 5.0
        self.retry_after = "0"
        self.key = key
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # a whole completion for a request body
        self.calls: list[dict[str, Any]] = []  # bodies of chat completions and embeddings, as received
        self.keys: list[str] = []  # the Authorization header of each
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def call_count(self) -> int:
        return len(self.calls)

    def __enter__(self) -> "ProviderServer":
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10), "the test server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def serve(self) -> None:
        """Listen until stopped."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self.connection, "127.0.0.1", self.port, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            server.close()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after another."""
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, asyncio.LimitOverrunError
        ):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ", 2)
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                reply = await self.reply(method, path.partition("?")[0], headers, body)
                if reply is None:
                    break
                status, extra, content = reply
                shown = len(content) * 2 if extra.pop("x-half", "") else len(content)
                lines = [
                    f"HTTP/1.1 {status} Reason",
                    f"content-length: {shown}",
                    *(f"{k}: {v}" for k, v in extra.items()),
                ]
                writer.write("\r\n".join([*lines, "", ""]).encode() + content)
                await writer.drain()
                if shown != len(content):
                    break
        writer.close()

    async def reply(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> Reply | None:
        """Return status, headers and body; None closes the connection without an answer."""
        sent_key = headers.get("authorization", "").removeprefix("Bearer ")
        if method == "GET" and path == "/v1/models":
            if self.key and sent_key != self.key:
                return wrong_key(sent_key)
            return as_json(200, {"object": "list", "data": [{"id": "echo", "object": "model", "created": 0}]})
        if method != "POST" or path not in ("/v1/chat/completions", "/v1/embeddings"):
            return problem(404, f"Unknown request URL: {method} {path}", "unknown_url")
        body = json.loads(raw)
        self.calls.append(body)
        self.keys.append(sent_key)
        mode = self.script.pop(0) if self.script else self.mode
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.latency_s or mode == "slow":
                await asyncio.sleep(self.slow_s if mode == "slow" else self.latency_s)
        finally:
            self.in_flight -= 1
        if self.key and sent_key != self.key:
            return wrong_key(sent_key)
        if path == "/v1/embeddings" and mode == "echo":
            return as_json(200, self.answer(body) if self.answer else embeddings(body))
        return self.reply_in_mode(mode, body)

    def reply_in_mode(self, mode: str, body: dict[str, Any]) -> Reply | None:
        if mode in ("echo", "slow"):
            return as_json(200, self.answer(body) if self.answer else completion(body))
        if mode == "rate_limited":
            status, headers, content = problem(429, "Rate limit reached for requests", "rate_limit_exceeded")
            return status, {**headers, "retry-after": self.retry_after}, content
        if mode == "quota":
            return problem(429, "You exceeded your current quota, please check your plan.", "insufficient_quota")
        if mode == "error":
            return problem(500, "The server had an error while processing your request", "server_error")
        if mode == "unavailable":
            page = b"<html><head><title>503 Service Unavailable</title></head><body>nginx</body></html>"
            return 503, {"content-type": "text/html"}, page
        if mode == "not_json":
            return 200, {"content-type": "text/html"}, b"<!doctype html><title>Welcome</title>\nIt works!"
        if mode == "empty":
            return 200, {"content-type": "application/json"}, b""
        if mode == "no_choices":
            return as_json(200, completion(body) | {"choices": []})
        if mode == "wrong_types":
            return as_json(200, {"id": 7, "choices": {"message": "hello"}, "usage": "many"})
        if mode == "null_message":
            return as_json(
                200, completion(body) | {"choices": [{"index": 0, "message": None, "finish_reason": "stop"}]}
            )
        if mode == "disconnect":
            return None
        if mode == "half":
            status, headers, content = as_json(200, completion(body))
            return status, {**headers, "x-half": "1"}, content
        if mode == "unknown_model":
            return problem(404, f"The model `{body.get('model')}` does not exist", "model_not_found")
        if mode == "bad_request":
            return problem(400, "Invalid value for 'messages'", "invalid_value", param="messages")
        if mode in ("no_schema", "no_json"):
            form = (body.get("response_format") or {}).get("type")
            refused = form == "json_schema" or (mode == "no_json" and form == "json_object")
            text = f"'response_format' of type '{form}' is not supported with this model"
            return problem(400, text, None, param="response_format") if refused else as_json(200, completion(body))
        if mode == "no_temperature":
            text = "Unsupported value: 'temperature' does not support 0 with this model."
            refusal = problem(400, text, "unsupported_value", param="temperature")
            return refusal if "temperature" in body else as_json(200, completion(body))
        if mode == "redirect":
            return 307, {"location": f"http://127.0.0.1:{self.port}/v1/chat/completions"}, b""
        raise ValueError(f"There is no mode {mode!r}.")


def wrong_key(key: str) -> Reply:
    """As OpenAI does, repeat the key that was sent."""
    return problem(401, f"Incorrect API key provided: {key}. Find yours on the website.", "invalid_api_key")


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """Return a completion whose text is the last user message."""
    texts = [message.get("content") for message in body["messages"] if message.get("role") == "user"]
    text = texts[-1] if texts and isinstance(texts[-1], str) else json.dumps(texts[-1:] or "")
    used = {
        "prompt_tokens": sum(len(str(message)) for message in body["messages"]) // 4,
        "completion_tokens": len(text),
    }
    return {
        "id": f"chatcmpl-{time.time_ns()}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": used | {"total_tokens": used["prompt_tokens"] + used["completion_tokens"]},
    }


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Return a vector for each text: how often each of the letters a to d occurs. The last text's comes first."""
    vectors = [[float(text.count(letter)) for letter in "abcd"] for text in body["input"]]
    rows = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    used = sum(len(text) for text in body["input"])
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"object": "list", "data": rows[::-1], "model": body["model"], "usage": usage}


def as_json(status: int, value: Any) -> Reply:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()


def problem(status: int, message: str, code: str | None, *, param: str | None = None) -> Reply:
    return as_json(
        status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8161)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--mode", default="echo")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(ProviderServer(mode=options.mode, latency_s=options.latency, port=options.port).serve())
