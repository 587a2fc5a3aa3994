"""Addresses of sign-in, set-up and settings."""

from django.urls import path

app_name = "accounts"
urlpatterns: list = []
