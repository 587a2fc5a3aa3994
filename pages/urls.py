"""Addresses that belong to no domain: health."""

from django.urls import path

from pages import views

app_name = "pages"
urlpatterns = [
    path("favicon.ico", views.favicon, name="favicon"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("theme", views.set_theme, name="set_theme"),
    path("patterns", views.patterns, name="patterns"),
]
