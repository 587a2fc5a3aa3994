"""Addresses of the page of model providers."""

from django.urls import path

from providers import views

app_name = "providers"
urlpatterns = [
    path("p/<slug:project_slug>/settings/providers", views.provider_list, name="provider_list"),
    path("p/<slug:project_slug>/settings/providers/new", views.provider_form, name="provider_new"),
    path("p/<slug:project_slug>/settings/providers/<int:pk>", views.provider_form, name="provider"),
    path("p/<slug:project_slug>/settings/providers/<int:pk>/delete", views.delete_provider, name="delete_provider"),
    path("p/<slug:project_slug>/settings/providers/old-names", views.add_alias, name="add_alias"),
    path("p/<slug:project_slug>/settings/providers/old-names/<int:pk>/delete", views.delete_alias, name="delete_alias"),
    path("p/<slug:project_slug>/settings/providers/test/<slug:name>", views.test_connection, name="test_connection"),
]
