"""What `serve` does before it serves: refuse a newer database, back up, migrate, collect static files."""

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.management import call_command, get_commands
from django.core.management.base import CommandError
from django.core.management.sql import emit_post_migrate_signal
from django.db import OperationalError, connection, router
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model

KEPT_BACKUPS = 5
# Commands that need no database, or that see to it themselves. All others of ours find one that is ready: see prepare_database.
WITHOUT_DATABASE = {"serve", "demo", "worker", "backup", "restore", "pull_openai_evals"}
# Commands that read from another machine's server where `--server` is given, and leave the database here alone then.
WITH_SERVER = {"traces", "spans"}
# Left out of the collected files: a notebook widget of plotly's, and the htmx that we do not use.
IGNORED_STATIC = ["widgetbundle.js", "htmax-4*", "htmx-4*", "htmx-2.js", "datasets", "templates", "ext"]


# The database ----------------------------------------------------------------------------------------------------


def is_sqlite() -> bool:
    return connection.vendor == "sqlite"


def migrate_safely(report: Callable[[str], None]) -> None:
    """Bring the database up to the code. Raises CommandError where it is newer than the code or cannot be reached."""
    try:
        connection.ensure_connection()
    except OperationalError as error:
        place = settings.DATABASES["default"]["NAME"]
        raise CommandError(f"The database {place} cannot be opened: {error}".strip(), returncode=2) from error
    if not connection.introspection.table_names():
        make_tables()
        return
    executor = MigrationExecutor(connection)
    refuse_newer(executor)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return
    if executor.loader.applied_migrations and is_sqlite():
        report(f"The database changes with this version; a copy is at {back_up_sqlite()}.")
    elif executor.loader.applied_migrations:
        report("The database changes with this version. PostgreSQL is backed up with pg_dump, not by Markbook.")
    call_command("migrate", interactive=False, verbosity=0)


def make_tables() -> None:
    """Make the tables of an empty database as the models have them, and note every migration as done, in one transaction.

    The migrations come to the same tables by a hundred steps, each of which draws up all models anew. Data migrations have nothing
    to do where there are no rows, and what no model holds is made by `post_migrate`; a test compares the two ways.
    """
    recorder = MigrationRecorder(connection)
    models: list[type[Model]] = [
        model
        for app in apps.get_app_configs()
        for model in router.get_migratable_models(app, connection.alias, include_auto_created=False)
    ]
    models.insert(0, recorder.Migration)
    with connection.schema_editor(atomic=True) as editor:
        for model in models:
            if model._meta.can_migrate(connection):
                editor.create_model(model)
        for app_label, name in sorted(MigrationLoader(None).disk_migrations or {}):
            recorder.migration_qs.create(app=app_label, name=name)
    emit_post_migrate_signal(verbosity=0, interactive=False, db=connection.alias)


def is_own_command(name: str) -> bool:
    """Say whether a command of `manage.py` is one of ours, and not Django's."""
    home = get_commands().get(name)
    return isinstance(home, str) and (settings.BASE_DIR / home).is_dir()


def reads_from_server(command: str, arguments: Sequence[str]) -> bool:
    """Say whether a command reads from the server that `--server` names, or an abbreviation as argparse takes it."""
    given = [one.partition("=")[0] for one in arguments]
    return command in WITH_SERVER and any(len(one) > len("--s") and "--server".startswith(one) for one in given)


def prepare_database(command: str, arguments: Sequence[str] = ()) -> None:
    """Make the tables before a command of ours meets a new, empty database. Raises CommandError where it is older or newer."""
    if command in WITHOUT_DATABASE or reads_from_server(command, arguments) or not is_own_command(command):
        return
    try:
        is_new = "django_migrations" not in connection.introspection.table_names()
    except OperationalError as error:
        raise CommandError(f"The database cannot be opened: {error}".strip(), returncode=2) from error
    if is_new:
        migrate_safely(lambda text: None)
        return
    executor = MigrationExecutor(connection)
    refuse_newer(executor)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise CommandError(
            "The database is from an older Markbook. `manage.py serve` upgrades it, after a copy; or run `manage.py migrate`.",
            returncode=2,
        )


