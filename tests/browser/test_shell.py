"""The shell around every page."""


def test_health_page_opens_without_a_console_message(page):
    page.goto("/healthz")
    assert "ok" in page.text_content("body")
