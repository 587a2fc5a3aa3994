"""The page of one trace: spans, timeline and conversation; the panel of one span; the page of a session."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from accounts.access import ProjectRequest, project_page
from accounts.models import Role
from traces import list_queries, page_queries, queries, search
from traces.conversation import conversation
from traces.kinds import KINDS, KindLook, kind_look
from traces.models import Trace
from traces.pointers import NoSuchPlace, as_text, read_place
from traces.recent import Recent
from traces.span_panel import describe_span
from traces.spans import SpanRecord
from traces.templatetags.trace_page import arguments_line
from traces.tree import (
    Row,
    Tree,
    Window,
    make_window,
    place_bar,
    row_detail,
    row_filter,
    row_title,
    select_rows,
    ticks,
    tree_columns,
    window_words,
)
from traces.turns import Turn, build_turns, call_digest, cut_blocks, cut_page, find_block

PAGE_ROWS = 500  # rows of a tree on a page without JavaScript
FIRST_ROWS = 60  # of these, the ones that are painted before the script is there
KEPT_SPANS = (
    500,
    20_000,
)  # of runs whose turns are kept for the requests that follow: smaller ones are fast, larger ones too large
KEPT_TURNS = Recent(size=3, seconds=60)
MAX_OUTLINE = 2_000  # turns in the list beside a conversation
TABS = ("io", "attributes", "raw", "scores")
VIEWS = (("spans", "Spans", "traces:trace"), ("conversation", "Conversation", "traces:trace_conversation"),
         ("timeline", "Timeline", "traces:trace_timeline"),
         ("story", "Story", "traces:trace_story"))  # fmt: skip
FILTERS = (("", "All spans"), ("errors", "Errors only"), ("suspect", "Silent failures"), ("slowest", "Slowest path"),
           ("llm", "Model calls"), ("tool", "Tool calls"), ("agent", "Agents"), ("retriever", "Retrieval"),
           ("guardrail", "Guardrails"))  # fmt: skip


@dataclass(frozen=True)
class ShownRow:
    """A row as the template draws it. `left` and `width` are percent of the window; no bar where `has_bar` is false."""

    row: Row
    look: KindLook
    title: str
    detail: str
    has_bar: bool = False
    left: float = 0.0
    width: float = 0.0
    cut: str = ""
    duration_ms: float | None = None
    share: float | None = None
    is_selected: bool = False


def get_trace(request: ProjectRequest, trace_id: str) -> Trace:
    """Return the trace, or raise Http404 in words."""
    trace = page_queries.find_trace(request.project, trace_id)
    if trace is None:
        raise Http404(f"There is no trace {trace_id[:40]!r} in this project. It may not have arrived yet.")
    return trace


def read_seconds(text: str | None) -> float | None:
    """Return a number of seconds from the address, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# Spans and timeline ----------------------------------------------------------------------------------------------


@require_GET
@project_page()
def trace(request: ProjectRequest, trace_id: str, view: str = "spans") -> HttpResponseBase:
    """Show a trace as tree (`view` spans) or timeline; for htmx, the panel of `?span=` alone."""
    found = get_trace(request, trace_id)
    if request.wants_partial:
        return render(request, "traces/_span_panel.html", panel_context(request, found, request.GET.get("span", "")))
    tree = page_queries.trace_tree(found)
    chosen = request.GET.get("span", "") or (first_span(tree) if view == "spans" else "")
    window = make_window(
        tree.duration_ms / 1000, read_seconds(request.GET.get("from")), read_seconds(request.GET.get("to"))
    )
    marks = ticks(window)
    context = {
        **head_context(request, found, view),
        **panel_context(request, found, chosen),
        **tree_context(request, tree, window, chosen),
        "tree": tree,
        "window": window,
        "ticks": marks,
        "grid": marks[1][0] - marks[0][0] if len(marks) > 1 else 100,
        "grid_offset": marks[0][0] if marks else 0,
        "window_words": window_words(window),
        "columns": data_script("span-columns", columns_of(tree)),
        "calls_url": reverse("traces:repeated_calls", args=[request.project.slug, found.trace_id]),
        "filters": FILTERS,
        "legend": [KINDS[kind] for kind in ("llm", "tool", "retriever", "guardrail")],
    }
    return render(request, "traces/trace.html", context)


