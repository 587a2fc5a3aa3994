"""Read spans of a run from a terminal: a list, or one of them."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from traces import reading
from traces.management.commands.traces import KINDS, add_source, json_text, open_source

VIEWS = ("io", "attributes", "events", "raw")


class Command(BaseCommand):
    help = "Read spans from a terminal: `spans list --trace-id ID`, `spans show TRACE SPAN`. With --server from any machine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|show")
        listing = actions.add_parser("list", help="a row a span, in order of start")
        listing.add_argument("--trace-id", required=True, metavar="ID")
        listing.add_argument(
            "--kind", action="append", default=[], choices=KINDS, help="only of this kind; may be given again"
        )
        listing.add_argument("--errors", action="store_true", help="only those that failed")
        add_source(listing)
        showing = actions.add_parser("show", help="one span")
        showing.add_argument("trace_id", metavar="TRACE")
        showing.add_argument("span_id", metavar="SPAN")
        showing.add_argument("--view", choices=VIEWS, default="io")
        add_source(showing)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            document = open_source(options).trace(options["trace_id"])
        except reading.ReadingError as error:
            raise CommandError(str(error)) from None
        self.list_spans(document, options) if options["action"] == "list" else self.show_span(document, options)

    def list_spans(self, document: dict[str, Any], options: dict[str, Any]) -> None:
        kinds = options["kind"]
        found = [
            span
            for span in document["spans"]
            if (not kinds or span["kind"] in kinds) and (not options["errors"] or span["status"] == "error")
        ]
        if options["json"]:
            self.stdout.write(json_text(found))
            return
        for row in reading.span_lines(found) if found else ["No span matches."]:
            self.stdout.write(row)

    def show_span(self, document: dict[str, Any], options: dict[str, Any]) -> None:
        wanted = options["span_id"]
        found = [span for span in document["spans"] if span["span_id"] == wanted]
        found = found or [span for span in document["spans"] if span["span_id"].startswith(wanted)]
        if len(found) != 1:
            many = (
                f"{len(found)} spans begin with {wanted!r}; write more of the id"
                if found
                else f"The trace has no span {wanted!r}"
            )
            raise CommandError(f"{many}. `spans list --trace-id {document['trace_id']}` lists them.")
        (span,) = found
        view = options["view"]
        if options["json"] or view == "raw":
            self.stdout.write(json_text(span))
            return
        self.stdout.write(next(iter(list(reading.span_lines([span]))[1:])))
        if span["error"]:
            self.stdout.write(reading.line(f"ERROR {span['error']['type'] or ''} {span['error']['message']}", 2000))
        self.stdout.write("")
        if view == "io":
            if not span["content_recorded"]:
                self.stdout.write("The sender was told not to send content.")
            for row in reading.io_lines(*reading.span_io(span)):
                self.stdout.write(row)
            return
        for row in reading.wrapped(span[view]):
            self.stdout.write(row)
