"""Pages of sessions and agents."""

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.access import ProjectRequest, project_page
from traces import rollups, search
from traces.list_queries import CAP, RANGES, time_range


def range_context(request: ProjectRequest) -> dict[str, Any]:
    """Return the time range that is asked for, and the addresses of the others."""
    chosen = time_range(request.project, request.GET.get("range", ""), now=timezone.now())
    with_evals = request.GET.get("evals") == "1"
    kept = {"evals": "1"} if with_evals else {}
    return {
        "time_range": chosen,
        "ranges": [(name, label, "?" + urlencode({"range": name, **kept})) for name, (label, _) in RANGES.items()],
        "with_evals": with_evals,
        "evals_url": "?" + urlencode({"range": chosen.name, **({} if with_evals else {"evals": "1"})}),
        "cap": CAP,
        "list_path": reverse("traces:trace_list", args=[request.project.slug]),
    }


def listed(path: str, time_name: str, *terms: str) -> str:
    """Return the address of the list with some terms and the range."""
    return f"{path}?{urlencode({'q': ' '.join(terms), 'range': time_name})}"


def linked(found: list[rollups.Rollup], key: str, context: dict[str, Any], *more: str) -> list[dict[str, Any]]:
    """Pair each roll-up with the lists of its runs, of its errors, and of those that are suspected."""
    rows = []
    for one in found:
        term = f"{key}:{search.quote(one.name)}" if one.name else f"-has:{key}"
        without = [] if context["with_evals"] else ["-source:eval"]
        where = (context["list_path"], context["time_range"].name, *without, *more, term)
        rows.append(
            {
                "one": one,
                "url": listed(*where),
                "errors_url": listed(*where, "status:error"),
                "suspected_url": listed(*where, "has:signal"),
            }
        )
    return rows


@require_GET
@project_page()
def session_list(request: ProjectRequest) -> HttpResponse:
    """List the sessions of a project: conversations of one run or many."""
    context = range_context(request)
    found = rollups.sessions(request.project, since_ns=context["time_range"].since_ns, with_evals=context["with_evals"])
    context |= {"found": found, "rows": linked(found.rows, "session", context)}
    return render(request, "traces/session_list.html", context)


@require_GET
@project_page()
def agent_list(request: ProjectRequest) -> HttpResponse:
    """List the agents of a project with what their runs come to."""
    context = range_context(request)
    found = rollups.agents(request.project, since_ns=context["time_range"].since_ns, with_evals=context["with_evals"])
    context |= {"found": found, "rows": linked(found.rows, "agent", context)}
    return render(request, "traces/agent_list.html", context)


@require_GET
@project_page()
def agent(request: ProjectRequest, name: str) -> HttpResponse:
    """Show one agent: by day, by model and by version."""
    context = range_context(request)
    page = None
    if "\0" not in name:
        since = context["time_range"].since_ns
        page = rollups.agent_page(request.project, name, since_ns=since, with_evals=context["with_evals"])
    if page is None:
        if "\0" in name or rollups.agent_page(request.project, name, with_evals=True) is None:
            raise Http404(f"There is no agent {name[:60]!r} in this project.")
        context |= {"name": name, "page": None}
        return render(request, "traces/agent.html", context)
    own = f"agent:{search.quote(name)}"
    context |= {
        "name": name,
        "page": page,
        "total": linked([page.total], "agent", context)[0],
        "models": linked(page.models, "model", context, own),
        "versions": linked(page.versions, "version", context, own),
        "days": [{**row, "url": day_url(context, own, row["one"])} for row in linked(page.days, "agent", context)],
    }
    return render(request, "traces/agent.html", context)


def day_url(context: dict[str, Any], own: str, day: rollups.Rollup) -> str:
    """Return the list of an agent's runs of one day."""
    first, last = rollups.utc(int(day.name) * rollups.DAY_NS), rollups.utc((int(day.name) + 1) * rollups.DAY_NS)
    if first is None or last is None:
        return str(context["list_path"])
    return listed(
        context["list_path"],
        "all",
        *([] if context["with_evals"] else ["-source:eval"]),
        own,
        f"after:{first:%Y-%m-%d}",
        f"before:{last:%Y-%m-%d}",
    )
