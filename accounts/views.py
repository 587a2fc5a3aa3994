"""Pages of sign-in, set-up, the account, the choice of projects, and a project's settings."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import queries, services
from accounts.access import ProjectRequest, current_user, may_create_projects, project_page, visible_projects
from accounts.addresses import client_address
from accounts.forms import KeyForm, MemberForm, PasswordForm, ProjectForm, RenameForm, RoleForm, SetUpForm, SignInForm
from accounts.middleware import LAST_PROJECT, open_view
from accounts.models import ApiKey, Membership, Role
from accounts.services import AccountError

# Coming in -------------------------------------------------------------------------------------------------------


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Go to the only project or to the last one; with several and no last one, let the person choose."""
    projects = visible_projects(request.user)
    last = request.COOKIES.get(LAST_PROJECT)
    chosen = next((project for project in projects if project.slug == last or len(projects) == 1), None)
    return redirect("evals:overview", chosen.slug) if chosen else redirect("accounts:projects")


def next_address(request: HttpRequest) -> str:
    """Return where to go after signing in; an address of another host is not followed."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else resolve_url(settings.LOGIN_REDIRECT_URL)


@open_view
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Let a person in; too many wrong passwords are answered 429 without trying."""
    if not settings.LOGIN_REQUIRED or request.user.is_authenticated:
        return redirect(next_address(request))
    address = client_address(
        request.META.get("REMOTE_ADDR", ""), request.headers.get("X-Forwarded-For", ""), settings.TRUSTED_PROXIES
    )
    form, status = SignInForm(request), 200
    if request.method == "POST":
        username = request.POST.get("username", "")
        form, status = SignInForm(request, data=request.POST), 422
        if services.is_throttled(username, address):
            form = SignInForm(request)
            note = f"Too many wrong passwords. Wait {services.THROTTLE_MINUTES} minutes, then try again."
            return render(
                request,
                "accounts/sign_in.html",
                {"form": form, "next": next_address(request), "note": note},
                status=429,
            )
        if form.is_valid():
            services.forget_failures(username, address)
            login(request, form.get_user())
            return redirect(next_address(request))
        services.record_failure(username, address)
    context = {"form": form, "next": next_address(request), "needs_setup": services.needs_setup()}
    return render(request, "accounts/sign_in.html", context, status=status)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("accounts:sign_in")


