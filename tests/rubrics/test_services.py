from dataclasses import replace

import pytest

from rubrics import services
from rubrics.queries import published_versions, standard_of, version_list
from rubrics.standard import standard_from
from rubrics.starters import STARTERS
from tests.factories import make_project

pytestmark = pytest.mark.django_db
OUTCOME = standard_from(STARTERS["outcome"])


def test_a_draft_reads_back_as_it_was_written(project):
    rubric = services.create_rubric(project, name="Refunds", standard=OUTCOME)
    read = standard_of(version_list(rubric)[0])
    assert replace(read, name=OUTCOME.name, number=OUTCOME.number) == OUTCOME


def test_a_published_version_stays_while_the_next_draft_changes(project):
    rubric = services.create_rubric(project, name="Refunds", standard=OUTCOME)
    first = services.publish_version(rubric)
    services.save_draft(rubric, replace(OUTCOME, instructions="Something else."))
    services.save_draft(rubric, replace(OUTCOME, instructions="Something else again."))
    versions = version_list(rubric)
    assert [(version.number, version.is_frozen) for version in versions] == [(2, False), (1, True)]
    assert standard_of(versions[1]).instructions == OUTCOME.instructions
    assert versions[1].digest == first.digest == OUTCOME.digest()
    assert [version.number for version in published_versions(project)] == [1]


def test_an_unfit_draft_is_not_published_and_the_reason_is_named(project):
    rubric = services.create_rubric(project, name="Empty", standard=replace(OUTCOME, criteria=()))
    with pytest.raises(services.CannotChange, match="no criterion"):
        services.publish_version(rubric)
    assert published_versions(project) == []


def test_publishing_without_a_draft_and_discarding_the_only_version_are_refused(project):
    rubric = services.create_rubric(project, name="Refunds", standard=OUTCOME)
    with pytest.raises(services.CannotChange, match="archive"):
        services.discard_draft(rubric)
    services.publish_version(rubric)
    with pytest.raises(services.CannotChange, match="no draft"):
        services.publish_version(rubric)


def test_two_rubrics_of_one_name_get_two_addresses(project):
    slugs = [services.create_rubric(project, name="Refunds", standard=OUTCOME).slug for _ in range(2)]
    assert slugs == ["refunds", "refunds-2"]
    assert services.create_rubric(make_project(), name="Refunds", standard=OUTCOME).slug == "refunds"
