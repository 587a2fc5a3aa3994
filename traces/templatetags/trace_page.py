"""Tags of the trace page: values of a span as folding JSON, text cut to a readable length, messages with their parts."""

from typing import Any

from django import template
from django.template import Context
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from pages.templatetags.pages import percent, thousands
from traces import markdown
from traces.kinds import KindLook, kind_look
from traces.pointers import as_text, join_pointer, parse_text

register = template.Library()

MAX_TEXT = 4_000  # characters of a text before "show all"
MAX_VALUE = 400  # characters of a string inside JSON
MAX_ROWS = 250  # rows of one folding tree
MAX_DEPTH = 24
MAX_INDENT = 12
WHOLE_VALUES = (
    "/input",
    "/output",
    "/tool/result",
)  # places of a message that is a span's value, with no `content` below
OPEN_ROWS = 12  # a list or object of more rows starts folded, below the first level


@register.filter
def look(kind: str) -> KindLook:
    return kind_look(kind)


@register.filter
def indent(depth: int) -> int:
    """Return how far a row is moved in; very deep ones no further, so that their names stay readable."""
    return min(depth, MAX_INDENT)


@register.filter
def share(part: float | None) -> str:
    """Show a part of the whole trace as percent; a small one is not nothing."""
    return "<1%" if part is not None and 0 < part < 0.005 else percent(part)


@register.filter(name="is")
def is_word(value: str, other: str) -> str:
    """Return true or false for an ARIA attribute."""
    return "true" if value == other else "false"


@register.filter
def role_word(message: dict[str, Any]) -> str:
    """Return who says a message, in words."""
    role = str(message.get("role") or "")
    words = {"user": "User", "assistant": "Agent", "tool": "Tool result", "system": "System prompt"}
    return words.get(role, cut(role, 40) or "Message")


@register.filter
def said_length(message: dict[str, Any]) -> str:
    """Return how long a message's text is, in words."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("content") if isinstance(part, dict) else part for part in parts]
    return f"{sum(len(text) for text in texts if isinstance(text, str)):,} characters"


@register.simple_tag
def value_base(project_slug: str, trace_id: str, span_id: str) -> str:
    """Return the address of a span's values, to which the pointer is added; empty where no span is known."""
    if not (trace_id and span_id):
        return ""
    return f"{reverse('traces:span_value', args=[project_slug, trace_id])}?{urlencode({'span': span_id})}"


@register.simple_tag
def pointer(base: str, *keys: Any) -> str:
    """Return the pointer of what lies under `base`; empty where that has none."""
    for key in keys if base else ():
        base = join_pointer(base, key)
    return base


def value_link(context: Context, at: str) -> str:
    """Return the address of the whole value at a pointer; empty where the page has none (no span of its own)."""
    base = context.get("value_url")
    return f"{base}&{urlencode({'at': at})}" if base and at else ""


def show_all(context: Context, at: str, label: str) -> SafeString | str:
    """Draw the link that replaces the nearest `.cut` by the whole value."""
    link = value_link(context, at)
    if not link:
        return format_html('<span class="sub">{}</span>', label)
    return format_html(
        '<a class="link cut__all" href="{0}" hx-get="{0}" hx-target="closest .cut" hx-swap="outerHTML">{1}</a>',
        link,
        label,
    )


# JSON ------------------------------------------------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def json_tree(context: Context, value: Any, at: str = "") -> SafeString:
    """Draw a value as a folding tree. `at`: its pointer in the span's record, for what is cut."""
    value = parse_text(value)
    if not isinstance(value, dict | list):
        return format_html('<div class="json">{}</div>', json_leaf(context, value, at))
    budget = [MAX_ROWS]
    return format_html('<div class="json code code--wrap">{}</div>', json_rows(context, value, at, 0, budget))


