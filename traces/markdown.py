"""Text of a trace as safe Markdown.

Trace content is hostile. markdown-it runs with HTML disabled, images become their names (nothing is loaded from another
host), and nh3 cleans what comes out against a short list of tags.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape

import nh3
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

MAX_MARKDOWN = 12_000  # characters; longer text is shown as it is, since people do not write Markdown of that length
SPARE, GROWTH = (
    20_000,
    4,
)  # HTML may be SPARE + GROWTH times as long as its text: tables and references can make it a thousand times
MAX_SMALL = 4_000  # characters of a text whose HTML is kept in memory
TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
MARKED = re.compile(r"[*_`#<>|\[\]~\\&]|^\s*(?:[-+=]|\d+[.)])\s|^(?: {4}|\t)|^\s*(?:-{3,}|={3,})\s*$", re.MULTILINE)


class PlainRenderer(RendererHTML):
    """Writes images as their names."""

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        source = str(token.attrGet("src") or "")
        name = token.content or source.split(",", 1)[0][:80] or "without a name"
        return f"<em>[image: {escape(name)}]</em>"


def make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}, renderer_cls=PlainRenderer)
    parser.enable(["table", "strikethrough"])
    return parser


PARSER = make_parser()


def render_markdown(text: str) -> SafeString:
    """Return text as HTML that is safe to show. Plain text becomes paragraphs; very long text is not read as Markdown."""
    if len(text) > MAX_MARKDOWN:
        return format_html_join("", '<p class="prewrap">{}</p>', [(text,)])
    if not MARKED.search(text):
        return format_html_join(
            "", '<p class="prewrap">{}</p>', ((part,) for part in re.split(r"\n\s*\n", text.strip()) if part)
        )
    return render_small(text) if len(text) <= MAX_SMALL else render_cleaned(text)


@lru_cache(maxsize=2048)
def render_small(text: str) -> SafeString:
    """As `render_cleaned`; a thread is looked at more than once."""
    return render_cleaned(text)


def render_cleaned(text: str) -> SafeString:
    """Return text read as Markdown, cleaned; as it was written, with a note, where Markdown would swell it or lose some of it."""
    tokens = PARSER.parse(text)
    if loses_cells(tokens, text.splitlines()):
        return as_written(text, "A row of a table here has more cells than its head")
    rendered = PARSER.renderer.render(tokens, PARSER.options, {})
    if len(rendered) > SPARE + GROWTH * len(text):
        return as_written(text, f"As Markdown this would be {len(rendered) // len(text)} times as long")
    html = nh3.clean(
        rendered,
        tags=TAGS,
        attributes={"a": {"href"}, "th": set(), "td": set(), "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    # The one place where text of a trace is trusted as HTML: nh3 has just parsed it and left only the tags and attributes above.
    return SafeString(html)


def as_written(text: str, reason: str) -> SafeString:
    """Return text that is not read as Markdown, and why."""
    return format_html(
        '<p class="hint">{}, so it is shown as it was written.</p><p class="prewrap">{}</p>', reason, text
    )


def loses_cells(tokens: list[Token], lines: list[str]) -> bool:
    """Say whether a table has a row with more cells than its head: Markdown would leave their text out."""
    for token in tokens:
        if token.type == "table_open" and token.map:
            head, _, *rows = (len(cells(line)) for line in lines[token.map[0] : token.map[1]])
            if any(row > head for row in rows):
                return True
    return False


def cells(line: str) -> list[str]:
    """Split a line of a table as the parser does: at each bar that is not escaped, without the outer ones."""
    return re.split(r"(?<!\\)\|", line.strip(" \t>").removeprefix("|").removesuffix("|"))
