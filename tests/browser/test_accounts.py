"""Coming in, and making a key, as a person does it."""

import re

import pytest

from accounts import services
from accounts.models import ApiKey, User

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a long password"


def test_first_admin_by_the_setup_link_then_out_and_in_again(page, login_on, project):
    page.goto(f"/setup/{services.create_setup_link()}")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Make the admin and sign in").click()
    page.wait_for_url(re.compile(r"/p/default"))
    assert User.objects.get().is_superuser

    page.goto("/account")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("/sign-in"))
    page.goto("/p/default/settings")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile("/p/default/settings$"))
    assert page.get_by_role("heading", name="Members").is_visible()


def test_wrong_password_says_so_and_keeps_the_name(page, console, login_on, project):
    services.add_user("ada", PASSWORD)
    page.goto("/sign-in")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("do not go together").wait_for()
    assert page.get_by_label("User name").input_value() == "ada"
    console.expect("422")


def test_key_is_made_copied_once_and_revoked(page, project):
    page.goto("/p/default/settings")
    page.get_by_label("What is it for?").fill("support agent")
    page.get_by_role("button", name="Make key").click()
    text = page.locator("#new-key").text_content()
    page.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.get_by_text("Key copied").wait_for()

    page.goto("/p/default/settings")
    assert text not in page.content()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke").click()
    page.get_by_text("is revoked").wait_for()
    assert ApiKey.objects.get().revoked_at is not None


def test_settings_fit_a_phone_and_its_menu_opens(phone, project):
    phone.goto("/p/default/settings")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.get_by_role("button", name="Menu").click()
    assert phone.get_by_role("link", name="Traces", exact=True).is_visible()
