from collections import Counter

import pytest
from django.urls import reverse

from demo.services import load_demo
from evals.models import Comparison, Item, Sample, Score
from providers.models import Call
from rubrics.models import RubricVersion
from traces.models import Span, Trace

pytestmark = pytest.mark.django_db(transaction=True)


def counts() -> dict[str, int]:
    return {model.__name__: model.objects.count() for model in (Trace, Span, Item, RubricVersion, Sample, Score, Call)}


def test_demo_is_loaded_whole_through_the_endpoint_and_a_repeat_changes_nothing(client):
    project = load_demo(progress=lambda text: None)
    runs = Trace.objects.filter(project=project, source="ingest")
    assert runs.count() >= 400
    assert max(runs.values_list("span_count", flat=True)) == 5000
    assert runs.filter(missing_root=False).count() == runs.count()
    assert RubricVersion.objects.exclude(frozen_at=None).count() == 6
    assert Item.objects.count() == 40

    comparison = Comparison.objects.get()
    assert Counter(comparison.runs.values_list("status", flat=True)) == {"finished": 3}
    samples = Sample.objects.filter(run__comparison=comparison)
    assert Counter(samples.values_list("status", flat=True)) == {"done": 240}
    overall = Score.objects.filter(run__comparison=comparison, is_current=True, criterion="")
    assert Counter(overall.values_list("grader_version__grader__name", "state")) == {
        ("Outcome is correct", "ok"): 240,
        ("Agrees with the reference", "ok"): 240,
        ("Names the order", "ok"): 240,
    }
    marked = Score.objects.filter(run=None, trace__source="ingest", is_current=True, criterion="")
    assert marked.count() == 100
    assert set(marked.values_list("state", flat=True)) == {"ok"}
    assert set(Call.objects.values_list("state", flat=True)) == {"answered"}

    before = counts()
    load_demo(progress=lambda text: None)
    assert counts() == before

    trace = runs.order_by("-span_count").first()
    pages = [
        reverse("evals:overview", args=["demo"]),
        reverse("traces:trace_list", args=["demo"]),
        reverse("traces:trace", args=["demo", trace.trace_id]),
        reverse("evals:comparison", args=["demo", comparison.pk]),
        reverse("evals:dataset_list", args=["demo"]),
        reverse("rubrics:rubric_list", args=["demo"]),
    ]
    for page in pages:
        assert client.get(page).status_code == 200, page
    assert "scripted" in client.get(pages[3]).text
