import pytest

from evals import tasks as evals_tasks
from tests.factories import make_project, make_span
from traces import background, signal_rows, tasks, text_index
from traces.models import SearchPending, SignalCheck
from traces.services import ingest_spans


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(background.time, "monotonic", lambda: now[0])
    background.since.clear()
    return now


def test_a_look_stands_back_while_something_is_waited_for_but_not_for_long(clock):
    assert not background.stands_back("texts")
    with background.foremost():
        assert background.stands_back("texts")
        clock[0] += background.LONGEST_S - 1
        assert background.stands_back("texts")
        clock[0] += 1
        with background.look("texts"):
            assert not background.stands_back("texts")
        assert background.stands_back("texts")  # it had its turn
    assert not background.stands_back("texts")


def test_a_look_leaves_the_processor_to_the_search_index_once_until_that_has_caught_up(clock):
    assert background.lets_index("signals", is_behind=True)
    clock[0] += background.INDEX_FIRST_S - 1
    assert background.lets_index("signals", is_behind=True)
    clock[0] += 1
    for _ in range(3):
        assert not background.lets_index("signals", is_behind=True)
        clock[0] += background.INDEX_FIRST_S
    assert not background.lets_index("signals", is_behind=False)
    assert background.lets_index("signals", is_behind=True)


@pytest.mark.django_db
def test_signals_wait_while_very_many_traces_wait_for_the_search_index(clock, monkeypatch):
    monkeypatch.setattr(text_index, "MANY_MARKS", 2)
    project = make_project()
    ingest_spans(project, [make_span(trace_id="a")])
    assert not tasks.signals_wait()
    ingest_spans(project, [make_span(trace_id="b")])
    assert tasks.signals_wait()
    text_index.index_pending()
    assert not tasks.signals_wait()


@pytest.mark.django_db(transaction=True)
def test_signals_and_words_wait_for_a_run_and_are_there_after_it(monkeypatch):
    ingest_spans(make_project(), [make_span(kind="llm", start_ns=10, end_ns=20)])
    SignalCheck.objects.update(due_at="2020-01-01T00:00:00Z")
    left = []

    async def run(run_id, **options):
        pass

    def count():
        left.append((SignalCheck.objects.filter(is_pending=True).count(), SearchPending.objects.count()))

    def look_and_run(coroutine):
        coroutine.close()
        tasks.look_for_signals()
        tasks.look_for_texts()
        count()

    monkeypatch.setattr(evals_tasks.services, "pump_run", run)
    monkeypatch.setattr(evals_tasks.asyncio, "run", look_and_run)
    background.since.clear()
    evals_tasks.pump_run(1)
    tasks.look_for_signals()
    tasks.look_for_texts()
    count()

    assert left[0][0] == 1
    assert left[0][1] > 0
    assert left[1] == (0, 0)
    assert signal_rows.check_due() == 0