def first_span(tree: Tree) -> str:
    """Return the span that is shown before one is chosen: the first that has been received."""
    return next((row.span.span_id for row in tree.rows if row.kind != "missing"), "")


def tree_context(request: ProjectRequest, tree: Tree, window: Window, chosen: str) -> dict[str, Any]:
    """Return the rows of one page of the tree: those asked for, else those around the chosen span."""
    only, find = request.GET.get("only", ""), request.GET.get("find", "")[:200]
    wanted = row_filter(only, find)
    numbers, hits = (list(range(len(tree.rows))), len(tree.rows)) if wanted is None else select_rows(tree.rows, wanted)
    first = int(text) if (text := request.GET.get("row", "")).isdecimal() and len(text) < 8 else None
    if first is None:
        place = (
            next((place for place, number in enumerate(numbers) if tree.rows[number].span.span_id == chosen), 0)
            if chosen
            else 0
        )
        first = place - place % PAGE_ROWS
    page = numbers[first : first + PAGE_ROWS]
    params = {key: value for key, value in request.GET.items() if key in ("only", "find", "from", "to")}
    rows = [show_row(tree, tree.rows[number], window, chosen) for number in page]
    place = next((place for place, row in enumerate(rows) if row.is_selected), 0)
    split = 0 if place > FIRST_ROWS - 10 else FIRST_ROWS
    return {
        "first_rows": rows[:split] if split else rows,
        "other_rows": rows[split:] if split else [],
        "row_first": first + 1 if page else 0,
        "row_last": first + len(page),
        "row_count": len(numbers),
        "hit_count": hits,
        "row_query": f"&{kept}"
        if (kept := urlencode({key: value for key, value in (("only", only), ("find", find)) if value}))
        else "",
        "only": only,
        "find": find,
        "is_filtered": wanted is not None,
        "earlier_url": "?" + urlencode({**params, "row": max(0, first - PAGE_ROWS)}) if first > 0 else "",
        "later_url": "?" + urlencode({**params, "row": first + PAGE_ROWS}) if first + PAGE_ROWS < len(numbers) else "",
    }


def show_row(tree: Tree, row: Row, window: Window, chosen: str) -> ShownRow:
    """Return a row as it is drawn in a window."""
    span = row.span
    start, length = row_seconds(tree, row)
    bar = place_bar(start, length, window)
    return ShownRow(
        row,
        kind_look(row.kind),
        row_title(row)[:160],
        row_detail(row),
        has_bar=bar is not None,
        left=bar.left if bar else 0.0,
        width=bar.width if bar else 0.0,
        cut=f"{' bar--cutl' if bar.cut_left else ''}{' bar--cutr' if bar.cut_right else ''}" if bar else "",
        duration_ms=None if length is None else length * 1000,
        share=length * 1000 / tree.duration_ms if length is not None and tree.duration_ms else None,
        is_selected=span.span_id == chosen and row.kind != "missing",
    )


def row_seconds(tree: Tree, row: Row) -> tuple[float | None, float | None]:
    """Return a row's start, from the trace's start, and its length, in seconds; None where it is not known."""
    span = row.span
    if span.start_ns is None or tree.start_ns is None:
        return None, None
    length = None if span.end_ns is None else max(0, span.end_ns - span.start_ns) / 1e9
    return (span.start_ns - tree.start_ns) / 1e9, length


@require_GET
@project_page()
def span_rows(request: ProjectRequest, trace_id: str) -> HttpResponseBase:
    """Answer the whole tree as columns, as the page has them: see `traces.tree.tree_columns`."""
    tree = page_queries.trace_tree(get_trace(request, trace_id))
    response = HttpResponse(orjson.dumps(columns_of(tree)), content_type="application/json")
    response["Cache-Control"] = "private, no-cache"
    return response


def columns_of(tree: Tree) -> dict[str, Any]:
    """Return the columns of a tree with the looks of its kinds."""
    return {"kinds": [[kind, *look] for kind, look in KINDS.items()], **tree_columns(tree, list(KINDS))}


