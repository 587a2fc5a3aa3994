"""Every address of the server against every role, another project's ids and keys, and odd query strings.

`PAGES` and `PROGRAMS` say who may do what. An address that neither names fails the first test, so a new one cannot be forgotten.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import services as accounts
from accounts.models import AuditEntry, Membership, Project, Role, User
from evals.models import Dataset, Grading, Item, Sample
from evals.services import CandidateSpec
from evals.services.files import create_file
from providers.models import ModelAlias, Provider
from rubrics import services as rubrics
from rubrics.models import Rubric, RubricVersion
from rubrics.standard import standard_from
from rubrics.starters import STARTERS
from tests.evals.scored import make_scored
from tests.factories import make_key, make_project, make_span
from traces.models import Note, SavedView, Trace
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db

VIEWER, REVIEWER, ENGINEER, ADMIN = Role.VIEWER, Role.REVIEWER, Role.ENGINEER, Role.ADMIN
ROLES = list(Role)
MARK = "of-the-other-project"

# Under /p/<project>: the lowest role for GET, and for POST. None: the method is not there.
PAGES: dict[str, tuple[Role | None, Role | None]] = {
    "settings": (VIEWER, None),
    "settings/name": (None, ADMIN),
    "settings/keys": (None, ADMIN),
    "settings/keys/<int:pk>/revoke": (None, ADMIN),
    "settings/members": (None, ADMIN),
    "settings/members/<int:pk>": (None, ADMIN),
    "settings/providers": (ENGINEER, None),
    "settings/providers/new": (ADMIN, ADMIN),
    "settings/providers/<int:pk>": (ADMIN, ADMIN),
    "settings/providers/<int:pk>/delete": (None, ADMIN),
    "settings/providers/old-names": (None, ADMIN),
    "settings/providers/old-names/<int:pk>/delete": (None, ADMIN),
    "settings/providers/test/<slug:name>": (None, ENGINEER),
    "traces": (VIEWER, None),
    "query-completions": (VIEWER, None),
    "send": (VIEWER, VIEWER),  # POST makes a key for an admin only: 422 with the reason for others
    "send/first-trace.json": (VIEWER, None),
    "first-run": (VIEWER, VIEWER),
    "compare-runs": (VIEWER, None),
    "reading": (VIEWER, ENGINEER),
    "views": (None, VIEWER),
    "views/<int:pk>/delete": (None, VIEWER),
    "traces/<text:trace_id>/story": (VIEWER, None),
    "traces/<text:trace_id>/notes": (None, REVIEWER),
    "traces/<text:trace_id>/notes/<int:pk>/remove": (None, REVIEWER),
    "traces/<text:trace_id>/tags": (None, REVIEWER),
    "new-traces": (VIEWER, None),
    "export-traces": (VIEWER, VIEWER),
    "sessions": (VIEWER, None),
    "agents": (VIEWER, None),
    "agents/<text:name>": (VIEWER, None),
    "sessions/<text:session_id>": (VIEWER, None),
    "traces/<text:trace_id>/spans.json": (VIEWER, None),
    "traces/<text:trace_id>/calls.json": (VIEWER, None),
    "traces/<text:trace_id>/value": (VIEWER, None),
    "traces/<text:trace_id>/conversation": (VIEWER, None),
    "traces/<text:trace_id>/timeline": (VIEWER, None),
    "traces/<text:trace_id>": (VIEWER, None),
    "rubrics": (VIEWER, None),
    "rubrics/new": (ENGINEER, ENGINEER),
    "rubrics/<slug:slug>": (VIEWER, ENGINEER),
    "rubrics/<slug:slug>/preview": (None, VIEWER),
    "rubrics/<slug:slug>/archive": (None, ENGINEER),
    "rubrics/<slug:slug>/v<int:number>": (VIEWER, None),
    "scores": (VIEWER, None),
    "scores/<text:trace_id>": (VIEWER, None),
    "": (VIEWER, None),
    "overview": (VIEWER, None),
    "datasets": (VIEWER, None),
    "new-dataset": (ENGINEER, ENGINEER),
    "dataset-from-traces": (None, ENGINEER),
    "dataset-picker": (ENGINEER, None),
    "grade-traces": (None, ENGINEER),
    "gradings/<int:pk>": (VIEWER, None),
    "gradings/<int:pk>/cancel": (None, ENGINEER),
    "datasets/<slug:dataset_slug>": (VIEWER, None),
    "datasets/<slug:dataset_slug>/revisions": (VIEWER, None),
    "datasets/<slug:dataset_slug>/export.jsonl": (VIEWER, None),
    "datasets/<slug:dataset_slug>/add": (ENGINEER, ENGINEER),
    "datasets/<slug:dataset_slug>/import": (ENGINEER, ENGINEER),
    "datasets/<slug:dataset_slug>/items/<int:pk>": (ENGINEER, ENGINEER),
    "datasets/<slug:dataset_slug>/items/<int:pk>/remove": (None, ENGINEER),
    "comparisons": (VIEWER, None),
    "comparisons/new": (ENGINEER, ENGINEER),
    "comparisons/<int:pk>": (VIEWER, None),
    "comparisons/<int:pk>/steer": (None, ENGINEER),
    "comparisons/<int:pk>/export.csv": (VIEWER, None),
    "comparisons/<int:pk>/export.jsonl": (VIEWER, None),
    # Last: what they take away is a 404 afterwards.
    "datasets/<slug:dataset_slug>/delete": (ENGINEER, ENGINEER),
    "traces/<text:trace_id>/delete": (ENGINEER, ENGINEER),
    "sessions/<text:session_id>/delete": (ENGINEER, ENGINEER),
    "settings/delete": (ADMIN, ADMIN),
}
# For programs: the methods, and the scope that a key needs (r: read for GET, write for the rest; i: ingest).
PROGRAMS: dict[str, tuple[str, str]] = {
    "v1/traces": ("POST", "i"),
    "v1/traces/ingest": ("POST", "i"),
    "v1/logs": ("POST", "i"),
    "v1/metrics": ("POST", "i"),
    "api/traces": ("GET", "r"),
    "api/traces/<text:trace_id>": ("GET", "r"),
    "api/comparisons": ("GET", "r"),
    "api/comparisons/<int:pk>": ("GET", "r"),
    "api/comparisons/<int:pk>/samples": ("GET", "r"),
    "api/scores": ("GET", "r"),
    "v1/models": ("GET", "r"),
    "v1/models/<path:name>": ("GET", "r"),
    "v1/chat/completions": ("POST", "r"),
    "v1/responses": ("POST", "r"),
    "v1/evals": ("GET POST", "r"),
    "v1/evals/<str:eval_id>": ("GET POST DELETE", "r"),
    "v1/evals/<str:eval_id>/runs": ("GET POST", "r"),
    "v1/evals/<str:eval_id>/runs/<str:run_id>": ("GET POST DELETE", "r"),
    "v1/evals/<str:eval_id>/runs/<str:run_id>/cancel": ("POST", "r"),
    "v1/evals/<str:eval_id>/runs/<str:run_id>/output_items": ("GET", "r"),
    "v1/evals/<str:eval_id>/runs/<str:run_id>/output_items/<str:item_id>": ("GET", "r"),
    "v1/files": ("GET POST", "r"),
    "v1/files/<str:file_id>": ("GET DELETE", "r"),
    "v1/files/<str:file_id>/content": ("GET", "r"),
    "v1/fine_tuning/alpha/graders/run": ("POST", "r"),
    "v1/fine_tuning/alpha/graders/validate": ("POST", "r"),
}
# For everybody who has signed in, and those that are open to all.
SIGNED_IN = {"": "GET", "account": "GET", "projects": "GET", "sign-out": "POST"}
OPEN = {"sign-in": "GET", "setup/<str:token>": "GET", "favicon.ico": "GET", "healthz": "GET", "readyz": "GET"}
OPEN |= {"theme": "POST", "patterns": "GET"}
UNDER = "p/<slug:project_slug>"
# How an address that is a regular expression is called.
PLAIN = {
    "otlp_traces": "v1/traces",
    "agents_ingest": "v1/traces/ingest",
    "otlp_logs": "v1/logs",
    "otlp_metrics": "v1/metrics",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def addresses(patterns: Any = None, before: str = "") -> Iterator[str]:
    """Give every address of the server as it is written in its urls."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, before + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            yield PLAIN.get(pattern.name or "") or before + str(pattern.pattern)


