"""The page of one trace in Chromium: the tree of many spans, its keys, the panel, the timeline, the conversation."""

import re

import pytest

from accounts.models import Project
from tests.factories import make_project, make_span
from tests.traces.test_turns import make_records
from traces.services import ingest_spans

T = 1_780_000_000_000_000_000
MS = 1_000_000
TRACE = "b1" * 16
PATH = f"/p/default/traces/{TRACE}"
SHOWN = "#span-tree [role=treeitem]:not([hidden])"


def make_tree(count, *, errors=()):
    """Store a trace of `count` spans: a root, steps under it, nine calls under each step; span ids are s0, s1, …"""
    project = make_project(slug="default", name="Default")
    spans = [
        make_span(
            trace_id=TRACE,
            span_id="s0",
            name="support run",
            start_ns=T,
            end_ns=T + count * 10 * MS,
            input="Check every order",
        )
    ]
    for number in range(1, count):
        is_step = number % 10 == 1
        kind = "chain" if is_step else "tool" if number % 2 else "llm"
        spans.append(
            make_span(
                trace_id=TRACE,
                span_id=f"s{number}",
                parent_span_id="s0" if is_step else f"s{number - (number - 1) % 10}",
                name=f"{kind} {number}",
                kind=kind,
                start_ns=T + number * 10 * MS,
                end_ns=T + number * 10 * MS + 8 * MS,
                status="error" if number in errors else "ok",
                error_message="No such order" if number in errors else "",
                tool={"name": f"tool {number}", "call_id": None, "arguments": {"n": number}, "result": "fine"}
                if kind == "tool"
                else None,
            )
        )
    for first in range(0, count, 2000):
        ingest_spans(project, spans[first : first + 2000])


@pytest.fixture
def tree(page):
    """Open a path of the trace and wait until the tree is alive."""

    def go(path=PATH):
        page.goto(path)
        page.wait_for_selector("#span-tree[data-ready]")
        return page

    return go


