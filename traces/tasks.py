"""What the queue says: look. A message lost, late or doubled changes nothing: what is to be done are rows."""

import threading
import time

from celery import shared_task
from django.db import close_old_connections, connection

from traces import background, run_counts, signal_rows, text_index

AT_MOST_S = 120.0  # of indexing in one look, pauses included; while there is much to do, hardly any time goes by between two looks
checking = threading.Lock()
is_current = threading.Event()  # nothing is left that older detectors looked at; new looks are all of this version
indexing = threading.Lock()
FLOOD_LOOK_S = 0.5  # between two looks whether a flood of spans has ended
TURN_S = 10.0  # of indexing until it is asked again whether words are to be taken over
taking_over = threading.Lock()


@shared_task(ignore_result=True, acks_late=True)
def look_for_signals() -> None:
    """Look at traces that have changed and settled. One look at a time in a process; a second one is done at once."""
    if not checking.acquire(blocking=False):
        return
    close_old_connections()
    try:
        with background.look("signals"):
            if not is_current.is_set() and not signal_rows.mark_outdated():
                is_current.set()
            signal_rows.check_due(stop=signals_wait)
    finally:
        close_old_connections()
        checking.release()


def signals_wait() -> bool:
    """Say whether signals give way to a run, or to the search index where very many traces wait for it."""
    return background.stands_back("signals") or background.lets_index("signals", is_behind=text_index.is_behind())


@shared_task(ignore_result=True, acks_late=True)
def look_for_texts() -> None:
    """Bring the search index and the counts up to the traces that have changed. One at a time; a second one is done at once."""
    if not indexing.acquire(blocking=False):
        return
    close_old_connections()
    try:
        with background.look("texts"):
            run_counts.tidy()
            index_texts()
    finally:
        close_old_connections()
        indexing.release()


def index_texts() -> None:
    """Index what is pending, with pauses while a flood of spans comes in."""
    until = time.monotonic() + AT_MOST_S
    while (left_s := until - time.monotonic()) > 0:
        done = text_index.index_pending(
            for_s=min(left_s, TURN_S), stop=lambda: background.stands_back("texts") or text_index.is_flooded()
        )
        begin_taking_over()
        if background.stands_back("texts"):
            break
        if text_index.is_flooded():
            time.sleep(FLOOD_LOOK_S)
        elif not done:
            break


def begin_taking_over() -> None:
    """Have new words taken over into the index, where it is time and not being done: indexing goes on meanwhile."""
    if not text_index.is_to_be_taken_over() or not taking_over.acquire(blocking=False):
        return
    try:  # a thread that no shutdown waits for, with a connection of its own
        threading.Thread(target=take_words_over, name="words", daemon=True).start()
    except RuntimeError:
        taking_over.release()
        raise


def take_words_over() -> None:
    try:
        text_index.take_over()
    finally:
        try:
            connection.close()
        finally:
            taking_over.release()