def refuse_newer(executor: MigrationExecutor) -> None:
    """Raise CommandError where the database has migrations that this code does not know."""
    loader = executor.loader
    known = set(loader.disk_migrations or {})
    replaced = {name for migration in (loader.disk_migrations or {}).values() for name in migration.replaces}
    unknown = sorted(f"{app}.{name}" for app, name in set(loader.applied_migrations or {}) - known - replaced)
    if unknown:
        raise CommandError(
            f"The database was written by a newer Markbook: this version does not know {', '.join(unknown)}. "
            f"Install that version, or restore an older copy with `manage.py restore`.",
            returncode=2,
        )


def back_up_sqlite(target: Path | None = None) -> Path:
    """Copy the SQLite file, whole and consistent while others write. Without a target: data/backups/, the last five kept."""
    source = Path(settings.DATABASES["default"]["NAME"])
    folder = settings.DATA_DIR / "backups"
    chosen = target or folder / f"markbook-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.sqlite3"
    chosen.parent.mkdir(parents=True, exist_ok=True)
    draft = chosen.with_name(f".{chosen.name}.part")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    with closing(sqlite3.connect(source, timeout=30)) as reading, closing(sqlite3.connect(draft)) as writing:
        reading.backup(writing, pages=4096)
        writing.execute("PRAGMA journal_mode=DELETE")
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(draft, chosen)
    if target is None:
        for old in sorted(folder.glob("markbook-*.sqlite3"))[:-KEPT_BACKUPS]:
            old.unlink()
    return chosen


def restore_sqlite(copy: Path) -> Path | None:
    """Put a copy in the database's place; returns where the former database was copied to, or None where there was none.

    Raises CommandError where the copy is not a sound Markbook database, or while another process has the database open.
    """
    target = Path(settings.DATABASES["default"]["NAME"])
    check_copy(copy)
    connection.close()
    before = back_up_sqlite() if target.exists() else None
    target.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(target, timeout=0.2)) as writing:
        try:
            if before is not None:
                # Leaving WAL needs the file to itself: this fails while a server or worker has it open.
                writing.execute("PRAGMA journal_mode=DELETE")
                writing.execute("PRAGMA locking_mode=EXCLUSIVE")
                writing.execute("BEGIN EXCLUSIVE")
                writing.rollback()
            with closing(sqlite3.connect(copy)) as reading:
                reading.backup(writing)
        except sqlite3.OperationalError as error:
            raise CommandError(
                "The database is in use; stop the server and its workers first.", returncode=2
            ) from error
    return before


def check_copy(copy: Path) -> None:
    """Raise CommandError unless the file is a whole SQLite database of Markbook."""
    if not copy.is_file():
        raise CommandError(f"There is no file {copy}.", returncode=2)
    try:
        with closing(sqlite3.connect(f"{copy.resolve().as_uri()}?mode=ro", uri=True)) as reading:
            sound = reading.execute("PRAGMA quick_check").fetchone()[0]
            reading.execute("SELECT count(*) FROM django_migrations, accounts_project").fetchone()
    except sqlite3.DatabaseError as error:
        raise CommandError(f"{copy} is not a database of Markbook: {error}.", returncode=2) from error
    if sound != "ok":
        raise CommandError(f"{copy} is damaged: {sound}.", returncode=2)


# Static files ----------------------------------------------------------------------------------------------------


def static_stamp() -> str:
    """Return a digest that changes with any static file (path, size, time) or the rules of collecting them."""
    from django.contrib.staticfiles.finders import get_finders

    digest = hashlib.sha256(repr(IGNORED_STATIC).encode())
    found = []
    for finder in get_finders():
        for path, storage in finder.list(IGNORED_STATIC):
            stat = os.stat(storage.path(path))
            found.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    digest.update("\n".join(sorted(found)).encode())
    return digest.hexdigest()


def collect_static() -> None:
    """Collect the static files under hashed names into the data folder, only when one has changed."""
    stamp = static_stamp()
    stamp_file = Path(settings.STATIC_ROOT) / "stamp"
    if stamp_file.exists() and stamp_file.read_text() == stamp:
        return
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "collectstatic", "--noinput", "--clear", "-v", "0"]
    for pattern in IGNORED_STATIC:
        command += ["-i", pattern]
    # In a process of its own: which storage collects is decided by the environment at its start.
    done = subprocess.run(  # noqa: S603  our own command
        command, env={**os.environ, "MARKBOOK_HASHED_STATIC": "on"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandError(f"The static files could not be collected: {done.stderr.strip()[-2000:]}")
    stamp_file.write_text(stamp)
