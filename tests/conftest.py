"""Fixtures for every test: login off (as on loopback) unless a test asks for it, and the shared data where it is there."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(autouse=True)
def login_off(settings):
    settings.LOGIN_REQUIRED = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick: no test is about hashing
    settings.ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]


@pytest.fixture(autouse=True)
def fresh_word_lists():
    """Keys of rows come again in another test; outside tests they never do."""
    from traces import text_queries

    text_queries.lists.clear()


@pytest.fixture
def login_on(settings, login_off):
    settings.LOGIN_REQUIRED = True


@pytest.fixture
def project(db):
    from tests.factories import make_project

    return make_project(slug="default", name="Default")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real payloads and runs that lies beside the project; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("shared/ is not beside the project: no real payloads and runs to test with")
    return SHARED


@pytest.fixture
def provider_server():
    """An OpenAI-compatible server of ours on loopback; see tests/provider_server.py for its modes."""
    from tests.provider_server import ProviderServer

    with ProviderServer() as server:
        yield server


class HeldRecorder:
    """Stands for the recorder of proxied calls: keeps what it is given until a test writes it, in the test's own thread."""

    def __init__(self) -> None:
        self.entries = []

    def book(self, exchange, project_pk, *, keeps_trace):
        from gateway.book import Booking, write_calls
        from gateway.recorder import new_call

        booking = Booking(new_call(exchange, project_pk, keeps_trace=keeps_trace))
        write_calls([booking.call])
        booking.is_written.set()
        return booking

    def put(self, entry) -> bool:
        self.entries.append(entry)
        return True

    def flush(self, timeout_s: float = 0.0) -> bool:
        from gateway.book import Bookkeeper
        from gateway.recorder import Writer

        batch, self.entries = self.entries, []
        if batch:
            Writer(Bookkeeper()).write(batch)
        return True


@pytest.fixture(autouse=True)
def held_recorder():
    """No test has a thread that writes behind its back; one that asks for this writes what was proxied by `flush`."""
    from gateway import proxy, recorder

    proxy.known.clear()
    before = recorder.Current.recorder, recorder.Current.pid
    held = HeldRecorder()
    recorder.Current.recorder, recorder.Current.pid = held, os.getpid()
    yield held
    recorder.Current.recorder, recorder.Current.pid = before
