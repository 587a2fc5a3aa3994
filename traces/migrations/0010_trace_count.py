"""Traces that are there already are counted too. The triggers come first: they keep writers out until the end of the transaction."""

import django.db.models.deletion
from django.db import migrations, models

from traces.count_schema import statements


def fill(apps, schema_editor):
    for statement in statements(schema_editor.connection.vendor, fill=True):
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_project_deleted_at"),
        ("traces", "0009_trace_newest_index"),
    ]

    operations = [
        migrations.CreateModel(
            name="TraceCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.BigIntegerField(help_text="Hours since 1970 of `Trace.sort_ns`")),
                ("status", models.CharField(max_length=5)),
                ("count", models.BigIntegerField()),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["project", "hour", "status"], name="trace_count_hour")],
            },
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
