"""Settings, all of them from the environment. `docs/settings.md` lists every variable; a test compares the two."""

import os
import secrets
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from accounts.addresses import read_networks

BASE_DIR = Path(__file__).resolve().parent.parent


def env_int(name: str, default: int, *, minimum: int = 0) -> int:
    """Read a whole number from the environment. Raises ImproperlyConfigured with the name and a sample value."""
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = minimum - 1
    if value < minimum:
        raise ImproperlyConfigured(
            f"{name}={text!r} is not a whole number of {minimum} or more; for example {name}={default}."
        )
    return value


def env_choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    """Read one of a few words from the environment. Raises ImproperlyConfigured with the name and the words."""
    value = os.environ.get(name, "").lower() or default
    if value not in choices:
        raise ImproperlyConfigured(
            f"{name}={value!r} is not one of {', '.join(choices)}; for example {name}={choices[0]}."
        )
    return value


def env_networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Read addresses and networks from the environment. Raises ImproperlyConfigured with the name and a sample value."""
    text = os.environ.get(name, "")
    try:
        return read_networks(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={text!r}: {error}; for example {name}=10.0.0.7,192.168.0.0/24.") from error


def read_secret_key(data_dir: Path) -> str:
    """Return MARKBOOK_SECRET_KEY, or the key kept in the data folder, made on first use (readable by its owner only)."""
    given = os.environ.get("MARKBOOK_SECRET_KEY", "")
    if given:
        if len(given) < 32:
            raise ImproperlyConfigured(
                "MARKBOOK_SECRET_KEY is shorter than 32 characters; for example the output of `openssl rand -hex 32`."
            )
        return given
    path = data_dir / "secret_key"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        fresh = data_dir / f"secret_key.{os.getpid()}"
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        try:
            os.link(fresh, path)  # fails when another process was first: then its key is the one
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


# Where things are kept -------------------------------------------------------------------------------------------

DATA_DIR = Path(os.environ.get("MARKBOOK_DATA_DIR") or BASE_DIR / "data").resolve()
SECRET_KEY = read_secret_key(DATA_DIR)
DEBUG = env_choice("MARKBOOK_DEBUG", "off", ("on", "off")) == "on"

DATABASE_URL = os.environ.get("DATABASE_URL", "")
if DATABASE_URL:
    if urlsplit(DATABASE_URL).scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(
            "DATABASE_URL must name a PostgreSQL database, for example postgresql://user:password@127.0.0.1:5432/markbook."
        )
    DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=60, conn_health_checks=True)}
    # No statement here runs long enough to be worth compiling, which PostgreSQL would do by guessed costs.
    DATABASES["default"].setdefault("OPTIONS", {}).update({"options": "-c synchronous_commit=on -c jit=off"})
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(DATA_DIR / "markbook.sqlite3"),
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 30,
                # auto_vacuum: a new file can give room back without being written anew. FULL: a commit is on disk before it is
                # answered. The page cache is 64 MiB a connection. Ingest changes the same pages of indexes in every commit: they are
                # taken over into the file every 32 MiB of the log (8,192 pages), not every 4. The file is read, not mapped: for a
                # page that is not in memory the system reads as much around it as it reads ahead, 8 MiB on some machines.
                "init_command": (
                    "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                    "PRAGMA cache_size=-65536;"
                    "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; PRAGMA journal_size_limit=67108864;"
                    "PRAGMA wal_autocheckpoint=8192;"
                ),
            },
            "TEST": {"NAME": str(DATA_DIR / "test.sqlite3")},
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = os.environ.get("REDIS_URL", "")
QUEUE_DIR = DATA_DIR / "queue"

# Who may come in -------------------------------------------------------------------------------------------------

# Off only where `serve` binds a loopback address and says so; anything else starts with login on.
LOGIN_REQUIRED = env_choice("MARKBOOK_LOGIN", "on", ("on", "off")) == "on"
LOOPBACK_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ALLOWED_HOSTS = [host for host in os.environ.get("MARKBOOK_ALLOWED_HOSTS", "").split(",") if host] or LOOPBACK_HOSTS
# Proxies whose X-Forwarded-For is believed, so that wrong passwords are counted for each caller and not for the proxy.
TRUSTED_PROXIES = env_networks("MARKBOOK_TRUSTED_PROXIES")
CSRF_TRUSTED_ORIGINS = [origin for origin in os.environ.get("MARKBOOK_TRUSTED_ORIGINS", "").split(",") if origin]
# Behind a proxy that speaks HTTPS (the origins say so), cookies go over HTTPS only.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = bool(CSRF_TRUSTED_ORIGINS) and all(
    origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS
)
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "accounts:sign_in"
LOGIN_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
CSRF_FAILURE_VIEW = "pages.errors.csrf_failure"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"

# What comes in ---------------------------------------------------------------------------------------------------

INGEST_MAX_BYTES = env_int("MARKBOOK_INGEST_MAX_MB", 64, minimum=1) * 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000

# Models ----------------------------------------------------------------------------------------------------------

OPENAI_API_KEY = os.environ.get("OPENAI_API_KEY", "")
OPENAI_BASE_URL = os.environ.get("OPENAI_BASE_URL", "") or "https://api.openai.com/v1"
JUDGE_MODEL = os.environ.get("MARKBOOK_JUDGE_MODEL", "")
EMBEDDING_MODEL = os.environ.get("MARKBOOK_EMBEDDING_MODEL", "")
PROVIDER_CONCURRENCY = env_int("MARKBOOK_PROVIDER_CONCURRENCY", 16, minimum=1)
PROVIDER_TIMEOUT_S = env_int("MARKBOOK_PROVIDER_TIMEOUT_S", 120, minimum=1)
PROVIDER_ATTEMPTS = env_int("MARKBOOK_PROVIDER_ATTEMPTS", 5, minimum=1)
# Where this server answers, set by `serve` for its own worker; the scripted models are then reached over HTTP.
SELF_URL = os.environ.get("MARKBOOK_SELF_URL", "")

# Django ----------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "pages",
    "accounts",
    "providers",
    "traces",
    "rubrics",
    "gateway",
    "evals",
    "demo",
    "config",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "pages.middleware.content_security_policy",
    "pages.middleware.request_id",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "pages.middleware.wants_partial",
    "accounts.middleware.login_required",
    "accounts.middleware.remember_project",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context_processors.shell",
            ],
            "builtins": ["pages.templatetags.pages"],
        },
    }
]
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False  # pages are in English; asking for the language of every number took a tenth of a page

# Static files: htmx and plotly come from their Python packages ----------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
plotly_spec = find_spec("plotly")
if plotly_spec is None or not plotly_spec.submodule_search_locations:
    raise ImproperlyConfigured("The package plotly is not installed; run `uv sync`.")
STATICFILES_DIRS = [
    BASE_DIR / "static",
    ("plotly", str(Path(plotly_spec.submodule_search_locations[0]) / "package_data")),
]
# `serve` collects the files under hashed names and says so; otherwise (tests, debugging) they are served as they lie.
HASHED_STATIC = env_choice("MARKBOOK_HASHED_STATIC", "off", ("on", "off")) == "on"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "pages.storage.HashedStaticFiles"
        if HASHED_STATIC
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not HASHED_STATIC
WHITENOISE_AUTOREFRESH = not HASHED_STATIC

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {
        "handlers": ["console"],
        "level": env_choice("MARKBOOK_LOG_LEVEL", "warning", ("debug", "info", "warning", "error")).upper(),
    },
    "loggers": {"django.server": {"level": "WARNING"}},
}
