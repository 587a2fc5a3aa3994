"""Settings, urls and Celery: wires the apps together and holds no domain code."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
