"""The rows of spans no longer have each of their keys looked up by PostgreSQL at every commit: a third of what it did for a batch.

Whoever writes spans holds a lock on the project that keeps deletions out until the commit (`lock_joins`, `lock_sweep`), and has
found or made the rows that it points at under that lock. A trace still has to belong to a project that is there.

A SQLite database that is there keeps its constraints, which cost it next to nothing: taking them away would write every table anew.
"""

from django.db import migrations, models
from django.db.models import CASCADE, PROTECT


def unchecked(to, *, on_delete=CASCADE, related_name="+", db_index=False, **options):
    """Return the field of a key that the database does not look up."""
    return models.ForeignKey(
        db_constraint=False, db_index=db_index, on_delete=on_delete, related_name=related_name, to=to, **options
    )


FIELDS = {
    "body": {"project": unchecked("accounts.project")},
    "messagenode": {
        "project": unchecked("accounts.project"),
        "parent": unchecked("traces.messagenode", null=True, related_name="children"),
        "body": unchecked("traces.body", on_delete=PROTECT, related_name="nodes", db_index=True),
    },
    "span": {"trace": unchecked("traces.trace", related_name="spans")},
    "spanpayload": {
        "span": models.OneToOneField(
            db_constraint=False,
            on_delete=CASCADE,
            primary_key=True,
            related_name="payload",
            serialize=False,
            to="traces.span",
        ),
        "origin": unchecked("traces.body", on_delete=PROTECT, null=True),
        "tools": unchecked("traces.body", on_delete=PROTECT, null=True),
        "input_node": unchecked("traces.messagenode", on_delete=PROTECT, null=True),
        "output_node": unchecked("traces.messagenode", on_delete=PROTECT, null=True),
    },
    "traceterm": {
        "trace": unchecked("traces.trace", related_name="terms"),
        "project": unchecked("accounts.project"),
    },
}
CONSTRAINTS = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::regclass"


def change(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor:
        for model in FIELDS:
            cursor.execute(CONSTRAINTS, [f"traces_{model}"])
            for (name,) in cursor.fetchall():
                cursor.execute(f'ALTER TABLE traces_{model} DROP CONSTRAINT "{name}"')


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_project_deleted_at"),
        ("traces", "0011_asked_deletion"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(model, name, field)
                for model, fields in FIELDS.items()
                for name, field in fields.items()
            ],
            database_operations=[migrations.RunPython(change, migrations.RunPython.noop)],
        ),
    ]
