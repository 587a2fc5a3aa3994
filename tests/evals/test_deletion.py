"""Deleting datasets and projects; and what a comparison keeps when its traces go."""

import pytest
from django.apps import apps
from django.db import connection
from django.urls import reverse

from accounts.models import AuditEntry, Project
from evals.models import Comparison, Dataset, Item, RaterKind, Run, RunStatus, Sample, Score
from evals.services import (
    BadComparison,
    BadItems,
    CandidateSpec,
    add_items,
    create_comparison,
    create_dataset,
    deletion,
)
from tests.evals.scored import make_scored
from tests.factories import make_key, make_project, make_span
from traces.deletion import delete_traces, name_loss
from traces.models import Trace
from traces.services import ingest_spans


@pytest.fixture
def project(settings):
    settings.LOGIN_REQUIRED = False
    return make_project(slug="shop", name="Shop")


def make_judged_trace(project, sample):
    """Make the trace of a sample, with the sample's scores on it and a score of its own, and an item made from it."""
    ingest_spans(project, [make_span(trace_id="a" * 32)])
    trace = Trace.objects.get(project=project, trace_id="a" * 32)
    Sample.objects.filter(pk=sample.pk).update(trace=trace)
    Score.objects.filter(sample=sample).update(trace=trace)
    version = Score.objects.filter(sample=sample).first().grader_version
    Score.objects.create(
        project=project, trace=trace, target=f"trace:{trace.pk}", grader_version=version, rater_kind=RaterKind.CODE,
        rater="code", value=1.0,
    )  # fmt: skip
    Item.objects.filter(pk=sample.item_id).update(source_trace=trace)
    return trace


@pytest.mark.django_db
def test_comparison_keeps_its_scores_when_a_trace_goes_and_the_loss_says_so(project):
    comparison = make_scored(project, [[1.0, 0.0], [0.5, 1.0]])
    sample = Sample.objects.filter(run__comparison=comparison).first()
    kept = Score.objects.filter(sample=sample).count()
    trace = make_judged_trace(project, sample)
    loss = name_loss(Trace.objects.filter(pk=trace.pk))
    assert loss.lines == [
        ("score of a recorded run", 1, "deleted"),
        ("score of a comparison", kept, "kept, without a link to its trace"),
        ("sample of a comparison", 1, "kept, with its answer"),
        ("dataset item", 1, "kept"),
    ]
    delete_traces(Trace.objects.filter(pk=trace.pk), what="test")
    assert not Trace.objects.filter(pk=trace.pk).exists()
    assert Score.objects.filter(sample=sample, trace=None).count() == kept
    assert Score.objects.filter(sample=None).count() == 0
    sample.refresh_from_db()
    assert sample.trace_id is None
    assert Item.objects.filter(pk=sample.item_id, source_trace=None).exists()


@pytest.mark.django_db
def test_score_of_a_pair_keeps_the_trace_that_stays(project):
    comparison = make_scored(project, [[1.0, 0.0], [0.5, 1.0]])
    ingest_spans(project, [make_span(trace_id=letter * 32, span_id="s") for letter in "abc"])
    first, second, third = Trace.objects.filter(project=project).order_by("trace_id")
    scores = list(Score.objects.filter(sample__run__comparison=comparison).order_by("pk")[:3])
    span = first.spans.get()
    Score.objects.filter(pk=scores[0].pk).update(trace=first, span=span, other_trace=second)
    Score.objects.filter(pk=scores[1].pk).update(trace=second, other_trace=first)
    Score.objects.filter(pk=scores[2].pk).update(trace=third, span=third.spans.get(), other_trace=second)
    delete_traces(Trace.objects.filter(pk=second.pk), what="test")
    sides = "trace", "span", "other_trace"
    assert Score.objects.values_list(*sides).get(pk=scores[0].pk) == (first.pk, span.pk, None)
    assert Score.objects.values_list(*sides).get(pk=scores[1].pk) == (None, None, first.pk)
    delete_traces(Trace.objects.filter(pk=first.pk), what="test")
    assert Score.objects.values_list(*sides).get(pk=scores[1].pk) == (None, None, None)
    assert Score.objects.values_list(*sides).get(pk=scores[2].pk) == (third.pk, third.spans.get().pk, None)


@pytest.mark.django_db
def test_scores_are_found_by_index_and_let_go_once_for_many_slices(project, monkeypatch):
    monkeypatch.setattr("traces.deletion.SPANS_AT_ONCE", 5)
    comparison = make_scored(project, [[1.0, 0.0], [0.5, 1.0]])
    make_judged_trace(project, Sample.objects.filter(run__comparison=comparison).first())
    ingest_spans(project, [make_span(trace_id="a" * 32, span_id=f"{number:016x}") for number in range(1, 24)])
    plans, asked = [], []

    def explain(execute, sql, params, many, context):
        if "evals_score" in sql and sql.startswith(("SELECT", "UPDATE", "DELETE")):
            asked.append(sql)
            how = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
            execute(how + sql, params, many, context)
            plans.extend(str(row) for row in context["cursor"].fetchall())
        return execute(sql, params, many, context)

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    traces = Trace.objects.filter(project=project)
    with connection.execute_wrapper(explain):
        name_loss(traces)
        delete_traces(traces, what="test")
    assert plans
    assert [plan for plan in plans if "SCAN evals_score" in plan or "Seq Scan on evals_score" in plan] == []
    assert sum('"other_trace_id" = NULL' in sql for sql in asked) == 2


