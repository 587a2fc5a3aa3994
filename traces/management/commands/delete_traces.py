"""Delete old traces: says what would go and what depends on it, asks, and then deletes in batches."""

import re
import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Project
from traces import deletion

AGE = re.compile(r"^(\d{1,5})([hdw])$")
HOURS = {"h": 1, "d": 24, "w": 24 * 7}


class Command(BaseCommand):
    help = "Delete traces that began longer ago than --older-than, with their spans, bodies and search index."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", required=True, metavar="AGE", help="such as 30d, 12h or 8w")
        parser.add_argument("--project", default="", metavar="P", help="the project's short name; all where not given")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--vacuum",
            action="store_true",
            help="SQLite: write the whole file anew at the end; nobody writes meanwhile",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = AGE.match(options["older_than"])
        if found is None:
            raise CommandError(
                f"--older-than {options['older_than']!r} is no age; write it as 30d, 12h or 8w.", returncode=2
            )
        project = None
        if options["project"]:
            project = Project.objects.filter(slug=options["project"]).first()
            if project is None:
                raise CommandError(f"There is no project {options['project']!r}.", returncode=2)
        traces = deletion.traces_older_than(project, timedelta(hours=int(found[1]) * HOURS[found[2]]))
        where = f"the project {project.slug}" if project is not None else "all projects"
        loss = deletion.name_loss(traces)
        self.stdout.write(f"In {where}, {loss.traces:,} traces with {loss.spans:,} spans are older than {found[0]}.")
        for what, count, fate in loss.lines:
            self.stdout.write(f"  depends on them: {count:,} x {what}: {fate}")
        if loss.traces:
            self.confirm(options["yes"])
            count, spans = deletion.delete_traces(
                traces, what=f"older than {found[0]}", report=self.show if self.stderr.isatty() else None
            )
            for pk in Project.objects.values_list("pk", flat=True) if project is None else [project.pk]:
                deletion.sweep_orphans(pk)
            self.stdout.write(f"Deleted {count:,} traces with {spans:,} spans.")
        if loss.traces or options["vacuum"]:
            back = sum(deletion.give_back(whole=options["vacuum"]))
            self.stdout.write(f"{back / 1024**2:,.1f} MiB went back to the file system; the rest is used again.")

    def confirm(self, is_sure: bool) -> None:
        """Ask, unless told not to. Raises CommandError where the answer is not yes, or nobody can be asked."""
        if is_sure:
            return
        if not sys.stdin.isatty():
            raise CommandError("Nothing was deleted: nobody can be asked here; add --yes.", returncode=2)
        if input("Delete them? This cannot be undone. [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was deleted.")

    def show(self, traces: int, spans: int) -> None:
        self.stderr.write(f"\r{traces:,} traces, {spans:,} spans deleted", ending="")
