"""Import runs from files."""

import glob
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.services import AccountError
from evals.services import ImportReport, import_file, project_by_slug
from traces.formats import FORMATS, NAMES

ENDINGS = (".jsonl", ".ndjson", ".json", ".traj", ".eval")
SHOWN = 100  # bad lines listed for a file


class Command(BaseCommand):
    help = (
        "Import runs from JSONL or JSON files, .gz or not. The format is found by looking; a repeat changes nothing.\n\nFormats:\n"
        + "\n".join(f"  {found.NAME:12} {found.LABEL}" for found in FORMATS)
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "paths",
            nargs="+",
            metavar="PATH",
            help="a file, a folder, a pattern such as runs/*.jsonl, or - for standard input",
        )
        parser.add_argument(
            "--project",
            default="",
            metavar="P",
            help="the project's short name; made where it is missing (default: default)",
        )
        parser.add_argument(
            "--create-project", action="store_true", help="make the project even where its name looks mistyped"
        )
        parser.add_argument(
            "--format",
            default="",
            choices=["", *NAMES],
            metavar="F",
            help=f"one of {', '.join(NAMES)}; found by looking where not given",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        files, missing = find_files(options["paths"])
        for path in missing:
            said = "no JSONL or JSON file is in it" if Path(path).exists() else "this path does not exist"
            self.stderr.write(f"{path}: {said}.")
        if not files:
            raise CommandError("Nothing was imported: no file was found.")
        try:
            project, is_new = project_by_slug(options["project"], create=options["create_project"])
        except AccountError as error:
            raise CommandError(str(error)) from None
        if is_new:
            self.stdout.write(f"Made the project {project.slug}.")
        bad_count = runs = 0
        for path in files:
            report = self.import_path(project, path, options["format"])
            bad_count, runs = bad_count + report.bad_count, runs + report.runs
            self.show(report)
        gone = f"{len(missing):,} {'path was' if len(missing) == 1 else 'paths were'} not found" if missing else ""
        if bad_count:
            left_out = f"{bad_count:,} {'line was' if bad_count == 1 else 'lines were'} left out"
            also = f", and {gone}" if gone else ""
            raise CommandError(f"{left_out}{also}; {'the rest is' if runs else 'nothing was'} imported.")
        if gone:
            raise CommandError(f"{gone}; the rest is imported.")

    def import_path(self, project: Any, path: str, format_name: str) -> ImportReport:
        """Import one file, with its progress on a terminal."""
        if path == "-":
            bar = ProgressBar(self.stderr, "standard input", sys.stdin.buffer, 0)
            report = import_file(project, sys.stdin.buffer, name="-", format_name=format_name, progress=bar.show)
            bar.clear()
            return report
        try:
            with Path(path).open("rb") as stream:
                bar = ProgressBar(self.stderr, Path(path).name, stream, Path(path).stat().st_size)
                report = import_file(project, stream, name=path, format_name=format_name, progress=bar.show)
                bar.clear()
                return report
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from None

    def show(self, report: ImportReport) -> None:
        """Say what became of a file."""
        added = f"{report.scores:,} scores ({report.fresh_scores:,} new)" if report.scores else "no scores"
        again = report.runs - report.fresh_runs
        news = f"{report.fresh_runs:,} new" + (f", {again:,} already here" if again else "")
        self.stdout.write(
            f"{report.name}: {report.runs:,} {'run' if report.runs == 1 else 'runs'} ({news}), {report.spans:,} spans, {added}, "
            f"{report.bad_count:,} bad lines"
        )
        for line in report.bad[:SHOWN]:
            self.stderr.write(f"  {line.place}: {line.reason}")
        if report.bad_count > SHOWN:
            self.stderr.write(f"  and {report.bad_count - SHOWN:,} more")


def find_files(paths: list[str]) -> tuple[list[str], list[str]]:
    """Return the files that paths, folders and patterns stand for, each once, and the paths that stand for none."""
    files: dict[str, None] = {}
    missing = []
    for path in paths:
        found = [path] if path == "-" or Path(path).is_file() else list(expand(path))
        files.update(dict.fromkeys(found))
        if not found:
            missing.append(path)
    return list(files), missing


def expand(path: str) -> Iterator[str]:
    """Give the files of a folder (all below it that have a known ending) or of a pattern."""
    if Path(path).is_dir():
        for inner in sorted(Path(path).rglob("*")):
            if inner.is_file() and inner.name.removesuffix(".gz").endswith(ENDINGS):
                yield str(inner)
    else:
        yield from (found for found in sorted(glob.glob(path, recursive=True)) if Path(found).is_file())


class ProgressBar:
    """A line that is drawn again and again on a terminal, and nothing elsewhere."""

    def __init__(self, out: Any, name: str, stream: IO[bytes], size: int) -> None:
        self.out, self.name, self.stream, self.size = out, name, stream, size
        self.is_shown = out.isatty()
        self.last = -1

    def show(self, report: ImportReport) -> None:
        """Draw the state, at most once per ten runs."""
        count = report.runs + report.bad_count
        if not self.is_shown or count // 10 == self.last:
            return
        self.last = count // 10
        share = min(self.stream.tell() / self.size, 1.0) if self.size else 0.0
        bar = f"[{'#' * round(share * 24):24}] {share:4.0%}  " if self.size else ""
        self.out.write(f"\r{self.name[:40]}  {bar}{report.runs:,} runs", style_func=str, ending="")
        self.out.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self.is_shown:
            self.out.write("\r" + " " * 100 + "\r", style_func=str, ending="")
            self.out.flush()
