"""What users took out of the Evals API: the folder of `pull_openai_evals`, or any JSON files that hold the client's objects. Pure.

Objects are found by what they are, wherever they stand: an eval in a file of its own or under a key, runs in a list or beside it, output
items in a list or one a line. `model_dump()` of the client renames keys (`schema_`, `run_model_name`); here they have their own
names again.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ENDINGS = (".json", ".jsonl", ".ndjson")
MAX_DEPTH = 12  # of lists and objects around an eval, a run or an item
OWN_KEYS = {  # of each kind, where no other object is looked for
    "eval": {"data_source_config", "testing_criteria", "metadata"},
    "run": {"data_source", "metadata", "result_counts", "per_model_usage", "per_testing_criteria_results", "error"},
    "file": set(),
}

Document = dict[str, Any]


@dataclass(frozen=True)
class BadPart:
    """A file, a line or an object that cannot be used, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Found:
    """An object of the API: `kind` is eval, run, item or file."""

    kind: str
    document: Document
    place: str


@dataclass(frozen=True)
class ItemSource:
    """Where output items of a run stand: a file, and which run's are wanted (empty: all of them)."""

    path: Path
    run_id: str = ""

    def read(self, on_bad: Callable[[BadPart], None]) -> Iterator[Document]:
        """Give the items, one in memory at a time where the file has one a line."""
        for found in read_objects(self.path, on_bad):
            if found.kind == "item" and (not self.run_id or found.document.get("run_id") == self.run_id):
                yield found.document


@dataclass
class RunEntry:
    """A run of the export: where it stands, and where its items do."""

    run_id: str
    eval_id: str
    path: Path
    items: list[ItemSource] = field(default_factory=list)


@dataclass
class Export:
    """What a folder holds: where each eval and run is, and each file with its bytes."""

    evals: dict[str, Path] = field(default_factory=dict)
    runs: dict[str, RunEntry] = field(default_factory=dict)
    files: dict[str, tuple[Path, Path | None]] = field(default_factory=dict)
    bad: list[BadPart] = field(default_factory=list)


def read_export(folder: Path) -> Export:
    """Look through a folder (or one file). Nothing of the content is kept, so a large export costs little memory."""
    export = Export()
    paths = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]
    loose_items: dict[str, list[ItemSource]] = {}
    contents: dict[str, Path] = {}
    for path in paths:
        relative = path.relative_to(folder).parts if folder.is_dir() else (path.name,)
        if path.name.startswith(".") or path.name == "manifest.json":
            continue
        if path.name == "output_items.jsonl" and (path.parent / "run.json").exists():
            continue  # taken with its run, unread
        if len(relative) >= 3 and relative[-3] == "files" and path.name == "content":
            contents[path.parent.name] = path
            continue
        if path.name.endswith(".part"):
            export.bad.append(BadPart("/".join(relative), "it was not fetched to its end; call the pull again"))
            continue
        name = path.name.removesuffix(".gz")
        if not name.endswith(ENDINGS) or name.startswith("file-"):
            contents.setdefault(name.split(".")[0], path)
            if not name.endswith(ENDINGS):
                continue
        index_file(path, export, loose_items, quiet=name.startswith("file-"))
    for run_id, sources in loose_items.items():
        if run_id in export.runs:
            export.runs[run_id].items += sources
        else:
            reason = f"its output items have no run: {run_id} is in no file"
            export.bad.append(BadPart(str(sources[0].path.name), reason))
    for file_id, (path, _) in list(export.files.items()):
        export.files[file_id] = (path, contents.get(file_id) or contents.get(path.parent.name))
    return export


def index_file(path: Path, export: Export, loose_items: dict[str, list[ItemSource]], *, quiet: bool) -> None:
    """Note which objects a file holds."""
    on_bad = (lambda _: None) if quiet else export.bad.append
    seen: set[str] = set()
    count = 0
    for found in read_objects(path, on_bad):
        count += 1
        document, public_id = found.document, str(found.document["id"])
        if found.kind == "eval":
            export.evals.setdefault(public_id, path)
        elif found.kind == "file":
            export.files.setdefault(public_id, (path, None))
        elif found.kind == "run" and public_id not in export.runs:
            entry = RunEntry(public_id, str(document.get("eval_id") or ""), path)
            beside = path.parent / "output_items.jsonl"
            if path.name == "run.json" and beside.exists():
                entry.items.append(ItemSource(beside))
            export.runs[public_id] = entry
        elif found.kind == "item":
            run_id = str(document.get("run_id") or "")
            if run_id not in seen:
                seen.add(run_id)
                loose_items.setdefault(run_id, []).append(ItemSource(path, run_id))
    if not count and not quiet and not any(part.place.startswith(path.name) for part in export.bad):
        export.bad.append(BadPart(path.name, "there is no eval, run, output item or file of the API in it"))