@dataclass
class World:
    """A project with one of everything, and how an address of it is filled."""

    project: Project
    trace: Trace
    ids: dict[str, dict[str, Any]]

    def fill(self, address: str) -> str:
        """Write the address with the ids of this project."""
        found = {**self.ids["any"]}
        for start, ids in self.ids.items():
            if address.startswith(start):
                found |= ids
        for name, value in found.items():
            for kind in ("int", "str", "slug", "text", "path"):
                address = address.replace(f"<{kind}:{name}>", str(value))
        return address


def make_world(slug: str, mark: str) -> World:
    project = make_project(slug=slug, name=f"Project {mark}")
    span = make_span(name=mark, input=f"{mark} asks", output=f"{mark} answers", session_id=f"session-{mark}")
    ingest_spans(project, [span])
    trace = Trace.objects.get(project=project)
    comparison = make_scored(
        project, [[1.0, 0.0]], name=f"Comparison {mark}", candidates=[CandidateSpec(model=f"model-{mark}")]
    )
    rubric = rubrics.create_rubric(
        project, name=f"Rubric {mark}", standard=standard_from({**STARTERS["outcome"], "name": f"Rubric {mark}"})
    )
    rubrics.publish_version(rubric)
    member = User.objects.create(username=f"member-{mark}")
    Membership.objects.create(project=project, user=member, role=VIEWER)
    provider = Provider.objects.create(project=project, name=f"gate-{mark}", base_url="http://127.0.0.1:9/v1")
    alias = ModelAlias.objects.create(project=project, old_name=f"old-{mark}", model="demo/careful")
    key, _text = accounts.create_api_key(project, name=f"key {mark}")
    run = comparison.runs.get()
    sample = Sample.objects.filter(run=run).first()
    dataset = Dataset.objects.get(project=project)
    file = create_file(project, [f'{{"item": "{mark}"}}\n'.encode()], filename=f"{mark}.jsonl", purpose="evals")
    note = Note.objects.create(trace=trace, project=project, text=f"note {mark}")
    view = SavedView.objects.create(project=project, name=f"view {mark}", is_shared=True)
    version = comparison.eval.eval_graders.get().grader_version
    grading = Grading.objects.create(
        project=project, query=f"{mark} asks", grader_version=version, asked=1, last_trace=0
    )
    under = f"{UNDER}/"
    return World(
        project,
        trace,
        {
            "any": {
                "project_slug": project.slug,
                "trace_id": trace.trace_id,
                "session_id": f"session-{mark}",
                "dataset_slug": dataset.slug,
                "slug": rubric.slug,
                "number": 1,
                "name": provider.name,
                "token": "none",
                "pk": comparison.pk,
                "eval_id": comparison.eval.public_id,
                "run_id": run.public_id,
                "item_id": sample.public_id,
                "file_id": file.public_id,
            },
            f"{under}settings/keys/": {"pk": key.pk},
            f"{under}settings/members/": {"pk": member.pk},
            f"{under}settings/providers/": {"pk": provider.pk},
            f"{under}settings/providers/old-names/": {"pk": alias.pk},
            f"{under}views/": {"pk": view.pk},
            f"{under}gradings/": {"pk": grading.pk},
            f"{under}traces/": {"pk": note.pk},
            f"{under}datasets/": {"pk": Item.objects.filter(dataset=dataset).first().pk},
        },
    )


