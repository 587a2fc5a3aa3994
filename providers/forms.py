"""The form of a provider: where it is, which models it answers, and where its key comes from."""

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import Project
from providers.addresses import problem_of_url
from providers.models import ModelAlias, Provider
from providers.registry import RESERVED_NAMES, SCRIPTED_PREFIX, UnknownModel, resolve_name

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:_KEY|_TOKEN)", re.IGNORECASE)
KEY_SOURCES = [
    ("stored", "Markbook keeps it, encrypted"),
    ("env", "It is in an environment variable of the server"),
    ("none", "None is needed"),
]
MAX_MODELS = 500


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def clean_base_url(text: str) -> str:
    """Return a base URL without its last slash. Raises ValidationError saying what is wrong and what to give."""
    text = text.strip()
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValidationError("This is not an address; give one such as https://api.example.com/v1.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValidationError(
            "Give an address that starts with https:// or http://, such as https://api.example.com/v1."
        )
    if parts.username is not None or parts.password is not None:
        raise ValidationError("Leave user name and password out of the address; the key has a field of its own.")
    if parts.query or parts.fragment or re.search(r"[\s\\\x00-\x1f]", text):
        raise ValidationError("The address may not hold spaces, ? or #.")
    if parts.path.rstrip("/").endswith(("/chat/completions", "/models", "/completions")):
        raise ValidationError("Give the address up to /v1, without what comes after it.")
    problem = problem_of_url(text)
    if problem:
        raise ValidationError(problem)
    return text.rstrip("/")


def warning_for(base_url: str) -> str:
    """Return a warning where the key and the messages would travel in the clear, else an empty text."""
    parts = urlsplit(base_url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        return "Key and messages travel unencrypted to this address. Use https:// unless you trust the network between."
    return ""


def origin(base_url: str) -> str:
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}".lower()