def data_script(name: str, value: Any) -> SafeString:
    """Return a value as a JSON script element: Django's `json_script`, fast enough for megabytes."""
    text = orjson.dumps(value).decode()
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04X}")
    return format_html(
        '<script id="{}" type="application/json">{}</script>', name, SafeString(text)
    )  # every < > & is escaped


@require_GET
@project_page()
def repeated_calls(request: ProjectRequest, trace_id: str) -> HttpResponseBase:
    """Answer what the tool calls of a trace were made with, which no light row says: `{span id: [line, number of the call]}`.

    Calls of the same tool with the same arguments have the same number.
    """
    found = get_trace(request, trace_id)
    numbers: dict[bytes, int] = {}
    body = {
        span_id: [arguments_line(arguments), numbers.setdefault(call_digest(name, arguments), len(numbers))]
        for span_id, name, arguments in page_queries.tool_calls(found)
    }
    response = HttpResponse(orjson.dumps(body), content_type="application/json")
    response["Cache-Control"] = "private, no-cache"
    return response


# One span --------------------------------------------------------------------------------------------------------


def panel_context(request: ProjectRequest, found: Trace, chosen: str) -> dict[str, Any]:
    """Return what the panel of the chosen span and `?tab=` shows; `panel` is None where none is chosen or it is not there."""
    tab = request.GET.get("tab", "io")
    tab = tab if tab in TABS else "io"
    record = get_record(found, chosen) if chosen else None
    context: dict[str, Any] = {"trace": found, "chosen": chosen, "tab": tab, "panel": None, "flags": ()}
    if record is not None:
        asked_by = page_queries.asking_record(found, record) if tab == "io" else None
        base = reverse("traces:span_value", args=[request.project.slug, found.trace_id])
        context |= {
            "panel": describe_span(record, asked_by=asked_by),
            "value_url": f"{base}?{urlencode({'span': record.span_id})}",
            "scores_url": scores_url(request, found),
            "flags": page_queries.span_flags(found).get(record.span_id, ()),
        }
    return context


def get_record(found: Trace, span_id: str) -> SpanRecord | None:
    return None if "\x00" in span_id else queries.span_record(found, span_id)


@require_GET
@project_page()
def span_value(request: ProjectRequest, trace_id: str) -> HttpResponseBase:
    """Answer one whole value of a span (`?span=`, `?at=` a JSON pointer): as plain text, for htmx as a block of it."""
    found = get_trace(request, trace_id)
    record = get_record(found, request.GET.get("span", ""))
    if record is None:
        raise Http404("There is no such span in this trace.")
    try:
        text = as_text(read_place(record, request.GET.get("at", "")))
    except NoSuchPlace as error:
        raise Http404(str(error)) from None
    if request.wants_partial:
        return HttpResponse(format_html('<div class="prewrap code value" dir="auto" tabindex="0">{}</div>', text))
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


# Conversation ----------------------------------------------------------------------------------------------------


@require_GET
@project_page()
def trace_conversation(request: ProjectRequest, trace_id: str) -> HttpResponseBase:
    """Show a trace as the thread that the customer lived; for htmx, further turns of it, or what a sub-agent did."""
    found = get_trace(request, trace_id)
    if request.wants_partial and request.GET.get("span"):
        return render(request, "traces/_span_panel.html", panel_context(request, found, request.GET.get("span", "")))
    turns, has_hidden_content = trace_turns(found, may_be_kept=request.wants_partial)
    thread = {**thread_context(request, turns), "customer": found.user_id, "agent": found.agent_name}
    if request.wants_partial:
        return render(request, "traces/_turns.html", thread)
    context = {
        **head_context(request, found, "conversation"),
        **thread,
        "scores_url": scores_url(request, found),
        "has_hidden_content": has_hidden_content,
    }
    return render(request, "traces/trace_conversation.html", context)


