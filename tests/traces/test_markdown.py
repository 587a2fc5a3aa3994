"""Trace content is hostile: what Markdown lets through."""

import time
from html import unescape

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


@pytest.mark.parametrize(
    "text",
    [
        "|a" * 1000 + "\n" + "|-" * 1000 + "\n" + "|\n" * 900,  # empty cells made up
        "[x]: /" + "y" * 2000 + "\n\n" + "[x] " * 480,  # one long address, many times
    ],
)
def test_text_that_markdown_would_swell_is_shown_as_written_and_whole(text):
    html = render_markdown(text)
    assert len(html) < 2 * len(text)
    assert "times as long, so it is shown as it was written." in html
    assert unescape(html).endswith(f'<p class="prewrap">{text}</p>')


def test_table_that_would_lose_cells_is_shown_as_written():
    html = render_markdown("| a | b |\n|---|---|\n| 1 | 2 | the third |")
    assert "the third" in html
    assert "more cells than its head" in html
    for kept in (
        "| a | b |\n|---|---|\n| 1 | x \\| y |",
        "> | a | b |\n> |---|---|\n> | 1 | 2 |",
        "a | b\n--|--\n1 | 2",
    ):
        assert "<table>" in render_markdown(kept)


def test_a_large_plain_table_is_still_a_table():
    assert render_markdown("| order | cost |\n|---|---|\n" + "| A-1 | 24 |\n" * 900).count("<td>") == 1800
