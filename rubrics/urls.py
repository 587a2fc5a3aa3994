"""Addresses of the rubrics."""

from django.urls import path

from rubrics import views

app_name = "rubrics"
urlpatterns = [
    path("p/<slug:project_slug>/rubrics", views.rubric_list, name="rubric_list"),
    path("p/<slug:project_slug>/rubrics/new", views.rubric_new, name="rubric_new"),
    path("p/<slug:project_slug>/rubrics/<slug:slug>", views.rubric_page, name="rubric"),
    path("p/<slug:project_slug>/rubrics/<slug:slug>/preview", views.rubric_preview, name="rubric_preview"),
    path("p/<slug:project_slug>/rubrics/<slug:slug>/archive", views.rubric_archive, name="rubric_archive"),
    path("p/<slug:project_slug>/rubrics/<slug:slug>/v<int:number>", views.rubric_version, name="rubric_version"),
]
