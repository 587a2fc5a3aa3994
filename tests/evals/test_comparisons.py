import pytest

from evals import services
from evals.graders import BadConfig
from evals.models import Candidate, CandidateKind, Comparison, Eval, GraderVersion, Run, Sample
from evals.services import BadComparison, CandidateSpec, GraderSpec
from tests.evals.engine import CONTAINS, make_comparison, rubric_spec
from tests.factories import make_project

pytestmark = pytest.mark.django_db


def test_create_comparison_writes_a_run_for_each_candidate_and_a_sample_for_each_item_and_trial():
    comparison = make_comparison(
        items=3,
        trials=2,
        candidates=[CandidateSpec(model="a"), CandidateSpec(model="b"), CandidateSpec(kind=CandidateKind.NOTHING)],
    )
    assert [
        (run.name, run.position, run.status, run.samples.count()) for run in comparison.runs.order_by("position")
    ] == [
        ("a", 0, "queued", 6),
        ("b", 1, "queued", 6),
        ("Does nothing", 2, "queued", 6),
    ]
    trials = list(Sample.objects.filter(run__name="a").order_by("pk").values_list("trial", flat=True))
    assert trials == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"candidates": []}, "candidates"),
        ({"candidates": [CandidateSpec(model="a"), CandidateSpec(model="a")]}, "candidates[1]"),
        ({"candidates": [CandidateSpec(model=" ")]}, "model"),
        ({"candidates": [CandidateSpec(model="a", kind="magic")]}, "kind"),
        ({"candidates": [CandidateSpec(model="a", sampling={"temprature": 1})]}, "sampling"),
        ({"graders": []}, "graders"),
        ({"trials": 0}, "trials"),
        ({"trials": 101}, "trials"),
        ({"ceiling_usd": 0}, "ceiling_usd"),
        ({"items": []}, "revision"),
    ],
)
def test_a_comparison_that_cannot_run_is_refused_with_its_place_and_nothing_is_written(change, param):
    with pytest.raises(BadComparison) as caught:
        make_comparison(**change)
    assert caught.value.param == param
    assert [model.objects.count() for model in (Comparison, Run, Eval)] == [0, 0, 0]


def test_another_projects_dataset_is_refused():
    other = make_comparison()
    with pytest.raises(BadComparison, match="another project"):
        services.create_comparison(
            make_project(),
            name="x",
            revision=other.dataset_revision,
            candidates=[CandidateSpec(model="a")],
            graders=[CONTAINS],
        )


def test_the_same_candidate_and_grader_are_one_row_however_often_they_are_used():
    project = make_project()
    for _ in range(2):
        make_comparison(project=project)
    assert (Candidate.objects.count(), GraderVersion.objects.count(), Comparison.objects.count()) == (1, 1, 2)


def test_other_settings_make_the_next_version_of_a_grader_and_another_kind_needs_another_name():
    project = make_project()
    first = services.ensure_grader_version(project, CONTAINS)
    other = GraderSpec(CONTAINS.name, "string_check", {"input": "a", "reference": "b"})
    assert [first.number, services.ensure_grader_version(project, other).number] == [1, 2]
    assert services.ensure_grader_version(project, CONTAINS) == first
    with pytest.raises(BadConfig, match="belongs to a grader of kind string_check"):
        services.ensure_grader_version(
            project, GraderSpec(CONTAINS.name, "python", {"source": "def grade(sample, item):\n    return 1"})
        )


def test_the_judge_and_the_rubric_version_are_part_of_a_graders_identity():
    project = make_project()
    spec = rubric_spec(project)
    version = services.ensure_grader_version(project, spec)
    other = services.ensure_grader_version(
        project, GraderSpec(spec.name, "rubric", {"judge": "judge-2"}, rubric_version=spec.rubric_version)
    )
    assert (version.number, other.number) == (1, 2)
    assert (version.scale_min, version.scale_max, version.pass_threshold) == (1.0, 5.0, 4.0)


def test_a_rubric_version_of_another_project_is_refused():
    spec = rubric_spec(make_project())
    with pytest.raises(BadConfig, match="another project"):
        services.ensure_grader_version(make_project(), spec)
