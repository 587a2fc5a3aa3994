"""The WSGI entry point, used by `manage.py serve`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

# Import every view now: once, before gunicorn forks, so that the first request is quick and a broken one stops the start.
from django.urls import get_resolver  # noqa: E402

get_resolver().check()
