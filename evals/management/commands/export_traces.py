"""Export runs as JSON lines."""

from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.access import DEFAULT_PROJECT
from accounts.models import Project
from evals.lines_out import open_lines
from evals.services.exports import EXPORT_FORMATS, export_lines
from traces.search import QueryError


class Command(BaseCommand):
    help = (
        "Export runs as JSON lines: our own form with every field and score (jsonl), OTLP requests (otlp), or Halo's, one span a line"
        " (halo). `import_traces` reads all of them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--project", default=DEFAULT_PROJECT, metavar="P", help="the project's short name (default: default)"
        )
        parser.add_argument(
            "--q", default="", metavar="QUERY", help="as in the query field of the traces page; all where not given"
        )
        parser.add_argument(
            "-o",
            "--output",
            default="-",
            metavar="FILE",
            help="a file, compressed where it ends in .gz; standard output where not given",
        )
        parser.add_argument("--format", default="jsonl", choices=EXPORT_FORMATS)

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        count, last = 0, ""
        try:
            with open_lines(options["output"], self.stdout) as write:
                for document in export_lines(project, query=options["q"], format_name=options["format"]):
                    write(orjson.dumps(document).decode())
                    count += options["format"] != "halo" or document["trace_id"] != last
                    last = document.get("trace_id", "")
        except QueryError as error:
            raise CommandError(f"The query cannot be read: {error}") from None
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}.") from None
        self.stderr.write(f"{count:,} runs exported.", style_func=str)
