"""The sample project, served: the whole set-up and the main job in one command."""

from argparse import BooleanOptionalAction
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.urls import reverse

from accounts import services
from config import processes, upkeep
from config.management.commands.serve import add_address
from demo.services import load_demo


class Command(BaseCommand):
    help = "Load the sample project through the real ingest path, run its comparison, and serve it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_address(parser)
        parser.add_argument(
            "--run", action=BooleanOptionalAction, default=True, help="run the sample comparison before serving"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        processes.refuse_platform()
        processes.login_for(options["host"])
        upkeep.migrate_safely(self.say)
        upkeep.collect_static()
        processes.run_server(
            options["host"],
            options["port"],
            workers=options["workers"],
            report=self.say,
            prepare=lambda url: self.load(url, run=options["run"]),
        )

    def load(self, url: str, *, run: bool) -> None:
        """Load the sample project while the server starts, and say where it lies."""
        services.ensure_project()
        project = load_demo(run=run, progress=self.say)
        address = url + reverse("evals:overview", args=[project.slug])
        self.say(f"The sample project is at {address}. Its agents, models and judge are scripted.")

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
