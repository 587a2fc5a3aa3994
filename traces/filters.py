"""From a parsed query to the database: one Q over traces, on SQLite and PostgreSQL alike.

Where a trace may have several values (models, tools, tags) the filter is an EXISTS over `TraceTerm`, so no row comes twice.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models import Value as Literal

from accounts.models import Project
from traces import few
from traces.lookups import Asked
from traces.models import Note, Trace, TraceTerm
from traces.search import Condition, Group, Kind, Query, Term, Value, Words
from traces.summary import error_label
from traces.text_index import unpack
from traces.text_queries import text_match

TERM_KEYS = ("model", "tool", "session", "signal", "kind")
TEXT_COLUMNS = {
    "user": "user_id",
    "environment": "environment",
    "task": "task",
    "name": "name",
    "id": "trace_id",
    "release": "release",
    "version": "version",
    "workflow": "workflow_name",
    "prompt": "prompt_name",
    "status": "status",
    "source": "source",
}
NUMBER_COLUMNS = {
    "duration": "duration_ms",
    "tokens": "total_tokens",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cost": "cost_usd",
    "spans": "span_count",
    "llm_calls": "llm_call_count",
    "tool_calls": "tool_call_count",
    "errors": "error_count",
}
FLOAT_COLUMNS = ("duration_ms", "cost_usd", "value")
PRESENT = {
    "agent": ~Q(agent_name="", agent_id=""),
    "cost": Q(cost_usd__isnull=False),
    "end": Q(end_ns__isnull=False),
    "environment": ~Q(environment=""),
    "error": Q(error_count__gt=0),
    "input": ~Q(input_preview=""),
    "output": ~Q(output_preview=""),
    "prompt": ~Q(prompt_name=""),
    "release": ~Q(release=""),
    "root": Q(missing_root=False),
    "session": ~Q(session_id=""),
    "task": ~Q(task=""),
    "times": Q(start_ns__isnull=False),
    "tokens": Q(total_tokens__isnull=False),
    "user": ~Q(user_id=""),
    "version": ~Q(version=""),
    "workflow": ~Q(workflow_name=""),
}
NOTHING = Q(pk__in=[])


@dataclass(frozen=True)
class Meaning:
    """What a term asks for: its filter, and how an index may answer it.

    `few`: the keys of all traces that it names, where they are few. `bounds`: the column that it keeps within bounds, so that the list
    in the order of that column begins and ends there. `is_ordered`: an index gives its traces in the order of their start.
    """

    filter: Q
    few: list[int] | None = None
    bounds: str = ""
    is_ordered: bool = False


# What conditions mean, for as long as the parsed query lives: a request asks several times.
meanings: WeakKeyDictionary[Condition, dict[int, Meaning]] = WeakKeyDictionary()


def named(keys: list[int]) -> Meaning:
    """Return the meaning of a term that names few traces."""
    return Meaning(Q(pk__among=keys), keys)


def compile_query(query: Query, project: Project) -> Q:
    """Return the filter of a whole query, without the project's own. Words with many hits are followed through the project."""
    return compile_terms(query.terms, project)


def compile_terms(terms: Iterable[Term], project: Project) -> Q:
    compiled = Q()
    for term in terms:
        one = term_meaning(term, project).filter
        compiled &= ~one if term.negated else one
    return compiled


def term_meaning(term: Term, project: Project) -> Meaning:
    """Return the meaning of one term, before its negation."""
    if isinstance(term, Words):
        match = text_match(project, term)
        return Meaning(Q(pk__among=match.all_traces()), match.few_traces())
    if isinstance(term, Condition):
        known = meanings.setdefault(term, {})
        if project.pk not in known:
            known[project.pk] = condition_meaning(term, project)
        return known[project.pk]
    return group_meaning(term, project)


def group_meaning(group: Group, project: Project) -> Meaning:
    """Return the meaning of alternatives."""
    found = Q()
    for choice in group.choices:
        found |= compile_terms(choice, project)
    keys = few_of(group, project)
    return Meaning(found) if keys is None else Meaning(Q(pk__among=keys) & found, keys)


def few_of(term: Term, project: Project) -> list[int] | None:
    """Return the keys of traces among which all are that a term names, before its negation, where they are few.

    Alternatives are few where each holds a part that names few.
    """
    if isinstance(term, Words):
        return text_match(project, term).few_traces()
    if isinstance(term, Condition):
        return term_meaning(term, project).few
    parts: list[list[int] | None] = []
    for choice in term.choices:
        named = [few_of(one, project) for one in choice if not one.negated]
        parts.append(min((one for one in named if one is not None), key=len, default=None))
    return few.joined(parts)


