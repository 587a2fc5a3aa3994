"""The search index: what ingest leaves pending is indexed, once, and goes when what it indexes goes."""

import random
import time

import pytest
from django.db import connection

from tests.factories import make_project, make_span
from traces import deletion, list_queries, tasks, text_index, text_schema
from traces.models import Body, SearchPending, SearchText, SearchWords, Trace, TraceTexts
from traces.services import ingest_spans


def tokens_of(key: int) -> set[str]:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT unnest(tsvector_to_array(tokens)) FROM traces_searchtext WHERE id = %s", [key])
            return {row[0] for row in cursor.fetchall()}
        cursor.execute("SELECT tokens FROM traces_searchindex WHERE rowid = %s", [key])
        row = cursor.fetchone()
        return set(row[0].split()) if row else set()


def held(trace: Trace) -> set[int]:
    return set(text_index.unpack(TraceTexts.objects.get(trace=trace).content).tolist())


def call(trace_id: str, *messages: str, answer: str = "", **fields):
    return make_span(
        trace_id=trace_id,
        kind="llm",
        input_messages=[{"role": "user", "content": text} for text in messages],
        output_messages=[{"role": "assistant", "content": answer}] if answer else [],
        **fields,
    )


def test_index_pending_puts_every_message_in_once(project):
    ingest_spans(project, [call("a", "refund my order", answer="done")])
    ingest_spans(project, [call("b", "refund my order", answer="not done")])
    assert SearchPending.objects.count() == 2
    assert text_index.index_pending() == 2
    assert SearchPending.objects.count() == 0
    assert SearchText.objects.filter(body__isnull=False).count() == 3
    first, second = (held(Trace.objects.get(trace_id=one)) for one in "ab")
    (shared,) = first & second
    assert tokens_of(shared) == {"refund", "my", "order"}


def test_index_pending_again_changes_nothing(project):
    ingest_spans(project, [call("a", "one", answer="two")])
    text_index.index_pending()
    before = list(SearchText.objects.order_by("pk").values_list("pk", "body", "trace", "part"))
    text_index.mark_pending(project.pk, [Trace.objects.get().pk], now_ns=1)
    text_index.index_pending()
    assert list(SearchText.objects.order_by("pk").values_list("pk", "body", "trace", "part")) == before


def test_index_pending_takes_tool_results_and_errors_that_no_message_says(project):
    tool = make_span(
        trace_id="a",
        kind="tool",
        name="lookup",
        status="error",
        error_message="Vanished warehouse",
        tool={"name": "lookup", "arguments": {"sku": "Zx81"}, "result": '{"état": "épuisé"}'},
    )
    ingest_spans(project, [tool])
    text_index.index_pending()
    found = set().union(*(tokens_of(key) for key in held(Trace.objects.get())))
    assert {"lookup", "zx81", "etat", "epuise", "vanished", "warehouse"} <= found


def test_a_trace_that_grows_keeps_what_it_had_and_gains_the_rest(project):
    ingest_spans(project, [call("a", "first words")])
    text_index.index_pending()
    trace = Trace.objects.get()
    before = held(trace)
    ingest_spans(project, [call("a", "first words", "second words")])
    text_index.index_pending()
    assert SearchText.objects.filter(body__isnull=False).count() == 2
    assert before & held(trace)
    assert "second" in set().union(*(tokens_of(key) for key in held(trace)))


def test_long_text_is_indexed_to_its_end(project):
    text = " ".join(f"word{number}" for number in range(60_000))
    ingest_spans(project, [call("a", text)])
    text_index.index_pending()
    found = set().union(*(tokens_of(key) for key in held(Trace.objects.get())))
    assert {"word0", "word30000", "word59999"} <= found


@pytest.mark.parametrize("content", ["", "\x00\x01", "\ud800 half", "💥" * 500, "x" * 300_000, "a'b\\c\tд"])
def test_odd_text_is_indexed(project, content):
    ingest_spans(project, [call("a", content)])
    assert text_index.index_pending() == 1
    assert TraceTexts.objects.count() == 1


