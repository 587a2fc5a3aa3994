"""Import a dataset from JSON lines."""

import gzip
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.text import slugify

from accounts.services import AccountError
from evals.item_lines import read_item_lines
from evals.models import Dataset
from evals.services import BadItems, add_items, create_dataset, project_by_slug, replace_items


class Command(BaseCommand):
    help = (
        "Import a dataset from JSONL (or one JSON array), .gz or not: an object a line, with key and bucket where wanted. "
        "A repeat changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", metavar="PATH", help="a file, or - for standard input")
        parser.add_argument("--name", default="", metavar="NAME", help="the dataset's name; the file's where not given")
        parser.add_argument(
            "--project",
            default="",
            metavar="P",
            help="the project's short name; made where it is missing (default: default)",
        )
        parser.add_argument(
            "--create-project", action="store_true", help="make the project even where its name looks mistyped"
        )
        parser.add_argument("--replace", action="store_true", help="take out the items that the file does not have")

    def handle(self, *args: Any, **options: Any) -> None:
        lines = read_item_lines(read_file(options["path"]))
        name = options["name"] or Path(options["path"]).name.split(".")[0] or "dataset"
        for wrong in lines.wrong:
            self.stderr.write(f"  line {wrong.number}: {wrong.reason}")
        if lines.more_wrong:
            self.stderr.write(f"  and {lines.more_wrong:,} more")
        if not lines.items:
            raise CommandError("No line holds an item; nothing was imported.")
        try:
            project, is_new = project_by_slug(options["project"], create=options["create_project"])
            if is_new:
                self.stdout.write(f"Made the project {project.slug}.")
            dataset = Dataset.objects.filter(project=project, slug=slugify(name)[:50] or "dataset").first()
            if dataset is None:
                dataset = create_dataset(project, name=name, items=lines.items)
                revision = dataset.revisions.order_by("-number").get()
            else:
                change = replace_items if options["replace"] else add_items
                revision = change(dataset, lines.items)
        except (AccountError, BadItems) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"{dataset.slug}: {len(lines.items):,} items read, revision {revision.number} has {revision.item_count:,}, "
            f"{lines.wrong_count:,} bad lines"
        )
        if lines.wrong_count:
            raise CommandError(
                f"{lines.wrong_count:,} {'line was' if lines.wrong_count == 1 else 'lines were'} left out."
            )


def read_file(path: str) -> str:
    """Return a file's text, decompressed where it is gzip. Raises CommandError."""
    try:
        body = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
    except (OSError, EOFError) as error:
        raise CommandError(f"{path} cannot be read: {error}.") from None
    return body.decode("utf-8", "replace").removeprefix("\ufeff")
