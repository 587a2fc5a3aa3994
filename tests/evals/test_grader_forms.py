"""The graders on the page that starts a comparison: every kind, its errors in place, and the try."""

import json

import pytest

from evals import services
from evals.grader_rows import KINDS, config_of, names_of, rows_from
from evals.graders import REGISTRY, grader_kind
from evals.models import Comparison, GraderVersion
from providers.models import Call
from tests.evals.test_launch_pages import NEW, make_rubric, send

pytestmark = pytest.mark.django_db
TEXTS = {"input": "{{ sample.output_text }}", "reference": "{{ item.reference }}"}
CHECK = {"kind": "string_check", "operation": "ilike", **TEXTS}
ALIKE = {"kind": "text_similarity", "metric": "rouge_l", "pass_threshold": "0.5", **TEXTS}
CODE = {"kind": "python", "source": "def grade(sample, item):\n    return 0.75", "pass_threshold": "0.5"}
SCORE = {
    "kind": "score_model",
    "judge_model": "demo/judge",
    "instructions": "You grade.",
    "prompt": "Mark {{ sample.output_text }}",
    "range_low": "1",
    "range_high": "5",
    "pass_threshold": "4",
}
LABEL = {
    "kind": "label_model",
    "judge_model": "demo/judge",
    "prompt": "Is {{ sample.output_text }} right?",
    "labels": "right\nwrong\n",
    "passing_labels": "right",
    "judge_temperature": "0.5",
}


@pytest.fixture
def revision(project):
    rows = [{"key": f"k{n}", "input": f"ask {n}", "reference": "refund"} for n in range(4)]
    return services.create_dataset(project, name="Cases", items=rows).revisions.get()


def formula(text, **fields):
    return {"kind": "multi", "formula": text, "pass_threshold": "0.5", **fields}


def test_every_kind_of_grader_is_offered_and_explained(client, project, revision):
    assert set(KINDS) == set(REGISTRY)
    page = client.get(NEW).text
    for kind, about in KINDS.items():
        assert f'value="add-grader:{kind}"' in page
        added = send(client, revision, graders=[], action=f"add-grader:{kind}").text
        assert about.about.replace("'", "&#x27;") in added
        assert "Try on the first item" in added


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("rubric", "multi")])
def test_a_new_row_can_be_run_as_it_is_once_a_judge_is_named(kind):
    row = {"kind": kind, "judge_model": "demo/judge", **KINDS[kind].start}
    assert grader_kind(kind).validate(config_of([row], 0, names_of([row])))


def test_all_kinds_are_launched_with_the_settings_that_were_typed(client, project, revision):
    graders = [
        CHECK,
        ALIKE,
        CODE,
        SCORE,
        LABEL,
        formula("0.5 * rouge_l + code / 2", name="Both"),
        {"kind": "rubric", "rubric_version": make_rubric(project).pk, "judge_model": "demo/judge"},
    ]
    assert send(client, revision, graders=graders).status_code == 302
    placed = Comparison.objects.get().eval.eval_graders.select_related("grader_version__grader").order_by("position")
    made = {place.grader_version.grader.name: place.grader_version for place in placed}
    assert list(made) == [
        "Contains, any case",
        "ROUGE-L",
        "Code",
        "Score by a model",
        "Label by a model",
        "Both",
        "Right",
    ]
    assert made["ROUGE-L"].config["evaluation_metric"] == "rouge_l"
    assert made["Score by a model"].config["input"] == [
        {"role": "system", "content": "You grade."},
        {"role": "user", "content": "Mark {{ sample.output_text }}"},
    ]
    assert (made["Score by a model"].scale_min, made["Score by a model"].scale_max) == (1, 5)
    assert made["Label by a model"].config["labels"] == ["right", "wrong"]
    assert made["Label by a model"].config["sampling_params"] == {"temperature": 0.5}
    assert [part["name"] for part in made["Both"].config["graders"]] == ["rouge_l", "code"]


