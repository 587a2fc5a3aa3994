"""What people say of runs: notes and tags on a trace or on one span of it, and views of the list under a name."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from accounts.models import Project, User
from accounts.services import write_audit
from traces.citations import cited
from traces.models import Note, PersonTag, SavedView, Trace, TraceTerm
from traces.signal_rows import set_terms
from traces.storable import is_storable

MAX_NOTE = 5_000
MAX_TAG = 60
MAX_VIEWS = 200
PERSON_TAG = "person_tag"


class PeopleError(ValueError):
    """What a person wrote cannot be kept; the text says why."""


def clean(text: str, most: int, what: str) -> str:
    """Return a text that can be kept. Raises PeopleError."""
    text = text.strip()
    if not text:
        raise PeopleError(f"The {what} is empty.")
    if len(text) > most:
        raise PeopleError(f"The {what} has {len(text):,} characters; {most:,} is the most.")
    if not is_storable(text):
        raise PeopleError(f"The {what} holds NUL or broken characters.")
    return text


def add_note(trace: Trace, text: str, *, span_id: str = "", user: User | None = None) -> Note:
    """Keep a note. Raises PeopleError."""
    text = clean(text, MAX_NOTE, "note")
    return Note.objects.create(
        trace=trace, project_id=trace.project_id, span_id=check_span(trace, span_id), text=text, author=user
    )


def delete_note(note: Note, *, user: User | None = None) -> None:
    """Take a note away, and keep who did."""
    with transaction.atomic():
        write_audit("note.delete", note.trace.trace_id, project=note.project, user=user, note=note.text[:100])
        note.delete()


def add_tag(trace: Trace, tag: str, *, span_id: str = "", user: User | None = None) -> PersonTag:
    """Give a trace, or a span, a tag; the same again is the same. Raises PeopleError."""
    tag = clean(" ".join(tag.split()).replace(",", ""), MAX_TAG, "tag")
    with transaction.atomic():
        lock(trace)
        made, _ = PersonTag.objects.get_or_create(
            trace=trace,
            span_id=check_span(trace, span_id),
            tag=tag,
            defaults={"project_id": trace.project_id, "author": user},
        )
        follow_tags(trace)
    return made


def remove_tag(trace: Trace, tag: str, *, span_id: str = "") -> None:
    """Take a tag away that a person gave."""
    with transaction.atomic():
        lock(trace)
        PersonTag.objects.filter(trace=trace, span_id=span_id, tag=tag).delete()
        follow_tags(trace)


def lock(trace: Trace) -> None:
    """Let nobody else write the tags of a trace until this transaction ends: their terms are read from all of them."""
    list(Trace.objects.select_for_update().filter(pk=trace.pk).values_list("pk", flat=True))


def follow_tags(trace: Trace) -> None:
    """Make the trace found by the tags that it has, its spans' included."""
    set_terms(trace, PERSON_TAG, PersonTag.objects.filter(trace=trace).values_list("tag", flat=True))


def check_span(trace: Trace, span_id: str) -> str:
    """Return a span's id where the trace has it. Raises PeopleError."""
    if span_id and ("\0" in span_id or not trace.spans.filter(span_id=span_id).exists()):
        raise PeopleError("The trace has no such span.")
    return span_id


def said_of(trace: Trace) -> dict[str, Any]:
    """Return notes, oldest first (`written`: each with its text cut at the runs that it cites), and tags of a trace: two queries, and two
    more where a note cites anything.
    """
    notes = list(Note.objects.filter(trace=trace).select_related("author").order_by("pk"))
    tags = list(PersonTag.objects.filter(trace=trace).select_related("author").order_by("tag", "pk"))
    pieces = cited(trace.project_id, [note.text for note in notes])
    return {"notes": notes, "written": list(zip(notes, pieces, strict=True)), "person_tags": tags}


def signals_of(traces: Iterable[Trace]) -> dict[int, list[str]]:
    """Return the detectors that suspect something, by key of trace: one query for a page."""
    found: dict[int, list[str]] = {}
    terms = TraceTerm.objects.filter(trace__in=[trace.pk for trace in traces], key="signal").order_by("value")
    for trace_pk, value in terms.values_list("trace_id", "value"):
        found.setdefault(trace_pk, []).append(value)
    return found


# Saved views -----------------------------------------------------------------------------------------------------


def views_of(project: Project, user: User | None) -> QuerySet[SavedView]:
    """Return the views that a person sees: their own, those shared with the project, and those of nobody."""
    mine = Q(owner=user) if user is not None else Q(owner=None)
    return SavedView.objects.filter(mine | Q(is_shared=True) | Q(owner=None), project=project).order_by("name", "pk")


def save_view(
    project: Project,
    *,
    name: str,
    query: str = "",
    time_range: str = "",
    sort: str = "",
    columns: Iterable[str] = (),
    is_shared: bool = False,
    user: User | None = None,
) -> SavedView:
    """Keep a view under a name; one's own view of that name is replaced. Raises PeopleError."""
    name = clean(" ".join(name.split()), 80, "name")
    if SavedView.objects.filter(project=project, owner=user).exclude(name=name).count() >= MAX_VIEWS:
        raise PeopleError(f"There are {MAX_VIEWS} views already; delete one first.")
    values = {
        "query": query[:2000],
        "time_range": time_range[:20],
        "sort": sort[:40],
        "columns": list(columns),
        "is_shared": is_shared,
    }
    found = SavedView.objects.filter(project=project, owner=user, name=name).first()
    try:
        with transaction.atomic():
            if found is None:
                return SavedView.objects.create(project=project, owner=user, name=name, **values)
            for key, value in values.items():
                setattr(found, key, value)
            found.save()
            return found
    except IntegrityError:
        raise PeopleError(f"A view {name!r} was made at the same moment; try again.") from None


def view_url(project: Project, view: SavedView) -> str:
    """Return the address of a view: the list's own words, which it reads as if they had been typed."""
    given = {"q": view.query, "range": view.time_range, "sort": view.sort, "view": str(view.pk)}
    query = [(name, value) for name, value in given.items() if value] + [("column", name) for name in view.columns]
    return f"{reverse('traces:trace_list', args=[project.slug])}?{urlencode(query)}"


# The read API ----------------------------------------------------------------------------------------------------


def note_documents(trace: Trace) -> list[dict[str, Any]]:
    """Return the notes of a trace as the read API gives them."""
    return [
        {
            "span_id": note.span_id or None,
            "text": note.text,
            "author": note.author.username if note.author else None,
            "created_at": note.created_at.isoformat(),
        }
        for note in Note.objects.filter(trace=trace).select_related("author").order_by("pk")
    ]


def tag_documents(trace: Trace) -> list[dict[str, Any]]:
    """Return the tags that people gave a trace as the read API gives them."""
    return [
        {
            "span_id": one.span_id or None,
            "tag": one.tag,
            "author": one.author.username if one.author else None,
            "created_at": one.created_at.isoformat(),
        }
        for one in PersonTag.objects.filter(trace=trace).select_related("author").order_by("tag", "pk")
    ]
