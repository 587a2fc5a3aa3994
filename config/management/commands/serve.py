"""Serve Markbook: web server and worker in one process tree."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.urls import reverse

from accounts import services
from config import processes, upkeep


def add_address(parser: CommandParser) -> None:
    """Add the options that `serve` and `demo` share."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default 8000)")
    parser.add_argument("--workers", type=int, default=2, help="web processes (default 2, one for each core)")


class Command(BaseCommand):
    help = "Serve Markbook on one address, with its worker: makes or upgrades the database first."
    requires_system_checks: list[str] = []
    login = "on"
    meanwhile = ""  # what the early line says of what is not done yet

    def add_arguments(self, parser: CommandParser) -> None:
        add_address(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        processes.refuse_platform()
        self.login = processes.login_for(options["host"])
        listener = processes.bind_socket(options["host"], options["port"])  # before anything is changed
        with ThreadPoolExecutor(max_workers=1) as aside:  # a process of its own collects, while this one migrates
            collected = aside.submit(upkeep.collect_static)
            upkeep.migrate_safely(self.say)
            collected.result()
        processes.run_server(
            options["host"],
            listener,
            workers=options["workers"],
            report=self.say,
            prepare=self.greet,
            meanwhile=self.meanwhile,
        )

    def greet(self, url: str) -> None:
        """Make sure that there is a project, and print the link that makes the first admin where it is needed."""
        services.ensure_project()
        if self.login == "on" and services.needs_setup():
            self.say("Nobody can sign in yet. This link makes the first admin; it works once, for 24 hours.")
            self.say("From another machine, put this server's name in the place of 127.0.0.1.")
            self.say(url + reverse("accounts:set_up", args=[services.create_setup_link()]))

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
