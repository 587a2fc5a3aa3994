"""What the search index needs of the database beside Django's tables: its tokens, and rows that go with what they index.

`prepare` runs after every migration, since SQLite drops triggers where a migration writes a table anew; a second time changes nothing.
"""

from typing import Any

# Tokens are distinct and hold no place (detail=none): which texts hold a token is all that is asked.
SQLITE = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS traces_searchindex USING fts5("
    "tokens, detail=none, columnsize=0, tokenize='unicode61 remove_diacritics 0')",
    "CREATE TRIGGER IF NOT EXISTS search_text_gone AFTER DELETE ON traces_searchtext"
    " BEGIN DELETE FROM traces_searchindex WHERE rowid = OLD.id; END",
    "CREATE TRIGGER IF NOT EXISTS search_body_gone AFTER DELETE ON traces_body"
    " BEGIN DELETE FROM traces_searchtext WHERE body_id = OLD.id; END",
    "CREATE TRIGGER IF NOT EXISTS search_trace_gone AFTER DELETE ON traces_trace"
    " BEGIN DELETE FROM traces_searchtext WHERE trace_id = OLD.id; DELETE FROM traces_tracetexts WHERE trace_id = OLD.id; END",
)
# The tables' names stand in the functions, so that a restored or renamed table is found too.
POSTGRESQL = (
    "ALTER TABLE traces_searchtext ADD COLUMN IF NOT EXISTS tokens tsvector NOT NULL DEFAULT ''",
    "CREATE INDEX IF NOT EXISTS search_text_tokens ON traces_searchtext USING gin (tokens)",
    "CREATE OR REPLACE FUNCTION markbook_body_gone() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN DELETE FROM traces_searchtext WHERE body_id = OLD.id; RETURN NULL; END $$",
    "CREATE OR REPLACE FUNCTION markbook_trace_gone() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN DELETE FROM traces_searchtext WHERE trace_id = OLD.id; DELETE FROM traces_tracetexts WHERE trace_id = OLD.id;"
    " RETURN NULL; END $$",
    "CREATE OR REPLACE TRIGGER search_body_gone AFTER DELETE ON traces_body"
    " FOR EACH ROW EXECUTE FUNCTION markbook_body_gone()",
    "CREATE OR REPLACE TRIGGER search_trace_gone AFTER DELETE ON traces_trace"
    " FOR EACH ROW EXECUTE FUNCTION markbook_trace_gone()",
)


def prepare(sender: Any, using: str = "default", **kwargs: Any) -> None:
    """Make what is missing. Connected to `post_migrate`."""
    from django.db import connections

    connection = connections[using]
    with connection.cursor() as cursor:
        if "traces_searchtext" not in connection.introspection.table_names(cursor):
            return  # migrated back to before there was a search index
        for statement in POSTGRESQL if connection.vendor == "postgresql" else SQLITE:
            cursor.execute(statement)
