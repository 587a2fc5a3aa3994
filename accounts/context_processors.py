"""What the shell around every page needs: the project, the section, the theme."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from accounts.access import visible_projects

# url name prefix -> section of the navigation
SECTIONS = {
    "evals:overview": "overview",
    "evals:comparison": "comparisons",
    "evals:dataset": "datasets",
    "evals:review": "review",
    "traces:send": "send",
    "traces:first": "send",
    "traces:session": "sessions",
    "traces:agent": "agents",
    "traces:reading": "settings",
    "traces:": "traces",
    "rubrics:": "rubrics",
    "providers:": "settings",
    "accounts:": "settings",
}


def shell(request: HttpRequest) -> dict[str, Any]:
    """Return the shell's context; queries run only where a template uses them."""
    match = request.resolver_match
    name = match.view_name if match else ""
    section = next((section for prefix, section in SECTIONS.items() if name.startswith(prefix)), "")
    theme = request.COOKIES.get("theme", "")
    return {
        "project": getattr(request, "project", None),
        "role": getattr(request, "role", None),
        "section": section,
        "theme": theme if theme in ("light", "dark") else "",
        "login_required": settings.LOGIN_REQUIRED,
        "projects": lambda: visible_projects(request.user),
    }
