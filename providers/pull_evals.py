"""Fetch everything that an account keeps in the OpenAI Evals API into a folder: evals, runs, output items and files.

This is one file on purpose. It needs Python 3.9 or newer and the `openai` package, nothing else, so it can be copied and run alone:

    export OPENAI_API_KEY=...
    python pull_evals.py --out openai-evals

Stop it whenever you like and run it again: what is there is not fetched again. With Markbook, `manage.py pull_openai_evals` is the same,
and `manage.py import_openai_evals DIR` reads the folder. The key is read from the environment and written nowhere.

The folder:

    manifest.json                                  how far the lists were read, and what could not be fetched
    evals/EVAL_ID/eval.json                        the eval, as received
    evals/EVAL_ID/runs/RUN_ID/run.json             the run, as received
    evals/EVAL_ID/runs/RUN_ID/output_items.jsonl   its output items, one a line, as received
    files/FILE_ID/file.json                        a file's description, as received
    files/FILE_ID/content                          its bytes

Exits 0 when everything is there, 1 when something could not be fetched (it is listed, and tried again by the next call), 2 when it
could not begin.
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Callable, Iterator, TextIO  # noqa: UP035  # also runs on Python 3.9
from urllib.parse import quote, urlsplit, urlunsplit

FORMAT = "openai-evals-folder"
VERSION = 1
ENDED = {"completed", "failed", "canceled", "cancelled"}
EVALS_A_PAGE, RUNS_A_PAGE, ITEMS_A_PAGE, FILES_A_PAGE = 100, 20, 100, 100
ATTEMPTS = 8  # of one request
LONGEST_WAIT_S = 120.0
FIRST_WAIT_S = 1.0
KEY_LIKE = re.compile(r"\b(sk|mb|mbi)-[\w*.:-]{4,}")
COMPLETE, INCOMPLETE, NOT_BEGUN = 0, 1, 2  # exit codes


class CannotFetch(Exception):
    """A request that gave nothing, after all attempts; the text says why. `status` is the HTTP status where there was an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class BrokenOff(Exception):
    """An answer that ended in the middle."""


class Stopped(Exception):
    """The pull was asked to stop."""


