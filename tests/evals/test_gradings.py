"""Grading all runs that a query finds: the number is named, a worker does it page by page, a killed one goes on."""

import itertools
import threading

import pytest
from django.urls import reverse

from accounts.models import AuditEntry, Membership, Role, User
from evals import services
from evals.models import Grading, RunStatus, Score
from evals.services import gradings
from evals.services.deletion import delete_project, finish_deletions
from tests.factories import make_project, make_span
from traces.models import Trace
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def version(project):
    config = {"input": "{{ sample.output_text }}", "reference": "refund", "operation": "ilike"}
    return services.ensure_grader_version(project, services.GraderSpec("says refund", "string_check", config))


numbers = itertools.count(1)


def make_runs(project, count, **fields):
    records = [make_span(trace_id=f"{next(numbers):032x}", output="Refund sent.", **fields) for _ in range(count)]
    pks = ingest_spans(project, records).trace_pks
    return [Trace.objects.get(pk=pks[record.trace_id]) for record in records]


def address(name, project, *keys):
    return reverse(f"evals:{name}", args=[project.slug, *keys])


def test_all_that_match_are_graded_page_by_page_and_the_rest_is_not(project, version, monkeypatch):
    monkeypatch.setattr(gradings, "AT_ONCE", 3)
    wanted = make_runs(project, 7, agent_name="desk")
    make_runs(project, 2, agent_name="other")
    make_runs(make_project(slug="else"), 1, agent_name="desk")
    grading = gradings.start_grading(project, query="agent:desk", version=version)
    make_runs(project, 1, agent_name="desk")  # came after it was asked for
    gradings.work_on_grading(grading.pk, worker="w")
    grading.refresh_from_db()
    assert (grading.status, grading.asked, grading.looked_at, grading.added) == ("finished", 7, 7, 7)
    assert set(Score.objects.values_list("trace", flat=True)) == {trace.pk for trace in wanted}
    again = gradings.start_grading(project, query="agent:desk", version=version)
    gradings.work_on_grading(again.pk, worker="w")
    again.refresh_from_db()
    assert (again.looked_at, again.added) == (8, 1)
    assert AuditEntry.objects.filter(action="grading.start").count() == 2


def test_a_killed_grading_goes_on_where_it_was_and_scores_nothing_twice(project, version, monkeypatch):
    monkeypatch.setattr(gradings, "AT_ONCE", 2)
    make_runs(project, 5)
    grading = gradings.start_grading(project, query="", version=version)
    true_page, pages = gradings.grade_page, []

    class Killed(Exception):
        pass

    def page(*arguments, **options):
        pages.append(true_page(*arguments, **options))
        if len(pages) == 2:
            raise Killed  # after its scores were written, before the row says so
        return pages[-1]

    with monkeypatch.context() as patch:
        patch.setattr(gradings, "grade_page", page)
        with pytest.raises(Killed):
            gradings.work_on_grading(grading.pk, worker="dead")
    assert gradings.open_gradings() == []  # its lease holds
    gradings.work_on_grading(grading.pk, worker="other")
    assert Grading.objects.get().looked_at == 2
    Grading.objects.update(leased_until=None)
    assert gradings.open_gradings() == [grading.pk]
    gradings.work_on_grading(grading.pk, worker="other")
    grading.refresh_from_db()
    assert (grading.status, grading.looked_at) == ("finished", 5)
    assert Score.objects.count() == 5


def test_a_worker_that_ends_gives_the_grading_back_and_a_stopped_one_stays_stopped(project, version):
    make_runs(project, 2)
    grading = gradings.start_grading(project, query="", version=version)
    stop = threading.Event()
    stop.set()
    gradings.work_on_grading(grading.pk, worker="w", stop=stop)
    assert gradings.open_gradings() == [grading.pk]
    assert gradings.cancel_grading(grading)
    gradings.work_on_grading(grading.pk, worker="w")
    grading.refresh_from_db()
    assert (grading.status, grading.looked_at) == (RunStatus.CANCELLED, 0)
    assert not gradings.cancel_grading(grading)


@pytest.mark.parametrize(
    ("query", "said"), [("agnet:x", "agnet"), ("agent:nobody", "No run matches"), ("", "at most 1 are graded at once")]
)
def test_what_cannot_be_graded_is_said(client, project, version, monkeypatch, query, said):
    monkeypatch.setattr(gradings, "MOST", 1)
    make_runs(project, 2)
    answer = client.post(address("grade_traces", project), {"all": "1", "q": query})
    assert answer.status_code == 422
    assert said in answer.content.decode()


def test_the_page_names_the_number_starts_and_says_how_far_it_is(client, project, version):
    chosen = make_runs(project, 3)[:2]
    ids = [trace.trace_id for trace in chosen]
    asked = client.post(address("grade_traces", project), {"trace": ids})
    assert "<strong>2 runs</strong> will be graded" in asked.content.decode()
    assert Grading.objects.count() == 0
    form = {"all": "1", "q": asked.context["query"], "by": f"grader-{version.pk}"}
    started = client.post(address("grade_traces", project), form, follow=True)
    assert "0 of 2</strong> runs looked at" in started.content.decode()
    grading = Grading.objects.get()
    part = client.get(address("grading", project, grading.pk), HTTP_HX_REQUEST="true").content.decode()
    assert "<html" not in part
    assert "every 2s" in part
    gradings.work_on_grading(grading.pk, worker="w")
    done = client.get(address("grading", project, grading.pk)).content.decode()
    assert "2 of 2</strong> runs looked at" in done
    assert "every 2s" not in done
    assert set(Score.objects.values_list("trace__trace_id", flat=True)) == set(ids)


def test_grading_is_for_engineers_and_for_ones_own_project(client, project, version, login_on):
    trace = make_runs(project, 1)[0]
    other = make_project(slug="else")
    ann = User.objects.create_user("ann", password="x")
    Membership.objects.create(user=ann, project=project, role=Role.REVIEWER)
    Membership.objects.create(user=ann, project=other, role=Role.ADMIN)
    client.force_login(ann)
    form = {"trace": trace.trace_id, "by": f"grader-{version.pk}"}
    assert client.post(address("grade_traces", project), form).status_code == 403
    assert "Grade all that match" not in client.get(f"/p/{project.slug}/traces").content.decode()
    make_runs(other, 1)
    answer = client.post(address("grade_traces", other), {"all": "1", "by": f"grader-{version.pk}"})
    assert answer.status_code == 422
    assert Grading.objects.count() == 0
    grading = gradings.start_grading(project, query="", version=version)
    assert client.get(address("grading", other, grading.pk)).status_code == 404


def test_deleting_the_project_takes_its_gradings(project, version):
    make_runs(project, 1)
    grading = gradings.start_grading(project, query="", version=version)
    delete_project(project)
    assert Grading.objects.get(pk=grading.pk).status == RunStatus.CANCELLED
    finish_deletions()
    assert (Grading.objects.count(), Trace.objects.count()) == (0, 0)