def until(page, expression):
    """Wait until an expression is true; Playwright's own wait evaluates text in the page, which our policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"It never came true: {expression}")


def selected(page):
    return page.get_attribute("#span-tree [aria-selected=true]:not([hidden])", "href")


def test_long_tree_draws_only_what_is_seen_and_never_a_blank_row(tree, transactional_db):
    make_tree(10_000)
    page = tree()
    assert page.locator(SHOWN).count() < 120
    for share in (0.1, 0.5, 0.9, 0.3, 1):
        page.evaluate(
            "share => { const box = document.querySelector('#span-tree'); box.scrollTop = box.scrollHeight * share; }",
            share,
        )
        page.wait_for_timeout(60)
        gaps = page.evaluate(
            """() => {
              const box = document.querySelector('#span-tree').getBoundingClientRect();
              const seen = document.querySelectorAll('#span-tree [role=treeitem]:not([hidden])');
              const rows = [...seen].map((row) => row.getBoundingClientRect());
              const blank = [];
              for (let y = box.top + 40; y < box.bottom - 40; y += 15) {
                if (!rows.some((row) => row.top <= y && row.bottom >= y)) blank.push(y);
              }
              return blank;
            }"""
        )
        assert gaps == []
    assert "of 10,000" in page.text_content("[data-range]")


def test_span_deep_in_a_long_tree_opens_from_its_address(tree, transactional_db):
    make_tree(10_000)
    page = tree(f"{PATH}?span=s7003")
    assert selected(page) == "?span=s7003"
    assert page.locator("#span-tree [aria-selected=true]:not([hidden])").is_visible()
    assert "tool 7003" in page.text_content("#span-panel h2")


def test_arrow_keys_move_fold_and_load_the_panel(tree, transactional_db):
    make_tree(40)
    page = tree()
    page.click(f"{SHOWN} >> nth=1")
    page.keyboard.press("ArrowDown")
    until(page, "document.querySelector('#span-panel h2').textContent === 'llm 2'")
    assert "span=s2" in page.url
    assert page.evaluate("document.activeElement.getAttribute('href')") == "?span=s2"
    assert page.locator("#span-tree [role=treeitem][tabindex='0']:not([hidden])").count() == 1
    page.keyboard.press("ArrowLeft")
    assert selected(page) == "?span=s1"
    before = page.locator(SHOWN).count()
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#span-tree [aria-selected=true]:not([hidden])", "aria-expanded") == "false"
    assert page.locator(SHOWN).count() == before - 9
    page.keyboard.press("ArrowRight")
    assert page.locator(SHOWN).count() == before
    page.keyboard.press("End")
    assert selected(page) == "?span=s39"


def test_e_goes_from_error_to_error_and_opens_what_is_folded(tree, transactional_db):
    make_tree(500, errors=(33, 477))
    page = tree()
    page.click("[data-fold-all]")
    assert page.locator(SHOWN).count() < 60
    page.keyboard.press("e")
    page.wait_for_selector("#span-panel .note--bad")
    assert selected(page) == "?span=s33"
    page.keyboard.press("e")
    until(page, "document.querySelector('#span-panel h2').textContent === 'tool 477'")
    assert page.locator("#span-tree [aria-selected=true]:not([hidden])").is_visible()
    page.keyboard.press("e")
    assert selected(page) == "?span=s33"


def test_finding_and_filtering_stay_in_the_address(tree, transactional_db):
    make_tree(300, errors=(33,))
    page = tree()
    page.fill("[name=find]", "tool 133")
    until(page, "document.querySelector('[data-hits]').textContent.startsWith('1 of')")
    assert page.url.endswith("?find=tool+133")
    page.fill("[name=find]", "")
    page.select_option("[name=only]", "errors")
    until(page, "document.querySelectorAll('#span-tree [role=treeitem]:not([hidden])').length === 3")
    page.reload()
    page.wait_for_selector("#span-tree[data-ready]")
    assert page.locator(SHOWN).count() == 3
    page.fill("[name=find]", "nothing is called so")
    page.wait_for_selector("#span-tree [data-none]")


def test_a_failed_model_call_is_found_by_its_model(tree, transactional_db):
    make_tree(300)
    failed = make_span(trace_id=TRACE, span_id="failed", parent_span_id="s0", name="choose", kind="llm", model="vendor/slow-1",
                       start_ns=T + MS, end_ns=T + 2 * MS, status="error", status_message="Too many requests")  # fmt: skip
    ingest_spans(Project.objects.get(slug="default"), [failed])
    page = tree()
    page.fill("[name=find]", "slow-1")
    until(page, "document.querySelector('[data-hits]').textContent.startsWith('1 of')")
    assert page.locator(SHOWN).all_inner_texts()[-1].startswith("choose")


def test_tabs_of_the_panel_have_addresses_and_go_back(tree, transactional_db):
    make_tree(40)
    page = tree(f"{PATH}?span=s3")
    page.click("[data-tab=raw]")
    page.wait_for_selector("#tab-raw[aria-selected=true]")
    assert "tab=raw" in page.url
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#tab-attributes[aria-selected=true]")
    page.go_back()
    page.wait_for_selector("#tab-raw[aria-selected=true]")


def test_timeline_zooms_by_keys_and_by_brush_and_keeps_the_window_in_the_address(tree, transactional_db):
    make_tree(400)
    page = tree(f"{PATH}/timeline")
    page.keyboard.press("+")
    page.wait_for_url(re.compile(r"from=1&to=3"))
    assert page.locator("#span-tree .bar--cutr:not([hidden])").count() >= 1
    assert "of 400 spans in this window" in page.text_content("[data-range]")
    page.keyboard.press("0")
    page.wait_for_url(re.compile(r"/timeline$"))
    box = page.locator("[data-brush]").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("from="))
    assert page.text_content("[data-window]") == "1 s to 2 s"
    page.focus("[data-edge=to]")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('[data-edge=to]').getAttribute('aria-valuenow') > 2.03")


def test_timeline_opens_the_panel_for_a_span_and_closes_it(tree, transactional_db):
    make_tree(40)
    page = tree(f"{PATH}/timeline")
    assert page.locator("#span-panel").is_hidden()
    page.click(f"{SHOWN} >> nth=2")
    page.wait_for_selector("#span-panel h2")
    page.keyboard.press("Escape")
    assert page.locator("#span-panel").is_hidden()
    assert "span=" not in page.url


def test_number_keys_switch_views(tree, transactional_db):
    make_tree(12)
    page = tree(f"{PATH}?span=s3")
    page.keyboard.press("3")
    page.wait_for_url(re.compile(r"/timeline\?span=s3$"))
    page.keyboard.press("2")
    page.wait_for_url(re.compile("/conversation"))
    page.keyboard.press("1")
    page.wait_for_url(re.compile(rf"{TRACE}(\?|$)"))


def test_whole_value_comes_on_request(tree, transactional_db):
    project = make_project(slug="default", name="Default")
    ingest_spans(
        project,
        [make_span(trace_id=TRACE, span_id="s", start_ns=T, end_ns=T + MS, output="word " * 40_000 + "the end")],
    )
    page = tree(f"{PATH}?span=s")
    page.click("text=Show all 200,007 characters")
    page.wait_for_selector("#span-panel .value >> text=the end")


def test_enter_goes_from_match_to_match_and_says_which_it_is(tree, transactional_db):
    make_tree(300)
    page = tree()
    page.fill("[name=find]", "chain")
    until(page, "document.querySelector('[data-hits]').textContent.startsWith('30 of')")
    page.press("[name=find]", "Enter")
    page.press("[name=find]", "Enter")
    assert page.text_content("[data-hits]") == "Match 2 of 30"
    assert selected(page) == "?span=s11"
    page.press("[name=find]", "Shift+Enter")
    assert selected(page) == "?span=s1"
    page.click("[data-match='-1']")
    assert page.text_content("[data-hits]") == "Match 30 of 30"
    assert page.evaluate("document.activeElement.dataset.match") == "-1"


def test_kinds_fold_and_a_folded_row_says_what_is_under_it(tree, transactional_db):
    make_tree(100, errors=(33,))
    page = tree()
    page.select_option("[data-fold]", label="Fold: chain")
    assert page.locator(SHOWN).count() == 11
    assert page.text_content(f"{SHOWN} >> nth=4").strip().startswith("chain 31 9 under it, 1 failed")
    page.click(f"{SHOWN} >> nth=4")
    page.locator("#span-panel [data-rollup]", has_text="Under it9 spans").wait_for()
    assert "Errors1" in page.text_content("#span-panel [data-rollup]")


def test_repeated_calls_fold_into_the_first_with_a_count(tree, transactional_db):
    project = make_project(slug="default", name="Default")
    calls = [("a", 1), ("b", 1), ("c", 2), ("d", 1)]
    common = {"trace_id": TRACE, "parent_span_id": "root", "kind": "tool", "name": "look"}
    tools = [
        make_span(**common, span_id=name, start_ns=T + at * MS, end_ns=T + at * MS + MS, tool={"name": "look", "arguments": {"page": page}})
        for at, (name, page) in enumerate(calls, 1)
    ]  # fmt: skip
    tools[1].status, tools[1].error_message = "error", "No such page"
    ingest_spans(project, [make_span(trace_id=TRACE, span_id="root", start_ns=T, end_ns=T + 9 * MS), *tools])
    page = tree()
    page.wait_for_selector("[data-repeats]:not([hidden])")
    assert page.text_content("[data-repeats]") == "Fold 1 repeated call"
    assert page.locator(SHOWN).count() == 5
    page.click("[data-repeats]")
    assert page.locator(SHOWN).count() == 4
    assert "2 times · page: 1" in page.text_content(f"{SHOWN} >> nth=1")
    assert page.locator(f"{SHOWN} >> nth=1 >> .mark--bad").is_visible()
    page.reload()
    page.wait_for_selector("#span-tree[data-ready]")
    until(page, "document.querySelectorAll('#span-tree [role=treeitem]:not([hidden])').length === 4")


def test_agents_are_lanes_whose_bars_lead_to_their_spans(tree, transactional_db):
    project = make_project(slug="default", name="Default")
    spans = [make_span(trace_id=TRACE, span_id="root", start_ns=T, end_ns=T + 1000 * MS)]
    for agent in range(3):
        at = T + agent * 300 * MS
        spans.append(
            make_span(
                trace_id=TRACE,
                span_id=f"agent{agent}",
                parent_span_id="root",
                name=f"checker {agent}",
                start_ns=at,
                end_ns=at + 200 * MS,
            )
        )
        spans.append(make_span(trace_id=TRACE, span_id=f"call{agent}", parent_span_id=f"agent{agent}", kind="llm", name="chat", start_ns=at,
                               end_ns=at + 200 * MS))  # fmt: skip
    ingest_spans(project, spans)
    page = tree(f"{PATH}/timeline")
    page.select_option("[data-lanes]", "1")
    assert page.locator(SHOWN).count() == 4
    assert "lanes=1" in page.url
    box = page.locator(f"{SHOWN} >> nth=2 >> canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + 9)
    page.wait_for_selector("#span-panel h2")
    assert "span=call1" in page.url
    assert page.get_attribute(f"{SHOWN} >> nth=2", "aria-selected") == "true"
    page.reload()
    page.wait_for_selector("#span-tree[data-ready]")
    assert page.locator(SHOWN).count() == 4


def test_long_conversation_loads_as_one_scrolls_and_jumps_to_a_turn(page, transactional_db):
    ingest_spans(make_project(slug="default", name="Default"), make_records(turns=120))
    page.goto(f"/p/default/traces/{'ab' * 16}/conversation")
    before = page.locator(".turn").count()
    assert before < 60
    for _ in range(60):
        page.evaluate("document.querySelector('[data-thread]').scrollBy(0, 4000)")
        page.wait_for_timeout(40)
        if not page.locator("[data-more]").count():
            break
    assert page.locator(".turn[id]").count() == 121
    assert page.locator("[data-more]").count() == 0
    page.goto("about:blank")
    page.goto(f"/p/default/traces/{'ab' * 16}/conversation#turn-77")
    page.wait_for_selector("#turn-77")
    assert page.locator("#turn-77").is_visible()
    page.click("text=Earlier")
    page.wait_for_selector("#turn-70")
    page.click("[data-turn=turn-78]")
    page.wait_for_url(re.compile("#turn-78$"))


def test_r_shows_the_raw_values_of_a_conversation(page, transactional_db):
    ingest_spans(make_project(slug="default", name="Default"), make_records(turns=1))
    page.goto(f"/p/default/traces/{'ab' * 16}/conversation")
    page.click(".tool > summary")
    assert page.locator(".tool [data-raw] pre").first.is_hidden()
    page.keyboard.press("r")
    assert '"order_id": 0' in page.locator(".tool [data-raw] pre").first.inner_text()
    page.keyboard.press("r")
    assert page.locator(".tool [data-raw] pre").first.is_hidden()


def test_e_goes_to_the_calls_of_a_conversation_that_failed(page, transactional_db):
    records = make_records(turns=3)
    records[5].status, records[5].error_message = "error", "Timed out"
    ingest_spans(make_project(slug="default", name="Default"), records)
    page.goto(f"/p/default/traces/{'ab' * 16}/conversation")
    page.keyboard.press("e")
    assert page.locator(".tool--bad[open]").count() == 1
    assert page.evaluate("document.activeElement.closest('.tool').classList.contains('tool--bad')")
    assert page.locator(".tool--bad >> text=Timed out").is_visible()


def test_timeline_takes_the_whole_width_of_a_small_window(tree, transactional_db):
    make_tree(20)
    page = tree(f"{PATH}/timeline")
    for width in (1440, 1280, 1000):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.querySelector('#span-tree').getBoundingClientRect().right") == width


def test_hostile_names_run_nothing(tree, transactional_db):
    project = make_project(slug="default", name="Default")
    evil = '<img src=x onerror="document.title=6*7"><script>document.title=6*7</script>'
    message = {"role": "user", "content": f"{evil} **x** ![i](http://elsewhere.example/i.png)"}
    ingest_spans(
        project,
        [
            make_span(
                trace_id=TRACE,
                span_id=evil[:100],
                name=evil,
                kind="llm",
                start_ns=T,
                end_ns=T + MS,
                input_messages=[message],
            )
        ],
    )
    page = tree()
    page.click(SHOWN)
    page.wait_for_selector("#span-panel .md")
    page.goto(f"{PATH}/conversation")
    assert "42" not in page.title()
    assert page.locator("main img").count() == 0


def test_phone_scrolls_the_tree_in_its_box_and_brings_the_panel_into_view(phone, transactional_db):
    make_tree(2_000)
    phone.goto(PATH)
    phone.wait_for_selector("#span-tree[data-ready]")
    assert phone.evaluate("scrollY") == 0
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert phone.locator(SHOWN).count() < 120
    phone.evaluate("document.querySelector('#span-tree').scrollTop = 20000")
    until(phone, "document.querySelector('[data-range]').textContent.startsWith('Rows 66')")
    phone.tap(f"{SHOWN} >> nth=30")
    until(phone, "document.querySelector('#span-panel').getBoundingClientRect().top < innerHeight / 2")
