"""Runs read from a terminal: the same JSON from a server or from this machine's database, and how it is written out.

Text of a trace is hostile: what could steer a terminal is taken out of everything that is printed.
"""

import math
import re
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import quote

import httpx2
import orjson

from traces.pointers import as_text
from traces.tree import LightSpan, Tree, build_tree, row_title

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
PAGE = 500
TIMEOUT_S = 60
MARKS = {"ok": " ", "error": "!", "unset": "·"}


class ReadingError(Exception):
    """What was asked for cannot be had; the text says why and what to do."""


class Source(Protocol):
    """Where runs are read: a server, or the database here. Both give what the read API gives."""

    def traces(self, query: str, *, limit: int, sort: str) -> Iterator[dict[str, Any]]: ...

    def trace(self, trace_id: str) -> dict[str, Any]: ...


class ServerSource:
    """A Markbook server, by its read API."""

    def __init__(self, server: str, *, key: str = "", project: str = "") -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if project:
            headers["X-Markbook-Project"] = project
        self.client = httpx2.Client(base_url=server.rstrip("/"), headers=headers, timeout=TIMEOUT_S)

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        try:
            answer = self.client.get(path, params=params)
        except httpx2.HTTPError as error:
            raise ReadingError(f"{self.client.base_url} cannot be reached: {error}. Is it running there?") from None
        try:
            found = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            raise ReadingError(
                f"{answer.url} answered {answer.status_code} and no JSON. Is it a Markbook server?"
            ) from None
        if answer.status_code != 200:
            problem = found.get("error") if isinstance(found, dict) else None
            message = problem.get("message") if isinstance(problem, dict) else None
            hint = " Give a key with --key-file or MARKBOOK_API_KEY." if answer.status_code == 401 else ""
            raise ReadingError(f"{message or f'The server answered {answer.status_code}.'}{hint}")
        return dict(found)

    def traces(self, query: str, *, limit: int, sort: str) -> Iterator[dict[str, Any]]:
        cursor = ""
        while limit > 0:
            params = {"q": query, "limit": min(limit, PAGE), "sort": sort, **({"cursor": cursor} if cursor else {})}
            page = self.get("/api/traces", **params)
            yield from page["data"]
            limit -= len(page["data"])
            cursor = page.get("next_cursor") or ""
            if not cursor:
                return

    def trace(self, trace_id: str) -> dict[str, Any]:
        return self.get(f"/api/traces/{quote(trace_id, safe='')}")


class DatabaseSource:
    """The database of this machine, for one project."""

    def __init__(self, project: str) -> None:
        from accounts.models import Project

        found = Project.objects.filter(slug=project).first()
        if found is None:
            names = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:20]) or "none yet"
            raise ReadingError(f"There is no project {project!r} here; there are: {names}. Name one with --project.")
        self.project = found

    def traces(self, query: str, *, limit: int, sort: str) -> Iterator[dict[str, Any]]:
        from traces.list_queries import CursorError, trace_page
        from traces.queries import trace_summary
        from traces.search import QueryError

        after = ""
        while limit > 0:
            try:
                page = trace_page(self.project, query, sort=sort, after=after, limit=min(limit, PAGE))
            except (QueryError, CursorError) as error:
                raise ReadingError(str(error)) from None
            for trace in page.rows:
                trace.project = self.project
                yield trace_summary(trace)
            limit -= len(page.rows)
            after = page.next_key
            if not after:
                return

    def trace(self, trace_id: str) -> dict[str, Any]:
        from traces.page_queries import find_trace
        from traces.queries import trace_document

        found = find_trace(self.project, trace_id)
        if found is None:
            raise ReadingError(f"There is no trace {trace_id[:60]!r} in the project {self.project.slug}.")
        found.project = self.project
        return dict(orjson.loads(orjson.dumps(trace_document(found), option=orjson.OPT_NON_STR_KEYS)))


# Writing ---------------------------------------------------------------------------------------------------------