# One condition ---------------------------------------------------------------------------------------------------


def condition_meaning(condition: Condition, project: Project) -> Meaning:
    """Return the meaning of one condition, before its negation."""
    key = condition.key
    if key.build is not None:
        return Meaning(key.build(condition, project))
    if key.name == "agent":
        return agent_meaning(project, condition.values)
    if key.name == "meta.":
        return term_filter(project, ("meta." + condition.name,), condition.values)
    if key.name == "tag":  # as sent, or given by people
        return term_filter(project, ("tag", "person_tag"), condition.values)
    if key.name == "note":
        return noted(project, any_of(condition.values, note_says))
    if key.name in TERM_KEYS:
        return term_filter(project, (key.name,), condition.values)
    if key.name == "error":
        labels = tuple(replace(one, text=error_label(one.text)) for one in condition.values)
        meaning = term_filter(project, ("error",), labels)
        return meaning if meaning.few is not None else Meaning(Q(error_count__gt=0) & meaning.filter)
    if key.name == "has":
        return any_meaning([presence_meaning(project, value.text) for value in condition.values])
    if key.kind == Kind.TIME:
        bound = "sort_ns__gte" if key.name == "after" else "sort_ns__lt"
        return Meaning(Q(**{bound: condition.values[0].number}), bounds="sort_ns")
    if key.name in NUMBER_COLUMNS:
        return number_meaning(project, condition)
    return text_meaning(project, TEXT_COLUMNS[key.name], condition.values)


def any_of(values: tuple[Value, ...], build: Callable[[Value], Q]) -> Q:
    found = Q()
    for value in values:
        found |= build(value)
    return found


def any_meaning(parts: Sequence[Meaning]) -> Meaning:
    """Return the meaning of one of several alternatives."""
    if len(parts) == 1:
        return parts[0]
    found = Q()
    for part in parts:
        found |= part.filter
    keys = few.joined(part.few for part in parts)
    return Meaning(found) if keys is None else named(keys)


def text_filter(column: str, values: tuple[Value, ...]) -> Q:
    """Return the filter of a text column: equal to one of the values, or like one of the patterns."""
    exact = [value.text for value in values if not value.is_pattern]
    found = Q(**{f"{column}__in": exact}) if len(exact) > 1 else Q(**{column: exact[0]}) if exact else Q()
    for value in values:
        if value.is_pattern:
            found |= Q(**{f"{column}__glob": value.text})
    return found


def plain_values(values: tuple[Value, ...], read: Callable[[], list[str]]) -> tuple[Value, ...]:
    """Return values with the patterns among them replaced by all values in use that are like them, where these can be told."""
    patterns = [value.text for value in values if value.is_pattern]
    if not patterns:
        return values
    found = few.values_like(read(), patterns)
    if found is None:
        return values
    return (*(value for value in values if not value.is_pattern), *map(Value, found))


def text_meaning(project: Project, column: str, values: tuple[Value, ...]) -> Meaning:
    """Return the meaning of values of a text column."""
    if column not in few.TEXT_ORDERS:
        return Meaning(text_filter(column, values))
    if column != "trace_id":
        values = plain_values(values, lambda: few.column_values(project, column, limit=few.MOST_VALUES + 1))
    if any(value.is_pattern for value in values):
        begun = column == "trace_id" and len(values) == 1
        keys = (
            few.traces_with_ids(project, text_filter(column, values), values[0].text.split("*")[0]) if begun else None
        )
        return Meaning(text_filter(column, values)) if keys is None else named(keys)
    keys = few.traces_with_text(project, column, [value.text for value in values])
    return Meaning(text_filter(column, values), keys, is_ordered=len(values) == 1)


def agent_meaning(project: Project, values: tuple[Value, ...]) -> Meaning:
    """Return the meaning of agents by name; those without a name by their id."""
    by_name = text_meaning(project, "agent_name", values)
    if not any(value.text.strip("*") for value in values):
        return Meaning(text_filter("agent_name", values) | (Q(agent_name="") & text_filter("agent_id", values)))
    by_id = few.traces_of_agent_ids(project, text_filter("agent_id", values))
    if by_id is None:
        return Meaning(by_name.filter | (Q(agent_name="") & text_filter("agent_id", values)))
    return by_name if not by_id else any_meaning([by_name, named(by_id)])


