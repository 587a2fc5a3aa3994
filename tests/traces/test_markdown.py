"""Trace content is hostile: what Markdown lets through."""

import time

import pytest

from traces.markdown import MAX_MARKDOWN, render_cleaned, render_markdown


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script> **x**",
        "**x** <img src=x onerror=alert(1)>",
        "[x](javascript:alert(1)) [y](data:text/html,z) **x**",
        "![x](http://evil.example/x.png) **x**",
        "<style>*{display:none}</style> `x`",
        "<a href='x' onclick='y' style='z' hx-get='/p'>l</a> *x*",
        "| a |\n|-|\n| <iframe src=x> |",
    ],
)
def test_markdown_never_lets_markup_or_foreign_loads_through(text):
    html = str(render_markdown(text))
    for bad in (
        "<script",
        "<img",
        "<style",
        "<iframe",
        "onerror=",
        'href="javascript',
        'href="data',
        "<a onclick",
        'hx-get="',
        "src=",
    ):
        assert bad not in html.replace("&lt;img src=x onerror=alert(1)&gt;", "").replace("&lt;iframe src=x&gt;", "")


def test_image_is_named_and_not_loaded():
    assert "[image: a chart]" in render_markdown("![a chart](https://elsewhere.example/c.png)")


def test_markdown_keeps_emphasis_lists_tables_and_safe_links():
    html = render_markdown(
        "**b** _i_ `c` [l](https://example.com/?a=1&b=2)\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    for part in (
        "<strong>b</strong>",
        "<em>i</em>",
        "<code>c</code>",
        "<li>one</li>",
        "<td>1</td>",
        'rel="noopener noreferrer nofollow"',
    ):
        assert part in html


def test_plain_text_keeps_its_lines_and_is_escaped():
    assert (
        render_markdown('first\nsecond\n\nthird "quoted"')
        == '<p class="prewrap">first\nsecond</p><p class="prewrap">third &quot;quoted&quot;</p>'
    )


def test_long_text_is_not_read_as_markdown():
    assert "<strong>" not in render_markdown("**x** " * MAX_MARKDOWN)


@pytest.mark.parametrize("piece", ["[", "*", "> ", "`", "![[", "[a](", "<", "- ", "_a", "|a"])
def test_hostile_repetition_stays_fast(piece):
    text = (piece * MAX_MARKDOWN)[:MAX_MARKDOWN]
    begun = time.process_time()
    render_cleaned(text)
    assert time.process_time() - begun < 2
