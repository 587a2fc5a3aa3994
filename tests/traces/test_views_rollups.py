"""The pages of sessions and agents."""

import pytest
from django.urls import reverse

from tests.factories import make_project, make_trace
from traces import rollups

pytestmark = pytest.mark.django_db
T = 1_780_000_000_000_000_000
DAY = 86_400 * 10**9
EVIL = "<script>alert(1)</script>"


def page(client, name, *args, **query):
    return client.get(reverse(f"traces:{name}", args=["default", *args]), {"range": "all", **query})


def make_week(project):
    for number in range(4):
        make_trace(project, agent_name="refund", session_id=f"c{number // 2}", start_ns=T + number * DAY,
                   duration_ms=1000.0 * (number + 1), status="error" if number == 0 else "ok", total_tokens=100,
                   cost_usd=0.5 if number < 2 else None, version=f"v{number // 2}",
                   model_names=["gpt"] if number else ["gpt", "other"],
                   input_preview=f"question {number} {EVIL}",
                   terms={"signal": ["loop"]} if number == 3 else {})  # fmt: skip
    make_trace(project, agent_name="billing", start_ns=T, duration_ms=None, end_ns=None)
    make_trace(project, agent_name="", start_ns=T)
    make_trace(project, agent_name="candidate", start_ns=T, source="eval")


def test_agents_have_figures_with_their_counts(project):
    make_week(project)
    found = {one.name: one for one in rollups.agents(project).rows}
    assert list(found) == ["refund", "billing", ""]
    refund = found["refund"]
    assert (refund.runs, refund.errors, refund.suspected) == (4, 1, 1)
    assert (refund.p50_ms, refund.p95_ms, refund.timed) == (2000.0, 4000.0, 4)
    assert (refund.tokens, refund.counted, refund.cost_usd, refund.costed) == (400, 4, 1.0, 2)
    assert refund.models == [("gpt", 4), ("other", 1)]
    assert dict(refund.versions) == {"v0": 2, "v1": 2}
    assert (found["billing"].p95_ms, found["billing"].timed) == (None, 0)
    assert "candidate" in {one.name for one in rollups.agents(project, with_evals=True).rows}


def test_agent_page_by_day_model_and_version(client, project):
    make_week(project)
    found = rollups.agent_page(project, "refund")
    assert [day.runs for day in found.days] == [1, 1, 1, 1]
    assert [(one.name, one.runs) for one in found.models] == [("gpt", 4), ("other", 1)]
    html = page(client, "agent", "refund").content.decode()
    assert "By version" in html
    assert "q=-source%3Aeval+agent%3Arefund" in html
    assert "after%3A2026-" in html


def test_agent_page_counts_runs_that_give_the_name_as_an_id_as_the_list_does(project):
    for hour, fields in enumerate(
        ({"agent_name": "bot"}, {"agent_id": "bot"}, {"agent_name": "other", "agent_id": "bot"})
    ):
        make_trace(project, start_ns=T + hour * DAY // 24, **fields)
    listed = {row.name: row.runs for row in rollups.agents(project).rows}
    assert listed == {"bot": 2, "other": 1}
    assert rollups.agent_page(project, "bot").total.runs == 2


def test_the_lists_link_to_filtered_runs_and_escape(client, project):
    make_week(project)
    html = page(client, "session_list").content.decode()
    assert "question 2" in html
    assert EVIL not in html
    assert "q=-source%3Aeval+session%3Ac1" in html
    html = page(client, "agent_list").content.decode()
    assert "-has%3Aagent" in html
    assert "candidate" not in html
    assert "candidate" in page(client, "agent_list", evals="1").content.decode()


def test_empty_pages_say_why(client, project):
    assert "No sessions in this range" in page(client, "session_list").content.decode()
    assert "No runs in this range" in page(client, "agent_list").content.decode()
    assert page(client, "agent", "nobody").status_code == 404
    assert page(client, "agent", "a\0b").status_code == 404


def test_an_agent_without_runs_in_the_range_says_so(client, project):
    make_trace(project, agent_name="old", start_ns=T - 400 * DAY)
    assert "No run of this agent in this range" in page(client, "agent", "old", range="1h").content.decode()


def test_odd_names_have_pages(client, project):
    for name in ("a/b c", "../x", 'q"uote', "عميل", "x" * 200):
        make_trace(project, agent_name=name)
        assert page(client, "agent", name).status_code == 200


def test_other_projects_never_show(client, project):
    make_trace(make_project(), agent_name="theirs", session_id="theirs")
    assert rollups.agents(project).rows == []
    assert rollups.sessions(project).rows == []


def test_query_counts_stay_put(client, project, django_assert_max_num_queries):
    make_week(project)
    for name in ("session_list", "agent_list"):
        with django_assert_max_num_queries(7):
            page(client, name)
    with django_assert_max_num_queries(7):
        page(client, "agent", "refund")
