"""Copy the embedded database, whole and consistent, while the server runs."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import upkeep


class Command(BaseCommand):
    help = "Copy the SQLite database to a file, also while the server runs. The secret key is not in the copy."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "path", nargs="?", type=Path, help="file to write (default: a new one in data/backups, five kept)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not upkeep.is_sqlite():
            raise CommandError("This server uses PostgreSQL; copy it with `pg_dump --format=custom`.", returncode=2)
        path: Path | None = options["path"]
        if path is not None and path.exists():
            raise CommandError(f"{path} exists already; choose another name.", returncode=2)
        copy = upkeep.back_up_sqlite(path)
        self.stdout.write(f"Copied to {copy} ({copy.stat().st_size / 1e6:.1f} MB).")
        self.stdout.write(
            f"Provider keys in it open with the secret key only: keep {settings.DATA_DIR / 'secret_key'} too, apart."
        )
