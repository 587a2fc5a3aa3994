"""The one place that decides what a request may see: projects and roles for pages, keys and scopes for programs.

Anything that a caller may not see is a 404 on pages, and for programs a 401 (no valid key) or 403 (key lacks the scope).
"""

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, cast

from django.conf import settings
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from accounts.models import ApiKey, Membership, Project, Role, Scope, User

if TYPE_CHECKING:
    from django_htmx.middleware import HtmxDetails

P = ParamSpec("P")
DEFAULT_PROJECT = "default"
INTERNAL_SALT = "markbook.internal"
INTERNAL_PREFIX = "mbi-"


class ProjectRequest(HttpRequest):
    """A request whose project and role are known. Set by `project_page` and `api_view`."""

    project: Project
    role: Role
    htmx: "HtmxDetails"
    wants_partial: bool
    is_internal: bool


# Pages -----------------------------------------------------------------------------------------------------------


def role_in(user: Any, project: Project) -> Role | None:
    """Return the user's role in the project, or None. With login off everybody is an admin."""
    if not settings.LOGIN_REQUIRED:
        return Role.ADMIN
    if not user.is_authenticated:
        return None
    if user.is_superuser:
        return Role.ADMIN
    membership = Membership.objects.filter(user=user, project=project).first()
    return Role(membership.role) if membership else None


def visible_projects(user: Any) -> list[Project]:
    """Return the projects that the user may see, by name."""
    projects = Project.objects.order_by("name")
    if settings.LOGIN_REQUIRED and not user.is_superuser:
        projects = projects.filter(memberships__user=user) if user.is_authenticated else projects.none()
    return list(projects)


def may_create_projects(user: Any) -> bool:
    """Say whether the person may make a project: an admin of the server, or anybody with login off."""
    return not settings.LOGIN_REQUIRED or bool(user.is_superuser)