@pytest.fixture
def ours(settings, login_on) -> World:
    settings.PROVIDER_ATTEMPTS = 1
    return make_world("ours", "mine")


@pytest.fixture
def theirs(ours) -> World:
    return make_world("theirs", MARK)


def person(world: World, role: Role | None) -> Client:
    user = User.objects.create(username=f"{role or 'nobody'}-person")
    if role is not None:
        Membership.objects.create(project=world.project, user=user, role=role)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def body_of(answer: Any) -> str:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return content.decode(errors="replace")


def page_address(page: str) -> str:
    return f"{UNDER}/{page}" if page else UNDER


def fingerprint(world: World) -> list[Any]:
    """Return what a project holds, so that a change of anything that the pages can change shows."""
    pk = world.project.pk
    return [
        list(Project.objects.filter(pk=pk).values_list("name", "slug")),
        sorted(Membership.objects.filter(project=pk).values_list("user", "role")),
        sorted(Provider.objects.filter(project=pk).values_list("name", "base_url")),
        sorted(ModelAlias.objects.filter(project=pk).values_list("old_name", "model")),
        sorted(Note.objects.filter(project=pk).values_list("pk", "text")),
        sorted(SavedView.objects.filter(project=pk).values_list("pk", "name")),
        sorted(Rubric.objects.filter(project=pk).values_list("slug", "name")),
        sorted(RubricVersion.objects.filter(rubric__project=pk).values_list("pk", "number")),
        sorted(Item.objects.filter(dataset__project=pk).values_list("pk", "valid_to")),
        sorted(Sample.objects.filter(run__project=pk).values_list("pk", "status")),
        sorted(Grading.objects.filter(project=pk).values_list("pk", "status")),
        sorted(Trace.objects.filter(project=pk).values_list("trace_id", "span_count")),
        AuditEntry.objects.filter(project=pk).count(),
    ]


