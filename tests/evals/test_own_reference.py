import pytest

from evals import services
from evals.graders import build_grader, grader_kind
from evals.models import CandidateKind, Sample, Score
from evals.own_reference import OWN_REFERENCE, names_reference
from evals.services import CandidateSpec, GraderSpec
from evals.services.trial import sample_to_try
from tests.evals.engine import CONTAINS, make_comparison, pump, rubric_spec
from tests.factories import make_project, make_span
from traces.models import Trace
from traces.services import ingest_spans

THREAD = [
    {"role": "user", "content": "Where is order 7?"},
    {"role": "assistant", "content": "On its way."},
    {"role": "user", "content": "Cancel it."},
    {"role": "assistant", "content": "Cancelled."},
]
WHOLE = GraderSpec(
    "both turns",
    "python",
    {
        "source": "def grade(sample, item):\n    return 1.0 if len(sample['messages']) == 4 else 0.0",
        "pass_threshold": 0.5,
    },
)


def make_run(project):
    record = make_span(kind="agent", input_messages=THREAD[:3], output_messages=THREAD[3:])
    return Trace.objects.get(pk=ingest_spans(project, [record]).trace_pks[record.trace_id])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("whole", [False, True])
def test_a_recorded_run_is_marked_as_a_whole_and_not_against_its_own_words(settings, whole):
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    project = make_project()
    dataset = services.dataset_from_traces(project, [make_run(project)], name="Runs", whole=whole)
    comparison = services.create_comparison(
        project,
        name="x",
        revision=dataset.revisions.get(),
        candidates=[CandidateSpec(kind=CandidateKind.RECORDED), CandidateSpec(model="echo")],
        graders=[CONTAINS, WHOLE, rubric_spec(project)],
    )
    pump(comparison)
    found = {
        (score.run.position, score.grader_version.grader.name): (score.state, score.reason)
        for score in Score.objects.filter(is_current=True, criterion="").select_related("run", "grader_version__grader")
    }
    assert found[0, "answer given"] == ("skipped", OWN_REFERENCE)
    assert (found[0, "both turns"][0], found[0, "Correctness"][0]) == ("ok", "ok")
    assert found[1, "answer given"][0] == "ok"
    assert Score.objects.get(run__position=0, grader_version__grader__name="both turns").value == 1.0
    assert Sample.objects.get(run__position=0).output_text == "Cancelled."


@pytest.mark.django_db(transaction=True)
def test_a_reference_that_a_person_wrote_is_a_measure_of_the_recorded_run(settings):
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    project = make_project()
    trace = make_run(project)
    content = services.content_of_trace(trace) | {"reference": "cancelled"}
    rows = [services.NewItem(content, "written", source_trace_pk=trace.pk)]
    comparison = make_comparison(project=project, items=rows, candidates=[CandidateSpec(kind=CandidateKind.RECORDED)])
    pump(comparison)
    assert Score.objects.get().passed


@pytest.mark.django_db
def test_a_grader_is_tried_on_the_reference_where_the_run_has_only_its_own_words_to_be_held_against(project):
    item = services.dataset_from_traces(project, [make_run(project)], name="Runs").items.get()
    by_reference = build_grader(CONTAINS.kind, CONTAINS.config)
    sample, what = sample_to_try(item, by_reference)
    assert (sample.output_text, what) == ("On its way.", "its reference")
    sample, what = sample_to_try(item, build_grader("python", WHOLE.config))
    assert (sample.output_text, what) == ("Cancelled.", "what was recorded")


@pytest.mark.parametrize(
    ("kind", "config", "reads"),
    [
        (
            "string_check",
            {"input": "{{ sample.output_text }}", "reference": "{{item.reference}}", "operation": "eq"},
            True,
        ),
        ("string_check", {"input": "{{ item.input }}", "reference": "reference", "operation": "eq"}, False),
        ("python", {"source": "def grade(sample, item):\n    return item.get('reference') == 1"}, True),
        ("python", {"source": "def grade(sample, item):\n    return 'reference' in sample"}, False),
    ],
)
def test_what_reads_the_reference_is_seen_in_templates_and_code(kind, config, reads):
    grader = build_grader(kind, grader_kind(kind).validate(config))
    assert names_reference(grader) is reads
