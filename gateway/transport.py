"""The scripted models without a server: an httpx2 transport that answers in this process, so that the real client is used all the same."""

import asyncio
import json
from typing import Any

import httpx2

from gateway import completions
from gateway.scripted import MODELS


class InProcessTransport(httpx2.AsyncBaseTransport):
    """Serves what `gateway.api` serves for the scripted models, without a server."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raw = await request.aread()
        try:
            return await self.respond(request.method, request.url.path, raw)
        except completions.RequestError as error:
            kind = {"message": str(error), "type": "invalid_request_error", "param": error.param, "code": error.code}
            return as_json({"error": kind}, status=error.status)

    async def respond(self, method: str, path: str, raw: bytes) -> httpx2.Response:
        if (method, path) == ("GET", "/v1/models"):
            rows = [completions.model_entry(name, "scripted") for name in MODELS]
            return as_json({"object": "list", "data": rows})
        if (method, path) != ("POST", "/v1/chat/completions"):
            raise completions.RequestError(f"Unknown request: {method} {path}.", status=404)
        body = completions.read_request(raw)
        completion = completions.complete(body)
        await asyncio.sleep(completion.delay_s)
        if not body.get("stream"):
            return as_json(completion.body)
        text = "".join(completions.stream(completion.body, include_usage=completions.wants_usage(body)))
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=text.encode())


def as_json(body: dict[str, Any], *, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, headers={"content-type": "application/json"}, content=json.dumps(body).encode())
