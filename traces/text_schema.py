"""What the search index needs of the database beside Django's tables: its tokens, and rows that go with what they index.

`prepare` runs after every migration, since SQLite drops triggers where a migration writes a table anew; a second time changes nothing, nor
what an operator has chosen.
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
# FTS5 writes a segment a transaction, and merges segments of one level when they are so many; by itself at four, which is half of the
# work of writing.
MERGED_SEGMENTS = 8
HAS_MERGE = "SELECT 1 FROM traces_searchindex_config WHERE k = 'automerge'"
SET_MERGE = f"INSERT INTO traces_searchindex(traces_searchindex, rank) VALUES ('automerge', {MERGED_SEGMENTS})"  # noqa: S608
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
# PostgreSQL only lists the tokens of new texts, up to so many kB, before it takes them over into the index: done in a statement that
# writes texts, that would take a minute for a large list. `text_index.take_over` does it apart, so that the list is seldom so long. A
# search reads the list too, in 0.8 ms a MB.
LISTED_KB = 512 * 1024
HAS_LIMIT = (
    "SELECT 1 FROM pg_class, unnest(reloptions) AS one"
    " WHERE oid = 'search_text_tokens'::regclass AND one LIKE 'gin_pending_list_limit=%'"
)
SET_LIMIT = f"ALTER INDEX search_text_tokens SET (gin_pending_list_limit = {LISTED_KB})"


def prepare(sender: Any, using: str = "default", **kwargs: Any) -> None:
    """Make what is missing. Connected to `post_migrate`."""
    from django.db import connections

    connection = connections[using]
    with connection.cursor() as cursor:
        if "traces_searchtext" not in connection.introspection.table_names(cursor):
            return  # migrated back to before there was a search index
        for statement in POSTGRESQL if connection.vendor == "postgresql" else SQLITE:
            cursor.execute(statement)
        is_chosen, choose = (HAS_LIMIT, SET_LIMIT) if connection.vendor == "postgresql" else (HAS_MERGE, SET_MERGE)
        cursor.execute(is_chosen)
        if not cursor.fetchone():
            cursor.execute(choose)
