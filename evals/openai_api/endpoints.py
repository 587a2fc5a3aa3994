"""Evals, runs and output items: validate, one service call or query, answer."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase, JsonResponse

from accounts.access import ApiError, ProjectRequest
from accounts.models import Project
from evals import tasks
from evals.models import Eval, File, Run, RunStatus, Sample
from evals.openai_api import criteria
from evals.openai_api.documents import STATUSES, eval_document, item_document, run_document
from evals.openai_api.files import find_file
from evals.openai_api.http import endpoint, read_json
from evals.openai_api.paging import list_document, page_of, read_page
from evals.openai_api.reading import (
    BadRequest,
    one_of,
    optional_object,
    read_metadata,
    read_name,
    refuse_unstorable,
    required_object,
)
from evals.openai_api.rows import Row, rows_of_content, rows_of_lines
from evals.openai_api.schemas import CheckRow, check_references, check_schema, row_checker
from evals.openai_api.sources import DataSource, read_data_source
from evals.queries.logs import log_rows, trace_keys, trace_rows
from evals.queries.openai_runs import (
    finished_samples,
    graders_of,
    run_figures,
    scores_of_samples,
    stride_of,
    with_outcome,
)
from evals.services.comparisons import cancel_run
from evals.services.files import file_lines
from evals.services.graders import GraderSpec
from evals.services.openai_evals import (
    CriterionSpec,
    create_openai_eval,
    create_openai_run,
    delete_eval,
    delete_run,
    update_openai_eval,
)
from evals.services.rows import RowValues
from providers.registry import UnknownModel, resolve

CONFIGS = ("custom", "logs", "stored_completions")


# Evals -----------------------------------------------------------------------------------------------------------


@endpoint("GET", "POST")
def evals(request: ProjectRequest) -> HttpResponseBase:
    """GET and POST /v1/evals."""
    return list_evals(request) if request.method == "GET" else create_eval(request)


@endpoint("GET", "POST", "DELETE")
def one_eval(request: ProjectRequest, eval_id: str) -> HttpResponseBase:
    """GET, POST (update) and DELETE /v1/evals/{eval_id}."""
    chosen = find_eval(request.project, eval_id)
    if request.method == "DELETE":
        delete_eval(chosen)
        return JsonResponse({"object": "eval.deleted", "deleted": True, "eval_id": eval_id})
    if request.method == "POST":
        body = read_json(request)
        metadata = read_metadata(body["metadata"]) if "metadata" in body else None
        refuse_unstorable({"name": body.get("name"), "metadata": metadata})
        chosen = update_openai_eval(chosen, name=read_name(body), metadata=metadata)
    return JsonResponse(eval_document(chosen, graders_of([chosen])[chosen.pk]))


def list_evals(request: ProjectRequest) -> JsonResponse:
    wanted = read_page(request)
    by = one_of(request.GET.get("order_by") or "created_at", ("created_at", "updated_at"), "order_by")
    rows = Eval.objects.filter(project=request.project)
    page, has_more = page_of(rows, rows, wanted, by=by)
    graders = graders_of(page)
    return JsonResponse(list_document([eval_document(row, graders[row.pk]) for row in page], has_more))


def create_eval(request: ProjectRequest) -> JsonResponse:
    body = read_json(request)
    refuse_unstorable(body)
    config = required_object(body, "data_source_config")
    kind = one_of(config.get("type"), CONFIGS, "data_source_config.type")
    schema: dict[str, Any] = {}
    if kind == "custom":
        check_schema(config.get("item_schema"), "data_source_config.item_schema")
        schema = config["item_schema"]
        with_sample = config.get("include_sample_schema")
        if with_sample is not None and not isinstance(with_sample, bool):
            place = "data_source_config.include_sample_schema"
            raise BadRequest(f"`{place}` must be true or false.", param=place)
        source_config = {"type": kind, "include_sample_schema": bool(with_sample)}
    else:
        source_config = {"type": kind, "metadata": read_filter(config)}
    found = criteria.read_criteria(body.get("testing_criteria"), request.project)
    for number, criterion in enumerate(found):
        check_models(request.project, criterion.models, f"testing_criteria[{number}].model")
        check_references(criterion.config, schema, f"testing_criteria[{number}]")
    created = create_openai_eval(
        request.project,
        name=read_name(body) or f"Eval of {found[0].name}"[:200],
        criteria=[kept_criterion(criterion) for criterion in found],
        item_schema=schema,
        source_config=source_config,
        metadata=read_metadata(body.get("metadata")),
    )
    return JsonResponse(eval_document(created, graders_of([created])[created.pk]), status=201)


def read_filter(config: dict[str, object]) -> dict[str, str]:
    """Return the metadata filter of a config over recorded requests. Raises BadRequest."""
    metadata = optional_object(config, "metadata", "data_source_config")
    return read_metadata(metadata, "data_source_config.metadata")


def kept_criterion(found: criteria.ReadCriterion) -> CriterionSpec:
    grader = GraderSpec(found.name, found.kind, found.config, rubric_version=found.rubric_version, door="openai")
    return CriterionSpec(grader, criteria.fresh_criterion_id(found.name), found.answered)


def check_models(project: Project, models: Iterable[str], place: str) -> None:
    """Raise BadRequest for a model that nobody answers here."""
    for model in models:
        try:
            resolve(project, model)
        except UnknownModel as error:
            raise BadRequest(str(error), param=place, code="model_not_found") from None


def find_eval(project: Project, eval_id: str) -> Eval:
    found = Eval.objects.filter(project=project, public_id=storable_id(eval_id)).first()
    if found is None:
        raise ApiError(404, f"There is no eval {eval_id[:100]!r}.", param="eval_id", code="not_found")
    return found


def storable_id(text: str) -> str:
    return text.replace("\x00", "")[:200]


# Runs ------------------------------------------------------------------------------------------------------------


@endpoint("GET", "POST")
def runs(request: ProjectRequest, eval_id: str) -> HttpResponseBase:
    """GET and POST /v1/evals/{eval_id}/runs."""
    chosen = find_eval(request.project, eval_id)
    return list_runs(request, chosen) if request.method == "GET" else create_run(request, chosen)


@endpoint("GET", "POST", "DELETE")
def one_run(request: ProjectRequest, eval_id: str, run_id: str) -> HttpResponseBase:
    """GET, POST (cancel, as older clients ask for it) and DELETE /v1/evals/{eval_id}/runs/{run_id}."""
    run = find_run(request.project, eval_id, run_id)
    if request.method == "DELETE":
        delete_run(run)
        return JsonResponse({"object": "eval.run.deleted", "deleted": True, "run_id": run_id})
    if request.method == "POST":
        cancel_run(run)
        run = find_run(request.project, eval_id, run_id)
    return answer_run(request, run)


@endpoint("POST")
def cancel(request: ProjectRequest, eval_id: str, run_id: str) -> HttpResponseBase:
    """POST /v1/evals/{eval_id}/runs/{run_id}/cancel. A run that is over stays as it is."""
    cancel_run(find_run(request.project, eval_id, run_id))
    return answer_run(request, find_run(request.project, eval_id, run_id))


def answer_run(request: ProjectRequest, run: Run, *, status: int = 200) -> JsonResponse:
    graders = graders_of([run.eval])[run.eval_id]
    return JsonResponse(run_document(request, run, run_figures([run])[run.pk], graders), status=status)


def list_runs(request: ProjectRequest, chosen: Eval) -> JsonResponse:
    wanted = read_page(request)
    everything = runs_of(chosen)
    rows = everything
    status = request.GET.get("status")
    if status:
        one_of(status, dict.fromkeys(STATUSES.values()), "status")
        rows = rows.filter(status__in=[ours for ours, theirs in STATUSES.items() if theirs == status])
    page, has_more = page_of(rows, everything, wanted)
    figures, graders = run_figures(page), graders_of([chosen])[chosen.pk]
    return JsonResponse(list_document([run_document(request, run, figures[run.pk], graders) for run in page], has_more))


def runs_of(chosen: Eval) -> "QuerySet[Run]":
    return whole_runs().filter(eval=chosen)


def whole_runs() -> "QuerySet[Run]":
    """Return runs with all that their documents tell."""
    return Run.objects.select_related("eval", "project", "candidate", "dataset_revision__dataset")


def find_run(project: Project, eval_id: str, run_id: str) -> Run:
    found = (
        whole_runs()
        .filter(eval__project=project, eval__public_id=storable_id(eval_id), public_id=storable_id(run_id))
        .first()
    )
    if found is None:
        find_eval(project, eval_id)
        raise ApiError(404, f"The eval has no run {run_id[:100]!r}.", param="run_id", code="not_found")
    return found


def create_run(request: ProjectRequest, chosen: Eval) -> JsonResponse:
    body = read_json(request)
    source = read_data_source(body.get("data_source"))
    refuse_unstorable({name: value for name, value in body.items() if name != "data_source"})
    refuse_unstorable(source.answered, "data_source")
    if source.model:
        check_models(request.project, [source.model], "data_source.model")
        check_references(source.candidate.input_messages, chosen.item_schema, "data_source.input_messages")
    run = create_openai_run(
        chosen,
        name=read_name(body) or "",
        metadata=read_metadata(body.get("metadata")),
        data_source=source.answered,
        candidate=source.candidate,
        rows=rows_of(request.project, chosen, source),
    )
    if run.status == RunStatus.QUEUED:
        tasks.wake(run.pk)
    return answer_run(request, find_run(request.project, chosen.public_id, run.public_id), status=201)


def rows_of(project: Project, chosen: Eval, source: DataSource) -> Callable[[], Iterable[RowValues]]:
    """Return the rows of a data source as something that can be read twice. Reading raises BadRequest."""
    check = row_checker(chosen.item_schema) if chosen.item_schema else None
    if source.source == "file_content":
        rows = rows_of_content(source.content, check, "data_source.source.content")
        values = list(with_traces(project, rows, "data_source.source.content"))
        return lambda: values
    if source.source == "file_id":
        return partial(rows_of_file, project, find_source_file(project, source.file_id), check)
    filters = chosen.source_config.get("metadata", {})
    find = trace_rows if source.source == "traces" else log_rows
    found = list(find(project, source.filters, metadata=filters))
    return lambda: found


def rows_of_file(project: Project, file: File, check: CheckRow | None) -> Iterable[RowValues]:
    """Yield the rows of a file. Raises BadRequest that lists the wrong lines."""
    place = "data_source.source.id"
    rows = rows_of_lines(file_lines(file), check, name=file.filename, place=place)
    return with_traces(project, rows, place)


def find_source_file(project: Project, file_id: str) -> File:
    """Return the file that a data source names. Raises BadRequest where it is not there, or not any more."""
    try:
        return find_file(project, file_id)
    except ApiError as error:
        raise BadRequest(error.message, param="data_source.source.id", code="file_not_found") from None


TRACES_AT_ONCE = 500


def with_traces(project: Project, rows: Iterable[Row], place: str) -> Iterable[RowValues]:
    """Yield rows as they are kept, with the keys of the traces that they name. Raises BadRequest for a trace that is not here."""
    waiting: list[Row] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == TRACES_AT_ONCE:
            yield from keyed(project, waiting, place)
            waiting = []
    yield from keyed(project, waiting, place)


def keyed(project: Project, rows: list[Row], place: str) -> Iterable[RowValues]:
    named = {row.trace_id for row in rows if row.trace_id}
    keys = trace_keys(project, named) if named else {}
    for row in rows:
        key = keys.get(row.trace_id)
        if row.trace_id and key is None and row.must_be_trace:
            raise BadRequest(
                f"A row names the trace {row.trace_id[:100]!r}, which is not in this project.", param=f"{place}"
            )
        yield row.item, row.sample, key


# Output items ----------------------------------------------------------------------------------------------------


@endpoint("GET")
def output_items(request: ProjectRequest, eval_id: str, run_id: str) -> HttpResponseBase:
    """GET /v1/evals/{eval_id}/runs/{run_id}/output_items, in the order in which they were done."""
    run = find_run(request.project, eval_id, run_id)
    wanted = read_page(request)
    everything = finished_samples(run).select_related("item")
    rows = everything
    status = request.GET.get("status")
    if status:
        chosen = one_of(status, ("pass", "fail", "failed", "error"), "status")
        rows = with_outcome(rows, "fail" if chosen == "failed" else chosen)
    page, has_more = page_of(rows, everything, wanted, by="finished_at")
    return JsonResponse(list_document(item_documents(run, page), has_more))


@endpoint("GET")
def output_item(request: ProjectRequest, eval_id: str, run_id: str, item_id: str) -> HttpResponseBase:
    """GET /v1/evals/{eval_id}/runs/{run_id}/output_items/{id}."""
    run = find_run(request.project, eval_id, run_id)
    rows = finished_samples(run).filter(public_id=storable_id(item_id)).select_related("item")
    found = list(rows[:1])
    if not found:
        raise ApiError(404, f"The run has no output item {item_id[:100]!r}.", param="output_item_id", code="not_found")
    return JsonResponse(item_documents(run, found)[0])


def item_documents(run: Run, samples: list[Sample]) -> list[dict[str, object]]:
    graders, scores, stride = graders_of([run.eval])[run.eval_id], scores_of_samples(samples), stride_of(run)
    return [item_document(run, sample, graders, scores.get(sample.pk, {}), stride=stride) for sample in samples]
