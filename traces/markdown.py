"""Text of a trace as safe Markdown.

Trace content is hostile. markdown-it runs with HTML disabled, images become their names (nothing is loaded from another
host), and nh3 cleans what comes out against a short list of tags.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape

import nh3
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

MAX_MARKDOWN = 12_000  # characters; longer text is shown as it is, since people do not write Markdown of that length
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
    """Return text read as Markdown, cleaned."""
    html = nh3.clean(
        PARSER.render(text),
        tags=TAGS,
        attributes={"a": {"href"}, "th": set(), "td": set(), "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    # The one place where text of a trace is trusted as HTML: nh3 has just parsed it and left only the tags and attributes above.
    return SafeString(html)