def test_deleted_body_leaves_nothing_in_the_index(project):
    ingest_spans(project, [call("a", "secret words")])
    text_index.index_pending()
    body = SearchText.objects.get(body__isnull=False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM traces_spanpayload")
        cursor.execute("DELETE FROM traces_messagenode")
        cursor.execute("DELETE FROM traces_body WHERE id = %s", [body.body_id])
    assert not SearchText.objects.filter(pk=body.pk).exists()
    assert tokens_of(body.pk) == set()


def test_deleted_trace_leaves_nothing_of_its_own_in_the_index(project):
    ingest_spans(project, [make_span(trace_id="a", input="only here")])
    text_index.index_pending()
    keys = list(SearchText.objects.values_list("pk", flat=True))
    assert len(keys) == 2
    Trace.objects.all().delete()
    assert not SearchText.objects.exists()
    assert not TraceTexts.objects.exists()
    assert [tokens_of(key) for key in keys] == [set(), set()]


def test_forget_bodies_removes_their_texts(project):
    ingest_spans(project, [call("a", "secret words", answer="fine")])
    text_index.index_pending()
    secret = next(body.pk for body in Body.objects.filter(kind="message") if b"secret" in bytes(body.content))
    assert text_index.forget_bodies([secret]) == 1
    assert not SearchText.objects.filter(body_id=secret).exists()
    assert SearchText.objects.filter(body__isnull=False).count() == 1


def test_lists_of_words_are_merged(project):
    for number in range(20):
        ingest_spans(project, [call(f"t{number}", f"common own{number}")])
        text_index.index_pending()
    assert SearchWords.objects.count() <= 8
    words = b"".join(text_index.unpack_words(row.content) for row in SearchWords.objects.all())
    assert all(f"\nown{number}\n".encode() in words for number in range(20))
    assert words.count(b"\ncommon\n") == SearchWords.objects.count()  # once in each
    for row in SearchWords.objects.all():
        listed = text_index.unpack_words(row.content)[1:-1].split(b"\n")
        assert len(listed) == len(set(listed))
        assert not row.level or listed == sorted(listed)


def test_long_list_of_words_is_not_merged(project, monkeypatch):
    monkeypatch.setattr(text_index, "LONGEST_NEW", 10)
    for number in range(text_index.MERGED + 1):
        ingest_spans(project, [call(f"t{number}", f"common own{number}")])
        text_index.index_pending()
    assert [row.level for row in SearchWords.objects.all()] == [text_index.TOP_LEVEL] * (text_index.MERGED + 1)


def test_list_that_became_long_is_not_merged_again(project, monkeypatch):
    monkeypatch.setattr(text_index, "LONGEST_LIST", 10)
    for number in range(text_index.MERGED):
        ingest_spans(project, [call(f"t{number}", f"common own{number}")])
        text_index.index_pending()
    assert [row.level for row in SearchWords.objects.all()] == [text_index.TOP_LEVEL]


def test_many_texts_are_made_ready_group_by_group(project, monkeypatch):
    monkeypatch.setattr(text_index, "TEXTS_TOGETHER", 3)
    monkeypatch.setattr(text_index, "TEXTS_AT_ONCE", 2)
    long = "begins " + "filler " * 30_000 + "ends"
    ingest_spans(project, [call(f"t{number}", f"own{number}", long, answer=f"said{number}") for number in range(5)])
    assert text_index.index_pending() == 5
    words = b"".join(text_index.unpack_words(row.content) for row in SearchWords.objects.all())
    for number in range(5):
        for asked in (f"own{number}", f"id{number}"):
            assert [one.trace_id for one in list_queries.matching_traces(project, asked)] == [f"t{number}"], asked
        assert f"\nsaid{number}\n".encode() in words
    assert len(list_queries.matching_traces(project, "begins ends")) == 5


def text(number: int, size: int, body: int | None = None) -> text_index.NewText:
    return text_index.NewText(body or number, None, 0, "x" * size)


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        ([], []),
        ([text(number, 10) for number in range(7)], [3, 3, 1]),
        ([text(number, 10, body=1) for number in range(7)], [7]),
        ([text(number, 3 * text_index.LETTERS_EACH) for number in range(4)], [1, 1, 1, 1]),
    ],
)
def test_texts_are_taken_together_by_number_and_length_and_bodies_stay_whole(texts, sizes):
    chunks = list(text_index.whole_bodies(texts, 3))
    assert [len(chunk) for chunk in chunks] == sizes
    assert [one for chunk in chunks for one in chunk] == texts


