"""Run a Celery worker alone, for more machines."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from config import processes


class Command(BaseCommand):
    help = "Run a worker without a web server, for more machines: set DATABASE_URL and REDIS_URL as for `serve`."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--threads",
            type=int,
            default=processes.WORKER_THREADS,
            help="tasks at a time (default %(default)s): five for indexing, signals, gradings and deletions, the others for runs, "
            "each with many model calls in flight",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        queue = (settings.REDIS_URL and "the queue in Redis") or f"the embedded queue in {settings.QUEUE_DIR}"
        self.stdout.write(f"A worker reads {queue}. Ctrl-C stops it.")
        self.stdout.flush()
        command = processes.worker_command(threads=options["threads"])
        os.execvpe(sys.executable, command, dict(os.environ))  # noqa: S606  our own command
