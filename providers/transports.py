"""The hook through which rooms above serve models of their own: they register here, and providers never imports them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accounts.models import Project

if TYPE_CHECKING:
    import httpx2


@dataclass(frozen=True)
class Route:
    """Where a registered model answers. With `transport` the client asks it in place of the network."""

    base_url: str
    api_key: str = field(repr=False)
    transport: "httpx2.AsyncBaseTransport | None" = None


@dataclass(frozen=True)
class Registered:
    """Models whose names start with `prefix`. `prices` are made up: USD for a million (input, output) tokens."""

    prefix: str
    connect: Callable[[Project], Route]
    models: dict[str, str]  # name -> one line about it
    prices: dict[str, tuple[float, float]]


registered: dict[str, Registered] = {}


def register_transport(
    prefix: str,
    connect: Callable[[Project], Route],
    *,
    models: dict[str, str],
    prices: dict[str, tuple[float, float]],
) -> None:
    """Serve the models of a prefix by `connect`. The last to register a prefix wins."""
    registered[prefix] = Registered(prefix, connect, models, prices)


def find_transport(model: str) -> Registered | None:
    """Return who serves a model by registration, or None."""
    return next((entry for prefix, entry in registered.items() if model.startswith(prefix)), None)


def scripted_models() -> dict[str, str]:
    """Return the registered models with a line about each."""
    return {name: about for entry in registered.values() for name, about in entry.models.items()}
