"""Files of /v1: uploaded, listed, read back as they were, deleted."""

import re

from django.core.exceptions import SuspiciousOperation
from django.db.models import Q
from django.http import HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.utils import timezone

from accounts.access import ApiError, ProjectRequest
from accounts.models import Project
from evals.models import File
from evals.openai_api.documents import file_document
from evals.openai_api.http import endpoint
from evals.openai_api.paging import list_document, page_of, read_page
from evals.openai_api.reading import BadRequest, one_of
from evals.services.files import MAX_FILE, FileTooLarge, create_file, delete_file, file_pieces

PURPOSES = ("evals", "fine-tune", "batch", "assistants", "vision", "user_data")
MAX_LIST = 10_000
EXPIRES_FROM, EXPIRES_TO = 3_600, 2_592_000  # seconds
MULTIPART_ROOM = 1024 * 1024  # bytes of a request beside the file


@endpoint("GET", "POST")
def files(request: ProjectRequest) -> HttpResponseBase:
    """GET and POST /v1/files."""
    return list_files(request) if request.method == "GET" else upload(request)


@endpoint("GET", "DELETE")
def one_file(request: ProjectRequest, file_id: str) -> HttpResponseBase:
    """GET and DELETE /v1/files/{file_id}."""
    file = find_file(request.project, file_id)
    if request.method == "DELETE":
        delete_file(file)
        return JsonResponse({"id": file_id, "object": "file", "deleted": True})
    return JsonResponse(file_document(file))


@endpoint("GET")
def content(request: ProjectRequest, file_id: str) -> HttpResponseBase:
    """GET /v1/files/{file_id}/content: exactly the bytes that were uploaded."""
    file = find_file(request.project, file_id)
    response = StreamingHttpResponse(file_pieces(file), content_type="application/octet-stream")
    response["Content-Length"] = str(file.byte_count)
    response["Content-Encoding"] = "identity"  # not compressed: the length is the file's
    response["Content-Disposition"] = "attachment"
    return response


def list_files(request: ProjectRequest) -> JsonResponse:
    wanted = read_page(request, default_limit=MAX_LIST, max_limit=MAX_LIST, order="desc")
    everything = living_files(request.project)
    purpose = request.GET.get("purpose")
    rows = everything.filter(purpose=purpose.replace("\x00", "")) if purpose else everything
    page, has_more = page_of(rows, everything, wanted)
    return JsonResponse(list_document([file_document(file) for file in page], has_more))


def upload(request: ProjectRequest) -> JsonResponse:
    length = request.headers.get("Content-Length", "")
    if length.isascii() and length.isdecimal() and int(length[:18]) > MAX_FILE + MULTIPART_ROOM:
        raise ApiError(413, f"The file is too large: at most {MAX_FILE // 1024 // 1024} MB are taken.", param="file")
    if not (request.content_type or "").startswith("multipart/form-data"):
        raise BadRequest("A file is sent as multipart/form-data with the parts purpose and file.", param="file")
    try:
        purpose, sent = request.POST.get("purpose"), request.FILES.get("file")
        expires = read_expiry(request)
    except (MultiPartParserError, SuspiciousOperation) as error:
        raise BadRequest(f"The multipart body cannot be read: {str(error)[:200]}", param="file") from None
    except UnreadablePostError:
        raise BadRequest("The body broke off before its end.", param="file") from None
    one_of(purpose, PURPOSES, "purpose")
    if sent is None:
        raise BadRequest("`file` is required: a part with a file name.", param="file")
    name = re.sub(r"[\x00-\x1f\x7f]", "", sent.name or "").encode("utf-8", "replace").decode() or "file"
    try:
        file = create_file(request.project, sent.chunks(), filename=name, purpose=str(purpose), expires_after_s=expires)
    except FileTooLarge as error:
        raise ApiError(413, str(error), param="file") from None
    return JsonResponse(file_document(file))


def read_expiry(request: ProjectRequest) -> int | None:
    """Return after how many seconds the file may go; None keeps it. Raises BadRequest."""
    anchor, text = request.POST.get("expires_after[anchor]"), request.POST.get("expires_after[seconds]")
    if anchor is None and text is None:
        return None
    one_of(anchor, ("created_at",), "expires_after.anchor")
    if text is None or not (
        text.isascii() and text.isdecimal() and len(text) < 13 and EXPIRES_FROM <= int(text) <= EXPIRES_TO
    ):
        raise BadRequest(
            f"`expires_after.seconds` must be {EXPIRES_FROM:,} to {EXPIRES_TO:,}.", param="expires_after.seconds"
        )
    return int(text)


def living_files(project: Project):  # type: ignore[no-untyped-def]  # a QuerySet of File
    return File.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), project=project)


def find_file(project: Project, file_id: str) -> File:
    """Return a file of the project. Raises ApiError 404 where it is not there, or not any more."""
    found: File | None = living_files(project).filter(public_id=file_id.replace("\x00", "")[:200]).first()
    if found is None:
        raise ApiError(404, f"There is no file {file_id[:100]!r}.", param="file_id", code="not_found")
    return found
