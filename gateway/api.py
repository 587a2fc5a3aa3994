"""The OpenAI-compatible endpoints for programs: the project's models, and chat completions of the scripted ones."""

import time

from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.http.request import UnreadablePostError

from accounts.access import ApiError, ProjectRequest, api_view
from gateway import completions
from providers.registry import model_choices


@api_view(methods=("POST",))
def chat_completions(request: ProjectRequest) -> HttpResponseBase:
    """Answer a chat-completions request, as a whole or as server-sent events."""
    try:
        body = completions.read_request(request.body)
        completion = completions.complete(body)
    except RequestDataTooBig:
        raise ApiError(413, "The body is too large: at most 32 MB are taken.") from None
    except UnreadablePostError:
        raise ApiError(400, "The body broke off before its end.") from None
    except completions.RequestError as error:
        raise ApiError(error.status, str(error), param=error.param, code=error.code) from None
    time.sleep(completion.delay_s)
    if not body.get("stream"):
        return JsonResponse(completion.body)
    events = completions.stream(completion.body, include_usage=completions.wants_usage(body))
    response = StreamingHttpResponse((text.encode() for text in events), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["Content-Encoding"] = "identity"  # not gathered up by compression
    return response


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
