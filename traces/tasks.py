"""What the queue says: look. A message lost, late or doubled changes nothing: what is to be done are rows."""

import threading

from celery import shared_task
from django.db import close_old_connections

from traces import signal_rows

checking = threading.Lock()


@shared_task(ignore_result=True, acks_late=True)
def look_for_signals() -> None:
    """Look at traces that have changed and settled. One look at a time in a process; a second one is done at once."""
    if not checking.acquire(blocking=False):
        return
    close_old_connections()
    try:
        signal_rows.check_due()
    finally:
        close_old_connections()
        checking.release()
