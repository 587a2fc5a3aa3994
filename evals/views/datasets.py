"""Pages of datasets: the list, one dataset with its revisions and items, and the ways in: a file, a form, selected traces."""

import json
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from accounts.access import ProjectRequest, current_user, project_page
from accounts.models import Role
from evals.forms import DatasetForm, FromTracesForm, ItemForm, ItemLinesForm, clean_text
from evals.models import Dataset, DatasetRevision, Item
from evals.overview_words import count
from evals.queries import dataset_pages
from evals.services import datasets as services
from rubrics.judging import REFERENCE_NAMES
from traces.list_queries import matching_traces
from traces.models import MAX_ID, Trace
from traces.search import QueryError

MAX_TRACES = 2_000  # traces that one click puts into a dataset


def find_dataset(request: ProjectRequest, slug: str) -> Dataset:
    return get_object_or_404(Dataset, project=request.project, slug=slug)


def find_revision(dataset: Dataset, number: str) -> DatasetRevision:
    """Return the revision asked for, or the newest. A number that is none is a 404."""
    revisions = dataset.revisions.order_by("-number")
    if number:
        revisions = (
            revisions.filter(number=int(number)) if number.isdecimal() and len(number) < 10 else revisions.none()
        )
    found = revisions.first()
    if found is None:
        raise Http404(f"{dataset.name} has no revision {number or 'yet'}.")
    found.dataset = dataset
    return found


def say_changes(revision: DatasetRevision, changes: str) -> str:
    return f"{changes} in revision {revision.number}."


@require_GET
@project_page()
def dataset_list(request: ProjectRequest) -> HttpResponse:
    return render(request, "evals/dataset_list.html", {"rows": dataset_pages.dataset_rows(request.project)})


@require_http_methods(["GET", "POST"])
@project_page(Role.ENGINEER)
def dataset_new(request: ProjectRequest) -> HttpResponse:
    """Make a dataset from a file or from pasted lines. Wrong lines are listed; the good ones are kept only if asked for."""
    form = DatasetForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid() and form.lines is not None:
        dataset = services.create_dataset(
            request.project,
            name=clean_text(form.cleaned_data["name"]),
            description=clean_text(form.cleaned_data["description"]),
            items=form.lines.items,
            user=current_user(request),
        )
        messages.success(request, f"{dataset.name} has {count(len(form.lines.items), 'item')}.")
        return redirect("evals:dataset", request.project.slug, dataset.slug)
    return lines_page(request, form, None)


@require_http_methods(["GET", "POST"])
@project_page(Role.ENGINEER)
def dataset_import(request: ProjectRequest, dataset_slug: str) -> HttpResponse:
    """Add the items of a file to a dataset: same keys are replaced, new ones added."""
    dataset = find_dataset(request, dataset_slug)
    form = ItemLinesForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid() and form.lines is not None:
        revision = services.add_items(dataset, form.lines.items, note="From a file", user=current_user(request))
        messages.success(request, say_changes(revision, f"{count(len(form.lines.items), 'item')} of the file"))
        return redirect("evals:dataset", request.project.slug, dataset.slug)
    return lines_page(request, form, dataset)


def lines_page(request: ProjectRequest, form: ItemLinesForm, dataset: Dataset | None) -> HttpResponse:
    if form.is_bound and form.shown_again:
        form.data = {**form.data.dict(), "text": form.shown_again} if isinstance(form.data, QueryDict) else form.data
    context = {
        "form": form,
        "dataset": dataset,
        "must_choose_again": form.is_bound and bool(form.lines) and not form.shown_again,
    }
    return render(request, "evals/dataset_form.html", context, status=422 if form.is_bound else 200)


@require_GET
@project_page()
def dataset(request: ProjectRequest, dataset_slug: str) -> HttpResponse:
    """Show the items of a revision (`?revision=`), of one bucket (`?bucket=`), page by page; `?item=` opens one."""
    found = find_dataset(request, dataset_slug)
    revision = find_revision(found, request.GET.get("revision", ""))
    bucket = request.GET.get("bucket")
    page = dataset_pages.item_page(
        revision, bucket=bucket, after=request.GET.get("after", ""), before=request.GET.get("before", "")
    )
    context: dict[str, Any] = {
        "dataset": found,
        "revision": revision,
        "newest": found.revisions.order_by("-number").first(),
        "page": page,
        "bucket": bucket,
        "buckets": dataset_pages.bucket_counts(revision),
        "comparisons": dataset_pages.comparisons_on(found, limit=5),
        "may_change": request.role.allows(Role.ENGINEER),
    }
    opened = request.GET.get("item", "")
    if opened:
        context |= item_context(find_item(found, opened), revision)
        if request.wants_partial and request.htmx.target == "drawer":
            return render(request, "evals/_item_drawer.html", context)
    return render(request, "evals/dataset.html", context)


