"""The whole set-up and the main job in one command: sample project, comparison, server."""

from typing import Any

from django.core.management.base import CommandParser

from config.management.commands import serve


class Command(serve.Command):
    help = "Load the sample project through the real ingest path, run its comparison, and serve it. Needs no key and no network."
    meanwhile = "while the sample project loads."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--no-run", action="store_true", help="load the sample project, but run no comparison")

    def handle(self, *args: Any, **options: Any) -> None:
        self.run_comparison = not options["no_run"]
        super().handle(*args, **options)

    def greet(self, url: str) -> None:
        from demo.services import load_demo

        super().greet(url)
        load_demo(progress=self.say, run=self.run_comparison, url=url)
