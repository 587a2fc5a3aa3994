"""Put a copy in the place of the embedded database."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import upkeep


class Command(BaseCommand):
    help = "Put a copy made by `backup` in the place of the database. Stop the server first; what is there now is copied before."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="the copy")

    def handle(self, *args: Any, **options: Any) -> None:
        if not upkeep.is_sqlite():
            raise CommandError("This server uses PostgreSQL; restore it with `pg_restore --clean`.", returncode=2)
        before = upkeep.restore_sqlite(options["path"])
        if before is not None:
            self.stdout.write(f"What was there is at {before}.")
        self.stdout.write(f"Restored {options['path']}. `manage.py serve` brings it up to this version.")