def safe(value: Any) -> str:
    """Return text without what could steer a terminal or turn its writing round."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value).replace("\r\n", "\n"))


def line(value: Any, size: int) -> str:
    """Return text in one line of at most `size` characters."""
    text = " ".join(safe(value).split())
    return text if len(text) <= size else text[: max(1, size - 1)] + "…"


def width() -> int:
    return max(60, shutil.get_terminal_size((120, 40)).columns)


def length(ms: float | None) -> str:
    """Return milliseconds as people read them."""
    if ms is None:
        return "–"
    if ms < 1000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.2f} s" if ms < 100_000 else f"{ms / 60_000:.1f} min"


def money(usd: float | None) -> str:
    return "–" if usd is None else f"${usd:.4f}"


def trace_lines(traces: list[dict[str, Any]]) -> Iterator[str]:
    """Give a table of summaries."""
    yield f"{'TRACE':34}{'STARTED':21}{'STATUS':8}{'TIME':>10}{'TOKENS':>9}{'COST':>10}  WHAT"
    for one in traces:
        usage = one["usage"]
        tokens = "–" if usage["total_tokens"] is None else f"{usage['total_tokens']:,}"
        what = one["input"] or one["name"]
        agent = f"{one['agent_name']}: " if one["agent_name"] else ""
        started = (one["start_time"] or one["received_at"] or "")[:19].replace("T", " ")
        left = f"{line(one['trace_id'], 33):34}{started:21}{one['status']:8}{length(one['duration_ms']):>10}{tokens:>9}"
        left += f"{money(usage['cost_usd']):>10}  "
        yield left + line(agent + what, max(20, width() - len(left)))


def document_tree(document: dict[str, Any]) -> Tree:
    """Return the tree of a trace's document."""
    spans = []
    for span in document["spans"]:
        usage = span["usage"] or {}
        spans.append(
            LightSpan(
                span["span_id"],
                span["parent_span_id"] or "",
                span["name"],
                span["display_name"] or "",
                span["kind"],
                int(span["start_ns"]) if span["start_ns"] is not None else None,
                int(span["end_ns"]) if span["end_ns"] is not None else None,
                span["position"],
                span["status"],
                (span["error"] or {}).get("message") or "",
                model=span["model"] or "",
                tool_name=(span["tool"] or {}).get("name") or "",
                input_tokens=usage.get("input_tokens"),
                output_tokens=usage.get("output_tokens"),
                cost_usd=usage.get("cost_usd"),
            )
        )
    return build_tree(spans)


def head_lines(document: dict[str, Any]) -> Iterator[str]:
    """Give the summary of a trace."""
    usage = document["usage"]
    yield f"{safe(document['name'])}  {safe(document['trace_id'])}"
    facts = [
        document["status"],
        f"{document['span_count']} spans",
        f"{document['error_count']} errors",
        length(document["duration_ms"]),
        f"{usage['total_tokens']:,} tokens" if usage["total_tokens"] is not None else "tokens unknown",
        money(usage["cost_usd"]),
        *document["models"][:3],
    ]
    yield line(", ".join(map(str, facts)), width())
    yield ""


def tree_lines(document: dict[str, Any]) -> Iterator[str]:
    """Give a row a span, indented by its depth."""
    for row in document_tree(document).rows:
        span = row.span
        took = (span.end_ns - span.start_ns) / 1e6 if span.start_ns is not None and span.end_ns is not None else None
        tokens = f"{row.tokens:,} tok" if row.tokens else ""
        left = f"{MARKS.get(span.status, '?')} {'  ' * min(row.depth, 30)}{row.kind:10} "
        right = f"  {length(took):>10} {tokens:>12}  {line(span.span_id, 16)}"
        yield (
            left
            + f"{line(row_title(row), max(10, width() - len(left) - len(right))):{max(10, width() - len(left) - len(right))}}"
            + right
        )
        if span.status == "error" and span.status_message:
            yield f"  {'  ' * min(row.depth, 30)}  {line(span.status_message, width() - 6)}"


