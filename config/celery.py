"""The Celery application: Redis where REDIS_URL is set, else an embedded queue of files in the data folder.

The queue only says "look": every unit of work is a row, so a lost or doubled message changes nothing.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

app = Celery("markbook")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    beat_schedule_filename=str(settings.DATA_DIR / "beat"),
    timezone="UTC",
)
if settings.REDIS_URL:
    app.conf.broker_url = settings.REDIS_URL
else:
    for name in ("messages", "control"):
        (settings.QUEUE_DIR / name).mkdir(parents=True, exist_ok=True)
    app.conf.broker_url = "filesystem://"
    app.conf.broker_transport_options = {
        "data_folder_in": str(settings.QUEUE_DIR / "messages"),
        "data_folder_out": str(settings.QUEUE_DIR / "messages"),
        "control_folder": str(settings.QUEUE_DIR / "control"),
        "polling_interval": 0.02,  # seconds: a waiting worker wakes within 20 ms
    }
app.autodiscover_tasks()
