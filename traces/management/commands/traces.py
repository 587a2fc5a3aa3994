"""Read runs from a terminal: a list, or one of them."""

import os
import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from accounts.access import DEFAULT_PROJECT
from traces import reading, search
from traces.models import Kind

AGO = re.compile(r"^\d{1,6}(s|min|m|h|d|w)$")
VIEWS = ("tree", "timeline", "conversation", "io")


def add_source(parser: ArgumentParser) -> None:
    """Add where to read from."""
    parser.add_argument(
        "--server", default="", metavar="URL", help="a Markbook server; this machine's own database where not given"
    )
    parser.add_argument(
        "--key-file", default="", metavar="FILE", help="a file that holds the API key; else MARKBOOK_API_KEY"
    )
    parser.add_argument(
        "--project", default="", metavar="P", help="the project's short name; with a key, the key's own"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def open_source(options: dict[str, Any]) -> reading.Source:
    """Return where to read from. Raises CommandError."""
    if not options["server"]:
        return reading.DatabaseSource(options["project"] or DEFAULT_PROJECT)
    if not options["server"].startswith(("http://", "https://")):
        raise CommandError(f"--server {options['server']!r} is no address; write it as http://host:port.")
    key = os.environ.get("MARKBOOK_API_KEY", "")
    if options["key_file"]:
        try:
            key = Path(options["key_file"]).read_text().strip()
        except OSError as error:
            raise CommandError(f"{options['key_file']} cannot be read: {error.strerror}.") from None
    return reading.ServerSource(options["server"], key=key, project=options["project"])


def json_text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


class Command(BaseCommand):
    help = "Read runs from a terminal: `traces list`, `traces show ID`. With --server from any machine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|show")
        listing = actions.add_parser("list", help="a row a run")
        listing.add_argument("--q", default="", metavar="QUERY", help="as in the query field of the traces page")
        listing.add_argument(
            "--range", default="", metavar="R", help="how far back: 30min, 1h, 7d; all time where not given"
        )
        listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)")
        listing.add_argument(
            "--sort", default="-started", metavar="S", help="started, latency, tokens, cost, spans; - for largest first"
        )
        add_source(listing)
        showing = actions.add_parser("show", help="one run")
        showing.add_argument("trace_id", metavar="ID")
        showing.add_argument("--view", choices=VIEWS, default="tree")
        add_source(showing)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            source = open_source(options)
            self.list_traces(source, options) if options["action"] == "list" else self.show_trace(source, options)
        except reading.ReadingError as error:
            raise CommandError(str(error)) from None

    def list_traces(self, source: reading.Source, options: dict[str, Any]) -> None:
        query, back = options["q"], options["range"]
        if back and back != "all":
            if not AGO.match(back):
                raise CommandError(f"--range {back!r} is no length of time; write 30min, 1h or 7d.")
            try:  # joined by its terms: the words of a query with OR would take it into their last choice
                query = search.join([search.parse(query).text, f"after:{back}"])
            except search.QueryError as error:
                raise CommandError(str(error)) from None
        if options["limit"] < 1:
            raise CommandError("--limit is 1 or more.")
        found = list(source.traces(query, limit=options["limit"], sort=options["sort"]))
        if options["json"]:
            self.stdout.write(json_text(found))
            return
        for row in reading.trace_lines(found) if found else ["No run matches."]:
            self.stdout.write(row)

    def show_trace(self, source: reading.Source, options: dict[str, Any]) -> None:
        document = source.trace(options["trace_id"])
        if options["json"]:
            self.stdout.write(json_text(document))
            return
        for row in reading.head_lines(document):
            self.stdout.write(row)
        lines = {
            "tree": reading.tree_lines,
            "timeline": reading.timeline_lines,
            "conversation": reading.conversation_lines,
            "io": lambda found: reading.io_lines(found["input"], found["output"]),
        }[options["view"]]
        for row in lines(document):
            self.stdout.write(row)


KINDS = [str(kind) for kind in Kind.values]
