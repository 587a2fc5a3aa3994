"""Addresses of the OpenAI-compatible endpoints."""

from django.urls import path

from gateway import api

app_name = "gateway"
urlpatterns = [
    path("v1/models", api.models, name="models"),
    path("v1/models/<path:name>", api.model, name="model"),
    path("v1/chat/completions", api.chat_completions, name="chat_completions"),
    path("v1/responses", api.responses, name="responses"),
]
