"""The page of model providers: list, form, deletion, and the test of a connection."""

from dataclasses import dataclass

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import ProjectRequest, current_user, may_create_projects, project_page
from accounts.models import Role
from providers import queries, services
from providers.client import Connection, ModelClient, ProviderError
from providers.forms import AliasForm, ProviderForm
from providers.models import ModelAlias, Provider
from providers.registry import Resolved, UnknownModel

SHOWN_MODELS = 12


@dataclass(frozen=True)
class TestResult:
    """How a test of a connection went: how fast it answered, or what went wrong."""

    name: str
    latency_ms: float | None = None
    models: list[str] | None = None
    unlisted: list[str] | None = None  # names that the provider's own list lacks
    error: str = ""

    @property
    def shown_models(self) -> list[str]:
        return (self.models or [])[:SHOWN_MODELS]

    @property
    def hidden_count(self) -> int:
        return max(0, len(self.models or []) - SHOWN_MODELS)


@require_GET
@project_page(Role.ENGINEER)
def provider_list(request: ProjectRequest) -> HttpResponse:
    """List the providers."""
    return list_page(request)


def list_page(
    request: ProjectRequest, *, test: TestResult | None = None, alias_form: AliasForm | None = None
) -> HttpResponse:
    context = {
        "rows": queries.provider_rows(request.project),
        "aliases": queries.alias_rows(request.project),
        "alias_form": alias_form or AliasForm(project=request.project),
        "may_change": request.role.allows(Role.ADMIN),
        "test": test,
    }
    return render(request, "providers/provider_list.html", context, status=422 if alias_form else 200)


@sensitive_post_parameters("api_key")
@sensitive_variables("form")
@require_http_methods(["GET", "POST"])
@project_page(Role.ADMIN)
def provider_form(request: ProjectRequest, pk: int | None = None) -> HttpResponse:
    """Add a provider, or change one."""
    provider = get_object_or_404(Provider, pk=pk, project=request.project) if pk is not None else None
    form = ProviderForm(
        request.POST if request.method == "POST" else None,
        project=request.project,
        provider=provider,
        may_name_environment=may_create_projects(request.user),
        initial=ProviderForm.initial_of(provider) if provider else None,
    )
    if request.method == "POST" and form.is_valid():
        services.save_provider(request.project, provider=provider, user=current_user(request), **form.cleaned_data)
        messages.success(request, f"Provider “{form.cleaned_data['name']}” is saved. Test the connection.")
        return redirect("providers:provider_list", request.project.slug)
    context = {"form": form, "provider": provider}
    return render(request, "providers/provider_form.html", context, status=422 if request.method == "POST" else 200)


@require_POST
@project_page(Role.ADMIN)
def delete_provider(request: ProjectRequest, pk: int) -> HttpResponse:
    """Delete a provider with its key."""
    provider = get_object_or_404(Provider, pk=pk, project=request.project)
    services.delete_provider(provider, user=current_user(request))
    messages.success(request, f"Provider “{provider.name}” and its key are deleted.")
    return redirect("providers:provider_list", request.project.slug)


@require_POST
@project_page(Role.ADMIN)
def add_alias(request: ProjectRequest) -> HttpResponse:
    """Let a model answer in place of an old name."""
    form = AliasForm(request.POST, project=request.project)
    if not form.is_valid():
        return list_page(request, alias_form=form)
    alias = services.save_alias(request.project, user=current_user(request), **form.cleaned_data)
    messages.success(request, f"“{alias.old_name}” is answered by “{alias.model}” from now on.")
    return redirect("providers:provider_list", request.project.slug)


@require_POST
@project_page(Role.ADMIN)
def delete_alias(request: ProjectRequest, pk: int) -> HttpResponse:
    """Take an old name away."""
    alias = get_object_or_404(ModelAlias, pk=pk, project=request.project)
    services.delete_alias(alias, user=current_user(request))
    messages.success(request, f"“{alias.old_name}” stands for no other model any more.")
    return redirect("providers:provider_list", request.project.slug)


@require_POST
@project_page(Role.ENGINEER)
def test_connection(request: ProjectRequest, name: str) -> HttpResponse:
    """Ask a provider for its models, or one model for a word; show how long it took, or what went wrong."""
    result = tested(request, name)
    if request.wants_partial:
        return render(request, "providers/_provider_test.html", {"test": result})
    return list_page(request, test=result)


def tested(request: ProjectRequest, name: str) -> TestResult:
    try:
        found = queries.resolve_named(request.project, name)
        if found is None:
            raise Http404(f"There is no provider {name!r} here.")
        resolved, model = found
        connection = async_to_sync(check_connection)(ModelClient(request.project, worker="page"), resolved, model)
    except (ProviderError, UnknownModel) as error:
        return TestResult(name, error=str(error))
    provider = Provider.objects.filter(project=request.project, name=name).first()
    wanted = [str(model) for model in provider.model_names if not str(model).endswith("*")] if provider else []
    unlisted = [model for model in wanted if connection.models is not None and model not in connection.models]
    return TestResult(name, connection.latency_ms, connection.models, unlisted)


async def check_connection(client: ModelClient, resolved: Resolved, model: str) -> Connection:
    try:
        return await client.check(resolved, model=model)
    finally:
        await client.aclose()