class Turnstile:
    """Lets requests pass one by one; when the server asks for patience, all of them wait."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.lock = threading.Lock()
        self.open_at = 0.0
        self.waits = 0

    def enter(self) -> None:
        """Wait until requests are welcome. Raises Stopped."""
        while True:
            if self.stop.is_set():
                raise Stopped
            with self.lock:
                left = self.open_at - time.monotonic()
            if left <= 0:
                return
            self.stop.wait(min(left, 0.5))

    def close_for(self, seconds: float) -> None:
        """Hold everything back for a while."""
        with self.lock:
            self.open_at = max(self.open_at, time.monotonic() + seconds)
            self.waits += 1


class Source:
    """The API, asked politely: every request is tried again where that may help, and never faster than the server allows."""

    def __init__(self, client: Any, *, key: str, stop: threading.Event, first_wait_s: float = FIRST_WAIT_S) -> None:
        self.client, self.key, self.first_wait_s = client, key, first_wait_s
        self.turnstile = Turnstile(stop)

    def ask(self, call: Callable[[], Any]) -> Any:
        """Return what a call of the client gives. Raises CannotFetch or Stopped."""
        import openai

        for attempt in range(1, ATTEMPTS + 1):
            self.turnstile.enter()
            try:
                return call()
            except openai.APIStatusError as error:
                may_help = error.status_code in (408, 409, 429) or error.status_code >= 500
                if error.response.headers.get("x-should-retry") == "false" or is_out_of_credit(error):
                    may_help = False
                problem = CannotFetch(f"{error.status_code}: {self.plain(error)}", error.status_code)
                asked_s = wait_asked_for(error.response.headers)
            except openai.APIConnectionError as error:
                may_help, asked_s = True, None
                problem = CannotFetch(f"no answer: {self.plain(error.__cause__ or error)}")
            except BrokenOff as error:
                may_help, asked_s = True, None
                problem = CannotFetch(f"the answer broke off: {self.plain(error)}")
            if not may_help or attempt == ATTEMPTS:
                raise problem
            ceiling_s = min(self.first_wait_s * 2 ** (attempt - 1), LONGEST_WAIT_S)
            own_s = random.uniform(ceiling_s / 2, ceiling_s)
            self.turnstile.close_for(own_s if asked_s is None else asked_s)
        raise AssertionError("unreachable")

    def one(self, method: Any, *args: Any, **query: Any) -> dict[str, Any]:
        """Return one JSON object as the server sent it. Raises CannotFetch."""

        def call() -> dict[str, Any]:
            body = json.loads(method(*args, **query).content)
            if not isinstance(body, dict):
                raise ValueError("the answer is no JSON object")
            return body

        try:
            found: dict[str, Any] = self.ask(call)
        except (ValueError, RecursionError) as error:
            raise CannotFetch(f"the answer cannot be read: {self.plain(error)}") from None
        return found

    def pages(self, method: Any, *args: Any, after: str = "", **query: Any) -> Iterator[list[dict[str, Any]]]:
        """Give the pages of a list from where `after` stands. Raises CannotFetch."""
        while True:
            page = self.one(method, *args, **({"after": after} if after else {}), **query)
            data = page.get("data")
            if not isinstance(data, list) or not all(isinstance(row, dict) and row.get("id") for row in data):
                raise CannotFetch("the answer is not a list of objects with an id")
            if data:
                yield data
            if not data or not page.get("has_more"):
                return
            if data[-1]["id"] == after:
                raise CannotFetch(f"the list goes round in a circle at {after}")
            after = data[-1]["id"]

    def download(self, file_id: str, path: Path) -> None:
        """Write a file's bytes. Raises CannotFetch."""

        import openai

        def call() -> None:
            with atomic(path, binary=True) as out, self.client.files.with_streaming_response.content(file_id) as answer:
                chunks = answer.iter_bytes()
                while True:
                    try:
                        chunk = next(chunks, None)
                    except (openai.APIError, OSError):
                        raise
                    except Exception as error:  # of the HTTP library underneath, whichever it is
                        raise BrokenOff(str(error) or type(error).__name__) from error
                    if chunk is None:
                        return
                    out.write(chunk)

        self.ask(call)

    def plain(self, error: object) -> str:
        """Return an error's text in one line, without the key."""
        text = " ".join(str(error).split())[:300]
        if self.key:
            text = text.replace(self.key, "[key]")
        return KEY_LIKE.sub("[key]", text) or type(error).__name__


def is_out_of_credit(error: Any) -> bool:
    return getattr(error, "code", None) == "insufficient_quota"


def wait_asked_for(headers: Any) -> float | None:
    """Return how many seconds the server wants to be left alone, or None where it does not say."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name)
        if not text:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            parsed = email.utils.parsedate_tz(text)
            if parsed is None:
                continue
            seconds = email.utils.mktime_tz(parsed) - time.time()
        if 0 <= seconds < float("inf"):
            return min(seconds, 3600.0)
    return None


# The folder ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic(path: Path, *, binary: bool = False) -> Iterator[Any]:
    """Open a file that appears under its name only when it is whole and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb" if binary else "w", encoding=None if binary else "utf-8") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def write_json(path: Path, value: Any) -> None:
    with atomic(path) as out:
        json.dump(value, out, ensure_ascii=True, indent=1)
        out.write("\n")