def project_page(
    needed: Role = Role.VIEWER,
) -> Callable[[Callable[Concatenate[ProjectRequest, P], HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Decorate a page under /p/<project_slug>: the view gets a ProjectRequest and no slug.

    A project that does not exist or that the user may not see is a 404; a role too low is a 403 that names the role.
    """

    def decorate(view: Callable[Concatenate[ProjectRequest, P], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def wrapper(request: HttpRequest, project_slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            project = Project.objects.filter(slug=project_slug).first()
            role = role_in(request.user, project) if project else None
            if project is None or role is None:
                raise Http404(f"There is no project {project_slug!r} here, or it is not yours to see.")
            if not role.allows(needed):
                raise PermissionDenied(f"This needs the role {needed.label.lower()}; yours is {role.label.lower()}.")
            known = cast(ProjectRequest, request)
            known.project, known.role = project, role
            return view(known, *args, **kwargs)

        return wrapper

    return decorate


def current_user(request: HttpRequest) -> User | None:
    """Return the signed-in user, or None with login off."""
    return request.user if isinstance(request.user, User) else None


# Programs --------------------------------------------------------------------------------------------------------


class ApiError(Exception):
    """An answer other than 2xx for a program, in the OpenAI form. `param` names the place that is wrong."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def response(self) -> JsonResponse:
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = "server_error" if self.status >= 500 else kinds.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        response = JsonResponse({"error": error}, status=self.status)
        if self.status in (429, 503):
            response["Retry-After"] = "2"
        return response


@dataclass(frozen=True)
class Caller:
    """Who calls: a project, and whether it is our own worker (whose calls are not recorded twice)."""

    project: Project
    is_internal: bool = False


def key_digest(text: str) -> str:
    """Return the SHA-256 of a key or token, as kept in the database."""
    return hashlib.sha256(text.encode()).hexdigest()


def internal_token(project: Project) -> str:
    """Return a key, valid for a day, with which our own worker calls our own server for one project."""
    return INTERNAL_PREFIX + signing.dumps({"project": project.pk}, salt=INTERNAL_SALT)


KEY_HEADERS = ("x-api-key", "api-key", "wandb-api-key")


def sent_key(request: HttpRequest) -> str:
    """Return the key that a request carries: as Bearer, as Basic password, in Authorization alone (Logfire), or in a header
    of its own, as other products' SDKs send theirs; empty where it has none.
    """
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return value
        return password or user
    if kind and not value:
        return kind
    return next((found for name in KEY_HEADERS if (found := request.headers.get(name, "").strip())), "")


def authenticate(request: HttpRequest, scope: Scope) -> Caller:
    """Return who calls. Raises ApiError 401 without a valid key, 403 where the key or the page may not do this.

    With login off no key is needed (the project is `?project=`, `X-Markbook-Project`, else `default`). A key of ours that is
    sent must be right all the same; any other is passed over, since SDKs send some key whether or not one is needed. A page
    of another site in the user's browser may change nothing.
    """
    key = sent_key(request)
    if key.startswith(INTERNAL_PREFIX):
        try:
            claim = signing.loads(key[len(INTERNAL_PREFIX) :], salt=INTERNAL_SALT, max_age=86400)
        except signing.BadSignature:
            raise ApiError(401, "The key is not valid.", code="invalid_api_key") from None
        project = Project.objects.filter(pk=claim["project"]).first()
        if project is None:
            raise ApiError(401, "The project of this key is gone.", code="invalid_api_key")
        return Caller(project, is_internal=True)
    found = ApiKey.objects.select_related("project").filter(digest=key_digest(key)).first() if key else None
    if found is not None:
        if found.revoked_at is not None:
            raise ApiError(401, f"The key {found.prefix}… was revoked.", code="invalid_api_key")
        if not found.allows(scope):
            has = ", ".join(found.scopes)
            raise ApiError(403, f"The key {found.prefix}… lacks the scope {scope.value!r}; it has {has}.")
        now = timezone.now()
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - timedelta(minutes=1))
        if found.last_used_at is None or found.last_used_at < now - timedelta(minutes=1):
            ApiKey.objects.filter(stale, pk=found.pk).update(last_used_at=now)
        return Caller(found.project)
    if settings.LOGIN_REQUIRED:
        return session_caller(request, scope, key_sent=bool(key))
    if key.startswith("mb-"):
        raise ApiError(401, "The key is not known here; make one under Send traces.", code="invalid_api_key")
    if request.method not in ("GET", "HEAD") and is_cross_site(request):
        raise ApiError(403, "A page of another site may not call this server without a key.")
    slug = asked_slug(request)
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        raise ApiError(404, f"There is no project {slug!r}.", param="project")
    return Caller(project)


def asked_slug(request: HttpRequest) -> str:
    """Return the project that a caller without a key names, `default` where it names none."""
    slug = request.GET.get("project") or request.headers.get("X-Markbook-Project") or DEFAULT_PROJECT
    return slug.replace("\0", "")[:100]  # PostgreSQL takes no NUL


def is_cross_site(request: HttpRequest) -> bool:
    """Say whether a browser sent this for a page of another origin. Programs send neither of the two headers."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin not in (f"http://{request.get_host()}", f"https://{request.get_host()}")


def session_caller(request: HttpRequest, scope: Scope, *, key_sent: bool) -> Caller:
    """Let a signed-in person read `/api` of a project of theirs in the browser. Raises ApiError 401 or 404."""
    if key_sent or scope != Scope.READ or not request.user.is_authenticated:
        message = "The key is not valid." if key_sent else "No key was sent. Send one as `Authorization: Bearer …`."
        raise ApiError(401, message, code="invalid_api_key")
    slug = asked_slug(request)
    project = next((project for project in visible_projects(request.user) if project.slug == slug), None)
    if project is None:
        raise ApiError(404, f"There is no project {slug!r}.", param="project")
    return Caller(project)


def api_view(
    scope: Scope | None = None, *, methods: tuple[str, ...] = ("GET",)
) -> Callable[[Callable[Concatenate[ProjectRequest, P], HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Decorate an endpoint for programs: checks method and key, sets `request.project`, renders ApiError.

    Without `scope`: read for GET, write for the rest. CSRF does not apply, since cookies alone give no right to write.
    """

    def decorate(view: Callable[Concatenate[ProjectRequest, P], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @csrf_exempt  # programs send keys, not cookies: authenticate() accepts a session for reading only
        @wraps(view)
        def wrapper(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                if request.method not in methods:
                    raise ApiError(405, f"{request.method} is not allowed here; use {', '.join(methods)}.")
                caller = authenticate(request, scope or (Scope.READ if request.method == "GET" else Scope.WRITE))
                known = cast(ProjectRequest, request)
                known.project, known.is_internal = caller.project, caller.is_internal
                return view(known, *args, **kwargs)
            except ApiError as error:
                response: HttpResponse = error.response()
                if error.status == 405:
                    response["Allow"] = ", ".join(methods)
                return response

        wrapper.is_api = True  # type: ignore[attr-defined]  # read by accounts.middleware.login_required
        return wrapper

    return decorate