def trace_turns(found: Trace, *, may_be_kept: bool) -> tuple[list[Turn], bool]:
    """Return the turns of a trace, and whether some of its content was not recorded.

    A long run is read once for its page, and the parts that the reader scrolls to shortly after come from the same reading
    (`may_be_kept`), unless spans have arrived.
    """
    may_keep = KEPT_SPANS[0] <= found.span_count <= KEPT_SPANS[1]
    key = (found.pk, found.span_count, page_queries.change_count(found)) if may_keep else None
    kept = KEPT_TURNS.get(key) if key and may_be_kept else None
    if kept is not None:
        return cast("tuple[list[Turn], bool]", kept)
    records = queries.span_records(found)
    turns = build_turns(conversation(records), records)
    read = turns, any(not record.content_recorded for record in records)
    if key:
        KEPT_TURNS.put(key, read)
    return read


def thread_context(request: ProjectRequest, turns: list[Turn]) -> dict[str, Any]:
    """Return the part of a thread that is asked for, and the addresses of what is around it.

    `?at=` a turn, and `block=` in it: from there; `before=` a turn: up to there; `inside=` the path of a sub-agent: its own thread.
    """
    asked = request.GET
    block = read_number(asked.get("block"))
    if "inside" in asked:
        return sub_context(request, turns, block)
    page = cut_page(turns, asked.get("before") or asked.get("at", ""), block, is_before="before" in asked)
    earlier, later = page.earlier, page.later
    if (
        request.wants_partial
    ):  # a fragment goes on in its own direction; what is on the other side is on the page already
        earlier, later = (earlier, None) if "before" in asked else (None, later)
    return {
        "turns": page.turns,
        "turn_count": len(turns),
        "outline": turns[:MAX_OUTLINE] if len(turns) > 3 else [],
        "earlier_url": thread_url(request, before=earlier[0], block=earlier[1]) if earlier else "",
        "later_url": thread_url(request, at=later[0], block=later[1]) if later else "",
    }


def sub_context(request: ProjectRequest, turns: list[Turn], block: int) -> dict[str, Any]:
    """Return the part of a sub-agent's thread that is asked for."""
    anchor, path = request.GET.get("at", ""), request.GET["inside"]
    sub = find_block(turns, anchor, path)
    if sub is None:
        raise Http404("There is no such part of this conversation. More of the run may have arrived; open it again.")
    blocks, later = cut_blocks(sub.blocks, block)
    return {
        "turns": [Turn(0, blocks, anchor=anchor, first=block)],
        "turn_count": len(turns),
        "sub": sub,
        "earlier_url": thread_url(request, at=anchor, inside=path) if block and not request.wants_partial else "",
        "later_url": thread_url(request, at=anchor, inside=path, block=later) if later else "",
    }


def thread_url(request: ProjectRequest, **places: str | int) -> str:
    """Return the address of a place in a thread."""
    kept = {"from_run": request.GET["from_run"]} if "from_run" in request.GET else {}
    return "?" + urlencode({**{name: place for name, place in places.items() if place != 0}, **kept})


def read_number(text: str | None) -> int:
    """Return a whole number from the address; 0 where there is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 8 else 0


@require_GET
@project_page()
def session(request: ProjectRequest, session_id: str) -> HttpResponseBase:
    """Show the traces of one session in order, each with its turns, none repeated."""
    start = max(0, read_number(request.GET.get("from_run")) - 1)
    part = page_queries.session_part(request.project, session_id, start + 1)
    if not part.shown:
        raise Http404(f"There is no session {session_id[:60]!r} in this project, or it has fewer runs.")
    shown = part.shown
    turns = session_turns(part, start + 1, may_be_kept=request.wants_partial)
    thread = thread_context(request, turns)
    if request.wants_partial:
        return render(request, "traces/_turns.html", thread)
    context = {
        **thread,
        "session_id": session_id,
        "first": shown[0],
        "run_count": len(shown),
        "first_run": start + 1,
        "last_run": start + len(shown),
        "span_count": sum(found.span_count for found in shown),
        "error_count": sum(found.error_count for found in shown),
        "total_tokens": sum_known(found.total_tokens for found in shown),
        "cost_usd": sum_known(found.cost_usd for found in shown),
        "later_runs_url": f"?from_run={part.later}" if part.later else "",
        "earlier_runs_url": f"?from_run={part.earlier}" if part.earlier else "",
        "max_runs": page_queries.MAX_SESSION,
        "max_spans": page_queries.MAX_SESSION_SPANS,
        "list_url": list_url(request, "session", session_id),
        "may_delete": request.role.allows(Role.ENGINEER),
    }
    return render(request, "traces/session.html", context)


def session_turns(part: page_queries.SessionPart, number: int, *, may_be_kept: bool) -> list[Turn]:
    """Return the turns of a part of a session, whose first run has that number in it. Kept as those of a trace are."""
    key = None
    if KEPT_SPANS[0] <= part.span_count <= KEPT_SPANS[1]:
        traces = part.traces
        key = number, tuple((one.pk, one.span_count) for one in traces), page_queries.change_counts(traces)
    kept = KEPT_TURNS.get(key) if key and may_be_kept else None
    if kept is not None:
        return cast("list[Turn]", kept)
    records = page_queries.records_of(part.traces)
    messages_of, records_of = defaultdict(list), defaultdict(list)
    for message in conversation(records):
        messages_of[message["trace_id"]].append(message)
    for record in records:
        records_of[record.trace_id].append(record)
    turns: list[Turn] = []
    for place, found in enumerate(part.shown, number):
        prefix = f"run-{place}-turn"
        own = build_turns(messages_of[found.trace_id], records_of[found.trace_id], prefix=prefix)
        own = own or [Turn(0, anchor=prefix)]
        for turn in own:
            turn.run = {"trace": found, "number": place, "is_first": turn is own[0]}
        turns += own
    if key:
        KEPT_TURNS.put(key, turns)
    return turns


def sum_known(values: Any) -> Any:
    """Add what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


