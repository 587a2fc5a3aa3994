"""Every address of the server. Pages lie under /p/<project>, programs talk to /v1 and /api. No trailing slashes."""

from django.urls import include, path

urlpatterns = [
    path("", include("pages.urls")),
    path("", include("accounts.urls")),
    path("", include("providers.urls")),
    path("", include("traces.urls")),
    path("", include("rubrics.urls")),
    path("", include("gateway.urls")),
    path("", include("evals.urls")),
]

handler400 = "pages.errors.bad_request"
handler403 = "pages.errors.forbidden"
handler404 = "pages.errors.not_found"
handler500 = "pages.errors.server_error"
