from dataclasses import replace

import pytest
from django.urls import reverse

from rubrics import services
from rubrics.models import Rubric
from rubrics.queries import standard_of, version_list
from rubrics.standard import standard_from
from rubrics.starters import STARTERS
from tests.factories import make_project

pytestmark = pytest.mark.django_db
OUTCOME = standard_from(STARTERS["outcome"])
HOSTILE = '<script>alert(1)</script>{{ 7 }}"><img src=x onerror=alert(1)>'


def form_of(standard, **changes) -> dict[str, str]:
    """Return the fields that the editor posts for a standard."""
    fields = {"name": standard.name, "mode": standard.mode, "instructions": standard.instructions, "note": ""}
    fields["pass_threshold"] = "" if standard.pass_threshold is None else f"{standard.pass_threshold:g}"
    for c, criterion in enumerate(standard.criteria):
        for name in ("key", "name", "description", "layer", "weight"):
            fields[f"c{c}-{name}"] = str(getattr(criterion, name))
        for n, level in enumerate(criterion.levels):
            for name in ("value", "label", "meaning", "example"):
                fields[f"c{c}-l{n}-{name}"] = str(getattr(level, name))
    return fields | changes


def test_list_without_rubrics_says_what_to_do(client, project):
    page = client.get(reverse("rubrics:rubric_list", args=[project.slug]))
    assert page.status_code == 200
    assert "Write the first rubric" in page.text


def test_new_rubric_from_a_template_opens_its_editor(client, project):
    answer = client.post(reverse("rubrics:rubric_new", args=[project.slug]), {"starter": "tools", "name": ""})
    rubric = Rubric.objects.get()
    assert answer.url == reverse("rubrics:rubric", args=[project.slug, rubric.slug])
    page = client.get(answer.url)
    assert "Tool selection" in page.text
    assert "Publish v1" in page.text


def test_saving_the_form_unchanged_changes_nothing(client, project):
    rubric = services.create_rubric(project, name=OUTCOME.name, standard=OUTCOME)
    address = reverse("rubrics:rubric", args=[project.slug, rubric.slug])
    assert client.post(address, form_of(OUTCOME, action="save")).status_code == 302
    assert standard_of(version_list(rubric)[0]).digest() == OUTCOME.digest()


def test_publishing_freezes_and_the_diff_shows_the_next_change(client, project):
    rubric = services.create_rubric(project, name=OUTCOME.name, standard=OUTCOME)
    address = reverse("rubrics:rubric", args=[project.slug, rubric.slug])
    published = client.post(address, form_of(OUTCOME, action="publish"))
    assert published.url == reverse("rubrics:rubric_version", args=[project.slug, rubric.slug, 1])
    changed = replace(OUTCOME, instructions=OUTCOME.instructions.replace("resolved", "answered"))
    client.post(address, form_of(changed, action="publish"))
    page = client.get(reverse("rubrics:rubric_version", args=[project.slug, rubric.slug, 2]))
    assert "<del>resolved </del>" in page.text
    assert "<ins>answered </ins>" in page.text
    assert [version.is_frozen for version in version_list(rubric)] == [True, True]


def test_a_bad_number_comes_back_with_status_422_and_saves_nothing(client, project):
    rubric = services.create_rubric(project, name=OUTCOME.name, standard=OUTCOME)
    address = reverse("rubrics:rubric", args=[project.slug, rubric.slug])
    page = client.post(address, form_of(OUTCOME, pass_threshold="four", name="", action="save"))
    assert page.status_code == 422
    assert "“four” is not a number" in page.text
    assert "Give the rubric a name." in page.text
    assert standard_of(version_list(rubric)[0]).pass_threshold == 4


def test_form_buttons_change_the_form_and_save_nothing(client, project):
    rubric = services.create_rubric(project, name=OUTCOME.name, standard=OUTCOME)
    address = reverse("rubrics:rubric", args=[project.slug, rubric.slug])
    added = client.post(address, form_of(OUTCOME, action="add"))
    assert "c1-name" in added.text
    scaled = client.post(address, form_of(OUTCOME, action="scale:0:pass-fail"))
    assert "c0-l1-value" in scaled.text
    assert "c0-l2-value" not in scaled.text
    assert len(standard_of(version_list(rubric)[0]).criteria[0].levels) == 5


def test_hostile_text_is_escaped_on_every_page(client, project):
    hostile = replace(OUTCOME, name=HOSTILE, instructions=HOSTILE)
    rubric = services.create_rubric(project, name=HOSTILE, standard=hostile)
    services.publish_version(rubric, note=HOSTILE)
    services.save_draft(rubric, replace(hostile, instructions=HOSTILE + "more"), note=HOSTILE)
    for address in (
        reverse("rubrics:rubric_list", args=[project.slug]),
        reverse("rubrics:rubric", args=[project.slug, rubric.slug]),
        reverse("rubrics:rubric_version", args=[project.slug, rubric.slug, 2]),
    ):
        page = client.get(address)
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert "&lt;script&gt;" in page.text


def test_a_rubric_of_another_project_is_not_found(client, project):
    rubric = services.create_rubric(make_project(), name=OUTCOME.name, standard=OUTCOME)
    assert client.get(reverse("rubrics:rubric", args=[project.slug, rubric.slug])).status_code == 404


def test_list_takes_the_same_number_of_queries_for_one_rubric_and_for_ten(
    client, project, django_assert_max_num_queries
):
    for _ in range(10):
        services.create_rubric(project, name="Refunds", standard=OUTCOME)
    with django_assert_max_num_queries(8):
        assert client.get(reverse("rubrics:rubric_list", args=[project.slug])).status_code == 200
