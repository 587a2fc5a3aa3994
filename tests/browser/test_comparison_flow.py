"""From a file of cases to a verdict: dataset, comparison of scripted models, drawer by keyboard, files."""

import asyncio
import json

import pytest
from django.db import close_old_connections

from evals import services
from evals.models import Comparison
from tests.evals.scored import make_scored

pytestmark = pytest.mark.django_db(transaction=True)
LINES = "\n".join(
    json.dumps(
        {
            "key": f"case-{n}",
            "bucket": "Refunds" if n % 2 else "Orders",
            "input": f"Please refund order FH-2087{n}.",
            "reference": "refund",
        }
    )
    for n in range(4)
)


def run_all(comparison: Comparison) -> None:
    """Do a worker's work in a thread of its own: the browser's loop runs in this one."""
    from concurrent.futures import ThreadPoolExecutor

    def work() -> None:
        for run in comparison.runs.order_by("position"):
            asyncio.run(services.pump_run(run.pk, worker="test:1:x"))
        close_old_connections()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(timeout=60)


def test_from_a_file_of_cases_to_a_verdict(page, project):
    page.goto("/p/default/datasets")
    page.get_by_role("link", name="Make a dataset").click()
    page.get_by_label("Name").fill("Hard cases")
    page.get_by_label("Or paste the lines").fill(LINES)
    page.get_by_role("button", name="Make the dataset").click()
    page.wait_for_url("**/datasets/hard-cases")
    assert page.locator("table.items tbody tr").count() == 4

    page.get_by_role("link", name="Compare models on this").click()
    page.get_by_label("Name", exact=True).first.fill("Scripted models")
    page.get_by_label("Trials").fill("2")
    models = page.get_by_label("Model", exact=True)
    models.nth(0).fill("demo/careful")
    models.nth(1).fill("demo/terse")
    page.get_by_role("button", name="Add a string check").click()
    page.get_by_label("Compared with").wait_for()
    page.get_by_text("Run 16 samples, about").wait_for()
    page.get_by_role("button", name="Run 16 samples").click()
    page.wait_for_url("**/comparisons/*")
    assert page.locator("#progress .progress").count() == 1

    run_all(Comparison.objects.get())
    page.locator("#scores th[scope=row]").nth(1).wait_for()
    page.locator(".plot-box .main-svg").first.wait_for()
    assert page.get_by_text("Finished", exact=True).count() == 1
    assert page.locator("table.matrix tbody tr").count() == 4

    with page.expect_download() as csv:
        page.get_by_role("link", name="CSV").click()
    with open(csv.value.path()) as file:
        assert sum(1 for _ in file) >= 17


def test_the_drawer_by_keyboard_and_back(page, project):
    comparison = make_scored(project, [[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]], trials=2)
    address = f"/p/default/comparisons/{comparison.pk}"
    page.goto(address)
    cell = page.locator("table.matrix td.cell a").first
    cell.click()
    drawer = page.get_by_role("dialog")
    drawer.wait_for()
    assert "sample=" in page.url
    title = page.locator("#drawer-title").inner_text()
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('#drawer').contains(document.activeElement)")
    page.keyboard.press("j")
    page.wait_for_function("was => document.querySelector('#drawer-title')?.innerText !== was", arg=title)
    page.keyboard.press("]")
    page.wait_for_url("**trial=2**")
    page.reload()
    assert page.get_by_role("dialog").count() == 1
    page.keyboard.press("Escape")
    drawer.wait_for(state="detached")
    assert "sample=" not in page.url
    cell.click()
    drawer.wait_for()
    page.keyboard.press("Escape")
    drawer.wait_for(state="detached")
    assert page.evaluate("document.activeElement.id") == cell.get_attribute("id")
    cell.click()
    drawer.wait_for()
    page.go_back()
    drawer.wait_for(state="detached")


def test_filters_change_the_matrix_and_the_address(page, project):
    comparison = make_scored(project, [[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    page.goto(f"/p/default/comparisons/{comparison.pk}")
    page.get_by_role("link", name="Where they differ").click()
    page.wait_for_url("**show=differ**")
    page.wait_for_function("document.querySelectorAll('table.matrix tbody tr').length === 2")
    page.get_by_label("Bucket").select_option("Even")
    page.wait_for_url("**bucket=Even**")
    page.reload()
    assert page.locator("table.matrix tbody tr").count() == 2


def test_plots_follow_the_theme_and_switch_their_axis(page, project):
    comparison = make_scored(project, [[0.0, 1.0], [1.0, 1.0]], trials=2)
    page.goto(f"/p/default/comparisons/{comparison.pk}")
    page.locator(".plot-box .main-svg").first.wait_for()
    ink = "document.querySelector('[data-chart=chart-distribution] .ytick text').style.fill"
    light = page.evaluate(ink)
    page.get_by_label("Switch between light and dark").click()
    page.wait_for_function(f"was => {ink} !== was", arg=light)
    page.get_by_role("button", name="Latency").click()
    page.locator("[data-chart='chart-against-latency'] .main-svg").first.wait_for()


@pytest.mark.parametrize("path", ["overview", "datasets", "new-dataset", "comparisons", "comparisons/new"])
def test_pages_fit_a_phone(phone, project, path):
    make_scored(project, [[0.0, 1.0], [1.0, 1.0]])
    phone.goto(f"/p/default/{path}")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_comparison_with_its_drawer_fits_a_phone(phone, project):
    comparison = make_scored(project, [[0.0, 1.0] for _ in range(6)])
    item = comparison.dataset_revision.dataset.items.first()
    phone.goto(f"/p/default/comparisons/{comparison.pk}")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.goto(f"/p/default/comparisons/{comparison.pk}?sample={item.pk}")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