# The head of every view ------------------------------------------------------------------------------------------


def head_context(request: ProjectRequest, found: Trace, view: str) -> dict[str, Any]:
    """Return what the head above every view of a trace shows."""
    slug = request.project.slug
    state = list_state(request)
    chosen: dict[str, Any] = (
        {"range_name": state.get("range", ""), "sort": state.get("sort", list_queries.DEFAULT_SORT)} if state else {}
    )
    newer, older = page_queries.neighbours(found, state.get("q", ""), **chosen)
    name = next(name for key, _, name in VIEWS if key == view)
    span = request.GET.get("span", "")
    listed = {"list": urlencode(state)} if state else {}
    in_list = "?" + urlencode(listed) if listed else ""
    kept = {**({"span": span} if span else {}), **listed}
    keep = "?" + urlencode(kept) if kept else ""
    return {
        "trace": found,
        "view": view,
        "title": found.input_preview.strip(),
        "views": [(key, label, reverse(name, args=[slug, found.trace_id]) + keep) for key, label, name in VIEWS],
        "newer_url": reverse(name, args=[slug, newer]) + in_list if newer else "",
        "older_url": reverse(name, args=[slug, older]) + in_list if older else "",
        "back_url": reverse("traces:trace_list", args=[slug]) + (f"?{urlencode(state)}" if state else ""),
        "session_list_url": list_url(request, "session", found.session_id) if found.session_id else "",
        "session_url": reverse("traces:session", args=[slug, found.session_id]) if found.session_id else "",
        "scores_url": scores_url(request, found),
        "may_delete": request.role.allows(Role.ENGINEER),
    }


def list_state(request: ProjectRequest) -> dict[str, str]:
    """Return the query, range and order of the list that the reader came from: `?list=`, else the address that the browser names."""
    given = request.GET.get("list")
    if given is None:
        came_from = urlsplit(request.headers.get("Referer", "")[:4_000])
        is_list = came_from.path == reverse("traces:trace_list", args=[request.project.slug])
        given = came_from.query if is_list else ""
    state = dict(parse_qsl(given[:4_000], max_num_fields=None))
    return {key: state[key] for key in ("q", "range", "sort") if state.get(key)}


def list_url(request: ProjectRequest, key: str, value: str) -> str:
    """Return the address of the list filtered by one word."""
    query = urlencode({"q": f"{key}:{search.quote(value)}", "range": "all"})
    return f"{reverse('traces:trace_list', args=[request.project.slug])}?{query}"


def scores_url(request: ProjectRequest, found: Trace) -> str:
    """Return the address of the scores fragment, or an empty text: it belongs to a room above this one, known by name only."""
    try:
        return reverse("evals:trace_scores", args=[request.project.slug, found.trace_id])
    except NoReverseMatch:
        return ""
