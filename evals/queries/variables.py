"""Which variables of templates the items of a dataset do not have, found before anything is asked."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from evals.models import DatasetRevision
from evals.queries.datasets import revision_items
from evals.templating import SHOWN_NAMES, MissingVariable, look_up, references

MOST_ITEMS = 2_000  # read to see what they have
KEPT_BESIDE = ("item.key", "item.bucket")


@dataclass(frozen=True)
class Lack:
    """A variable that items lack: in which text, how many of those that were read, and the key of the first."""

    param: str
    path: str
    count: int
    read: int
    first_key: str
    names: tuple[str, ...]

    @property
    def is_everywhere(self) -> bool:
        return self.count == self.read

    @property
    def words(self) -> str:
        """Say what is missing where, and what there is."""
        if self.is_everywhere:
            beside = " An item's key and bucket are kept beside its content." if self.path in KEPT_BESIDE else ""
            shown = ", ".join(self.names[:SHOWN_NAMES]) + (", …" if len(self.names) > SHOWN_NAMES else "")
            return f"No item has {self.path}. The items have {shown}.{beside}"
        verb = "lacks" if self.count == 1 else "lack"
        return (
            f"{self.count:,} of {self.read:,} items {verb} {self.path}, the first is {self.first_key}: "
            f"{'its sample fails' if self.count == 1 else 'their samples fail'}."
        )


def lacking(revision: DatasetRevision, texts: Iterable[tuple[str, str]]) -> list[Lack]:
    """Return the variables `item.…` of texts, given as (param, text), that items lack; those that all lack first."""
    wanted = [(param, path) for param, text in texts for path in references(text) if path != "item" and is_item(path)]
    if not wanted:
        return []
    missing: dict[tuple[str, str], tuple[int, str]] = {}
    names: dict[str, None] = {}
    read = 0
    rows = revision_items(revision).values_list("key", "content")[:MOST_ITEMS]
    for key, content in rows.iterator(chunk_size=500):
        read += 1
        names |= dict.fromkeys(content if isinstance(content, dict) else ())
        for place in wanted:
            try:
                look_up(place[1], {"item": content})
            except MissingVariable:
                count, first = missing.get(place, (0, key))
                missing[place] = (count + 1, first)
    found = [Lack(param, path, count, read, first, tuple(names)) for (param, path), (count, first) in missing.items()]
    return sorted(found, key=lambda lack: not lack.is_everywhere)


def templates_of(config: Any, param: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a grader's settings that may name variables, each with its place; those of a formula's parts too."""
    if isinstance(config, str):
        yield param, config
    elif isinstance(config, list):
        for place, part in enumerate(config):
            yield from templates_of(part, f"{param}[{place}]")
    elif isinstance(config, dict):
        for name, part in config.items():
            if name != "source":  # code has no templates
                yield from templates_of(part, f"{param}.{name}")


def is_item(path: str) -> bool:
    return path.startswith(("item.", "item["))
