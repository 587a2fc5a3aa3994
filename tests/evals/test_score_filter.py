"""`score.NAME` in the query of the traces list."""

import pytest

from evals import services
from evals.services import NewScore
from tests.factories import make_project, make_span
from traces import list_queries
from traces.models import Trace
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db


def found(project, text: str) -> set[str]:
    return {trace.name for trace in list_queries.trace_page(project, text)}


@pytest.fixture
def scored():
    project = make_project()
    grader = services.imported_grader(project, "Tools are used well")
    for name, value in [("low", 1.0), ("high", 4.5), ("none", None)]:
        record = make_span(name=name)
        trace = Trace.objects.get(pk=ingest_spans(project, [record]).trace_pks[record.trace_id])
        if value is not None:
            services.record_scores(project, [NewScore(grader, trace=trace, value=9.0)])
            services.record_scores(project, [NewScore(grader, trace=trace, value=value)])
    return project


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("score.tools-are-used-well:<3", {"low"}),
        ("score.Tools-Are-Used-Well:>=4.5", {"high"}),
        ("score.tools-are-used-well:1..5", {"low", "high"}),
        ("score.tools-are-used-well:9", set()),
        ("-score.tools-are-used-well:<3", {"high", "none"}),
        ("score.other:<3", set()),
    ],
)
def test_score_finds_traces_by_their_current_score(scored, text, names):
    assert found(scored, text) == names


def test_score_of_another_project_is_not_seen(scored):
    assert found(make_project(), "score.tools-are-used-well:<3") == set()


def test_score_names_are_suggested(scored):
    labels = [one.label for one in list_queries.completions(scored, "score.t")]
    assert "score.tools-are-used-well" in labels