def json_rows(context: Context, value: Any, at: str, depth: int, budget: list[int]) -> SafeString:
    """Draw the rows of an object or list; `budget` is what is left of MAX_ROWS."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    if not items:
        return format_html('<div class="json__row muted">{}</div>', "{ }" if isinstance(value, dict) else "[ ]")
    rows: list[SafeString] = []
    for number, (key, item) in enumerate(items):
        if budget[0] <= 0:
            rest = show_all(context, at, f"{len(items) - number:,} more: show all as text")
            rows.append(format_html('<div class="json__row cut">{}</div>', rest))
            break
        budget[0] -= 1
        place = join_pointer(at, key) if at else ""
        name = key if isinstance(value, dict) else number
        if isinstance(item, dict | list) and item:
            count = f"{{{len(item):,}}}" if isinstance(item, dict) else f"[{len(item):,}]"
            inner = (
                json_rows(context, item, place, depth + 1, budget)
                if depth < MAX_DEPTH
                else format_html(
                    '<div class="json__row cut">{}</div>', show_all(context, place, "Deeper: show as text")
                )
            )
            opened = " open" if depth == 0 and len(item) <= OPEN_ROWS and budget[0] > 0 else ""
            rows.append(
                format_html(
                    '<details class="json__node"{}><summary><span class="k">{}</span> <span class="c">{}</span></summary>'
                    '<div class="json__in">{}</div></details>',
                    opened, cut(str(name), 120), count, inner,
                )
            )  # fmt: skip
        else:
            leaf = json_leaf(context, item, place)
            rows.append(
                format_html('<div class="json__row"><span class="k">{}</span>: {}</div>', cut(str(name), 120), leaf)
            )
    return format_html_join("", "{}", ((row,) for row in rows))


def json_leaf(context: Context, value: Any, at: str) -> SafeString:
    """Draw a value that holds no others."""
    if isinstance(value, str):
        if len(value) > MAX_VALUE:
            more = show_all(context, at, f"Show all {len(value):,} characters")
            return format_html(
                '<span class="cut"><span class="s" dir="auto">{}…</span> {}</span>', value[:MAX_VALUE], more
            )
        return (
            format_html('<span class="s" dir="auto">{}</span>', value)
            if value
            else format_html('<span class="c">{}</span>', "empty")
        )
    if isinstance(value, bool) or value is None:
        return format_html('<span class="n">{}</span>', {True: "true", False: "false", None: "null"}[value])
    if isinstance(value, int | float):
        return format_html('<span class="n">{}</span>', value)
    return format_html(
        '<span class="c">{}</span>',
        "{ }" if isinstance(value, dict) else "[ ]" if isinstance(value, list) else str(value),
    )


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


@register.simple_tag(takes_context=True)
def json_value(context: Context, value: Any, at: str = "") -> SafeString:
    """Draw a value as a tree where it holds others, else as a leaf."""
    value = parse_text(value)
    return json_tree(context, value, at) if isinstance(value, dict | list) and value else json_leaf(context, value, at)


@register.simple_tag(takes_context=True)
def fields(context: Context, value: Any, at: str = "") -> SafeString:
    """Draw an object as keys and values, which people read without knowing JSON; other values as text or tree."""
    value = parse_text(value)
    if isinstance(value, dict) and value and len(value) <= 60:
        places = ((cut(str(key), 120), item, join_pointer(at, key) if at else "") for key, item in value.items())
        pairs = ((key, json_value(context, item, place)) for key, item, place in places)
        return format_html('<dl class="kv kv--values">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", pairs))
    if isinstance(value, dict | list):
        return json_tree(context, value, at)
    return long_text(context, value if isinstance(value, str) else as_text(value), at)


@register.simple_tag(takes_context=True)
def raw_json(context: Context, value: Any, at: str = "") -> SafeString:
    """Draw a value as JSON text, cut to a readable length."""
    text = as_text(value)
    more = show_all(context, at, f"Show all {len(text):,} characters") if len(text) > MAX_TEXT else ""
    return format_html('<div class="cut"><pre class="code code--block">{}</pre>{}</div>', cut(text, MAX_TEXT), more)


@register.simple_tag(takes_context=True)
def long_text(context: Context, text: str, at: str = "") -> SafeString:
    """Draw text as it is, cut to a readable length."""
    more = show_all(context, at, f"Show all {len(text):,} characters") if len(text) > MAX_TEXT else ""
    return format_html('<div class="cut"><div class="prewrap" dir="auto">{}</div>{}</div>', cut(text, MAX_TEXT), more)


@register.simple_tag(takes_context=True)
def long_code(context: Context, text: str, at: str = "") -> SafeString:
    """Draw text that is no prose, such as a stack trace, cut to a readable length."""
    more = show_all(context, at, f"Show all {len(text):,} characters") if len(text) > MAX_TEXT else ""
    return format_html('<div class="cut"><pre class="code code--trace">{}</pre>{}</div>', cut(text, MAX_TEXT), more)


@register.filter
def arguments_line(value: Any) -> str:
    """Return a tool's arguments in one short line: `order_id: "FH-20931", limit: 20`."""
    value = parse_text(value)
    if isinstance(value, dict):
        parts = []
        for key, item in list(value.items())[:4]:
            parts.append(
                f"{cut(str(key), 40)}: {cut(as_text(item) if not isinstance(item, str) else f'“{cut(item, 60)}”', 62)}"
            )
        return cut(", ".join(parts), 160).replace("\n", " ")
    return "" if value is None else cut(as_text(value), 160).replace("\n", " ")


