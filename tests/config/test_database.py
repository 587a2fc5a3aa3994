"""What the settings promise of the database, asked of the database itself."""

import threading

import pytest
from django.db import OperationalError, connection, connections, transaction

from accounts.models import Project


def pragma(name: str):
    with connection.cursor() as cursor:
        return cursor.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="asks SQLite for its pragmas")
def test_sqlite_commits_to_disk_in_wal_mode():
    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2  # FULL
    assert pragma("foreign_keys") == 1
    assert pragma("busy_timeout") == 30_000
    assert pragma("wal_autocheckpoint") == 8192


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL for its settings")
def test_postgresql_commits_to_disk():
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone()[0] == "on"


@pytest.mark.django_db(transaction=True)
def test_four_writers_at_once_never_see_a_locked_database():
    problems: list[Exception] = []

    def write(number: int) -> None:
        try:
            for turn in range(25):
                with transaction.atomic():
                    count = (
                        Project.objects.count()
                    )  # a read before the write: deadlocks unless the transaction is immediate
                    Project.objects.create(slug=f"writer-{number}-{turn}", name=str(count))
        except OperationalError as error:
            problems.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert Project.objects.filter(slug__startswith="writer-").count() == 100