def find_item(dataset: Dataset, pk: str) -> Item:
    if not (pk.isdecimal() and len(pk) < 19):
        raise Http404("There is no such item.")
    return get_object_or_404(Item.objects.select_related("source_trace"), dataset=dataset, pk=int(pk))


def item_context(item: Item, revision: DatasetRevision) -> dict[str, Any]:
    """Return what the item drawer shows, and the neighbours that J and K go to."""
    before, after = dataset_pages.neighbours(item, revision)
    rest = {
        name: dataset_pages.as_text(value)
        for name, value in item.content.items()
        if name not in ("input", "messages", *REFERENCE_NAMES)
    }
    found = item.content.get("messages")
    return {
        "item": item,
        "last_revision": item.valid_to - 1 if item.valid_to else None,
        "item_input": dataset_pages.as_text(item.content["input"])
        if item.content.get("input") not in (None, "")
        else "",
        "item_messages": dataset_pages.shown_messages(found) if isinstance(found, list) else [],
        "item_reference": dataset_pages.reference_text(item.content),
        "item_rest": rest,
        "item_raw": json.dumps(item.content, ensure_ascii=False, indent=2),
        "previous_item": before,
        "next_item": after,
    }


@require_GET
@project_page()
def dataset_revisions(request: ProjectRequest, dataset_slug: str) -> HttpResponse:
    """List the revisions with what each changed; `?new=` and `?old=` show the difference between two."""
    found = find_dataset(request, dataset_slug)
    context: dict[str, Any] = {
        "dataset": found,
        "newest": found.revisions.order_by("-number").first(),
        "rows": dataset_pages.revision_rows(found),
        "may_change": request.role.allows(Role.ENGINEER),
    }
    if request.GET.get("new"):
        new = find_revision(found, request.GET["new"])
        old = (
            int(request.GET["old"])
            if request.GET.get("old", "").isdecimal() and len(request.GET["old"]) < 10
            else new.number - 1
        )
        diff = dataset_pages.revision_diff(found, old=old, new=new.number)
        context |= {"new": new.number, "old": old, "diff": diff, **dataset_pages.shown_diff(diff)}
    return render(request, "evals/dataset_revisions.html", context)