def test_a_part_of_a_formula_gives_no_score_of_its_own(client, project, revision):
    graders = [{**CHECK, "is_part": "on", "name": "Says it"}, formula("says_it")]
    assert send(client, revision, graders=graders).status_code == 302
    placed = Comparison.objects.get().eval.eval_graders.select_related("grader_version__grader")
    assert [place.grader_version.grader.name for place in placed] == ["Formula"]


def test_two_graders_of_one_kind_without_names_get_two_names(client, project, revision):
    assert send(client, revision, graders=[CHECK, {**CHECK, "reference": "sorry"}]).status_code == 302
    assert sorted(GraderVersion.objects.values_list("grader__name", "number")) == [
        ("Contains, any case", 1),
        ("Contains, any case 2", 1),
    ]


@pytest.mark.parametrize(
    ("graders", "place", "field", "said"),
    [
        ([{**CHECK, "name": "A"}, {**CODE, "name": "A"}], 1, "name", "called “A” too"),
        ([{**CHECK, "operation": "regex", "reference": "(a"}], 0, "reference", "The pattern cannot be used"),
        ([{**ALIKE, "pass_threshold": ""}], 0, "pass_threshold", "from which score"),
        ([{**ALIKE, "metric": "cosine"}], 0, "metric", "embedding model"),
        ([{**ALIKE, "metric": "cosine", "embedding_model": "demo/nope"}], 0, "embedding_model", "no scripted model"),
        ([{**CODE, "source": "import numpy\ndef grade(sample, item):\n    return 1"}], 0, "source", "numpy"),
        ([{**SCORE, "judge_model": ""}], 0, "judge_model", "Name the model"),
        ([{**SCORE, "judge_model": "demo/nope"}], 0, "judge_model", "no scripted model"),
        ([{**SCORE, "prompt": " "}], 0, "prompt", "Write what the judge is asked"),
        ([{**SCORE, "range_low": "9"}], 0, "range_low", "from a lower number to a higher"),
        ([{**SCORE, "pass_threshold": "9"}], 0, "pass_threshold", "outside the range"),
        ([{**LABEL, "labels": ""}], 0, "labels", "one label or more"),
        ([{**LABEL, "passing_labels": "great"}], 0, "passing_labels", "not one of the labels right, wrong"),
        ([formula("1")], 0, "formula", "names no grader; of the graders on this page add some first"),
        ([CODE, formula("code + judge")], 1, "formula", "names 'judge'; of the graders on this page it can name code"),
        ([CODE, formula("code +")], 1, "formula", "The end was not expected"),
        ([CODE, {**CHECK, "is_part": "on"}, formula("code")], 1, "is_part", "No formula here names contains_any_case"),
    ],
)
def test_settings_that_cannot_be_used_are_said_at_their_field(client, project, revision, graders, place, field, said):
    answer = send(client, revision, graders=graders)
    assert answer.status_code == 422
    errors = answer.context["graders"].forms[place].errors
    assert list(errors) == [field]
    assert said in errors[field][0]
    assert not Comparison.objects.exists()


def test_a_name_that_a_grader_of_another_kind_has_is_refused_and_never_made_up(client, project, revision):
    services.create_comparison(
        project,
        name="Before",
        revision=revision,
        candidates=[services.CandidateSpec(model="demo/careful")],
        graders=[services.GraderSpec("Code", "string_check", {**TEXTS, "operation": "eq"})],
    )
    answer = send(client, revision, graders=[{**CODE, "name": "Code"}])
    assert "grader of another kind" in answer.context["graders"].forms[0].errors["name"][0]
    assert send(client, revision, graders=[CODE]).status_code == 302
    assert GraderVersion.objects.filter(grader__name="Code 2", grader__kind="python").exists()


def test_only_parts_are_no_grader(client, project, revision):
    assert "Choose at least one grader" in send(client, revision, graders=[{**CODE, "is_part": "on"}]).text


