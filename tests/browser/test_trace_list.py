"""The traces list and the page of sending, as a person uses them."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from tests.factories import make_trace
from traces import search

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/p/default/traces"


@pytest.fixture
def many(project):
    now = search.whole_ns(timezone.now())
    for number in range(60):
        make_trace(
            project,
            start_ns=now - (number + 1) * 3600 * 10**9,
            input_preview=f"Message {number}",
            agent_name="refund bot" if number % 2 else "billing",
            status="error" if number % 10 == 0 else "ok",
            duration_ms=100.0 * number,
            terms={"tool": ["get_order"]},
        )
    return project


def query_of(page) -> str:
    return parse_qs(urlsplit(page.url).query).get("q", [""])[0]


def titles(page) -> list[str]:
    return page.locator("#trace-rows .title > [dir]").all_inner_texts()


def test_suggestions_lead_from_a_key_to_a_chip_and_the_address_holds_it(page, many):
    page.goto(LIST)
    page.keyboard.press("/")
    page.keyboard.type("age")
    page.get_by_role("option", name="agent").wait_for()
    page.wait_for_load_state("networkidle")  # the list for the last letter, not for the first
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("option", name="refund bot").wait_for()
    page.keyboard.type("ref")
    page.get_by_role("option", name="billing").wait_for(state="detached")
    page.wait_for_load_state("networkidle")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".q", has_text="refund bot").wait_for()
    assert query_of(page) == 'agent:"refund bot"'
    assert page.locator("#query-field").evaluate("field => field === document.activeElement")
    page.keyboard.press("Backspace")
    assert page.locator("#query-field").input_value() == 'agent:"refund bot"'
    page.locator("#query-field").fill("")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"traces\?range="))
    assert page.locator(".q").count() == 0


def test_bad_query_is_told_under_the_field_and_the_results_stay(page, many):
    page.goto(LIST)
    page.locator("#query-field").fill("agnet:billing")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "At character 1" in page.get_by_role("alert").inner_text()
    assert page.locator("#trace-rows tr").count() == 50
    assert "agnet" not in page.url
    page.get_by_role("link", name="Use agent").click()
    page.locator(".q", has_text="billing").wait_for()
    assert query_of(page) == "agent:billing"


def test_facets_switch_on_and_off_and_back_goes_back(page, many):
    page.goto(LIST)
    page.locator(".facet__value", has_text="Error").click()
    page.wait_for_url(re.compile("status"))
    assert page.locator("#trace-rows tr").count() == 6
    assert page.locator(".facet__value[aria-current]").all_inner_texts() == ["Error\n6"]
    page.locator(".facet__value", has_text="refund bot").count()
    page.go_back()
    page.locator("#trace-rows tr").nth(49).wait_for()
    assert query_of(page) == ""


def test_dragging_over_the_histogram_picks_a_time_range(page, many):
    page.goto(LIST)
    box = page.locator("[data-hist]").bounding_box()
    right = box["x"] + box["width"]
    page.mouse.move(right - 30, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(right - 2, box["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("after"))
    assert re.fullmatch(r"after:\S+Z before:\S+Z", query_of(page))
    assert 0 < page.locator("#trace-rows tr").count() < 50


def test_keys_move_select_and_page(page, many):
    page.goto(LIST)
    bar = page.locator("#bulk-bar strong")
    top = page.locator("#trace-rows").bounding_box()["y"]
    for key in ("j", "j", "x", "j", "j", "Shift+X"):
        page.keyboard.press(key)
    assert bar.inner_text() == "3 selected"
    assert page.locator("#trace-rows").bounding_box()["y"] == top
    page.get_by_role("button", name="Select all 60").click()
    assert bar.inner_text() == "All 60 selected"
    page.keyboard.press("Escape")
    assert bar.is_hidden()
    page.keyboard.press("n")
    page.wait_for_url(re.compile("after="))
    assert titles(page)[-1] == "Message 59"
    assert page.locator("#trace-rows tr").first.evaluate("row => row.classList.contains('is-cursor')")


def test_headers_sort_and_say_so(page, many):
    page.goto(LIST)
    page.get_by_role("link", name="Latency").click()
    page.locator("th[aria-sort=descending]", has_text="Latency").wait_for()
    assert titles(page)[0] == "Message 59"
    page.get_by_role("link", name="Latency").click()
    page.locator("th[aria-sort=ascending]", has_text="Latency").wait_for()
    assert titles(page)[0] == "Message 0"


def test_list_works_without_javascript(browser, live_server, many):
    context = browser.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(LIST)
    page.locator("#query-field").fill("status:error")
    page.keyboard.press("Enter")
    page.locator(".q", has_text="error").wait_for()
    assert page.locator("#trace-rows tr").count() == 6
    page.get_by_role("link", name="Remove status:error").click()
    page.get_by_role("link", name="Older").click()
    assert page.locator("#trace-rows tr").count() == 10
    context.close()


def test_phone_shows_the_list_without_sideways_scroll(phone, many):
    phone.goto(LIST)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.get_by_role("button", name="Facets").click()
    assert phone.locator("#facets").is_visible()


def test_first_trace_opens_by_itself_and_the_texts_hold_the_new_key(page, project, post_spans):
    page.goto("/p/default/first-run")
    page.get_by_role("button", name="Make a key").click()
    key = page.locator("#key-text").inner_text()
    page.get_by_role("tab", name="Langfuse").click()
    assert f"LANGFUSE_SECRET_KEY={key}" in page.locator("#text-langfuse").inner_text()
    assert page.locator("#text-otel").is_hidden()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#text-openllmetry").is_visible()
    post_spans([{"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "support-agent"}], key=key)
    page.wait_for_url(re.compile("/traces/" + "ab" * 16))


def test_keys_over_the_histogram_pick_a_time_range(page, many):
    page.goto(LIST)
    chart = page.get_by_role("slider")
    chart.focus()
    page.keyboard.press("End")
    page.keyboard.press("Shift+ArrowLeft")
    said = chart.get_attribute("aria-valuetext")
    assert re.fullmatch(r"\d+ \w+, \d\d:\d\d to \d+ \w+, \d\d:\d\d: \d+ runs?", said)
    page.keyboard.press("Escape")
    assert chart.get_attribute("aria-valuetext") == "No range chosen"
    page.keyboard.press("End")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("after"))
    page.locator(".q", has_text="before").wait_for()
    assert len(titles(page)) == int(said.split(": ")[-1].split()[0])
    page.wait_for_function("document.activeElement.id === 'hist'")


def test_typed_times_are_a_range_too_and_columns_are_chosen_by_keys(page, many):
    page.goto(LIST)
    page.locator(".filterbar summary", has_text="Last 14 days").click()
    page.get_by_role("textbox", name="From").fill("2020-01-01T00:00")
    page.get_by_role("button", name="Show this range").click()
    page.wait_for_url(re.compile("after"))
    moment = page.evaluate("new Date('2020-01-01T00:00').toISOString().replace('.000', '')")
    assert query_of(page) == f"after:{moment}"
    page.locator(".columns-pick > summary").focus()
    page.keyboard.press("Enter")
    page.get_by_role("checkbox", name="User").focus()
    page.keyboard.press("Space")
    page.get_by_role("checkbox", name="Cost").uncheck()
    page.keyboard.press("Enter")
    page.locator("#results th", has_text="User").wait_for()
    assert page.locator("#results th", has_text="Cost").count() == 0
    assert "column=user" in page.url
    assert query_of(page) == f"after:{moment}"