# The rules -------------------------------------------------------------------------------------------------------


def test_every_address_has_a_rule_and_every_rule_an_address():
    rules = {page_address(page) for page in PAGES} | set(PROGRAMS) | set(SIGNED_IN) | set(OPEN)
    assert sorted(set(addresses()) - rules) == [], "say in this file who may use it"
    assert sorted(rules - set(addresses())) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_member_may_do_what_the_role_allows_and_no_more(ours, role):
    client = person(ours, role)
    for page, needs in PAGES.items():
        for method, needed in zip(("GET", "POST"), needs, strict=True):
            answer = client.generic(method, "/" + ours.fill(page_address(page)))
            told = f"{method} {page} as {role}: {answer.status_code}"
            assert answer.status_code < 500, told
            if needed is not None:
                # What an earlier POST has taken away is a 404.
                assert (answer.status_code == 403) == (not role.allows(needed)), told
                assert answer.status_code != 405, told
            else:
                assert answer.status_code in (403, 404, 405), told
        for method in ("PUT", "PATCH", "DELETE"):
            assert client.generic(method, "/" + ours.fill(page_address(page))).status_code in (403, 404, 405)


def test_a_person_of_another_project_sees_and_changes_nothing(ours, theirs):
    client, before = person(ours, ADMIN), fingerprint(theirs)
    for page in PAGES:
        foreign = "/" + theirs.fill(page_address(page))
        for method in METHODS:
            answer = client.generic(method, foreign)
            assert answer.status_code in (404, 405), f"{method} {foreign}: {answer.status_code}"
            assert MARK not in body_of(answer).replace(foreign, ""), foreign
        mixed = foreign.replace("/p/theirs", "/p/ours", 1)
        for method in METHODS:
            answer = client.generic(method, mixed)
            assert answer.status_code < 500, f"{method} {mixed}"
            shown = body_of(answer).replace(mixed.rsplit("/", 1)[0], "")
            for name in ("asks", "answers", "note", "Rubric", "Comparison", "key", "view", "Project"):
                assert f"{name} {MARK}" not in shown, f"{method} {mixed}"
                assert f"{MARK} {name}" not in shown, f"{method} {mixed}"
    assert fingerprint(theirs) == before


def test_nobody_comes_in_without_signing_in(ours):
    client, before = Client(raise_request_exception=False), fingerprint(ours)
    for page in [*map(page_address, PAGES), *SIGNED_IN]:
        for method in METHODS:
            answer = client.generic(method, "/" + ours.fill(page))
            assert answer.status_code == 302, f"{method} {page}: {answer.status_code}"
            assert answer["Location"].startswith("/sign-in"), page
    for address, method in OPEN.items():
        assert client.generic(method, "/" + ours.fill(address)).status_code in (200, 204, 302, 404), address
    assert fingerprint(ours) == before


# Programs --------------------------------------------------------------------------------------------------------


def needed_scope(kind: str, method: str) -> str:
    return "ingest" if kind == "i" else "read" if method == "GET" else "write"


