import pytest

from evals import services
from evals.models import Comparison
from rubrics.services import create_rubric, publish_version
from rubrics.standard import CriterionText, LevelText, Standard
from tests.evals.scored import make_scored

pytestmark = pytest.mark.django_db
NEW = "/p/default/comparisons/new"


@pytest.fixture
def revision(project):
    rows = [{"key": f"k{n}", "input": f"ask {n}", "reference": "refund"} for n in range(4)]
    return services.create_dataset(project, name="Cases", items=rows).revisions.get()


def make_rubric(project):
    levels = (LevelText(0, "no", "It is wrong."), LevelText(1, "yes", "It is right."))
    standard = Standard("Right", 0, pass_threshold=1, criteria=(CriterionText("right", "Right", levels=levels),))
    return publish_version(create_rubric(project, name="Right", standard=standard))


def rows(prefix, forms):
    data = {f"{prefix}-TOTAL_FORMS": len(forms), f"{prefix}-INITIAL_FORMS": 0}
    for place, form in enumerate(forms):
        data |= {f"{prefix}-{place}-{name}": value for name, value in form.items()}
    return data


MODELS = [{"kind": "model", "model": "demo/careful"}, {"kind": "model", "model": "demo/brisk", "temperature": "0.5"}]
CHECK = [
    {
        "kind": "string_check",
        "operation": "ilike",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.reference }}",
    }
]
CODE = [{"kind": "python", "source": "def grade(sample, item):\n    return 0.75", "pass_threshold": "0.5"}]


def send(client, revision_row, *, candidates=MODELS, graders=CHECK, action="launch", headers=None, **fields):
    data = {"name": "June", "revision": revision_row.pk, "trials": 2, "action": action, **fields}
    return client.post(NEW, data | rows("candidate", candidates) | rows("grader", graders), headers=headers)


def test_without_a_dataset_the_page_says_what_is_needed(client, project):
    assert "A comparison needs a dataset" in client.get(NEW).text


def test_the_page_starts_with_two_models_and_says_what_they_take(client, project, revision):
    make_rubric(project)
    answer = client.get(f"{NEW}?revision={revision.pk}")
    assert len(answer.context["candidates"].forms) == 2
    estimate = answer.context["estimate"]
    assert (estimate.samples, estimate.answer_calls, estimate.judge_calls) == (8, 8, 8)
    assert "Run 8 samples, about $" in answer.text
    assert "scripted" in answer.text


def test_a_launch_writes_the_comparison_as_asked(client, project, revision):
    version = make_rubric(project)
    graders = [
        {**CHECK[0], "is_gate": "on", "name": "Says refund"},
        {"kind": "rubric", "rubric_version": version.pk, "judge_model": "demo/judge"},
        *CODE,
    ]
    candidates = [*MODELS, {"kind": "recorded"}, {"kind": "nothing", "label": "Floor"}]
    answer = send(client, revision, candidates=candidates, graders=graders, ceiling_usd="1.5")
    made = Comparison.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"/p/default/comparisons/{made.pk}"
    assert (made.name, made.trials, made.ceiling_usd, made.dataset_revision) == ("June", 2, 1.5, revision)
    runs = made.runs.order_by("position")
    assert [(run.candidate.kind, run.candidate.label) for run in runs] == [
        ("model", "demo/careful"),
        ("model", "demo/brisk"),
        ("recorded", "Recorded"),
        ("nothing", "Floor"),
    ]
    assert runs[1].candidate.sampling == {"temperature": 0.5}
    placed = made.eval.eval_graders.select_related("grader_version__grader")
    assert [(place.grader_version.grader.name, place.is_gate) for place in placed] == [
        ("Says refund", True),
        ("Right", False),
        ("Code", False),
    ]


