"""What keeps `TraceCount` right: triggers on the table of traces. Made after every migration; a second time changes nothing.

SQLite has one writer at a time, which counts in place. On PostgreSQL several write at once: each adds rows of its own, so that nobody
waits for the row of an hour; `run_counts.tidy` sums them up.
"""

from typing import Any

HOUR_NS = 3_600_000_000_000

PLACE = "project_id = {row}.project_id AND hour = {row}.sort_ns / {hour} AND status = {row}.status"
MISSING = (
    "INSERT INTO traces_tracecount (project_id, hour, status, count)"
    " SELECT NEW.project_id, NEW.sort_ns / {hour}, NEW.status, 0"
    " WHERE NOT EXISTS (SELECT 1 FROM traces_tracecount WHERE {place})"
).replace("{place}", PLACE.replace("{row}", "NEW"))
CHANGE = "UPDATE traces_tracecount SET count = count {change} WHERE {place}"
MORE = CHANGE.replace("{change}", "+ 1").replace("{place}", PLACE.replace("{row}", "NEW"))
LESS = CHANGE.replace("{change}", "- 1").replace("{place}", PLACE.replace("{row}", "OLD"))
MOVED = "OLD.status <> NEW.status OR OLD.sort_ns / {hour} <> NEW.sort_ns / {hour} OR OLD.project_id <> NEW.project_id"
SQLITE = (
    f"CREATE TRIGGER IF NOT EXISTS trace_counted AFTER INSERT ON traces_trace BEGIN {MISSING}; {MORE}; END",
    "CREATE TRIGGER IF NOT EXISTS trace_recounted AFTER UPDATE OF status, sort_ns, project_id ON traces_trace"
    f" WHEN {MOVED} BEGIN {LESS}; {MISSING}; {MORE}; END",
    f"CREATE TRIGGER IF NOT EXISTS trace_uncounted AFTER DELETE ON traces_trace BEGIN {LESS}; END",
)
GROUPED = (
    "INSERT INTO traces_tracecount (project_id, hour, status, count)"
    " SELECT project_id, sort_ns / {hour}, status, {sign}count(*) FROM {table} GROUP BY 1, 2, 3"
)
POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION markbook_traces_counted() RETURNS trigger LANGUAGE plpgsql AS"
    f" $$ BEGIN {GROUPED.replace('{sign}', '').replace('{table}', 'changed')}; RETURN NULL; END $$",
    "CREATE OR REPLACE FUNCTION markbook_traces_uncounted() RETURNS trigger LANGUAGE plpgsql AS"
    f" $$ BEGIN {GROUPED.replace('{sign}', '-').replace('{table}', 'changed')}; RETURN NULL; END $$",
    "CREATE OR REPLACE FUNCTION markbook_trace_recounted() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN INSERT INTO traces_tracecount (project_id, hour, status, count) VALUES"
    " (OLD.project_id, OLD.sort_ns / {hour}, OLD.status, -1), (NEW.project_id, NEW.sort_ns / {hour}, NEW.status, 1);"
    " RETURN NULL; END $$",
    "CREATE OR REPLACE TRIGGER trace_counted AFTER INSERT ON traces_trace REFERENCING NEW TABLE AS changed"
    " FOR EACH STATEMENT EXECUTE FUNCTION markbook_traces_counted()",
    "CREATE OR REPLACE TRIGGER trace_uncounted AFTER DELETE ON traces_trace REFERENCING OLD TABLE AS changed"
    " FOR EACH STATEMENT EXECUTE FUNCTION markbook_traces_uncounted()",
    "CREATE OR REPLACE TRIGGER trace_recounted AFTER UPDATE OF status, sort_ns, project_id ON traces_trace"
    f" FOR EACH ROW WHEN ({MOVED}) EXECUTE FUNCTION markbook_trace_recounted()",
)
FILL = ("DELETE FROM traces_tracecount", GROUPED.replace("{sign}", "").replace("{table}", "traces_trace"))


def statements(vendor: str, *, fill: bool = False) -> list[str]:
    """Return the statements that make the triggers, with `fill` those that then count all traces anew."""
    made = (*(POSTGRESQL if vendor == "postgresql" else SQLITE), *(FILL if fill else ()))
    return [one.replace("{hour}", str(HOUR_NS)) for one in made]


def prepare(sender: Any, using: str = "default", **kwargs: Any) -> None:
    """Make the triggers that are missing. Connected to `post_migrate`."""
    from django.db import connections

    connection = connections[using]
    with connection.cursor() as cursor:
        if "traces_tracecount" not in connection.introspection.table_names(cursor):
            return  # migrated back to before there were counts
        for statement in statements(connection.vendor):
            cursor.execute(statement)
