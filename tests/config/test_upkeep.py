"""Backups, migrations and static files before the server starts."""

import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection

from config import upkeep


@pytest.fixture
def database(tmp_path, settings, monkeypatch):
    """A SQLite file of its own, as data folder and database."""
    path = tmp_path / "markbook.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (n INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(1000)])
        connection.commit()
    settings.DATA_DIR = tmp_path
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", path)
    return path


def rows(path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM t").fetchone()[0]


def test_back_up_copies_every_committed_row_in_one_file(database):
    with closing(sqlite3.connect(database)) as writer:  # open, so that rows still lie in the -wal file
        writer.execute("INSERT INTO t VALUES (1000)")
        writer.commit()
        copy = upkeep.back_up_sqlite()
    assert rows(copy) == 1001
    assert copy.parent == database.parent / "backups"
    assert copy.stat().st_mode & 0o077 == 0  # it holds what the database holds: for its owner only
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_back_up_while_another_connection_writes_is_consistent(database):
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, timeout=10)) as writer:
            while not stop.is_set():
                writer.execute("INSERT INTO t VALUES (1), (2)")
                writer.commit()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        copy = upkeep.back_up_sqlite()
    finally:
        stop.set()
        thread.join()
    assert rows(copy) >= 1000
    assert rows(copy) % 2 == 0


def test_back_up_keeps_the_last_five(database):
    copies = [upkeep.back_up_sqlite() for _ in range(7)]
    assert sorted((database.parent / "backups").iterdir()) == copies[2:]


def test_static_stamp_changes_with_a_file_and_not_without(tmp_path, settings):
    from django.contrib.staticfiles import finders

    (tmp_path / "a.js").write_text("1")
    settings.STATICFILES_DIRS = [tmp_path]
    finders.get_finder.cache_clear()
    before = upkeep.static_stamp()
    assert upkeep.static_stamp() == before
    (tmp_path / "a.js").write_text("22")
    after = upkeep.static_stamp()
    finders.get_finder.cache_clear()
    assert after != before


# A new database ---------------------------------------------------------------------------------------------------


# Tables whose keys a database that was upgraded still looks up, and a new one does not (migration 0012 of traces).
UNCHECKED = {f"traces_{model}" for model in ("body", "messagenode", "span", "spanpayload", "traceterm")}


def schema(rows) -> dict[tuple[str, str], object]:
    """Return (type, name) -> statement of `sqlite_master`; a table's columns sorted, since migrations add theirs at the end."""
    found = {}
    for kind, name, sql in rows:
        text = sql or ""
        if text.startswith("CREATE TABLE"):
            head, _, body = text.partition("(")
            if name in UNCHECKED:
                body = re.sub(r' REFERENCES "\w+" \("\w+"\) DEFERRABLE INITIALLY DEFERRED', "", body)
            text = head, sorted(re.sub(r"\s+", " ", part).strip() for part in columns(body.removesuffix(")")))
        found[kind, name] = text
    return found


def columns(body: str) -> list[str]:
    """Split the body of CREATE TABLE at the commas that stand in no brackets."""
    parts, depth = [""], 0
    for char in body:
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return parts


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's own table of tables")
def test_a_new_database_is_what_the_migrations_make(tmp_path):
    code = "import django; django.setup(); from config import upkeep; upkeep.migrate_safely(print); upkeep.migrate_safely(print)"
    environment = {**os.environ, "MARKBOOK_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    questions = (
        "SELECT app, name FROM django_migrations ORDER BY app, name",
        "SELECT app_label, model FROM django_content_type ORDER BY app_label, model",
        "SELECT codename FROM auth_permission ORDER BY codename",
    )
    master = "SELECT type, name, sql FROM sqlite_master"
    with closing(sqlite3.connect(tmp_path / "markbook.sqlite3")) as new, connection.cursor() as migrated:
        for question in questions:
            assert new.execute(question).fetchall() == migrated.execute(question).fetchall()
        assert schema(new.execute(master)) == schema(migrated.execute(master).fetchall())


# Restore ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def markbook_copy(database, tmp_path):
    """A copy with the tables by which a database of Markbook is known; the database has lost its rows since."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE django_migrations (n INTEGER)")
        connection.execute("CREATE TABLE accounts_project (n INTEGER)")
        connection.commit()
    copy = upkeep.back_up_sqlite(tmp_path / "copies" / "copy.sqlite3")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM t")
        connection.commit()
    return copy


def test_restore_brings_the_rows_back_and_keeps_what_was_there(database, markbook_copy):
    before = upkeep.restore_sqlite(markbook_copy)
    assert rows(database) == 1000
    assert rows(before) == 0


def test_restore_while_the_database_is_open_is_refused(database, markbook_copy):
    with closing(sqlite3.connect(database)) as other:
        other.execute("SELECT count(*) FROM t").fetchone()  # open and idle, as a server is
        with pytest.raises(CommandError, match="stop the server"):
            upkeep.restore_sqlite(markbook_copy)
    assert rows(database) == 0


@pytest.mark.parametrize("content", [None, b"not a database at all", b""])
def test_restore_of_something_else_is_refused_and_changes_nothing(database, tmp_path, content):
    other = tmp_path / "other"
    if content is not None:
        other.write_bytes(content)
    with pytest.raises(CommandError):
        upkeep.restore_sqlite(other)
    assert rows(database) == 1000


# Commands on a new database --------------------------------------------------------------------------------------


def manage(tmp_path, *arguments):
    """Run manage.py in a process of its own, on the embedded database of an own data folder."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env={**environment, "MARKBOOK_DATA_DIR": str(tmp_path)},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_import_before_the_first_serve_makes_the_database(tmp_path):
    runs = tmp_path / "runs.jsonl"
    runs.write_text('{"trace_id": "a1", "input": "Where is it?", "steps": [], "output": "On its way."}\n')
    first, again = (manage(tmp_path, "import_traces", str(runs)) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert (again.returncode, again.stderr) == (0, "")
    with closing(sqlite3.connect(tmp_path / "markbook.sqlite3")) as reading:
        assert reading.execute("SELECT count(*) FROM traces_trace").fetchone()[0] == 1


def test_a_command_on_an_older_database_says_what_to_do(tmp_path):
    assert manage(tmp_path, "migrate", "traces", "0001", "-v", "0").returncode == 0
    found = manage(tmp_path, "import_traces", "runs.jsonl")
    assert found.returncode == 2
    assert found.stderr.startswith("The database is from an older Markbook.")


@pytest.mark.parametrize("arguments", [("traces", "list"), ("spans", "list", "--trace-id", "a1")])
def test_a_command_that_reads_from_a_server_leaves_the_database_here_alone(tmp_path, arguments):
    for given in (("--server", "http://127.0.0.1:9"), ("--server=http://127.0.0.1:9",)):
        found = manage(tmp_path, *arguments, *given)
        assert "cannot be reached" in found.stderr
        assert not (tmp_path / "markbook.sqlite3").exists()
    assert manage(tmp_path, "migrate", "traces", "0001", "-v", "0").returncode == 0
    assert "cannot be reached" in manage(tmp_path, *arguments, "--server", "http://127.0.0.1:9").stderr
    assert "from an older Markbook" in manage(tmp_path, *arguments).stderr