@pytest.mark.django_db
def test_comparison_page_is_shown_after_its_traces_are_gone(client, project):
    comparison = make_scored(project, [[1.0, 0.0], [0.5, 1.0]])
    make_judged_trace(project, Sample.objects.filter(run__comparison=comparison).first())
    delete_traces(Trace.objects.filter(project=project), what="test")
    assert client.get(reverse("evals:comparison", args=["shop", comparison.pk])).status_code == 200
    assert client.get(f"/api/comparisons/{comparison.pk}/samples?project=shop").status_code == 200


@pytest.mark.django_db
def test_dataset_goes_with_its_comparisons_after_its_page_has_named_them(client, project):
    comparison = make_scored(project, [[1.0, 0.0], [0.5, 1.0]])
    dataset = comparison.dataset_revision.dataset
    link = reverse("evals:delete_dataset", args=["shop", dataset.slug])
    assert link in client.get(reverse("evals:dataset", args=["shop", dataset.slug])).content.decode()
    page = client.get(link)
    assert ("comparison", 1, "deleted with its runs") in page.context["lines"]
    assert ("sample", 4, "deleted; its trace is kept") in page.context["lines"]
    done = client.post(link, follow=True)
    assert "Deleted the dataset Cases." in done.content.decode()
    assert not Dataset.objects.exists()
    assert client.get(link).status_code == 404
    deletion.finish_deletions()
    assert not Dataset.every.exists()
    for model in (Dataset, Item, Comparison, Run, Sample, Score):
        assert model.objects.count() == 0, model
    assert AuditEntry.objects.get(action="dataset.delete").detail["loss"]["comparison"] == 1


@pytest.mark.django_db
def test_dataset_of_a_running_comparison_stays(client, project):
    comparison = make_scored(project, [[None, None]], status=RunStatus.RUNNING)
    dataset = comparison.dataset_revision.dataset
    answer = client.post(reverse("evals:delete_dataset", args=["shop", dataset.slug]), follow=True)
    assert "cancel it first" in answer.content.decode()
    assert Dataset.objects.filter(pk=dataset.pk).exists()


@pytest.mark.django_db
def test_no_comparison_begins_or_goes_on_over_a_dataset_that_is_being_deleted(project):
    comparison = make_scored(project, [[None, None]], status=RunStatus.PAUSED)
    revision = comparison.dataset_revision
    deletion.delete_dataset(revision.dataset)
    assert set(Run.objects.values_list("status", flat=True)) == {RunStatus.CANCELLED}
    with pytest.raises(BadComparison, match="was deleted"):
        create_comparison(
            project, name="Late", revision=revision, candidates=[CandidateSpec(kind="given", label="Given")]
        )
    with pytest.raises(BadItems, match="was deleted"):
        add_items(Dataset.every.get(), [{"input": "late"}])
    assert create_dataset(project, name="Cases", items=[{"input": "a"}]).slug == "cases"  # the slug is free


@pytest.mark.django_db
def test_a_dataset_half_deleted_goes_on_being_deleted(project, monkeypatch):
    comparison = make_scored(project, [[1.0, 0.0], [0.5, 1.0]])
    deletion.delete_dataset(comparison.dataset_revision.dataset)
    whole, calls = deletion.delete_rows, []

    def break_off(rows):
        calls.append(rows.model)
        if len(calls) == 3:
            raise RuntimeError("killed")
        whole(rows)

    monkeypatch.setattr(deletion, "delete_rows", break_off)
    deletion.finish_deletions()
    assert Item.objects.count() == 2
    monkeypatch.undo()
    deletion.finish_deletions()
    assert not Dataset.every.exists()
    assert not Comparison.objects.exists()


@pytest.mark.django_db
def test_project_is_gone_at_once_and_its_rows_after_the_worker(client, project):
    other = make_project(slug="other")
    for one in (project, other):
        comparison = make_scored(one, [[1.0, 0.0], [0.5, 1.0]])
        make_judged_trace(one, Sample.objects.filter(run__comparison=comparison).first())
        make_key(one)
    kept = {model: model._base_manager.count() // 2 for model in (Trace, Score, Sample, Dataset, Item)}
    link = reverse("evals:delete_project", args=["shop"])
    assert link in client.get(reverse("accounts:settings", args=["shop"])).content.decode()
    assert client.post(link, {"confirm": "Shop"}).status_code == 422
    client.post(link, {"confirm": "shop"})
    assert client.get(reverse("evals:overview", args=["shop"])).status_code == 404
    assert project.api_keys.count() == 0
    assert make_project(slug="shop").pk != project.pk  # the slug is free
    deletion.finish_deletions()
    assert not Project.every.filter(pk=project.pk).exists()
    assert {model: model._base_manager.count() for model in kept} == kept
    left = [
        (model.__name__, field.name)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if field.related_model is Project and model._base_manager.filter(**{field.name: project.pk}).exists()
    ]
    assert left == []
    assert AuditEntry.objects.filter(action="project.delete", target="shop").exists()


@pytest.mark.django_db
def test_a_project_that_cannot_be_deleted_holds_up_no_other(project, monkeypatch, caplog):
    stuck, other = project, make_project(slug="other")
    for one in (stuck, other):
        make_scored(one, [[1.0]])
        deletion.delete_project(one)

    def refuse(traces, **options):
        if traces.query.where.children[0].rhs == stuck.pk:
            raise RuntimeError("a row that cannot go")

    monkeypatch.setattr(deletion, "delete_traces", refuse)
    deletion.finish_deletions()
    assert list(Project.every.exclude(deleted_at=None)) == [stuck]
    assert f"deleted project {stuck.pk} could not be deleted" in caplog.text
    monkeypatch.undo()
    deletion.finish_deletions()
    assert not Project.every.exclude(deleted_at=None).exists()
