"""Deleting a dataset or a project: a page that says what would go, and the button that does it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.access import ProjectRequest, current_user, project_page
from accounts.models import Role
from evals.models import Dataset
from evals.services import deletion


@require_http_methods(["GET", "HEAD", "POST"])
@project_page(Role.ENGINEER)
def delete_dataset(request: ProjectRequest, dataset_slug: str) -> HttpResponse:
    """Say what would go with a dataset; POST deletes it."""
    dataset = get_object_or_404(Dataset, project=request.project, slug=dataset_slug, is_implicit=False)
    back = reverse("evals:dataset", args=[request.project.slug, dataset.slug])
    if request.method == "POST":
        try:
            deletion.delete_dataset(dataset, user=current_user(request))
        except deletion.StillRunning as error:
            messages.error(request, str(error))
            return redirect(back)
        messages.success(request, f"Deleted the dataset {dataset.name}.")
        return redirect("evals:dataset_list", request.project.slug)
    lines = deletion.name_dataset_loss(dataset)
    return render(request, "pages/delete.html", {"what": f"dataset {dataset.name}", "lines": lines, "back": back})


@require_http_methods(["GET", "HEAD", "POST"])
@project_page(Role.ADMIN)
def delete_project(request: ProjectRequest) -> HttpResponse:
    """Say what would go with a project; POST with its slug typed hides it, and a worker deletes it."""
    project = request.project
    is_wrong = request.method == "POST" and request.POST.get("confirm", "").strip() != project.slug
    if request.method == "POST" and not is_wrong:
        name = project.name
        deletion.delete_project(project, user=current_user(request))
        messages.success(request, f"Deleted the project {name}. Its room on the disk comes back over the next minutes.")
        return redirect("accounts:projects")
    context = {
        "what": f"project {project.name}",
        "lines": deletion.name_project_loss(project),
        "back": reverse("accounts:settings", args=[project.slug]),
        "confirm": project.slug,
        "wrong": is_wrong,
    }
    return render(request, "pages/delete.html", context, status=422 if is_wrong else 200)