class Killed(BaseException):
    """What a kill leaves behind: nothing of the open transaction, nothing that would have come later."""


@pytest.mark.parametrize("commits", range(6))
def test_indexer_that_is_killed_at_any_commit_finds_every_word_after_the_next_start(project, monkeypatch, commits):
    long = "alpha " + "filler " * 30_000 + "omegaword"
    ingest_spans(project, [call("a", "zanzibar first", "second", long, answer="tail")])
    monkeypatch.setattr(text_index, "TEXTS_AT_ONCE", 1)
    write, left = text_index.insert_texts, [commits]

    def insert_until_killed(table, *args):
        if table == "traces_searchtext":
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        return write(table, *args)

    monkeypatch.setattr(text_index, "insert_texts", insert_until_killed)
    try:
        text_index.index_pending()
        was_killed = False
    except Killed:
        was_killed = True
    monkeypatch.setattr(text_index, "insert_texts", write)
    text_index.index_pending()
    assert was_killed == (commits < 5)
    assert not SearchPending.objects.exists()
    for asked in ("zanzibar", '"zanzibar"', "second", "alpha", "omegaword", '"omegaword"', "tail"):
        assert [one.trace_id for one in list_queries.matching_traces(project, asked)] == ["a"], asked


def rare_text(size: int) -> str:
    """Characters without spaces, no pair of them twice in a row of many: all that an index of pairs may have to hold."""
    chosen = random.Random(7)
    return "".join(chr(chosen.randrange(0x4E00, 0x9FA5)) for _ in range(size))


def test_text_of_very_many_pairs_is_indexed_to_its_end(project):
    text = rare_text(100_000)
    ingest_spans(project, [call("a", text), make_span(trace_id="b", name=text[:500], input="plain")])
    assert text_index.index_pending() == 2
    assert SearchText.objects.filter(body__isnull=False).count() == 2
    for asked in (text[1000:1004], text[49_998:50_004], text[-4:]):
        assert [one.trace_id for one in list_queries.matching_traces(project, asked)] == ["a"]


def test_trace_that_cannot_be_indexed_is_set_aside_until_it_changes(project, caplog):
    ingest_spans(project, [call("bad", "never read"), call("good", "kept words")])
    ingest_spans(make_project(slug="other"), [call("there", "other words")])
    body = next(body for body in Body.objects.filter(kind="message") if b"never" in bytes(body.content))
    whole = bytes(body.content)
    Body.objects.filter(pk=body.pk).update(content=b"{broken")
    assert text_index.index_pending() == 3
    assert not SearchPending.objects.exists()
    assert "cannot be put into the search index" in caplog.text
    assert set(TraceTexts.objects.values_list("trace__trace_id", flat=True)) == {"good", "there"}
    Body.objects.filter(pk=body.pk).update(content=whole)
    ingest_spans(project, [make_span(trace_id="bad", input="more")])
    text_index.index_pending()
    assert TraceTexts.objects.filter(trace__trace_id="bad").exists()


