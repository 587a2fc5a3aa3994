"""Import what was taken out of the OpenAI Evals API."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.services import AccountError
from evals.services import project_by_slug
from evals.services.openai_imports import OpenAIImport, import_openai_evals

SHOWN = 100


class Command(BaseCommand):
    help = (
        "Import evals, runs, output items and files from a folder of pull_openai_evals, or from JSON files that hold the client's objects "
        "(model_dump). Ids, times and results stay as they are. A repeat changes nothing. Exits 1 when something was left out."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", metavar="DIR", help="a folder, or one file")
        parser.add_argument(
            "--project",
            default="",
            metavar="P",
            help="the project's short name; made where it is missing (default: default)",
        )
        parser.add_argument(
            "--create-project", action="store_true", help="make the project even where its name looks mistyped"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(options["folder"])
        if not folder.exists():
            raise CommandError(f"{folder} is not there.")
        try:
            project, is_new = project_by_slug(options["project"], create=options["create_project"])
        except AccountError as error:
            raise CommandError(str(error)) from None
        if is_new:
            self.stdout.write(f"Made the project {project.slug}.")
        line = ProgressLine(self.stderr)
        report = import_openai_evals(project, folder, progress=line.show)
        line.clear()
        self.show(report)
        if report.bad_count:
            raise CommandError(f"{report.bad_count:,} could not be imported; the rest is.")
        if not (report.evals or report.runs or report.files or report.known_evals or report.known_runs):
            raise CommandError(f"There is no eval in {folder}; nothing was imported.")

    def show(self, report: OpenAIImport) -> None:
        """Say what became of the folder."""
        self.stdout.write(
            f"Imported {report.evals:,} evals, {report.runs:,} runs, {report.items:,} output items, {report.scores:,} scores, "
            f"{report.files:,} files."
        )
        known = report.known_evals, report.known_runs, report.known_files
        if any(known):
            self.stdout.write(f"Already here: {known[0]:,} evals, {known[1]:,} runs, {known[2]:,} files.")
        for name, reason in sorted(report.not_runnable.items()):
            self.stdout.write(f"Kept with its scores, but cannot be run here: {name}: {reason}")
        for part in report.bad[:SHOWN]:
            self.stderr.write(f"  {part.place}: {part.reason}")
        if report.bad_count > SHOWN:
            self.stderr.write(f"  and {report.bad_count - SHOWN:,} more")


class ProgressLine:
    """A line that is drawn again and again on a terminal, and nothing elsewhere."""

    def __init__(self, out: Any) -> None:
        self.out, self.is_shown, self.shown_at = out, out.isatty(), 0.0

    def show(self, report: OpenAIImport) -> None:
        if self.is_shown and time.monotonic() - self.shown_at > 0.2:
            self.shown_at = time.monotonic()
            text = f"{report.evals:,} evals  {report.runs:,} runs  {report.items:,} output items"
            self.out.write(f"\r{text}\x1b[K", style_func=str, ending="")
            self.out.flush()

    def clear(self) -> None:
        if self.is_shown:
            self.out.write("\r\x1b[K", style_func=str, ending="")
            self.out.flush()
