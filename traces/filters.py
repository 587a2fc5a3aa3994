"""From a parsed query to the database: one Q over traces, on SQLite and PostgreSQL alike.

Where a trace may have several values (models, tools, tags) the filter is an EXISTS over `TraceTerm`, so no row comes twice.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from django.db.models import BigAutoField, BooleanField, CharField, Exists, Lookup, OuterRef, Q, Subquery
from django.db.models import Value as Literal

from accounts.models import Project
from traces.models import Note, Trace, TraceTerm
from traces.search import Condition, Kind, Query, Term, Value, Words
from traces.summary import error_label
from traces.text_queries import Lazy, text_match

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
FEW_TERMS = 20_000  # traces that a condition names by their keys
# What a condition names, for as long as the parsed query lives: a request asks several times.
few_terms: WeakKeyDictionary[Condition, dict[tuple[Any, ...], list[int] | None]] = WeakKeyDictionary()


@CharField.register_lookup
class Glob(Lookup):
    """`agent_name__glob="gpt*"`: `*` is any text and all else is meant as it stands. Minds case, and can use an index."""

    lookup_name = "glob"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        left, params = self.process_lhs(compiler, connection)
        parts = str(self.rhs).split("*")
        if connection.vendor == "sqlite":
            escaped = ["".join(f"[{char}]" if char in "[?" else char for char in part) for part in parts]
            return f"{left} GLOB %s", [*params, "*".join(escaped)]
        escaped = [part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for part in parts]
        return f"{left} LIKE %s", [*params, "%".join(escaped)]


class Asked(Subquery):
    """True for rows for which a subquery says TRUE. Asked row by row: PostgreSQL makes no join of it, and expects half of the rows."""

    template = "((%(subquery)s) IS TRUE)"
    output_field = BooleanField()
    conditional = True


@BigAutoField.register_lookup
class Among(Lookup):
    """`pk__among=[…]`: as `in`, for a list of any length."""

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        left, params = self.process_lhs(compiler, connection)
        if connection.vendor == "sqlite":
            values = orjson.dumps(self.rhs).decode()
            return f"{left} IN (SELECT value FROM json_each(%s))", [*params, values]  # noqa: S608
        return f"{left} = ANY(%s::bigint[])", [*params, list(self.rhs)]


def compile_query(query: Query, project: Project) -> Q:
    """Return the filter of a whole query, without the project's own. Words with many hits are followed through the project."""
    return compile_terms(query.terms, project)


def compile_terms(terms: Iterable[Term], project: Project) -> Q:
    compiled = Q()
    for term in terms:
        one = term_of_query(term, project)
        compiled &= ~one if term.negated else one
    return compiled


def term_of_query(term: Term, project: Project) -> Q:
    """Return the filter of one term, before its negation."""
    if isinstance(term, Words):
        return Q(pk__among=text_match(project, term).all_traces())
    if isinstance(term, Condition):
        return condition_filter(term, project)
    found = Q()
    for choice in term.choices:
        found |= compile_terms(choice, project)
    return found


def compile_lazily(query: Query, project: Project) -> tuple[Q, list[Lazy]]:
    """Return the filter of a query without the words that have many hits, and those words, to be asked along the list."""
    compiled, lazy = Q(), []
    for term in query.terms:
        if isinstance(term, Words):
            match = text_match(project, term)
            traces = match.few_traces()
            if traces is None:
                lazy.append((match, term.negated))
                continue
            one = Q(pk__among=traces)
        else:
            one = term_of_query(term, project)
        compiled &= ~one if term.negated else one
    return compiled, lazy


def condition_filter(condition: Condition, project: Project) -> Q:
    """Return the filter of one condition, before its negation."""
    key = condition.key
    if key.build is not None:
        built: Q = key.build(condition, project)
        return built
    if key.name == "agent":
        return text_filter("agent_name", condition.values) | (
            Q(agent_name="") & text_filter("agent_id", condition.values)
        )
    if key.name == "meta.":
        return term_filter(project, condition, ("meta." + condition.name,), condition.values)
    if key.name == "tag":  # as sent, or given by people
        return term_filter(project, condition, ("tag", "person_tag"), condition.values)
    if key.name == "note":
        said = any_of(condition.values, lambda value: Q(text__icontains=value.text.strip("*")))
        return Q(Exists(Note.objects.filter(said, trace=OuterRef("pk"))))
    if key.name in TERM_KEYS:
        return term_filter(project, condition, (key.name,), condition.values)
    if key.name == "error":
        labels = tuple(replace(one, text=error_label(one.text)) for one in condition.values)
        return Q(error_count__gt=0) & term_filter(project, condition, ("error",), labels)
    if key.name == "has":
        return any_of(condition.values, lambda value: presence_filter(project, condition, value.text))
    if key.kind == Kind.TIME:
        bound = "sort_ns__gte" if key.name == "after" else "sort_ns__lt"
        return Q(**{bound: condition.values[0].number})
    if key.name in NUMBER_COLUMNS:
        column = NUMBER_COLUMNS[key.name]
        return any_of(condition.values, lambda value: number_filter(column, condition.operator, value))
    return text_filter(TEXT_COLUMNS[key.name], condition.values)


def any_of(values: tuple[Value, ...], build: Callable[[Value], Q]) -> Q:
    found = Q()
    for value in values:
        found |= build(value)
    return found


def text_filter(column: str, values: tuple[Value, ...]) -> Q:
    """Return the filter of a text column: equal to one of the values, or like one of the patterns."""
    exact = [value.text for value in values if not value.is_pattern]
    found = Q(**{f"{column}__in": exact}) if len(exact) > 1 else Q(**{column: exact[0]}) if exact else Q()
    for value in values:
        if value.is_pattern:
            found |= Q(**{f"{column}__glob": value.text})
    return found


def term_filter(project: Project, condition: Condition, keys: Sequence[str], values: tuple[Value, ...] = ()) -> Q:
    """Return the filter of a word that a trace may have several of; without values, of having any.

    Few traces are named by their keys. With many, each trace of the list is asked: soon enough have it. The database would
    choose between the two by guessing how many there are, and guesses wrong where a key has other values than most.
    """
    known = few_terms.setdefault(condition, {})
    place = (project.pk, *keys)
    wanted = text_filter("value", values) if values else Q()
    if place not in known:
        rows = TraceTerm.objects.filter(wanted, project=project, key__in=keys).values_list("trace_id", flat=True)
        found = list(rows[: FEW_TERMS + 1])
        known[place] = None if len(found) > FEW_TERMS else found
    few = known[place]
    if few is not None:
        return Q(pk__among=few)
    own = TraceTerm.objects.filter(wanted, trace=OuterRef("pk"), key__in=keys)
    return Q(Asked(own.annotate(is_there=Literal(True)).values("is_there")[:1]))


def presence_filter(project: Project, condition: Condition, field: str) -> Q:
    if field in PRESENT:
        return PRESENT[field]
    if field == "note":
        return Q(Exists(Note.objects.filter(trace=OuterRef("pk"))))
    return term_filter(project, condition, ("tag", "person_tag") if field == "tag" else (field,))


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


def filtered(project: Project, query: Query) -> Any:
    """Return the project's traces that match a query, in no order."""
    return Trace.objects.filter(compile_query(query, project), project=project)


def filtered_lazily(project: Project, query: Query) -> tuple[Any, list[Lazy]]:
    """Return the project's traces that match a query but for the words to be asked along the list."""
    compiled, lazy = compile_lazily(query, project)
    return Trace.objects.filter(compiled, project=project), lazy