def timeline_lines(document: dict[str, Any]) -> Iterator[str]:
    """Give a row a span with its bar on the time of the whole run."""
    tree = document_tree(document)
    if tree.start_ns is None or tree.end_ns is None:
        yield "No times were recorded; the spans stand in the order in which they were sent."
        yield from tree_lines(document)
        return
    room = max(20, width() - 50)
    total = max(1, tree.end_ns - tree.start_ns)
    for row in tree.rows:
        span = row.span
        name = line("  " * min(row.depth, 8) + row_title(row), 36)
        if span.start_ns is None:
            yield f"{name:38}"
            continue
        end = span.end_ns if span.end_ns is not None else tree.end_ns
        at = min(room - 1, int((span.start_ns - tree.start_ns) / total * room))
        size = max(1, math.ceil(max(0, end - span.start_ns) / total * room))
        bar = (" " * at + ("!" if span.status == "error" else "█") * size)[:room]
        took = length((end - span.start_ns) / 1e6) if span.end_ns is not None else "no end"
        yield f"{MARKS.get(span.status, '?')} {name:36} {bar:{room}} {took:>9}"


def conversation_lines(document: dict[str, Any]) -> Iterator[str]:
    """Give the thread as it was lived."""
    for entry in document["conversation"]:
        who = entry["role"] + (f" {entry['name']}" if entry.get("name") else "")
        agent = f" ({entry['agent_name']})" if entry.get("is_sub_agent") and entry.get("agent_name") else ""
        yield f"[{line(who + agent, 60)}]{' ERROR' if entry['is_error'] else ''}"
        content = entry["content"]
        if content not in (None, "", []):
            yield from wrapped(content)
        for call in entry["tool_calls"]:
            yield "  → " + line(f"{call['name']}({as_text(call['arguments'])})", width() - 4)
        yield ""


def io_lines(given: Any, answered: Any) -> Iterator[str]:
    """Give what went in and what came out."""
    yield "[input]"
    yield from wrapped(given)
    yield ""
    yield "[output]"
    yield from wrapped(answered)


def wrapped(value: Any) -> Iterator[str]:
    """Give a value as lines that fit the terminal."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(part, dict) and part.get("type") == "text" for part in value)
    ):
        value = "\n".join(str(part.get("content") or part.get("text") or "") for part in value)
    for one in safe("" if value is None else as_text(value)).split("\n"):
        yield from textwrap.wrap(
            one, width() - 2, initial_indent="  ", subsequent_indent="  ", replace_whitespace=False
        ) or [""]


def span_io(span: dict[str, Any]) -> tuple[Any, Any]:
    """Return what a span was given and gave back: messages, a tool's arguments and result, else its values."""
    if span["tool"]:
        return span["tool"]["arguments"], span["tool"]["result"]
    given = [plain(one) for one in span["input_messages"]] or span["input"]
    answered = [plain(one) for one in span["output_messages"]] or span["output"]
    return given, answered


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what is empty."""
    return {key: value for key, value in message.items() if value not in (None, "", []) and key != "span_id"}


def span_lines(spans: list[dict[str, Any]]) -> Iterator[str]:
    """Give a table of spans."""
    yield f"{'SPAN':20}{'KIND':11}{'STATUS':8}{'TIME':>10}{'TOKENS':>9}  NAME"
    for span in spans:
        usage = span["usage"] or {}
        tokens = "–" if usage.get("total_tokens") is None else f"{usage['total_tokens']:,}"
        name = (span["tool"] or {}).get("name") or span["display_name"] or span["name"]
        more = f" {span['model']}" if span["model"] else f" {span['error']['message']}" if span["error"] else ""
        left = f"{line(span['span_id'], 19):20}{span['kind']:11}{span['status']:8}{length(span['duration_ms']):>10}{tokens:>9}  "
        yield left + line(name + more, max(20, width() - len(left)))
