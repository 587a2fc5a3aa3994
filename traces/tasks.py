"""What the queue says: look. A message lost, late or doubled changes nothing: what is to be done are rows."""

import threading
from functools import partial

from celery import shared_task
from django.db import close_old_connections

from traces import background, run_counts, signal_rows, text_index

AT_MOST_S = 60.0  # of indexing in one look; while there is much to do, hardly any time goes by between two looks
checking = threading.Lock()
is_current = threading.Event()  # nothing is left that older detectors looked at; new looks are all of this version
indexing = threading.Lock()


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
            signal_rows.check_due(stop=partial(background.stands_back, "signals"))
    finally:
        close_old_connections()
        checking.release()


@shared_task(ignore_result=True, acks_late=True)
def look_for_texts() -> None:
    """Bring the search index and the counts up to the traces that have changed. One at a time; a second one is done at once."""
    if not indexing.acquire(blocking=False):
        return
    close_old_connections()
    try:
        with background.look("texts"):
            run_counts.tidy()
            text_index.index_pending(
                for_s=AT_MOST_S, stop=lambda: background.stands_back("texts") or text_index.is_flooded()
            )
    finally:
        close_old_connections()
        indexing.release()