def term_filter(project: Project, keys: Sequence[str], values: tuple[Value, ...] = ()) -> Meaning:
    """Return the meaning of a word that a trace may have several of; without values, of having any.

    Few traces are named by their keys. With many, each trace of the list is asked: soon enough have it.
    """
    if values:
        values = plain_values(
            values, lambda: [one for key in keys for one in few.term_values(project, key, limit=few.MOST_VALUES + 1)]
        )
        if not values:
            return named([])
    if not any(value.is_pattern for value in values):
        found = few.traces_with_term(project, keys, [value.text for value in values] if values else None)
        if found is not None:
            return named(found)
    wanted = text_filter("value", values) if values else Q()
    own = TraceTerm.objects.filter(wanted, trace=OuterRef("pk"), key__in=keys)
    return Meaning(Q(Asked(own.annotate(is_there=Literal(True)).values("is_there")[:1])))


def note_says(value: Value) -> Q:
    """Return the filter of notes that hold a text, in any case; `*` is any text. A search takes as long as the note is, no longer."""
    parts = [re.escape(part) for part in (value.text.split("*") if value.is_pattern else [value.text]) if part]
    if connection.vendor == "postgresql":
        return Q(text__iregex=".*".join(parts))
    return Q(text__iregex=r"\A(?s:" + "".join(f"(?>.*?{part})" for part in parts) + ")")


def noted(project: Project, said: Q) -> Meaning:
    """Return the meaning of a note that says something."""
    found = list(Note.objects.filter(said, trace__project=project).values_list("trace_id", flat=True)[: few.FEW + 1])
    if len(found) <= few.FEW:
        return named(sorted(set(found)))
    return Meaning(Q(Exists(Note.objects.filter(said, trace=OuterRef("pk")))))


def presence_meaning(project: Project, name: str) -> Meaning:
    """Return the meaning of a field that is there."""
    if name == "note":
        return noted(project, Q())
    if name not in PRESENT:
        return term_filter(project, ("tag", "person_tag") if name == "tag" else (name,))
    keys = few.traces_that_failed(project) if name == "error" else None
    column = {**TEXT_COLUMNS, **NUMBER_COLUMNS, "session": "session_id"}.get(name, "")
    if column in few.NUMBER_ORDERS or column in few.TEXT_ORDERS:
        keys = few.traces_with_some(project, column)
    return Meaning(PRESENT[name], keys, is_ordered=name == "error")


def number_meaning(project: Project, condition: Condition) -> Meaning:
    """Return the meaning of a condition on a number."""
    column = NUMBER_COLUMNS[condition.key.name]
    wanted = any_of(condition.values, lambda value: number_filter(column, condition.operator, value))
    keys = few.traces_with_number(project, column, wanted) if column in few.NUMBER_ORDERS else None
    if keys is not None:
        return named(keys)
    return Meaning(wanted, bounds=column if len(condition.values) == 1 else "")


def number_filter(column: str, operator: str, value: Value) -> Q:
    """Return the filter of a numeric column. Counts compare as whole numbers: >1.5 is >1, and =1.5 is never true."""
    number = value.number
    assert number is not None
    if value.high is not None:
        low, high = (number, value.high) if column in FLOAT_COLUMNS else (math.ceil(number), math.floor(value.high))
        return Q(**{f"{column}__gte": low, f"{column}__lte": high})
    if column not in FLOAT_COLUMNS:
        if number != int(number) and operator == "=":
            return NOTHING
        number = math.floor(number) if operator in (">", "<=") else math.ceil(number)
    lookup = {"=": "", ">": "__gt", ">=": "__gte", "<": "__lt", "<=": "__lte"}[operator]
    return Q(**{f"{column}{lookup}": number})


def filtered(project: Project, query: Query) -> QuerySet[Trace]:
    """Return the project's traces that match a query, in no order."""
    return Trace.objects.filter(compile_query(query, project), project=project)


# How the list of a query is read ----------------------------------------------------------------------------------


