"""Export a dataset as JSON lines."""

from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.access import DEFAULT_PROJECT
from evals.lines_out import open_lines
from evals.models import Dataset
from evals.services import export_items


class Command(BaseCommand):
    help = "Export a dataset, one item a line. `import_dataset` reads it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset", metavar="DATASET", help="the dataset's short name, as in its address")
        parser.add_argument(
            "--project", default=DEFAULT_PROJECT, metavar="P", help="the project's short name (default: default)"
        )
        parser.add_argument("--revision", type=int, metavar="N", help="a revision's number; the latest where not given")
        parser.add_argument(
            "-o",
            "--output",
            default="-",
            metavar="FILE",
            help="a file, compressed where it ends in .gz; standard output where not given",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        dataset = Dataset.objects.filter(project__slug=options["project"], slug=options["dataset"]).first()
        if dataset is None:
            names = (
                ", ".join(
                    Dataset.objects.filter(project__slug=options["project"], is_implicit=False).values_list(
                        "slug", flat=True
                    )
                )
                or "none"
            )
            raise CommandError(
                f"There is no dataset {options['dataset']!r} in the project {options['project']!r}; there are: {names}."
            )
        revisions = dataset.revisions.order_by("-number")
        if options["revision"] is not None:
            revisions = revisions.filter(number=options["revision"])
        revision = revisions.first()
        if revision is None:
            raise CommandError(f"The dataset has no revision {options['revision'] or ''}.")
        count = 0
        try:
            with open_lines(options["output"], self.stdout) as write:
                for item in export_items(revision):
                    write(orjson.dumps(item).decode())
                    count += 1
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}.") from None
        self.stderr.write(f"{count:,} items of revision {revision.number} exported.", style_func=str)
