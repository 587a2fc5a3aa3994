"""Odd values where a number or a name is asked for: a clear refusal or a page, never a 500."""

import json

import pytest
from django.urls import reverse

from rubrics import services
from rubrics.standard import standard_from
from rubrics.starters import STARTERS

pytestmark = pytest.mark.django_db

LISTS = ["/api/traces", "/api/comparisons", "/api/scores", "/v1/evals", "/v1/files"]
NUMBERS = ["0" * 8 + "1" + "0" * 20, "000000500000000", "²", "9" * 5000, "-1", "1e3", "\0"]


@pytest.mark.parametrize("address", LISTS)
@pytest.mark.parametrize("number", NUMBERS)
def test_limit_that_is_no_small_number_is_refused(client, project, address, number):
    answer = client.get(address, {"limit": number})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "limit"


@pytest.fixture
def rubric(project):
    rubric = services.create_rubric(project, name="Refunds", standard=standard_from(STARTERS["outcome"]))
    services.publish_version(rubric)
    return rubric


@pytest.mark.parametrize("number", NUMBERS)
def test_version_to_compare_with_that_is_no_number_is_passed_over(client, project, rubric, number):
    page = reverse("rubrics:rubric_version", args=[project.slug, rubric.slug, 1])
    assert client.get(page, {"diff": number}).status_code == 200


def test_form_button_with_an_odd_number_and_nul_in_a_name_are_taken(client, project, rubric):
    page = reverse("rubrics:rubric", args=[project.slug, rubric.slug])
    assert client.post(page, {"name": "a", "action": "remove:²"}).status_code == 200
    assert client.post(page, {"name": "a\0b", "c0-name": "c\0", "action": "save"}).status_code == 302
    new = reverse("rubrics:rubric_new", args=[project.slug])
    assert client.post(new, {"name": "x\0y", "starter": "tools"}).status_code == 302


def test_traces_with_nul_in_their_ids_are_not_found(client, project):
    page = reverse("evals:dataset_from_traces", args=[project.slug])
    assert client.post(page, {"trace": "a\0b"}).status_code in (200, 422)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_model_of_half_a_character_is_refused(client, project, path):
    body = b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}], "input": "x"}'
    answer = client.post(path, body, content_type="application/json")
    assert 400 <= answer.status_code < 500


def test_grader_that_returns_a_number_of_ten_thousand_digits_says_so(client, project):
    grader = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 10**10000\n"}
    body = json.dumps({"grader": grader, "model_sample": "x", "item": {}})
    answer = client.post("/v1/fine_tuning/alpha/graders/run", body, content_type="application/json")
    assert answer.status_code == 200
    assert "number" in answer.text