def read_json(path: Path) -> Any:
    """Return a file's JSON, or None where it is not there or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def folder_name(public_id: str) -> str:
    """Return an id as the name of a folder: nothing in it can lead elsewhere."""
    name = quote(str(public_id), safe="")[:150]
    return name.replace(".", "%2E") if set(name) <= {"."} else name


def last_whole_line(path: Path) -> str:
    """Return the id in the last whole line of a JSONL file, and cut off what comes after it; empty where there is none."""
    last = ""
    good = 0
    if not path.exists():
        return ""
    with path.open("r+b") as lines:
        for line in lines:
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict) or not row.get("id"):
                break
            last, good = str(row["id"]), good + len(line)
        lines.truncate(good)
    return last


class Manifest:
    """How far the lists were read. Small, and written anew after each page; what was fetched is seen by the files themselves."""

    def __init__(self, path: Path, base_url: str) -> None:
        self.path = path
        self.lock = threading.Lock()
        found = read_json(path)
        if isinstance(found, dict) and found.get("format") == FORMAT:
            self.state = found
        else:
            self.state = {"format": FORMAT, "version": VERSION, "base_url": without_user(base_url)}
        for name in ("last_ids", "gone"):
            if not isinstance(self.state.get(name), dict):
                self.state[name] = {}

    def is_from(self, base_url: str) -> bool:
        return bool(self.state.get("base_url") == without_user(base_url))

    def after(self, place: str) -> str:
        """Return the id that a list was read to, or an empty text."""
        with self.lock:
            return str(self.state["last_ids"].get(place) or "")

    def read_to(self, place: str, last_id: str) -> None:
        with self.lock:
            self.state["last_ids"][place] = last_id
            write_json(self.path, self.state)

    def is_gone(self, place: str) -> bool:
        with self.lock:
            return place in self.state["gone"]

    def mark_gone(self, place: str, reason: str) -> None:
        with self.lock:
            self.state["gone"][place] = reason
            write_json(self.path, self.state)

    def finish(self, failures: dict[str, str]) -> None:
        with self.lock:
            self.state["failures"] = failures
            self.state["pulled_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            write_json(self.path, self.state)


def without_user(base_url: str) -> str:
    """Return an address without user name, password, query and fragment."""
    parts = urlsplit(base_url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


# The pull --------------------------------------------------------------------------------------------------------


class Pull:
    """One pull into one folder. A class because its threads share the queue, the counts and the failures."""

    def __init__(self, source: Source, folder: Path, manifest: Manifest, *, workers: int, refresh: bool) -> None:
        self.source, self.folder, self.manifest, self.refresh = source, folder, manifest, refresh
        self.api = source.client
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="pull")
        self.tasks: set[Future[None]] = set()
        self.lock = threading.Lock()
        self.counts = {"evals": 0, "runs": 0, "items": 0, "files": 0}
        self.failures: dict[str, str] = {}
        self.files_begun: set[str] = set()

    def run(self, show: Callable[[], None]) -> None:
        """Fetch all there is. Failures are kept in `failures`; the rest goes on."""
        try:
            self.spawn("the list of evals", self.pull_evals)
            self.spawn("the list of files", self.pull_files)
            while True:
                with self.lock:
                    tasks = set(self.tasks)
                if not tasks:
                    break
                done, _ = wait(tasks, timeout=0.3, return_when=FIRST_COMPLETED)
                with self.lock:
                    self.tasks -= done
                for task in done:
                    task.result()
                show()
        except BaseException:
            self.source.turnstile.stop.set()
            raise
        finally:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def spawn(self, place: str, work: Callable[..., None], *args: Any) -> None:
        """Do a piece of work on another thread; what it cannot fetch is noted under `place`."""

        def piece() -> None:
            try:
                work(*args)
            except CannotFetch as error:
                self.fail(place, str(error))
            except OSError as error:
                self.fail(place, f"cannot be written: {error.strerror or error}")
            except Stopped:
                pass

        with self.lock:
            self.tasks.add(self.pool.submit(piece))

    def fail(self, place: str, reason: str) -> None:
        with self.lock:
            self.failures[place] = reason

    def count(self, name: str, number: int = 1) -> None:
        with self.lock:
            self.counts[name] += number

    def read_list(
        self, place: str, method: Any, *args: Any, keep: Callable[[dict[str, Any]], None], **query: Any
    ) -> None:
        """Read a list on from where it was left, oldest first. Where that object is gone, or on a refresh, read it from its start."""
        after = "" if self.refresh else self.manifest.after(place)
        for attempt in (1, 2):
            try:
                for page in self.source.pages(method, *args, after=after, order="asc", **query):
                    for row in page:
                        keep(row)
                    self.manifest.read_to(place, str(page[-1]["id"]))
                return
            except CannotFetch as error:
                if attempt == 2 or not after or error.status not in (400, 404):
                    raise
                after = ""

    # Evals, runs, items

    def pull_evals(self) -> None:
        known = {path.parent.name for path in self.folder.glob("evals/*/eval.json")}

        def keep(row: dict[str, Any]) -> None:
            folder = self.folder / "evals" / folder_name(row["id"])
            write_json(folder / "eval.json", row)
            self.count("evals")
            known.discard(folder.name)
            self.spawn(f"runs of {row['id']}", self.pull_runs, str(row["id"]), folder)

        self.read_list("evals", self.api.evals.with_raw_response.list, limit=EVALS_A_PAGE, keep=keep)
        for name in sorted(known):  # fetched before; their runs may not be, or there may be new ones
            folder = self.folder / "evals" / name
            row = read_json(folder / "eval.json")
            if not isinstance(row, dict) or not row.get("id"):
                self.fail(f"evals/{name}", "eval.json cannot be read; delete it and call again with --refresh")
                continue
            self.spawn(f"runs of {row['id']}", self.pull_runs, str(row["id"]), folder)

    def pull_runs(self, eval_id: str, folder: Path) -> None:
        place = f"runs of {eval_id}"
        if self.manifest.is_gone(place):
            return
        known = {path.parent.name for path in folder.glob("runs/*/run.json")}

        def keep(row: dict[str, Any]) -> None:
            run_folder = folder / "runs" / folder_name(row["id"])
            if not (run_folder.name in known and has_ended(run_folder)):
                forget_items(run_folder)
                write_json(run_folder / "run.json", row)
            self.count("runs")
            known.discard(run_folder.name)
            self.begin_run(eval_id, row, run_folder)

        listing = self.api.evals.runs.with_raw_response.list
        try:
            self.read_list(place, listing, eval_id, limit=RUNS_A_PAGE, keep=keep)
        except CannotFetch as error:
            if error.status != 404:
                raise
            self.manifest.mark_gone(place, "the eval was deleted at the source")
            return
        for name in sorted(known):
            run_folder = folder / "runs" / name
            row = read_json(run_folder / "run.json")
            if not isinstance(row, dict) or not row.get("id"):
                self.fail(
                    f"evals/{folder.name}/runs/{name}",
                    "run.json cannot be read; delete it and call again with --refresh",
                )
            elif has_ended(run_folder):
                self.begin_run(eval_id, row, run_folder)
            else:
                self.spawn(f"run {row['id']}", self.pull_run_again, eval_id, str(row["id"]), run_folder)

    def pull_run_again(self, eval_id: str, run_id: str, folder: Path) -> None:
        """Fetch a run that was still going when it was fetched last, and its items anew."""
        try:
            row = self.source.one(self.api.evals.runs.with_raw_response.retrieve, run_id, eval_id=eval_id)
        except CannotFetch as error:
            if error.status != 404:
                raise
            self.manifest.mark_gone(f"run {run_id}", "it was deleted at the source")
            return
        forget_items(folder)
        write_json(folder / "run.json", row)
        self.count("runs")
        self.begin_run(eval_id, row, folder)

    def begin_run(self, eval_id: str, row: dict[str, Any], folder: Path) -> None:
        file_id = file_of(row)
        if file_id:
            self.begin_file(file_id)
        place = f"output items of {row['id']}"
        if not (folder / "output_items.jsonl").exists() and not self.manifest.is_gone(place):
            self.spawn(place, self.pull_items, eval_id, str(row["id"]), folder)

    def pull_items(self, eval_id: str, run_id: str, folder: Path) -> None:
        """Fetch the output items of a run, page by page; a page that is on disk is not fetched again."""
        part = folder / "output_items.jsonl.part"
        after = last_whole_line(part)
        listing = self.api.evals.runs.output_items.with_raw_response.list
        try:
            for attempt in (1, 2):
                try:
                    pages = self.source.pages(
                        listing, run_id, eval_id=eval_id, after=after, limit=ITEMS_A_PAGE, order="asc"
                    )
                    with part.open("ab") as out:
                        for page in pages:
                            lines = (json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in page)
                            out.write(("\n".join(lines) + "\n").encode())
                            out.flush()
                            os.fsync(out.fileno())
                            self.count("items", len(page))
                    break
                except CannotFetch as error:
                    if attempt == 2 or not after or error.status != 400:
                        raise
                    after = ""  # the item to go on from is not there any more
                    part.unlink()
        except CannotFetch as error:
            if error.status != 404:
                raise
            self.manifest.mark_gone(f"output items of {run_id}", "the run was deleted at the source")
            return
        os.replace(part, folder / "output_items.jsonl")

    # Files

    def pull_files(self) -> None:
        def keep(row: dict[str, Any]) -> None:
            self.begin_file(str(row["id"]), row)

        listing = self.api.files.with_raw_response.list
        self.read_list("files", listing, purpose="evals", limit=FILES_A_PAGE, keep=keep)
        for path in sorted(self.folder.glob("files/*/file.json")):
            row = read_json(path)
            if isinstance(row, dict) and row.get("id"):
                self.begin_file(str(row["id"]), row)

    def begin_file(self, file_id: str, row: dict[str, Any] | None = None) -> None:
        with self.lock:
            if file_id in self.files_begun:
                return
            self.files_begun.add(file_id)
        folder = self.folder / "files" / folder_name(file_id)
        if row is not None and not (folder / "file.json").exists():
            write_json(folder / "file.json", row)
        whole = (folder / "file.json").exists() and (folder / "content").exists()
        if not whole and not self.manifest.is_gone(f"file {file_id}"):
            self.spawn(f"file {file_id}", self.pull_file, file_id, folder)

    def pull_file(self, file_id: str, folder: Path) -> None:
        try:
            if not (folder / "file.json").exists():
                write_json(folder / "file.json", self.source.one(self.api.files.with_raw_response.retrieve, file_id))
            self.source.download(file_id, folder / "content")
        except CannotFetch as error:
            if error.status != 404:
                raise
            self.manifest.mark_gone(f"file {file_id}", "it was deleted at the source")
            return
        self.count("files")


def has_ended(folder: Path) -> bool:
    """Say whether the run in a folder had ended when it was fetched, so that nothing of it can change."""
    row = read_json(folder / "run.json")
    return isinstance(row, dict) and row.get("status") in ENDED


def forget_items(folder: Path) -> None:
    """Take away the items of a run that was still going: they are fetched anew."""
    for name in ("output_items.jsonl", "output_items.jsonl.part"):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()


def file_of(run: dict[str, Any]) -> str:
    """Return the id of the file that a run reads, or an empty text."""
    data_source = run.get("data_source")
    source = data_source.get("source") if isinstance(data_source, dict) else None
    found = source.get("id") if isinstance(source, dict) and source.get("type") == "file_id" else None
    return found if isinstance(found, str) else ""


# The command -----------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; shared with `manage.py pull_openai_evals`."""
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="the folder to fill; an earlier pull into it is gone on with"
    )
    parser.add_argument(
        "--base-url", default="", metavar="URL", help="the API (default: OPENAI_BASE_URL, else OpenAI's own)"
    )
    parser.add_argument(
        "--key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="the environment variable that holds the key (default: OPENAI_API_KEY)",
    )
    parser.add_argument(
        "--project", default="", metavar="ID", help="the project at the source, where the key is good for several"
    )
    parser.add_argument("--organization", default="", metavar="ID", help="the organization at the source, likewise")
    parser.add_argument(
        "--concurrency", type=int, default=4, metavar="N", help="requests at a time, 1 to 16 (default: 4)"
    )
    parser.add_argument(
        "--refresh", action="store_true", help="read all lists from their start, to see new names and states"
    )


