"""Traces that are there already are looked at for signals too."""

from django.db import migrations

MARK = """
    INSERT INTO traces_signalcheck (trace_id, project_id, is_pending, due_at, changes, version, took_ms, blind)
    SELECT id, project_id, true, received_at, 1, 0, 0, '{}' FROM traces_trace
    ON CONFLICT (trace_id) DO NOTHING
"""
MARK_SQLITE = MARK.replace("FROM traces_trace", "FROM traces_trace WHERE true").replace(" true,", " 1,")


def mark(apps, schema_editor):
    schema_editor.execute(MARK if schema_editor.connection.vendor == "postgresql" else MARK_SQLITE)


class Migration(migrations.Migration):
    dependencies = [("traces", "0004_signals_notes_views")]

    operations = [migrations.RunPython(mark, migrations.RunPython.noop)]
