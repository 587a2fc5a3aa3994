"""The shell around every page: theme, keys, the page of patterns."""

import pytest

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_component_is_drawn_without_a_console_message(page, settings):
    settings.DEBUG = True
    page.goto("/patterns")
    assert page.get_by_role("heading", name="Components and states", level=1).is_visible()
    page.get_by_role("button", name="Delete 3 traces").first.click()
    dialog = page.get_by_role("alertdialog")
    assert dialog.is_visible()
    dialog.get_by_role("button", name="Keep them").click()
    assert dialog.is_hidden()


def test_patterns_are_not_there_without_debug(page, console):
    page.goto("/patterns")
    assert page.get_by_text("There is nothing here").is_visible()
    console.expect("404")


def test_theme_is_kept_by_the_server_so_that_the_next_page_does_not_flash(page, project):
    page.goto("/projects")
    with page.expect_response("**/theme"):
        page.get_by_role("button", name="Switch between light and dark").click()
    page.goto("/projects")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_question_mark_opens_the_keys_and_single_keys_can_be_switched_off(page, project):
    page.goto("/projects")
    assert page.locator("#keys").is_hidden()
    page.keyboard.press("?")
    page.get_by_role("switch", name="Single keys").click()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()
    page.keyboard.press("?")
    assert page.locator("#keys").is_hidden()


def test_keys_do_nothing_while_typing(page, project):
    page.goto("/projects")
    page.get_by_label("Name", exact=True).fill("")
    page.keyboard.type("?g/")
    assert page.get_by_label("Name", exact=True).input_value() == "?g/"
    assert page.locator("#keys").is_hidden()