@open_view
@never_cache
@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "POST"])
def set_up(request: HttpRequest, token: str) -> HttpResponse:
    """Make the first admin from the one-time link that `serve` printed, and sign them in."""
    if services.find_setup_link(token) is None:
        return render(request, "accounts/set_up_over.html", status=404)
    form = SetUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = services.use_setup_link(
                token, username=form.cleaned_data["username"], password=form.cleaned_data["password1"]
            )
        except AccountError:
            return render(request, "accounts/set_up_over.html", status=404)
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        messages.success(request, f"Welcome, {user.username}. You are the admin of this server.")
        return redirect("accounts:home")
    return render(request, "accounts/set_up.html", {"form": form}, status=422 if request.method == "POST" else 200)


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Show who is signed in, and let them change their password."""
    user = current_user(request)
    if user is None:
        raise Http404("Login is off: there is no account to show.")
    form = PasswordForm(user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        update_session_auth_hash(request, user)  # other browsers are signed out, this one stays
        services.write_audit("user.password", user.username, user=user)
        messages.success(request, "Password changed. You were signed out everywhere else.")
        return redirect("accounts:account")
    memberships = Membership.objects.filter(user=user).select_related("project").order_by("project__name")
    context = {"form": form, "memberships": memberships}
    return render(request, "accounts/account.html", context, status=422 if request.method == "POST" else 200)


@require_http_methods(["GET", "POST"])
def projects(request: HttpRequest) -> HttpResponse:
    """List the projects that the person may see; make a new one."""
    may_create = may_create_projects(request.user)
    form = ProjectForm(request.POST or None)
    if request.method == "POST":
        if not may_create:
            raise PermissionDenied("Only an admin of the server makes projects.")
        if form.is_valid():
            project = services.create_project(
                form.cleaned_data["name"], slug=form.cleaned_data["slug"], user=current_user(request)
            )
            return redirect("evals:overview", project.slug)
    context = {"form": form, "may_create": may_create}
    return render(request, "accounts/project_list.html", context, status=422 if request.method == "POST" else 200)


# Settings of a project -------------------------------------------------------------------------------------------


def render_settings(request: ProjectRequest, *, status: int = 200, **forms: Any) -> HttpResponse:
    page = queries.settings_page(request.project)
    context = {
        "page": page,
        "role_choices": [*Role.choices, ("remove", "Remove from project")],
        "rename_form": RenameForm(initial={"name": request.project.name}),
        "key_form": KeyForm(),
        "member_form": MemberForm(),
        "is_admin": request.role == Role.ADMIN,
        **forms,
    }
    return render(request, "accounts/settings.html", context, status=status)


@require_GET
@project_page(Role.VIEWER)
def project_settings(request: ProjectRequest) -> HttpResponse:
    """Show name, keys, members and latest changes; only admins may change them."""
    return render_settings(request)


@require_POST
@project_page(Role.ADMIN)
def rename_project(request: ProjectRequest) -> HttpResponse:
    form = RenameForm(request.POST)
    if not form.is_valid():
        return render_settings(request, status=422, rename_form=form)
    services.rename_project(request.project, form.cleaned_data["name"], user=current_user(request))
    messages.success(request, "Name changed.")
    return redirect("accounts:settings", request.project.slug)


@never_cache
@require_POST
@project_page(Role.ADMIN)
def create_key(request: ProjectRequest) -> HttpResponse:
    """Make a key. The answer is the page itself, not a redirect: the key's text is nowhere but in it."""
    form = KeyForm(request.POST)
    if not form.is_valid():
        return render_settings(request, status=422, key_form=form)
    key, text = services.create_api_key(request.project, user=current_user(request), **form.cleaned_data)
    return render_settings(request, new_key=key, new_key_text=text)


@require_POST
@project_page(Role.ADMIN)
def revoke_key(request: ProjectRequest, pk: int) -> HttpResponse:
    key = get_object_or_404(ApiKey, pk=pk, project=request.project)
    services.revoke_api_key(key, user=current_user(request))
    messages.success(request, f"The key {key.prefix}… ({key.name}) is revoked.")
    return redirect("accounts:settings", request.project.slug)


@require_POST
@project_page(Role.ADMIN)
def add_member(request: ProjectRequest) -> HttpResponse:
    form = MemberForm(request.POST)
    if not form.is_valid():
        return render_settings(request, status=422, member_form=form)
    member, role = form.cleaned_data["username"], Role(form.cleaned_data["role"])
    try:
        services.change_role(request.project, member, role, user=current_user(request))
    except AccountError as error:
        form.add_error(None, str(error))
        return render_settings(request, status=422, member_form=form)
    messages.success(request, f"{member.username} is {role.label.lower()} here now.")
    return redirect("accounts:settings", request.project.slug)


@require_POST
@project_page(Role.ADMIN)
def change_member(request: ProjectRequest, pk: int) -> HttpResponse:
    """Give a member another role, or remove them."""
    membership = get_object_or_404(Membership.objects.select_related("user"), pk=pk, project=request.project)
    form = RoleForm(request.POST)
    if not form.is_valid():
        return render_settings(request, status=422, member_error="Choose one of the roles.")
    chosen = form.cleaned_data["role"]
    role = None if chosen == "remove" else Role(chosen)
    try:
        services.change_role(request.project, membership.user, role, user=current_user(request))
    except AccountError as error:
        return render_settings(request, status=422, member_error=str(error))
    name = membership.user.username
    messages.success(
        request, f"{name} is {role.label.lower()} here now." if role else f"{name} was removed from the project."
    )
    return redirect("accounts:settings", request.project.slug)