# Messages --------------------------------------------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def message_content(context: Context, message: dict[str, Any], at: str = "") -> SafeString | str:
    """Draw what a message says: text as Markdown, reasoning folded, everything else by its name."""
    content = message.get("content")
    place = at if at in WHOLE_VALUES else join_pointer(at, "content") if at else ""
    if content is None or content == "" or content == []:
        return ""
    if isinstance(content, str):
        return text_block(context, content, place)
    if not isinstance(content, list):
        return json_tree(context, content, place)
    blocks = (
        (part_block(context, part, join_pointer(place, number) if place else ""),)
        for number, part in enumerate(content[:100])
    )
    rest = len(content) - 100
    more = (
        format_html(
            '<p class="cut">{}</p>', show_all(context, place, f"{thousands(rest)} more parts: show all as text")
        )
        if rest > 0
        else ""
    )
    return format_html("{}{}", format_html_join("", "{}", blocks), more)


def text_block(context: Context, text: str, at: str) -> SafeString:
    """Draw one text as Markdown; a long one is cut."""
    if isinstance(found := parse_text(text), dict | list) and found:
        return json_tree(context, found, at)
    more = show_all(context, at, f"Show all {len(text):,} characters") if len(text) > MAX_TEXT else ""
    return format_html(
        '<div class="cut"><div class="md" dir="auto">{}</div>{}</div>',
        markdown.render_markdown(cut(text, MAX_TEXT)),
        more,
    )


def part_block(context: Context, part: Any, at: str) -> SafeString:
    """Draw one part of a message."""
    if not isinstance(part, dict):
        return text_block(context, as_text(part), at)
    kind = str(part.get("type") or "")
    content = part.get("content")
    if kind == "text" and isinstance(content, str):
        return text_block(context, content, join_pointer(at, "content") if at else "")
    if kind in ("reasoning", "thinking") and isinstance(content, str):
        return format_html(
            '<details class="fold"><summary>Reasoning <span class="sub">{} characters</span></summary>{}</details>',
            thousands(len(content)), text_block(context, content, join_pointer(at, "content") if at else ""),
        )  # fmt: skip
    if kind == "refusal":
        said = text_block(context, as_text(content or part.get("refusal")), at)
        return format_html('<p><span class="chip chip--warn">Refusal</span></p>{}', said)
    name, facts = part_name(part)
    return format_html('<details class="fold"><summary><span class="chip">{}</span> <span class="sub">{}</span></summary>{}</details>',
                       name, facts, json_tree(context, part, at))  # fmt: skip


def part_name(part: dict[str, Any]) -> tuple[str, str]:
    """Return what a part that is not text is, and a few facts: ("Image", "image/png, about 12 KB")."""
    kind = str(part.get("type") or "unknown")
    modality = str(part.get("modality") or ("image" if "image" in kind else "audio" if "audio" in kind else ""))
    words = {"file": "File", "blob": "Attachment", "uri": "Attachment"}
    label = cut(modality, 40).capitalize() if modality else words.get(kind, f"Part of type {cut(kind, 40)}")
    facts = [
        str(part[key])[:80] for key in ("mime_type", "media_type", "file_name", "filename", "file_id") if part.get(key)
    ]
    uri = part.get("uri") or part.get("url")
    if isinstance(uri, str):
        facts.append(cut(uri, 80))
    data = part.get("content") or part.get("data")
    if isinstance(data, str) and kind != "uri":
        facts.append(f"about {max(1, len(data) * 3 // 4096):,} KB")
    return label, ", ".join(facts)
