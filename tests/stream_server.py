"""A provider for tests of the proxy: both APIs, whole or streamed, with every byte known to the test. Threads, standard library.

    with StreamServer() as server:
        server.requests[-1].headers, server.requests[-1].body     # what it received
        server.sent[-1]                                            # the bytes of the answer's body

The last user text is answered. What else happens is said by the model's name: `slow` waits 30 ms between events, `half` breaks off in the
middle, `refuses` (429 with headers), `leaks-key` (401 that repeats the key), `html` (200), `no-responses` (404 for /responses),
`redirects`, `calls-tool`, `error-in-stream`, `gzip`. Also runs alone: `python -m tests.stream_server --port 8163`.
"""

import argparse
import gzip
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


@dataclass
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


class StreamServer:
    def __init__(self, port: int = 0, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s
        self.requests: list[Received] = []
        self.sent: list[bytes] = []
        owner = self

        class Handler(Answering):
            server_of_ours = owner

        self.server = QuietServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.server.request_queue_size = 128

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> "StreamServer":
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that leaves is what some tests are about."""


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    server_of_ours: StreamServer

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server_of_ours.requests.append(Received(self.path, headers, raw))
        body = json.loads(raw)
        time.sleep(self.server_of_ours.latency_s)
        model, is_response = body["model"], self.path.endswith("/responses")
        text = last_text(body)
        if model == "refuses":
            more = {"retry-after": "7", "x-ratelimit-remaining-requests": "0", "set-cookie": "a=b"}
            self.whole(429, problem("Slow down.", "rate_limit_exceeded"), more)
        elif model == "leaks-key":
            self.whole(401, problem(f"Incorrect API key provided: {headers.get('authorization')}", "invalid_api_key"))
        elif model == "html":
            self.whole(200, b"<html><title>Welcome</title></html>", {"content-type": "text/html"})
        elif model == "no-responses" and is_response:
            self.whole(404, b'{"detail":"Not Found"}')
        elif model == "unknown" and is_response:
            self.whole(404, problem("The model `unknown` does not exist", "model_not_found"))
        elif model == "redirects":
            self.whole(307, b"", {"location": "http://example.invalid/"})
        elif body.get("stream"):
            self.streamed(body, list(response_events(body, text) if is_response else chat_events(body, text)))
        else:
            answer = response_object(body, text) if is_response else completion(body, text)
            content = json.dumps(answer, indent=1).encode()  # its own way of writing: the bytes are held to be the same
            if model == "gzip":
                self.whole(200, gzip.compress(content), {"content-encoding": "gzip"})
            else:
                self.whole(200, content, half=model == "half")

    def whole(self, status: int, content: bytes, more: dict[str, str] | None = None, *, half: bool = False) -> None:
        self.send_response(status)
        headers = {"content-type": "application/json", "x-request-id": "req_123", **(more or {})}
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.server_of_ours.sent.append(content)
        self.wfile.write(content[: len(content) // 2] if half else content)
        self.wfile.flush()
        self.close_connection = half

    def streamed(self, body: dict[str, Any], events: list[bytes]) -> None:
        self.send_response(200)
        for name, value in {"content-type": "text/event-stream; charset=utf-8", "x-request-id": "req_456"}.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.server_of_ours.sent.append(b"")
        place = len(self.server_of_ours.sent) - 1
        for number, event in enumerate(events):
            if body["model"] == "half" and number == len(events) // 2:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.server_of_ours.sent[place] += event
            if body["model"] == "slow":
                self.wfile.flush()
                time.sleep(0.03)
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()


def last_text(body: dict[str, Any]) -> str:
    given = body.get("messages") or body.get("input")
    if isinstance(given, list):
        given = next((item.get("content") for item in reversed(given) if item.get("role") == "user"), "")
    return given if isinstance(given, str) else json.dumps(given)


def problem(message: str, code: str) -> bytes:
    return json.dumps(
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    ).encode()


TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_order", "arguments": '{"order_id": "A-1"}'}}


def completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if body["model"] == "calls-tool":
        message = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    reason = "tool_calls" if body["model"] == "calls-tool" else "stop"
    return {
        "id": f"chatcmpl-{time.time_ns()}",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"] + "-2026",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": USAGE,
    }


def chat_events(body: dict[str, Any], text: str) -> Any:
    head = {"id": "chatcmpl-s", "object": "chat.completion.chunk", "created": 1, "model": body["model"] + "-2026"}

    def event(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        return f"data: {json.dumps({**head, 'choices': choices})}\n\n".encode()

    yield event({"role": "assistant", "content": ""})
    if body["model"] == "calls-tool":
        function = {"name": "get_order", "arguments": ""}
        yield event({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})
        for piece in ('{"order_id"', ': "A-1"}'):
            yield event({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    else:
        for start in range(0, len(text), 5):
            yield event({"content": text[start : start + 5]})
    if body["model"] == "error-in-stream":
        yield b'data: {"error": {"message": "The server is overloaded", "code": "overloaded"}}\n\n'
        return
    yield event({}, "tool_calls" if body["model"] == "calls-tool" else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': USAGE})}\n\n".encode()
    yield b"data: [DONE]\n\n"


def response_object(body: dict[str, Any], text: str) -> dict[str, Any]:
    number = time.time_ns()
    content = [{"type": "output_text", "text": text, "annotations": []}]
    output: list[dict[str, Any]] = [
        {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Thinking it over."}]},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content},
    ]
    if body["model"] == "calls-tool":
        function = TOOL_CALL["function"]
        output = [{"id": "fc_1", "type": "function_call", "call_id": "call_1", **function}]  # type: ignore[dict-item]
    return {
        "id": f"resp_{number:032x}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": body["model"] + "-2026",
        "output": output,
        "usage": {
            "input_tokens": 12,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 17,
        },
    }


def response_events(body: dict[str, Any], text: str) -> Any:
    whole = response_object(body, text)

    def event(kind: str, **values: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **values})}\n\n".encode()

    yield event("response.created", response={**whole, "status": "in_progress", "output": [], "usage": None})
    for index, item in enumerate(whole["output"]):
        yield event("response.output_item.added", output_index=index, item={**item, "content": []})
        if item["type"] == "message":
            for start in range(0, len(text), 5):
                yield event("response.output_text.delta", output_index=index, delta=text[start : start + 5])
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=whole)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8163)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    server = StreamServer(options.port, options.latency)
    try:
        server.server.serve_forever()
    except KeyboardInterrupt:
        server.server.server_close()
