"""A small fake of the Evals API on loopback, read-only: lists with paging, items, files, rate limits; it counts every request.

with EvalsSource(evals=2, runs=2, items=250) as source:
    source.script = ["429", "500"]       # what the next requests get before the real answer
    client = OpenAI(base_url=source.base_url, api_key=source.key)
    assert source.requests == [...]      # (path, query) of all that were answered with data
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

START = 1_760_000_000
KEY = "sk-the-users-own-key-0123456789"


def make_eval(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "object": "eval",
        "id": f"eval_{number:032x}",
        "created_at": START + number,
        "name": f"Tickets {number}",
        "metadata": {"team": "support"},
        "data_source_config": {
            "type": "custom",
            "schema": {
                "type": "object",
                "properties": {
                    "item": {
                        "type": "object",
                        "properties": {"input": {"type": "string"}, "label": {"type": "string"}},
                    },
                    "sample": {"type": "object", "properties": {}},
                },
                "required": ["item", "sample"],
            },
        },
        "testing_criteria": [
            {
                "id": f"Match-{number:08d}-0000-4000-8000-000000000000",
                "type": "string_check",
                "name": "Match",
                "input": "{{sample.output_text}}",
                "reference": "{{item.label}}",
                "operation": "eq",
            },
            {
                "id": f"Odd one-{number:08d}-0000-4000-8000-000000000000",
                "type": "endpoint",
                "name": "Odd one",
                "url": "https://graders.example/score",
            },
        ],
        **fields,
    }


def make_run(evaluation: dict[str, Any], number: int, items: int, **fields: Any) -> dict[str, Any]:
    passed = sum(is_right(place) for place in range(items))
    return {
        "object": "eval.run",
        "id": f"evalrun_{evaluation['id'][-4:]}{number:028x}",
        "eval_id": evaluation["id"],
        "created_at": START + 1000 + number,
        "name": f"Run {number}",
        "metadata": {"commit": f"c{number}"},
        "status": "completed",
        "model": "gpt-4o-2024-05-13",
        "report_url": "https://platform.example/evaluations/1",
        "data_source": {
            "type": "completions",
            "model": "gpt-4o-2024-05-13",
            "input_messages": {
                "type": "template",
                "template": [
                    {
                        "type": "message",
                        "role": "developer",
                        "content": {"type": "input_text", "text": "Name the queue."},
                    },
                    {"type": "message", "role": "user", "content": {"type": "input_text", "text": "{{item.input}}"}},
                ],
            },
            "source": {"type": "file_id", "id": "file-tickets"},
            "sampling_params": {"temperature": 0.2, "max_completions_tokens": 50},
        },
        "result_counts": {"total": items, "passed": passed, "failed": items - passed, "errored": 0},
        "per_model_usage": [
            {
                "model_name": "gpt-4o-2024-05-13",
                "invocation_count": items,
                "prompt_tokens": 12 * items,
                "completion_tokens": 2 * items,
                "total_tokens": 14 * items,
                "cached_tokens": 0,
            }
        ],
        "per_testing_criteria_results": [
            {"testing_criteria": evaluation["testing_criteria"][0]["id"], "passed": passed, "failed": items - passed}
        ],
        "error": None,
        **fields,
    }


def is_right(place: int) -> bool:
    return place % 4 != 0


def make_item(evaluation: dict[str, Any], run: dict[str, Any], place: int, **fields: Any) -> dict[str, Any]:
    said, right = ("billing" if is_right(place) else "sales"), is_right(place)
    results = [
        {
            "name": criterion["id"],
            "type": criterion["type"],
            "passed": right,
            "score": 1.0 if right else 0.0,
            "sample": None,
        }
        for criterion in evaluation["testing_criteria"]
    ]
    blank = {"tool_calls": None, "tool_call_id": None, "function_call": None}
    return {
        "object": "eval.run.output_item",
        "id": f"outputitem_{run['id'][8:12]}{run['id'][-4:]}{place:024x}",
        "created_at": run["created_at"] + place // 7,
        "run_id": run["id"],
        "eval_id": evaluation["id"],
        "status": "pass" if right else "fail",
        "datasource_item_id": place,
        "datasource_item": {"input": f"Ticket {place}: I was charged twice.", "label": "billing"},
        "results": results,
        "sample": {
            "input": [
                {"role": "developer", "content": "Name the queue.", **blank},
                {"role": "user", "content": f"Ticket {place}: I was charged twice.", **blank},
            ],
            "output": [{"role": "assistant", "content": said, **blank}],
            "finish_reason": "stop",
            "model": "gpt-4o-2024-05-13",
            "usage": {"total_tokens": 14, "prompt_tokens": 12, "completion_tokens": 2, "cached_tokens": 0},
            "error": None,
            "temperature": 0.2,
            "max_completion_tokens": 50,
            "top_p": 1.0,
            "seed": 42,
        },
        **fields,
    }


class EvalsSource:
    def __init__(self, *, evals: int = 2, runs: int = 2, items: int = 5) -> None:
        self.key = KEY
        self.evals = [make_eval(number) for number in range(1, evals + 1)]
        self.runs = {one["id"]: [make_run(one, number, items) for number in range(1, runs + 1)] for one in self.evals}
        self.items = {
            run["id"]: [make_item(one, run, place) for place in range(items)]
            for one in self.evals
            for run in self.runs[one["id"]]
        }
        content = b'{"item": {"input": "Ticket 0", "label": "billing"}}\n'
        self.files = {"file-tickets": (self.describe("file-tickets", content), content)}
        self.script: list[str] = []
        self.broken: dict[str, str] = {}  # path -> what it is answered with, always
        self.retry_after = "0"
        self.requests: list[tuple[str, str]] = []
        self.refused = 0
        self.die_after: int | None = (
            None  # requests; then the connection is closed without an answer, as if it were gone
        )
        self.lock = threading.Lock()
        self.server: ThreadingHTTPServer | None = None

    @staticmethod
    def describe(file_id: str, content: bytes) -> dict[str, Any]:
        return {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": START,
            "filename": "tickets.jsonl",
            "purpose": "evals",
            "status": "processed",
            "status_details": None,
            "expires_at": None,
        }

    @property
    def base_url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> "EvalsSource":
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                with source.lock:
                    reply = source.reply(self.headers.get("Authorization", ""), unquote(parts.path), parts.query)
                if reply is None:
                    self.close_connection = True
                    return
                status, headers, body = reply
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()

    def reply(self, sent_key: str, path: str, query: str) -> tuple[int, dict[str, str], bytes] | None:
        if sent_key != f"Bearer {self.key}":
            return refusal(401, f"Incorrect API key provided: {sent_key.removeprefix('Bearer ')}.")
        if self.die_after is not None and len(self.requests) >= self.die_after:
            return None
        word = self.broken.get(path) or (self.script.pop(0) if self.script else "")
        if word:
            self.refused += 1
            headers = {"retry-after": self.retry_after} if word == "429" else {}
            status, _, body = refusal(int(word), f"Told to answer {word}, whatever the key {self.key}")
            return status, headers, body
        self.requests.append((path, query))
        return self.data(path.removeprefix("/v1/").split("/"), dict(parse_qsl(query)))

    def data(self, steps: list[str], query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        match steps:
            case ["evals"]:
                return page(self.evals, query)
            case ["evals", eval_id, "runs"] if eval_id in self.runs:
                return page(self.runs[eval_id], query)
            case ["evals", eval_id, "runs", run_id] if run_id in self.items:
                return answer(next(run for run in self.runs[eval_id] if run["id"] == run_id))
            case ["evals", _, "runs", run_id, "output_items"] if run_id in self.items:
                return page(self.items[run_id], query)
            case ["files"]:
                rows = [row for row, _ in self.files.values() if row["purpose"] == query.get("purpose", row["purpose"])]
                return page(rows, query)
            case ["files", file_id] if file_id in self.files:
                return answer(self.files[file_id][0])
            case ["files", file_id, "content"] if file_id in self.files:
                return 200, {"content-type": "application/octet-stream"}, self.files[file_id][1]
        return refusal(404, f"There is no {'/'.join(steps)}.")


def page(rows: list[dict[str, Any]], query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    limit, after = int(query.get("limit", "20")), query.get("after")
    if limit > 100:
        return refusal(400, "limit is at most 100")
    ids = [row["id"] for row in rows]
    if after and after not in ids:
        return refusal(400, f"There is no {after}.")
    begin = ids.index(after) + 1 if after else 0
    data = rows[begin : begin + limit]
    return answer(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": begin + limit < len(rows),
        }
    )


def answer(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps(value).encode()


def refusal(status: int, message: str) -> tuple[int, dict[str, str], bytes]:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return status, {}, json.dumps({"error": error}).encode()
