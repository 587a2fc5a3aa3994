"""Addresses of the traces room: the API for programs, then the pages under /p/<project>."""

from django.urls import path, re_path, register_converter

from traces import api
from traces.views import compare, delete, people, rollups, send, story
from traces.views import list as list_views
from traces.views import trace as trace_views


class TextConverter:
    """An id as its sender wrote it: any text, slashes included."""

    regex = r"(?s:.+)"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(TextConverter, "text")

app_name = "traces"
urlpatterns = [
    # Programs. SDKs of other products put their own prefix before OTLP's path, or append it to an address that has it.
    re_path(r"^(?:api/public/otel/|otel/|v1/traces/)?v1/traces/?$", api.otlp_traces, name="otlp_traces"),
    re_path(r"^v1/traces/ingest/?$", api.agents_ingest, name="agents_ingest"),
    re_path(r"^(?:api/public/otel/|otel/|v1/logs/)?v1/logs/?$", api.otlp_logs, name="otlp_logs"),
    re_path(r"^(?:api/public/otel/|otel/|v1/metrics/)?v1/metrics/?$", api.otlp_metrics, name="otlp_metrics"),
    path("api/traces", api.trace_list, name="api_trace_list"),
    path("api/traces/<text:trace_id>", api.trace_detail, name="api_trace"),
    # Pages: the list, sending
    path("p/<slug:project_slug>/traces", list_views.trace_list, name="trace_list"),
    path("p/<slug:project_slug>/new-traces", list_views.fresh_traces, name="fresh_traces"),
    path("p/<slug:project_slug>/query-completions", list_views.completions, name="completions"),
    path("p/<slug:project_slug>/send", send.send, name="send"),
    path("p/<slug:project_slug>/send/first-trace.json", send.first_trace, name="first_trace"),
    path("p/<slug:project_slug>/first-run", send.first_run, name="first_run"),
    path("p/<slug:project_slug>/sessions", rollups.session_list, name="session_list"),
    path("p/<slug:project_slug>/agents", rollups.agent_list, name="agent_list"),
    path("p/<slug:project_slug>/agents/<text:name>", rollups.agent, name="agent"),
    path("p/<slug:project_slug>/compare-runs", compare.compare_runs, name="compare_runs"),
    path("p/<slug:project_slug>/reading", story.reading, name="reading"),
    path("p/<slug:project_slug>/views", people.save_view, name="save_view"),
    path("p/<slug:project_slug>/views/<int:pk>/delete", people.delete_view, name="delete_view"),
    # Pages: one trace. Ids are any text, so the longer addresses come first.
    path("p/<slug:project_slug>/traces/<text:trace_id>/story", story.trace_story, name="trace_story"),
    path("p/<slug:project_slug>/traces/<text:trace_id>/delete", delete.delete_trace, name="delete_trace"),
    path("p/<slug:project_slug>/sessions/<text:session_id>/delete", delete.delete_session, name="delete_session"),
    path("p/<slug:project_slug>/traces/<text:trace_id>/notes", people.add_note, name="add_note"),
    path("p/<slug:project_slug>/traces/<text:trace_id>/notes/<int:pk>/remove", people.delete_note, name="delete_note"),
    path("p/<slug:project_slug>/traces/<text:trace_id>/tags", people.change_tags, name="change_tags"),
    path("p/<slug:project_slug>/sessions/<text:session_id>", trace_views.session, name="session"),
    path("p/<slug:project_slug>/traces/<text:trace_id>/spans.json", trace_views.span_rows, name="span_rows"),
    path("p/<slug:project_slug>/traces/<text:trace_id>/calls.json", trace_views.repeated_calls, name="repeated_calls"),
    path("p/<slug:project_slug>/traces/<text:trace_id>/value", trace_views.span_value, name="span_value"),
    path(
        "p/<slug:project_slug>/traces/<text:trace_id>/conversation",
        trace_views.trace_conversation,
        name="trace_conversation",
    ),
    path(
        "p/<slug:project_slug>/traces/<text:trace_id>/timeline",
        trace_views.trace,
        {"view": "timeline"},
        name="trace_timeline",
    ),
    path("p/<slug:project_slug>/traces/<text:trace_id>", trace_views.trace, name="trace"),
]
