"""Addresses of sign-in, set-up, the account, projects and their settings."""

from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("", views.home, name="home"),
    path("sign-in", views.sign_in, name="sign_in"),
    path("sign-out", views.sign_out, name="sign_out"),
    path("setup/<str:token>", views.set_up, name="set_up"),
    path("account", views.account, name="account"),
    path("projects", views.projects, name="projects"),
    path("p/<slug:project_slug>/settings", views.project_settings, name="settings"),
    path("p/<slug:project_slug>/settings/name", views.rename_project, name="rename_project"),
    path("p/<slug:project_slug>/settings/keys", views.create_key, name="create_key"),
    path("p/<slug:project_slug>/settings/keys/<int:pk>/revoke", views.revoke_key, name="revoke_key"),
    path("p/<slug:project_slug>/settings/members", views.add_member, name="add_member"),
    path("p/<slug:project_slug>/settings/members/<int:pk>", views.change_member, name="change_member"),
]