def test_large_trace_that_keeps_growing_is_not_read_again_at_once(project, monkeypatch):
    monkeypatch.setattr(text_index, "SPANS_AT_ONCE", 1)
    monkeypatch.setattr(text_index, "SHARE", 10**6)
    monkeypatch.setattr(text_index, "resting", {})
    ingest_spans(project, [call("large", "one"), call("large", "two")])
    assert text_index.index_pending() == 1
    ingest_spans(project, [call("large", "three"), call("small", "four")])
    assert text_index.index_pending() == 1
    assert list(SearchPending.objects.values_list("trace__trace_id", flat=True)) == ["large"]
    text_index.resting.clear()  # its time has come
    assert text_index.index_pending() == 1
    assert not SearchPending.objects.exists()
    assert "three" in set().union(*(tokens_of(key) for key in held(Trace.objects.get(trace_id="large"))))


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only a tsvector has a limit")
def test_text_beyond_the_limit_of_the_database_stops_no_other(project, monkeypatch, caplog):
    monkeypatch.setattr("traces.words.MOST_BYTES", 10**9)
    ingest_spans(project, [call("bad", rare_text(100_000)), call("good", "kept words")])
    assert text_index.index_pending() == 2
    assert "cannot be put into the search index" in caplog.text
    assert "too long for tsvector" in caplog.text
    assert list(TraceTexts.objects.values_list("trace__trace_id", flat=True)) == ["good"]


def test_texts_of_what_was_deleted_meanwhile_are_not_written(project):
    for trace_id in "ab":
        ingest_spans(project, [call(trace_id, f"words of {trace_id}")])
    one, two = Body.objects.filter(kind="message").order_by("pk")
    trace = Trace.objects.get(trace_id="a")
    gone = (one.pk, trace.pk)
    deletion.delete_traces(Trace.objects.filter(pk=trace.pk), what="a")
    texts = [
        text_index.NewText(body, owner, 0, "secret")
        for body, owner in ((gone[0], None), (two.pk, None), (None, gone[1]))
    ]
    text_index.ProjectIndexing(project.pk).write_texts(texts)
    assert list(SearchText.objects.values_list("body", "trace")) == [(two.pk, None)]
    assert [bool(text.key) for text in texts] == [False, True, False]


def test_sweep_removes_texts_that_were_left_behind(project):
    ingest_spans(project, [call("a", "words")])
    text_index.index_pending()
    kept = set(SearchText.objects.values_list("pk", flat=True))
    for body, trace in ((2**40, None), (None, 2**40)):
        SearchText.objects.create(project=project, body_id=body, trace_id=trace, part=0)
    deletion.sweep_orphans(project.pk)
    assert set(SearchText.objects.values_list("pk", flat=True)) == kept


@pytest.mark.parametrize("keys", [[], [7], [3, 1, 2], range(5, 5000, 3), [2**40, 1]])
def test_pack_and_unpack_are_inverse(keys):
    assert text_index.unpack(text_index.pack(keys)).tolist() == sorted(keys)


@pytest.mark.django_db
def test_indexer_gives_way_to_a_flood_of_spans_but_not_for_long():
    project = make_project()
    ingest_spans(project, [make_span() for _ in range(text_index.FLOOD_MARKS)])
    SearchPending.objects.update(since_ns=time.time_ns())
    assert text_index.index_pending(stop=text_index.is_flooded) == 0
    oldest = SearchPending.objects.order_by("pk").first()
    SearchPending.objects.filter(pk=oldest.pk).update(since_ns=time.time_ns() - (text_index.FLOOD_S + 1) * 10**9)
    assert text_index.index_pending(stop=text_index.is_flooded) >= text_index.FLOOD_MARKS
    ingest_spans(project, [make_span()])
    assert text_index.index_pending(stop=text_index.is_flooded) == 1


# The list of PostgreSQL ------------------------------------------------------------------------------------------

only_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite keeps no list of new tokens")


