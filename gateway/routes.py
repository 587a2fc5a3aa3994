"""How our own client reaches the scripted models: over HTTP where a server of ours runs, else in this process.

Both ways the real openai client makes the request and reads the answer; in process only the network is left out.
"""

from django.conf import settings

from accounts.access import internal_token
from accounts.models import Project
from gateway.completions import SCRIPTED_PREFIX
from gateway.scripted import MODELS, PRICES
from providers.transports import Route, register_transport

IN_PROCESS_URL = "http://scripted.invalid/v1"  # a name that no network can have


def connect(project: Project) -> Route:
    """Return the way to the scripted models: our own server where `serve` says that it runs, else this process."""
    if settings.SELF_URL:
        return Route(settings.SELF_URL.rstrip("/") + "/v1", internal_token(project))
    from gateway.transport import InProcessTransport  # httpx2 is slow to import: when it is needed

    return Route(IN_PROCESS_URL, "in-process", InProcessTransport())


def register() -> None:
    """Make the scripted models known to the providers."""
    register_transport(SCRIPTED_PREFIX, connect, models=MODELS, prices=PRICES)
