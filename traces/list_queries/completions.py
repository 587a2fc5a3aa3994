"""What may come next in the query field: keys, and values from the data."""

from dataclasses import dataclass

from rapidfuzz import fuzz

from accounts.models import Project
from traces import few, search
from traces.list_queries.figures import TERM_FACETS, WORDS
from traces.models import TraceTerm
from traces.search import Query

COMPLETED_COLUMNS = {
    "agent": "agent_name",
    "environment": "environment",
    "task": "task",
    "user": "user_id",
    "session": "session_id",
}


def known_values(project: Project, key: str, *, limit: int = 500) -> list[str]:
    """Return the first values of a field in use; none for fields whose values cannot be listed quickly."""
    if key in COMPLETED_COLUMNS:
        return few.column_values(project, COMPLETED_COLUMNS[key], limit=limit)
    if key in TERM_FACETS or key.startswith("meta."):
        return few.term_values(project, key, limit=limit)
    return []


def meta_names(project: Project) -> list[str]:
    """Return the metadata names in use, as `meta.<name>`."""
    keys = few.distinct_values(TraceTerm._meta.db_table, "key", "project_id = %s", [project.pk], limit=100)
    return [key for key in keys if key.startswith("meta.") and search.NAME.fullmatch(key)]


@dataclass(frozen=True)
class Completion:
    """One suggestion: what it says, what it means, and the whole text of the field once it is taken."""

    label: str
    help: str
    text: str


def completions(project: Project, text: str, *, limit: int = 10) -> list[Completion]:
    """Suggest keys, then values from the data, for a query that is being typed."""
    if len(text) > search.MAX_LENGTH or "\0" in text:
        return []
    end = search.unfinished(text)
    if end.key is None:
        names = [(key.name, key.help) for key in search.KEYS.values() if not key.is_prefix]
        names += [(key.name, key.help) for key in search.KEYS.values() if key.is_prefix and key.name != "meta."]
        names += [(name, "Metadata") for name in meta_names(project)]
        for key in search.KEYS.values():
            names += [(key.name + name, key.help) for name in (key.names(project) if key.names else [])]
        found = best_matches(end.name, [name for name, _help in names], limit=limit)
        helps = dict(names)
        return [Completion(name, helps[name], search.complete_with(text, end, name)) for name in found]
    if end.operator != "=":
        return []
    label = end.name.split(":")[0]
    known = search.find_key(label)
    if end.key.choices:
        values = list(end.key.choices)
    elif known is not None:
        values = known_values(project, known[0].name + known[1] if known[0].is_prefix else known[0].name)
    else:
        values = []
    words = WORDS.get(end.key.name, {})
    if not values and end.key.sample and not end.typed and end.key.kind != search.Kind.TEXT:
        sample = end.key.sample
        return [Completion(f"{end.key.name}:{sample}", "For example", f"{text}{sample} ")]
    found = best_matches(end.typed, values, limit=limit)
    return [Completion(value, words.get(value, ""), search.complete_with(text, end, value)) for value in found]


def best_matches(typed: str, values: list[str], *, limit: int) -> list[str]:
    """Order values by how well they fit what is typed: those that start with it, hold it, or are spelt much like it."""
    wanted = typed.casefold()

    def rank(value: str) -> int:
        folded = value.casefold()
        if folded.startswith(wanted):
            return 0
        if wanted in folded:
            return 1
        return 2 if len(wanted) > 2 and fuzz.ratio(wanted, folded) >= 70 else 3

    ranked = [(rank(value), value) for value in values]
    return [value for place, value in sorted(ranked, key=lambda pair: pair[0]) if place < 3][:limit]


def likely_values(project: Project, query: Query) -> list[tuple[str, str, str]]:
    """Return (key, value asked for, value meant) where an empty result may be a slip of the pen: agent:Suport → support."""
    found = []
    for condition in query.conditions:
        if condition.key.kind != search.Kind.TEXT or condition.negated or condition.operator != "=":
            continue
        known = known_values(project, condition.label)
        for value in condition.values:
            if not value.is_pattern and value.text not in known:
                near = best_matches(value.text, known, limit=1)
                if near:
                    found.append((condition.label, value.text, near[0]))
    return found