def find_object(path: Path, kind: str, public_id: str) -> Document | None:
    """Return an object of a file by its id."""
    for found in read_objects(path, lambda _: None):
        if found.kind == kind and found.document["id"] == public_id:
            return found.document
    return None


# Reading files ---------------------------------------------------------------------------------------------------


def read_objects(path: Path, on_bad: Callable[[BadPart], None]) -> Iterator[Found]:
    """Give the objects of a file: of one JSON value, or of a value on each line."""
    name = path.name
    try:
        with open_file(path) as stream:
            if name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
                for number, line in enumerate(stream, 1):
                    if line.strip():
                        yield from parse(line, f"{name} line {number}", on_bad)
            else:
                yield from parse(stream.read(), name, on_bad)
    except (OSError, EOFError) as error:
        on_bad(BadPart(name, f"it cannot be read: {error}"))


def open_file(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # type: ignore[return-value]  # it is one


def parse(raw: bytes, place: str, on_bad: Callable[[BadPart], None]) -> Iterator[Found]:
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        on_bad(BadPart(place, f"it is not UTF-8 at byte {error.start + 1}"))
        return
    except (ValueError, RecursionError) as error:
        on_bad(BadPart(place, f"it is not JSON: {error}"))
        return
    yield from walk(value, place, on_bad, 0)


def walk(value: Any, place: str, on_bad: Callable[[BadPart], None], depth: int) -> Iterator[Found]:
    """Give the objects within a value, outer ones first."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for number, part in enumerate(value):
            yield from walk(part, f"{place}[{number}]", on_bad, depth + 1)
        return
    if not isinstance(value, dict):
        return
    kind = kind_of(value)
    if kind:
        if not isinstance(value.get("id"), str) or not value["id"]:
            on_bad(BadPart(place, f"a {WORDS[kind]} without an id"))
        else:
            yield Found(kind, plain(value, kind), place)
        if kind == "item":
            return
    own = OWN_KEYS.get(kind, set())
    for name, part in value.items():
        if name not in own and isinstance(part, list | dict):
            yield from walk(part, f"{place}.{name}", on_bad, depth + 1)


WORDS = {"eval": "eval", "run": "run", "item": "output item", "file": "file"}
NAMES = {"eval": "eval", "eval.run": "run", "eval.run.output_item": "item", "file": "file"}


def kind_of(value: Document) -> str:
    """Return what an object is, by its `object` or by its keys; an empty text where it is nothing of the API's."""
    named = value.get("object")
    if isinstance(named, str):
        return NAMES.get(named, "")
    if "testing_criteria" in value and "data_source_config" in value:
        return "eval"
    if "datasource_item_id" in value and "results" in value:
        return "item"
    if "data_source" in value and "eval_id" in value and "status" in value:
        return "run"
    return ""


def plain(document: Document, kind: str) -> Document:
    """Return an object with the API's own names for what `model_dump()` renames; what hangs on it of other kinds is left out."""
    document = {name: value for name, value in document.items() if not is_of_the_api(value)}
    config = document.get("data_source_config")
    if kind == "eval" and isinstance(config, dict):
        document["data_source_config"] = renamed(config, "schema_", "schema")
    if kind == "run":
        usage = document.get("per_model_usage")
        if isinstance(usage, list):
            document["per_model_usage"] = [renamed(entry, "run_model_name", "model_name") for entry in usage]
        source = document.get("data_source")
        if isinstance(source, dict) and isinstance(source.get("sampling_params"), dict):
            document["data_source"] = {**source, "sampling_params": renamed_deep(source["sampling_params"])}
    return document


def is_of_the_api(value: Any) -> bool:
    """Say whether a value is, or is a list of, objects of the API that a user hung on another one."""
    if isinstance(value, dict):
        return bool(kind_of(value)) or value.get("object") == "list"
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) and kind_of(part) for part in value)


def renamed(value: Any, old: str, new: str) -> Any:
    """Return an object with one key named anew, in its place; some versions of the client give both."""
    if not isinstance(value, dict) or old not in value:
        return value
    if new in value:
        return {name: part for name, part in value.items() if name != old}
    return {(new if name == old else name): part for name, part in value.items()}


def renamed_deep(value: Any) -> Any:
    """Return sampling parameters with `schema_` named `schema` at any depth."""
    if isinstance(value, list):
        return [renamed_deep(part) for part in value]
    if not isinstance(value, dict):
        return value
    return renamed({name: renamed_deep(part) for name, part in value.items()}, "schema_", "schema")


def without_nulls(value: Any) -> Any:
    """Return a value without the keys that `model_dump()` fills with null."""
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    if isinstance(value, dict):
        return {name: without_nulls(part) for name, part in value.items() if part is not None}
    return value