@pytest.mark.parametrize("scope", ["ingest", "read", "write"])
def test_a_key_may_do_what_its_scope_says_and_no_more(ours, scope):
    headers = {"authorization": f"Bearer {make_key(ours.project, scopes=(scope,))}"}
    client = Client(raise_request_exception=False)
    for address, (methods, kind) in PROGRAMS.items():
        for method in METHODS:
            answer = client.generic(method, "/" + ours.fill(address), b"{}", "application/json", headers=headers)
            told = f"{method} {address} with {scope}: {answer.status_code}"
            assert answer.status_code < 500, told
            if method not in methods.split():
                assert answer.status_code == 405, told
            else:
                allowed = needed_scope(kind, method) in (("write", "read") if scope == "write" else (scope,))
                assert (answer.status_code == 403) == (not allowed), told


@pytest.mark.parametrize("key", ["", "mb-wrong", "mbi-wrong", "revoked"])
def test_a_key_that_is_not_good_opens_nothing(ours, key):
    if key == "revoked":
        row, key = accounts.create_api_key(ours.project, name="old", scopes=["ingest", "read", "write"])
        accounts.revoke_api_key(row)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    client, before = Client(raise_request_exception=False), fingerprint(ours)
    for address, (methods, _kind) in PROGRAMS.items():
        for method in methods.split():
            answer = client.generic(method, "/" + ours.fill(address), b"{}", "application/json", headers=headers)
            assert answer.status_code == 401, f"{method} {address}: {answer.status_code}"
    assert fingerprint(ours) == before


def test_a_key_of_another_project_sees_and_changes_nothing(ours, theirs):
    headers = {"authorization": f"Bearer {make_key(ours.project)}", "x-markbook-project": "theirs"}
    client, before = Client(raise_request_exception=False), fingerprint(theirs)
    for address, (methods, _kind) in PROGRAMS.items():
        filled = "/" + theirs.fill(address)
        for method in methods.split():
            answer = client.generic(method, f"{filled}?project=theirs", b"{}", "application/json", headers=headers)
            assert answer.status_code < 500, f"{method} {address}"
            if "<" in address:
                assert answer.status_code in (400, 404), f"{method} {address}: {answer.status_code}"
            assert MARK not in body_of(answer).replace(f"gate-{MARK}", ""), f"{method} {address}"
    assert fingerprint(theirs) == before


# Odd query strings -----------------------------------------------------------------------------------------------

NAMES = [
    *("q", "range", "sort", "after", "before", "cursor", "limit", "span", "tab", "from", "to", "diff"),
    *("sample", "pair", "pairs", "trial", "as", "since", "at", "page", "view", "month", "volume", "minutes"),
    *("facet", "column", "columns", "trace", "dataset", "baseline", "grader", "bucket", "a", "b", "version", "sdk"),
    *("show", "item", "revision", "key", "text", "value", "start", "rows", "row", "part"),
]
ODD = [
    "",
    "\0",
    "²",
    "-1",
    "9" * 30,
    "1e400",
    "'\"<script>",
    "½\ud7ff\U0010ffff",
    "a:b:c",
    "[",
    "%",
    "NaN",
    "../..",
    "x" * 3000,
]


def odd_queries(seed: str) -> Iterator[dict[str, str]]:
    """Give queries of odd values: two with every name, others with three names each; the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(2):
        yield {name: chance.choice(ODD) for name in NAMES}
    for _ in range(6):
        yield {name: chance.choice(ODD) for name in chance.sample(NAMES, 3)}


def test_odd_query_strings_are_answered_on_every_page_and_by_every_endpoint(ours, settings):
    settings.LOGIN_REQUIRED = False
    client = Client(raise_request_exception=False)
    read = [page_address(page) for page, (needed, _) in PAGES.items() if needed is not None]
    read += [address for address, (methods, _) in PROGRAMS.items() if "GET" in methods.split()]
    for address in read:
        for query in odd_queries(address):
            for headers in ({}, {"HX-Request": "true"}):
                answer = client.get("/" + ours.fill(address), {"project": "ours", **query}, headers=headers)
                body_of(answer)
                assert answer.status_code < 500, f"{address} {query}"