def listed_rows() -> int:
    """Return how many rows the list of new tokens takes; taking it over empties it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT gin_clean_pending_list('search_text_tokens')")
        return cursor.fetchone()[0]


def limit() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT unnest(reloptions) FROM pg_class WHERE relname = 'search_text_tokens'")
        return [row[0] for row in cursor.fetchall()]


@only_postgresql
@pytest.mark.django_db
def test_list_of_new_tokens_may_be_long_unless_someone_chose_otherwise():
    assert limit() == [f"gin_pending_list_limit={text_schema.LISTED_KB}"]
    for chosen in ("SET (gin_pending_list_limit = 100)", "RESET (gin_pending_list_limit)"):
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER INDEX search_text_tokens {chosen}")
        text_schema.prepare(None)
        kept = "100" if chosen.startswith("SET") else str(text_schema.LISTED_KB)
        assert limit() == [f"gin_pending_list_limit={kept}"]


@only_postgresql
def test_new_words_are_found_before_and_after_they_are_taken_over(project, monkeypatch):
    monkeypatch.setattr(text_index.Listed, "size", 0)
    ingest_spans(project, [call("a", "zanzibar first")])
    assert not text_index.is_to_be_taken_over()
    text_index.index_pending()
    assert text_index.is_to_be_taken_over()
    assert [one.trace_id for one in list_queries.matching_traces(project, '"zanzibar"')] == ["a"]
    assert text_index.take_over()
    assert listed_rows() == 0
    assert not text_index.is_to_be_taken_over()
    assert [one.trace_id for one in list_queries.matching_traces(project, '"zanzibar"')] == ["a"]


@only_postgresql
def test_words_are_taken_over_while_more_are_pending_only_where_they_are_very_many(project, monkeypatch):
    monkeypatch.setattr(text_index.Listed, "size", 5)
    ingest_spans(project, [call("a", "words")])
    assert not text_index.is_to_be_taken_over()
    monkeypatch.setattr(text_index, "MOST_LISTED", 4)
    assert text_index.is_to_be_taken_over()


@only_postgresql
@pytest.mark.django_db(transaction=True)
def test_one_process_takes_over_at_a_time(monkeypatch):
    monkeypatch.setattr(text_index.Listed, "size", 1)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [text_index.TAKING_OVER])
        assert not text_index.take_over()
        assert text_index.Listed.size == 1  # to be tried again
    finally:
        other.close()


@only_postgresql
@pytest.mark.django_db
@pytest.mark.parametrize(("state", "left"), [("42501", 0), ("57014", 3)])
def test_what_cannot_be_taken_over_is_left_to_autovacuum_or_tried_again(monkeypatch, state, left):
    monkeypatch.setattr(text_index.Listed, "size", 3)
    with connection.cursor() as cursor:  # instead of being somebody else, or being ended
        cursor.execute("CREATE SCHEMA elsewhere")
        cursor.execute(
            "CREATE FUNCTION elsewhere.gin_clean_pending_list(text) RETURNS bigint LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE 'not now' USING ERRCODE = '{state}'; END $$"
        )
        cursor.execute("SET LOCAL search_path = elsewhere, pg_catalog, public")
    assert not text_index.take_over()
    assert text_index.Listed.size == left


@only_postgresql
@pytest.mark.django_db(transaction=True)
def test_look_takes_over_what_it_indexed(monkeypatch):
    monkeypatch.setattr(text_index.Listed, "size", 0)
    project = make_project()
    ingest_spans(project, [call("a", "zanzibar first")])
    tasks.look_for_texts()
    with tasks.taking_over:  # until the thread has done it
        assert not text_index.Listed.size
    assert listed_rows() == 0


@pytest.mark.django_db(transaction=True)
def test_look_goes_on_after_a_flood(monkeypatch):
    ingest_spans(make_project(), [make_span(trace_id="a")])
    answers = iter([True, True, False])
    monkeypatch.setattr(tasks, "FLOOD_LOOK_S", 0)
    monkeypatch.setattr(text_index, "is_flooded", lambda: next(answers, False))
    tasks.look_for_texts()
    assert not SearchPending.objects.exists()


@pytest.mark.skipif(connection.vendor == "postgresql", reason="FTS5 is SQLite's")
@pytest.mark.django_db
def test_segments_are_merged_by_eight_unless_someone_chose_otherwise():
    def chosen():
        with connection.cursor() as cursor:
            cursor.execute("SELECT v FROM traces_searchindex_config WHERE k = 'automerge'")
            return cursor.fetchall()

    assert chosen() == [(text_schema.MERGED_SEGMENTS,)]
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO traces_searchindex(traces_searchindex, rank) VALUES ('automerge', 4)")
    text_schema.prepare(None)
    assert chosen() == [(4,)]
