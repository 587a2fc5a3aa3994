"""The Celery application: Redis where REDIS_URL is set, else an embedded queue of files in the data folder.

The queue only says "look": every unit of work is a row, so a lost, late or doubled message changes nothing. Each worker
looks at the rows when it starts and every ten seconds after; there is no beat process to run or to lose.
"""

import logging
import os
import threading
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_ready, worker_shutting_down
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

logger = logging.getLogger(__name__)
LOOKS = (
    "evals.tasks.look",
    "traces.tasks.look_for_signals",
    "traces.tasks.look_for_texts",
    "evals.tasks.finish_deletions",
)
LOOK_EVERY_S = 10.0
ENOUGH_WAITING = 100  # a queue this long holds its look already, or nobody is reading it

app = Celery("markbook")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    task_acks_late=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    timezone="UTC",
)
if settings.REDIS_URL:
    app.conf.broker_url = settings.REDIS_URL
    app.conf.broker_transport_options = {"socket_connect_timeout": 2, "socket_timeout": 10}
else:
    TRANSPORT_ALIASES["folder"] = "config.embedded_queue:Transport"
    app.conf.broker_url = "folder://localhost"
    app.conf.broker_transport_options = {"folder": str(settings.QUEUE_DIR)}
app.autodiscover_tasks()

stopping = threading.Event()


@worker_init.connect
def start_clean(**kwargs: Any) -> None:
    """Follow the parent into death (`config.processes`), and clear what killed workers left in the queue."""
    from config import embedded_queue, processes

    processes.die_with_parent()
    if not settings.REDIS_URL:
        embedded_queue.sweep(settings.QUEUE_DIR)


@worker_ready.connect
def start_looking(sender: Any, **kwargs: Any) -> None:
    """Look at all active runs now, and every ten seconds."""
    stopping.clear()
    threading.Thread(target=keep_looking, name="look", daemon=True).start()


@worker_shutting_down.connect
def stop_looking(**kwargs: Any) -> None:
    stopping.set()


def keep_looking() -> None:
    while True:
        try:
            send_look()
        except Exception:  # Redis away for a while: say so and go on, or nothing would ever look again
            logger.exception("The queue could not be asked to look; trying again in %s s.", LOOK_EVERY_S)
        if stopping.wait(LOOK_EVERY_S):
            return


def send_look() -> None:
    """Ask some worker to look at the rows, unless the queue is long already."""
    with app.connection_for_write() as connection:
        queue = app.amqp.queues[app.conf.task_default_queue]
        waiting = queue.bind(connection.default_channel).queue_declare(passive=False).message_count
        if waiting < ENOUGH_WAITING:
            for name in LOOKS:
                app.send_task(name, connection=connection, expires=6 * LOOK_EVERY_S)
