"""Addresses of the OpenAI Evals, Files and Graders API. None ends in a slash."""

from django.urls import path

from evals.openai_api import endpoints, files, graders

urlpatterns = [
    path("v1/evals", endpoints.evals),
    path("v1/evals/<str:eval_id>", endpoints.one_eval),
    path("v1/evals/<str:eval_id>/runs", endpoints.runs),
    path("v1/evals/<str:eval_id>/runs/<str:run_id>", endpoints.one_run),
    path("v1/evals/<str:eval_id>/runs/<str:run_id>/cancel", endpoints.cancel),
    path("v1/evals/<str:eval_id>/runs/<str:run_id>/output_items", endpoints.output_items),
    path("v1/evals/<str:eval_id>/runs/<str:run_id>/output_items/<str:item_id>", endpoints.output_item),
    path("v1/files", files.files),
    path("v1/files/<str:file_id>", files.one_file),
    path("v1/files/<str:file_id>/content", files.content),
    path("v1/fine_tuning/alpha/graders/run", graders.run),
    path("v1/fine_tuning/alpha/graders/validate", graders.validate),
]