class ProviderForm(forms.Form):
    """A provider, new or changed. `may_name_environment`: the person runs the server, so its variables are theirs to use."""

    name = forms.SlugField(
        max_length=60,
        error_messages={"invalid": "Use letters, digits, - and _ only."},
        help_text="Short, for example openai or office-gpu. It is shown beside every call.",
    )
    base_url = forms.CharField(
        max_length=500,
        label="Base URL",
        help_text="The address of an OpenAI-compatible API, up to /v1.",
        widget=forms.TextInput(
            attrs={"placeholder": "https://api.example.com/v1", "class": "mono", "inputmode": "url"}
        ),
    )
    model_names = forms.CharField(
        label="Models",
        help_text="One on each line. A name that ends in * claims all that start so; the longest match wins.",
        widget=forms.Textarea(
            attrs={"rows": 4, "placeholder": "gpt-4o\nqwen*", "class": "mono", "spellcheck": "false"}
        ),
    )
    key_source = forms.ChoiceField(
        label="Where is the key?", choices=KEY_SOURCES, initial="stored", widget=forms.RadioSelect
    )
    api_key = forms.CharField(
        required=False,
        max_length=1000,
        label="API key",
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "class": "mono"}),
    )
    api_key_env = forms.CharField(
        required=False,
        max_length=120,
        label="Environment variable",
        help_text="Its name must end in _KEY or _TOKEN.",
        widget=forms.TextInput(attrs={"placeholder": "EXAMPLE_API_KEY", "class": "mono"}),
    )
    concurrency = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=1000,
        label="Calls in flight",
        help_text="Empty: as many as the server's default.",
    )

    def __init__(
        self, *args: Any, project: Project, provider: Provider | None = None, may_name_environment: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.project, self.provider, self.may_name_environment = project, provider, may_name_environment
        if not may_name_environment and not (provider and provider.api_key_env):
            del self.fields["api_key_env"]
            self.fields["key_source"].choices = [choice for choice in KEY_SOURCES if choice[0] != "env"]  # type: ignore[attr-defined]
        if provider and provider.api_key_encrypted:
            self.fields["api_key"].help_text = "A key is stored. Leave this empty to keep it; it is not shown again."
        else:
            self.fields["api_key"].help_text = "It is shown to nobody after this."

    @staticmethod
    def initial_of(provider: Provider) -> dict[str, Any]:
        """Return what the form shows of a provider; never its key."""
        source = "env" if provider.api_key_env else "stored" if provider.api_key_encrypted else "none"
        return {
            "name": provider.name,
            "base_url": provider.base_url,
            "model_names": "\n".join(str(name) for name in provider.model_names),
            "key_source": source,
            "api_key_env": provider.api_key_env,
            "concurrency": provider.concurrency or None,
        }

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name.lower() in RESERVED_NAMES:
            raise ValidationError(f"“{name}” is the name of a provider that is always there; choose another.")
        others = Provider.objects.filter(project=self.project, name__iexact=name)
        if self.provider is not None:
            others = others.exclude(pk=self.provider.pk)
        if others.exists():
            raise ValidationError(f"There is a provider “{name}” already.")
        return name

    def clean_base_url(self) -> str:
        return clean_base_url(self.cleaned_data["base_url"])

    def clean_model_names(self) -> list[str]:
        names = [part.strip() for part in re.split(r"[\n,]", self.cleaned_data["model_names"])]
        names = list(dict.fromkeys(name for name in names if name))
        if not names:
            raise ValidationError("Name at least one model, or * for all that no other provider claims.")
        if len(names) > MAX_MODELS:
            raise ValidationError(f"{len(names)} names are too many; use prefixes that end in *.")
        for name in names:
            if len(name) > 200:
                raise ValidationError(f"“{name[:40]}…” is longer than 200 characters.")
            if "*" in name[:-1]:
                raise ValidationError(f"“{name}”: * may only stand at the end.")
            if name.startswith(SCRIPTED_PREFIX):
                raise ValidationError(
                    f"“{name}”: names that start with {SCRIPTED_PREFIX} belong to the scripted models."
                )
        return names

    def clean_api_key(self) -> str:
        key = str(self.cleaned_data["api_key"]).strip()
        if key and (not key.isascii() or re.search(r"[\s\x00-\x1f]", key)):
            raise ValidationError("A key has no spaces and only plain letters, digits and signs. Copy it once more.")
        return key

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        source, moved = data.get("key_source"), self.has_moved(data.get("base_url") or "")
        if source == "stored" and not data.get("api_key") and not self.has_error("api_key"):
            if self.provider is None or not self.provider.api_key_encrypted:
                self.add_error("api_key", "Enter the key, or say that none is needed.")
            elif moved:
                self.add_error(
                    "api_key",
                    "The address changed. Enter the key again: a stored key goes only to the address that it was entered for.",
                )
        if source == "env":
            self.check_environment(data, moved)
        return data

    def check_environment(self, data: dict[str, Any], moved: bool) -> None:
        name = str(data.get("api_key_env") or "")
        was = self.provider.api_key_env if self.provider else ""
        if not self.may_name_environment and (moved or name != was):
            self.add_error(
                "api_key_env", "Only an admin of the server may send one of its variables to another address."
            )
        elif (
            not ENV_NAME.fullmatch(name)
            or name.upper().startswith(("MARKBOOK_", "DJANGO_"))
            or "SECRET" in name.upper()
        ):
            self.add_error(
                "api_key_env", "Give the name of a variable that holds a provider's key, such as EXAMPLE_API_KEY."
            )

    def has_moved(self, base_url: str) -> bool:
        return self.provider is None or origin(base_url) != origin(self.provider.base_url)


class AliasForm(forms.Form):
    """An old name and the model that answers in its place. One step only, so that nothing can go round in a circle."""

    old_name = forms.CharField(
        label="Old name", max_length=200, help_text="As evals and programs ask for it, for example gpt-4o-2024-05-13."
    )
    model = forms.CharField(
        label="Answered by", max_length=200, help_text="A model that a provider here answers, or a scripted one."
    )

    def __init__(self, *args: Any, project: Project, **options: Any) -> None:
        super().__init__(*args, **options)
        self.project = project

    def clean_old_name(self) -> str:
        name = clean_model_name(self.cleaned_data["old_name"])
        if name.startswith(SCRIPTED_PREFIX):
            raise ValidationError(f"Names that start with {SCRIPTED_PREFIX} belong to the scripted models.")
        used = ModelAlias.objects.filter(project=self.project, model=name).first()
        if used is not None:
            raise ValidationError(
                f"“{used.old_name}” stands for “{name}”, so “{name}” cannot stand for another model. Change that one first."
            )
        return name

    def clean_model(self) -> str:
        name = clean_model_name(self.cleaned_data["model"])
        chained = ModelAlias.objects.filter(project=self.project, old_name=name).first()
        if chained is not None:
            raise ValidationError(f"“{name}” is an old name itself; name “{chained.model}”, which it stands for.")
        try:
            resolve_name(self.project, name)
        except UnknownModel as error:
            raise ValidationError(str(error)) from None
        return name

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("model") and data.get("model") == data.get("old_name"):
            self.add_error("model", "This is the old name itself; name another model.")
        return data


def clean_model_name(text: str) -> str:
    """Return a model's name. Raises ValidationError for what cannot be one."""
    name = text.strip()
    if re.search(r"[\s\x00-\x1f*]", name):
        raise ValidationError("A model's name has no spaces and no *.")
    return name