def pull(
    out: str,
    *,
    base_url: str = "",
    key_env: str = "OPENAI_API_KEY",
    project: str = "",
    organization: str = "",
    concurrency: int = 4,
    refresh: bool = False,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    first_wait_s: float = FIRST_WAIT_S,
) -> int:
    """Pull into a folder and return the exit code. Prints progress and what could not be fetched, never the key."""
    stdout, stderr = stdout or sys.stdout, stderr or sys.stderr
    key = os.environ.get(key_env, "").strip()
    problem = ""
    if not key:
        problem = f"The environment variable {key_env} is not set; put the key there, or name another with --key-env."
    elif not 1 <= concurrency <= 16:
        problem = f"--concurrency is 1 to 16, not {concurrency}."
    try:
        import openai
    except ImportError:
        problem = "The package openai is not installed; install it with: pip install openai"
    if problem:
        stderr.write(problem + "\n")
        return NOT_BEGUN
    base_url = base_url or os.environ.get("OPENAI_BASE_URL", "") or "https://api.openai.com/v1"
    folder = Path(out)
    try:
        manifest = Manifest(folder / "manifest.json", base_url)
        if not manifest.is_from(base_url):
            where = manifest.state.get("base_url")
            stderr.write(f"{folder} holds a pull from {where}; give another folder for {without_user(base_url)}.\n")
            return NOT_BEGUN
        if refresh:
            manifest.state["gone"] = {}
        write_json(manifest.path, manifest.state)
    except OSError as error:
        stderr.write(f"{folder} cannot be written: {error.strerror or error}.\n")
        return NOT_BEGUN
    client = openai.OpenAI(
        api_key=key,
        base_url=base_url,
        project=project or None,
        organization=organization or None,
        max_retries=0,
        timeout=120.0,
    )
    stop = threading.Event()
    source = Source(client, key=key, stop=stop, first_wait_s=first_wait_s)
    work = Pull(source, folder, manifest, workers=concurrency, refresh=refresh)
    line = ProgressLine(stderr)
    stopped = False
    try:
        work.run(lambda: line.show(work))
    except KeyboardInterrupt:
        stopped = True
    finally:
        line.clear()
        client.close()
    manifest.finish(work.failures)
    return report(work, folder, stdout, stderr, stopped=stopped)


