"""The OpenAI-compatible endpoints for programs: the project's models, and the recording proxy to them."""

from django.http import HttpResponseBase, JsonResponse

from accounts.access import ApiError, ProjectRequest, api_view
from gateway import completions, proxy
from providers.registry import model_choices


@api_view(methods=("POST",))
def chat_completions(request: ProjectRequest) -> HttpResponseBase:
    """Answer a chat-completions request by the model's provider, as a whole or as server-sent events, and record it."""
    return proxy.answer(request, proxy.CHAT)


@api_view(methods=("POST",))
def responses(request: ProjectRequest) -> HttpResponseBase:
    """Answer a Responses request by the model's provider, as a whole or as server-sent events, and record it."""
    return proxy.answer(request, proxy.RESPONSES)


@api_view()
def models(request: ProjectRequest) -> HttpResponseBase:
    """List the models that the project can name."""
    rows = [completions.model_entry(choice.name, choice.provider) for choice in model_choices(request.project)]
    return JsonResponse({"object": "list", "data": rows})


@api_view()
def model(request: ProjectRequest, name: str) -> HttpResponseBase:
    """Return one of the models."""
    found = next((choice for choice in model_choices(request.project) if choice.name == name), None)
    if found is None:
        raise ApiError(404, f"There is no model `{name[:100]}` here.", param="model", code="model_not_found")
    return JsonResponse(completions.model_entry(found.name, found.provider))