@require_GET
@project_page()
def dataset_export(request: ProjectRequest, dataset_slug: str) -> StreamingHttpResponse:
    """Stream a revision as JSONL, in the form that making a dataset reads."""
    found = find_dataset(request, dataset_slug)
    revision = find_revision(found, request.GET.get("revision", ""))
    lines = dataset_pages.item_lines(dataset_pages.items_at(revision).iterator(chunk_size=500))
    response = StreamingHttpResponse(
        (line.encode() for line in lines), content_type="application/x-ndjson; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="{found.slug}-r{revision.number}.jsonl"'
    return response


@require_http_methods(["GET", "POST"])
@project_page(Role.ENGINEER)
def dataset_item_new(request: ProjectRequest, dataset_slug: str) -> HttpResponse:
    """Add one item, which makes a new revision."""
    found = find_dataset(request, dataset_slug)
    start = {"content": json.dumps({"input": "", "reference": ""}, indent=2)}
    form = ItemForm(request.POST or None, initial=start)
    if request.method == "POST" and form.is_valid():
        key = form.cleaned_data["key"]
        if key and Item.objects.filter(dataset=found, key=key, valid_to=None).exists():
            form.add_error("key", f"The key {key!r} is taken by another item of this dataset.")
        else:
            revision = services.add_items(found, [new_item(form)], user=current_user(request))
            messages.success(request, say_changes(revision, "The item was added"))
            return redirect("evals:dataset", request.project.slug, found.slug)
    return render(
        request, "evals/dataset_item.html", {"dataset": found, "form": form}, status=422 if form.is_bound else 200
    )


@require_http_methods(["GET", "POST"])
@project_page(Role.ENGINEER)
def dataset_item(request: ProjectRequest, dataset_slug: str, pk: int) -> HttpResponse:
    """Edit one item of the newest revision, which makes a new revision; its key stays."""
    found = find_dataset(request, dataset_slug)
    item = get_object_or_404(Item, dataset=found, pk=pk, valid_to=None)
    start = {"key": item.key, "bucket": item.bucket, "content": json.dumps(item.content, ensure_ascii=False, indent=2)}
    form = ItemForm(request.POST or None, initial=start)
    form.fields["key"].disabled = True
    if request.method == "POST" and form.is_valid():
        revision = services.add_items(found, [new_item(form, item)], user=current_user(request))
        messages.success(request, say_changes(revision, f"The item {item.key} was changed"))
        return redirect("evals:dataset", request.project.slug, found.slug)
    context = {"dataset": found, "form": form, "item": item}
    return render(request, "evals/dataset_item.html", context, status=422 if form.is_bound else 200)


def new_item(form: ItemForm, item: Item | None = None) -> services.NewItem:
    """Return the item of a form; an edited one keeps its key and the trace that it came from."""
    content = {name: value for name, value in form.cleaned_data["content"].items() if name not in ("key", "bucket")}
    key = item.key if item else form.cleaned_data["key"]
    return services.NewItem(content, key, form.cleaned_data["bucket"], item.source_trace_id if item else None)


@require_POST
@project_page(Role.ENGINEER)
def dataset_item_remove(request: ProjectRequest, dataset_slug: str, pk: int) -> HttpResponse:
    """Leave one item out of a new revision. Earlier revisions keep it."""
    found = find_dataset(request, dataset_slug)
    item = get_object_or_404(Item, dataset=found, pk=pk, valid_to=None)
    revision = services.remove_items(found, [item.key], user=current_user(request))
    messages.success(request, say_changes(revision, f"The item {item.key} was removed; earlier revisions keep it"))
    return redirect("evals:dataset", request.project.slug, found.slug)


# From traces -----------------------------------------------------------------------------------------------------


def selected_traces(request: ProjectRequest) -> tuple[list[Trace], str]:
    """Return the traces that a form names, and what is wrong with the choice or an empty text.

    They are named by `trace` (trace ids), or by `all` with `q`: every trace that matches the query.
    """
    if request.POST.get("all"):
        try:
            traces = matching_traces(request.project, request.POST.get("q", ""))[: MAX_TRACES + 1]
        except QueryError as error:
            return [], str(error)
    else:
        ids = [
            value for value in request.POST.getlist("trace") if value and len(value) <= MAX_ID and "\0" not in value
        ][: MAX_TRACES + 1]
        traces = Trace.objects.filter(project=request.project, trace_id__in=ids)[: MAX_TRACES + 1]
    found = list(traces)
    if len(found) > MAX_TRACES:
        return (
            [],
            f"More than {MAX_TRACES:,} traces are chosen; at most {MAX_TRACES:,} go into a dataset at once. Narrow the filter.",
        )
    return sorted(found, key=lambda trace: (trace.sort_ns, trace.pk)), ""


@require_POST
@project_page(Role.ENGINEER)
def dataset_from_traces(request: ProjectRequest) -> HttpResponse:
    """Put selected traces into a new dataset or one that exists. Without a choice yet, ask for it."""
    traces, problem = selected_traces(request)
    asked = "name" in request.POST or "dataset" in request.POST
    form = FromTracesForm(request.project, request.POST if asked else None)
    if asked and traces and form.is_valid():
        target, name = form.cleaned_data["dataset"], form.cleaned_data["name"]
        try:
            dataset = services.dataset_from_traces(
                request.project,
                traces,
                dataset=target,
                name=clean_text(name),
                whole=form.cleaned_data["take"] == "whole",
                user=current_user(request),
            )
        except services.BadItems as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{count(len(traces), 'trace')} went into {dataset.name}.")
            address = reverse("evals:dataset", args=[request.project.slug, dataset.slug])
            return HttpResponseClientRedirect(address) if request.wants_partial else redirect(address)
    context = {
        "form": form,
        "traces": traces[:5],
        "trace_count": len(traces),
        "trace_ids": [trace.trace_id for trace in traces],
        "problem": problem,
        "more_traces": max(0, len(traces) - 5),
        "taken": taken_from(traces[0]) if traces else [],
    }
    if request.wants_partial and request.htmx.target == "dataset-picker":
        return render(request, "evals/_dataset_picker.html", context)  # a 422 would be a message in the console
    return render(request, "evals/dataset_from_traces.html", context, status=422 if asked or not traces else 200)


@require_GET
@project_page(Role.ENGINEER)
def dataset_picker(request: ProjectRequest) -> HttpResponse:
    """Give the fields that choose a dataset, for a form on another page that posts to `dataset_from_traces`.

    With `?trace=` also what an item made of that trace will hold.
    """
    trace = None
    wanted = request.GET.get("trace", "")
    if wanted and len(wanted) <= MAX_ID and "\0" not in wanted:
        trace = Trace.objects.filter(project=request.project, trace_id=wanted).first()
    context = {"form": FromTracesForm(request.project), "taken": taken_from(trace) if trace else []}
    return render(request, "evals/_dataset_picker.html", context)


PREVIEW_CHARS = 600


@dataclass(frozen=True)
class Taken:
    """What an item will hold of a trace, for one choice of what to take."""

    choice: str
    title: str
    input: str
    reference: str
    message_count: int


def taken_from(trace: Trace) -> list[Taken]:
    """Return what an item takes of a trace under each choice; nothing where it has no input."""
    found = []
    for choice, title in (("first", "The first request"), ("whole", "The whole conversation")):
        content = services.content_of_trace(trace, whole=choice == "whole")
        if content is not None:
            texts = (content["input"][:PREVIEW_CHARS], str(content["reference"] or "")[:PREVIEW_CHARS])
            found.append(Taken(choice, title, *texts, len(content.get("messages", []))))
    return found