def test_htmx_is_sent_to_the_new_comparison(client, project, revision):
    answer = send(client, revision, headers={"HX-Request": "true"})
    assert answer["HX-Redirect"] == f"/p/default/comparisons/{Comparison.objects.get().pk}"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "This field is required"),
        ({"trials": "0"}, "greater than or equal to 1"),
        ({"revision": "99999"}, "not one of the available choices"),
        ({"ceiling_usd": "-1"}, "greater than or equal to"),
        ({"graders": []}, "Choose at least one grader"),
        ({"candidates": [{"kind": "model", "model": " "}]}, "Name a model."),
        ({"candidates": [{"kind": "magic"}]}, "not one of the available choices"),
        ({"candidates": [MODELS[0], MODELS[0]]}, "is there twice"),
        ({"graders": [{"kind": "rubric", "judge_model": "x"}]}, "Choose a published version"),
        ({"graders": [{"kind": "python", "source": "grade = 1"}]}, "Define grade(sample, item)"),
        ({"graders": [{"kind": "python", "source": "def grade(sample, item:\n  pass"}]}, "The source cannot be read"),
        ({"graders": [{**CHECK[0], "reference": ""}]}, "Write a text or a template"),
    ],
)
def test_what_cannot_be_run_is_said_in_place_and_nothing_is_written(client, project, revision, fields, said):
    answer = send(client, revision, **fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert not Comparison.objects.exists()


def test_what_was_typed_stays_when_something_is_wrong(client, project, revision):
    answer = send(
        client,
        revision,
        name="",
        candidates=[{"kind": "model", "model": "my-model", "system_prompt": "Be <b>kind</b>"}],
    )
    assert "my-model" in answer.text
    assert "Be &lt;b&gt;kind&lt;/b&gt;" in answer.text


def shown(answer):
    return (
        [form["kind"].value() for form in answer.context["candidates"].forms],
        [form["kind"].value() for form in answer.context["graders"].forms],
    )


@pytest.mark.parametrize("headers", [None, {"HX-Request": "true"}])
def test_rows_are_added_and_removed_with_htmx_and_without(client, project, revision, headers):
    added = send(client, revision, action="add-candidate:recorded", headers=headers)
    assert shown(added) == (["model", "model", "recorded"], ["string_check"])
    assert ("<html" in added.text) == (headers is None)
    removed = send(client, revision, action="remove-candidate:0", headers=headers)
    assert [form["model"].value() for form in removed.context["candidates"].forms] == ["demo/brisk"]
    assert shown(send(client, revision, action="add-grader:python", headers=headers))[1] == ["string_check", "python"]
    assert shown(send(client, revision, action="remove-grader:0", headers=headers))[1] == []
    assert not Comparison.objects.exists()


@pytest.mark.parametrize(
    "action", ["add-candidate:", "add-grader:x", "remove-candidate:99", "remove-grader:x", "try:9", "nothing"]
)
def test_an_action_that_makes_no_sense_shows_the_page_again(client, project, revision, action):
    assert send(client, revision, action=action).status_code == 200


def test_the_last_candidate_cannot_be_removed(client, project, revision):
    assert len(shown(send(client, revision, candidates=MODELS[:1], action="remove-candidate:0"))[0]) == 1


def test_the_estimate_alone_follows_what_is_filled_in(client, project, revision):
    part = send(client, revision, action="estimate", trials=5, headers={"HX-Request": "true"}).text
    assert "Run 40 samples, " in part
    assert "hx-swap-oob" in part
    assert "<form" not in part


def test_a_model_without_a_known_price_is_named(client, project, revision):
    part = send(client, revision, action="estimate", candidates=[{"kind": "model", "model": "no-such-model"}]).text
    assert "cost not known" in part


def test_code_is_tried_on_the_first_item(client, project, revision):
    assert "it gives 0.75" in send(client, revision, graders=CODE, action="try:0").text
    broken = [{"kind": "python", "source": "def grade(sample, item):\n    return item['nothing']"}]
    assert "no score" in send(client, revision, graders=broken, action="try:0").text


def test_run_again_starts_from_the_comparison(client, project):
    first = make_scored(project, [[1.0], [0.0]], trials=3)
    answer = client.get(f"{NEW}?from={first.pk}")
    assert [form["model"].value() for form in answer.context["candidates"].forms] == ["model-0", "model-1"]
    assert answer.context["form"]["trials"].value() == 3
    assert shown(answer)[1] == ["python"]


# Variables that no item has


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("user_template", "Ask {{ item.key }}", "No item has item.key"),
        ("user_template", "In {{ item.bucket }}", "kept beside"),
        ("system_prompt", "Be {{ item.tone }}", "The items have input, reference"),
    ],
)
def test_a_variable_that_no_item_has_is_refused_at_launch_with_what_they_have(
    client, project, revision, field, text, said
):
    candidates = [{**MODELS[0], field: text}]
    answer = send(client, revision, candidates=candidates)
    assert answer.status_code == 422
    assert said in answer.context["candidates"].forms[0].errors[field][0]
    assert not Comparison.objects.exists()


