"""The real `openai` client against a live server, with a model server of ours behind it; runs are worked on by the engine itself."""

import asyncio
import threading
import time

import httpx2  # noqa: F401  # before threads: the client looks whether it is loaded
import openai
import pytest
from django.db import close_old_connections, connections

from evals import services
from evals.models import Run
from providers.models import Provider


@pytest.fixture
def api(live_server, project, provider_server):
    """An `openai` client of the default project, in which the models `echo` and `judge` are answered by `provider_server`."""
    Provider.objects.create(
        project=project,
        name="test server",
        base_url=provider_server.base_url,
        model_names=["echo", "judge"],
    )
    client = openai.OpenAI(base_url=f"{live_server.url}/v1", api_key="any", max_retries=0)
    yield client
    client.close()
    close_old_connections()


@pytest.fixture
def server(provider_server):
    return provider_server


def work_on(run_id: str) -> None:
    """Pump a run to its end, as a worker does."""
    failures: list[BaseException] = []

    def pump() -> None:
        try:
            run = Run.objects.get(public_id=run_id)
            asyncio.run(services.pump_run(run.pk, worker=f"test:1:{time.time_ns()}"))
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=pump)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


@pytest.fixture
def finish(api):
    """Work on a run and return it as the API answers it then."""

    def finish_run(run):
        work_on(run.id)
        return api.evals.runs.retrieve(run.id, eval_id=run.eval_id)

    return finish_run