def test_a_formula_says_what_it_can_name(client, project, revision):
    shown = send(client, revision, graders=[CHECK, CODE], action="add-grader:multi")
    assert "Can name contains_any_case, code." in shown.text
    assert shown.context["graders"].forms[2]["formula"].value() == "0.5 * contains_any_case + 0.5 * code"


def test_the_estimate_counts_judges_with_prompts_of_their_own(client, project, revision):
    graders = [SCORE, {**LABEL, "is_part": "on"}, formula("label_by_a_model + score_by_a_model")]
    part = send(client, revision, graders=graders, action="estimate")
    assert part.context["estimate"].judge_calls == 3 * 16  # one of its own, two within the formula; 16 samples


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (CHECK, "it gives 1 (“yes”) and passes"),
        (ALIKE, "it gives 1 and passes"),
        ({**ALIKE, "reference": "{{ item.nothing }}"}, "no score"),
        ({**ALIKE, "pass_threshold": "much"}, "cannot be used yet"),
        ({**CHECK, "operation": "regex", "reference": "^ref"}, "it gives 1"),
    ],
)
def test_a_grader_without_a_model_is_tried(client, project, revision, row, said):
    assert said in send(client, revision, graders=[row], action="try:0").text


def test_a_formula_is_tried_with_the_other_rows(client, project, revision):
    shown = send(client, revision, graders=[CODE, ALIKE, formula("min(code, rouge_l)")], action="try:2").text
    assert "it gives 0.75 and passes" in shown
    assert "code 0.75, rouge_l 1." in shown


def test_a_grader_is_tried_on_the_answer_that_came_with_the_item(client, project, revision):
    item = revision.dataset.items.order_by("position").first()
    item.sample = {"output_text": "no money back"}
    item.save()
    shown = send(client, revision, graders=[CHECK], action="try:0").text
    assert "with the answer that came with it as the answer, it gives 0" in shown


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("row", [SCORE, LABEL, "rubric"], ids=["score_model", "label_model", "rubric"])
def test_a_judge_is_tried_and_its_call_is_in_the_book(client, project, revision, row):
    if row == "rubric":
        row = {"kind": "rubric", "rubric_version": make_rubric(project).pk, "judge_model": "demo/judge"}
    shown = send(client, revision, graders=[row], action="try:0").text
    assert "it gives" in shown
    assert Call.objects.get().purpose == "judge"
    assert not Comparison.objects.exists()


def test_a_grader_is_not_tried_without_a_dataset(client, project, revision):
    answer = send(client, revision, graders=[CODE], action="try:0", revision="")
    assert "Choose a dataset first" in answer.text


@pytest.mark.parametrize("kind", ["string_check", "text_similarity", "python", "score_model", "label_model"])
def test_settings_become_rows_and_rows_the_same_settings(kind):
    row = {"kind": kind, "judge_model": "demo/judge", **KINDS[kind].start}
    config = grader_kind(kind).validate(config_of([row], 0, names_of([row])))
    again = rows_from(kind, "Name", config)
    assert grader_kind(kind).validate(config_of(again, 0, names_of(again))) == config


def test_run_again_shows_a_formula_with_its_parts(client, project, revision):
    send(client, revision, graders=[{**CHECK, "is_part": "on", "name": "Says it"}, ALIKE, formula("says_it * rouge_l")])
    made = Comparison.objects.get()
    shown = client.get(f"{NEW}?from={made.pk}").context["graders"].forms
    assert [(form["kind"].value(), form["is_part"].value()) for form in shown] == [
        ("text_similarity", None),
        ("string_check", True),
        ("text_similarity", True),
        ("multi", None),
    ]
    rows = [{name: form[name].value() or "" for name in form.fields} for form in shown]
    typed = [{name: value for name, value in row.items() if value not in (None, False)} for row in rows]
    assert send(client, revision, graders=typed, name="Again").status_code == 302
    versions = GraderVersion.objects.filter(grader__kind="multi")
    assert versions.count() == 1, json.dumps([version.config for version in versions])