def report(work: Pull, folder: Path, stdout: TextIO, stderr: TextIO, *, stopped: bool) -> int:
    """Say what was fetched and what is missing; return the exit code."""
    counts = work.counts
    stdout.write(
        f"{folder}: fetched {counts['evals']:,} evals, {counts['runs']:,} runs, {counts['items']:,} output items, "
        f"{counts['files']:,} files.\n"
    )
    for place, reason in sorted(work.manifest.state["gone"].items()):
        stderr.write(f"  left out: {place}: {reason}\n")
    for place, reason in sorted(work.failures.items()):
        stderr.write(f"  not fetched: {place}: {reason}\n")
    if stopped:
        stderr.write("Stopped. Run the same command again to go on.\n")
    elif work.failures:
        stderr.write(f"{len(work.failures):,} could not be fetched. Run the same command again to try only these.\n")
    return INCOMPLETE if stopped or work.failures else COMPLETE


class ProgressLine:
    """A line that is drawn again and again on a terminal, and once in ten seconds elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self.out, self.is_terminal = out, out.isatty()
        self.shown_at = time.monotonic()

    def show(self, work: Pull) -> None:
        now = time.monotonic()
        if now - self.shown_at < (0.2 if self.is_terminal else 10.0):
            return
        self.shown_at = now
        counts = work.counts
        text = f"{counts['evals']:,} evals  {counts['runs']:,} runs  {counts['items']:,} output items  {counts['files']:,} files"
        with work.lock:
            text += f"  {len(work.tasks):,} to do"
        if work.source.turnstile.waits:
            text += f"  waited {work.source.turnstile.waits} times for the server"
        if self.is_terminal:
            self.out.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        else:
            self.out.write(text + "\n")
        self.out.flush()

    def clear(self) -> None:
        if self.is_terminal:
            self.out.write("\r\x1b[K")
            self.out.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    add_arguments(parser)
    return pull(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