@dataclass
class Reading:
    """How the traces of a query are read in some order. See `read_query`.

    `few`: the keys of traces among which all matches are, or None. `lazy`: words with many hits, and alternatives that hold such words,
    which are asked of each trace along the list.
    """

    project: Project
    few: list[int] | None = None
    parts: list[Meaning] = field(default_factory=list)
    lazy: list[Term] = field(default_factory=list)

    @property
    def matching(self) -> QuerySet[Trace]:
        """All matches, but for the words in `lazy`."""
        found = Trace.objects.filter(project=self.project)
        if self.few is not None:
            found = found.filter(pk__among=self.few)
        for part in self.parts:
            found = found.filter(part.filter)
        return found

    def along(self, column: str) -> QuerySet[Trace]:
        """Return the traces along which the matches lie in the order of a column: as far as bounds of that column go."""
        found = Trace.objects.filter(project=self.project)
        for part in self.parts:
            if part.bounds == column:
                found = found.filter(part.filter)
        return found

    def is_direct(self, column: str) -> bool:
        """Say whether the matches can be read in the order of a column without passing many others."""
        if self.few is not None:
            return True
        rest = [part for part in self.parts if part.bounds != column]
        return not rest or (column == "sort_ns" and len(rest) == 1 and rest[0].is_ordered)


def ordered_alone(project: Project, query: Query) -> Meaning | None:
    """Return the one meaning of a query, bounds of time aside, if an index gives its traces in order: better than by their keys."""
    asked = [
        term
        for term in query.terms
        if not (isinstance(term, Condition) and term.key.kind == Kind.TIME and not term.negated)
    ]
    if len(asked) != 1 or asked[0].negated or not isinstance(asked[0], Condition):
        return None
    meaning = term_meaning(asked[0], project)
    return meaning if meaning.is_ordered else None


def read_query(project: Project, query: Query, *, since_ns: int | None = None, column: str = "sort_ns") -> Reading:
    """Return how the traces of a query are read in the order of a column. `since_ns` bounds their start."""
    reading = Reading(project)
    found: set[int] | None = None
    ordered = ordered_alone(project, query) if column == "sort_ns" else None
    for term in query.terms:
        if is_lazy(term, project):
            reading.lazy.append(term)
            keys = None if term.negated else few_of(term, project)
            if keys is not None:
                found = set(keys) if found is None else found.intersection(keys)
            continue
        meaning = term_meaning(term, project)
        if term.negated:
            reading.parts.append(Meaning(~meaning.filter))
        elif meaning.few is None or meaning is ordered:
            reading.parts.append(meaning)
        else:
            if isinstance(term, Group):  # what a group names is not all that it asks
                reading.parts.append(Meaning(meaning.filter))
            found = set(meaning.few) if found is None else found.intersection(meaning.few)
    if since_ns is not None:
        reading.parts.append(Meaning(Q(sort_ns__gte=since_ns), bounds="sort_ns"))
    reading.few = None if found is None else sorted(found)
    if reading.few is None and column != "sort_ns" and any(part.bounds == "sort_ns" for part in reading.parts):
        reading.few = few.keys_of(reading.along("sort_ns").order_by("sort_ns", "id"))
    return reading


# Along the list ----------------------------------------------------------------------------------------------------

Row = tuple[Any, ...]  # its last columns are the key of a trace and the content of its `TraceTexts`, or None


def is_lazy(term: Term, project: Project) -> bool:
    """Say whether a term holds words with many hits."""
    if isinstance(term, Words):
        return text_match(project, term).few_traces() is None
    return isinstance(term, Group) and any(is_lazy(one, project) for choice in term.choices for one in choice)


def look_along(project: Project, terms: Iterable[Term], rows: Sequence[Row]) -> list[Row]:
    """Return those rows whose traces meet all terms."""
    left = list(rows)
    for term in sorted(terms, key=lambda one: not isinstance(one, Condition)):  # words cost more
        if not left:
            break
        met = meeting(project, term, left)
        left = [row for row in left if (row[-2] in met) != term.negated]
    return left


def meeting(project: Project, term: Term, rows: Sequence[Row]) -> set[int]:
    """Return the keys of those traces that meet a term, before its negation."""
    if isinstance(term, Words):
        hits = text_match(project, term).hold([unpack(row[-1]) for row in rows])
        return {row[-2] for row, is_hit in zip(rows, hits, strict=True) if is_hit}
    if isinstance(term, Condition):
        wanted = term_meaning(term, project).filter
        asked = Trace.objects.filter(wanted, pk__among=[row[-2] for row in rows])
        return set(asked.values_list("pk", flat=True))
    found: set[int] = set()
    for choice in term.choices:
        unmet = [row for row in rows if row[-2] not in found]
        found.update(row[-2] for row in look_along(project, choice, unmet))
    return found