def test_a_graders_variable_that_no_item_has_is_refused_at_its_field(client, project, revision):
    answer = send(client, revision, graders=[{**CHECK[0], "reference": "{{ item.expected_text }}"}])
    assert "No item has item.expected_text" in answer.context["graders"].forms[0].errors["reference"][0]
    assert not Comparison.objects.exists()


def test_a_variable_that_some_items_lack_is_warned_of_and_named(client, project):
    items = [{"key": f"k{n}", "input": "ask", "reference": "x", **({"tone": "kind"} if n else {})} for n in range(3)]
    part = services.create_dataset(project, name="Cases", items=items).revisions.get()
    candidates = [{**MODELS[0], "system_prompt": "Be {{ item.tone }}"}]
    said = "1 of 3 items lacks item.tone, the first is k0"
    assert said in send(client, part, candidates=candidates, action="estimate", headers={"HX-Request": "true"}).text
    answer = client.get(send(client, part, candidates=candidates)["Location"])
    assert said in answer.text


def test_the_services_refuse_it_too(project, revision):
    with pytest.raises(services.BadComparison, match="No item has item"):
        services.create_comparison(
            project,
            name="x",
            revision=revision,
            candidates=[services.CandidateSpec(model="m", user_template="{{ item.tone }}")],
            graders=[services.GraderSpec("c", "string_check", {"input": "a", "reference": "a"})],
        )


@pytest.mark.parametrize(
    ("grader", "place"),
    [
        (
            ("c", "string_check", {"input": "a", "reference": "{{ item.tone }}", "operation": "eq"}),
            "graders[0].reference",
        ),
        (
            (
                "m",
                "multi",
                {
                    "graders": [
                        {
                            "name": "c",
                            "type": "string_check",
                            "input": "{{ item.tone }}",
                            "reference": "a",
                            "operation": "eq",
                        }
                    ],
                    "calculate_output": "c",
                    "pass_threshold": 0.5,
                },
            ),
            "graders[0].graders[0].input",
        ),
    ],
)
def test_a_graders_variable_is_refused_by_the_services_too(project, revision, grader, place):
    with pytest.raises(services.BadComparison, match=r"No item has item\.tone") as refused:
        services.create_comparison(
            project,
            name="x",
            revision=revision,
            candidates=[services.CandidateSpec(model="m")],
            graders=[services.GraderSpec(*grader)],
        )
    assert refused.value.param == place
    assert not Comparison.objects.exists()


def test_a_comparison_that_runs_again_is_refused_when_its_items_lost_a_graders_variable(project, revision):
    check = {"input": "a", "reference": "{{ item.reference }}", "operation": "eq"}
    asked = [services.CandidateSpec(model="m")]
    made = services.create_comparison(
        project,
        name="x",
        revision=revision,
        candidates=asked,
        graders=[services.GraderSpec("c", "string_check", check)],
    )
    bare = services.create_dataset(project, name="Bare", items=[{"input": "ask"}]).revisions.get()
    with pytest.raises(services.BadComparison, match=r"No item has item\.reference"):
        services.create_comparison(project, name="x", revision=bare, candidates=asked, eval=made.eval)


def test_what_the_first_item_asks_is_shown_filled_in(client, project, revision):
    candidates = [{**MODELS[0], "system_prompt": "Help <b>{{ item.input }}</b>"}]
    part = send(client, revision, candidates=candidates, action="estimate", headers={"HX-Request": "true"}).text
    assert "Help &lt;b&gt;ask 0&lt;/b&gt;" in part
    candidates = [{**MODELS[0], "system_prompt": "Be {{ item.tone }}"}]
    part = send(client, revision, candidates=candidates, action="estimate", headers={"HX-Request": "true"}).text
    assert "has no &#x27;tone&#x27;" in part


def test_the_most_trials_are_said(client, project, revision):
    assert "Up to 50 attempts" in client.get(f"{NEW}?revision={revision.pk}").text
