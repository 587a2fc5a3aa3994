"""docs/settings.md against the code, and refusals of bad values."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
READS = re.compile(
    r"""(?:environ\.get\(|environ\[|getenv\(|env_int\(|env_choice\(|env_networks\()\s*["']([A-Z][A-Z0-9_]+)["']"""
    r"""|^WATCH_FD = ["']([A-Z_]+)["']""",
    re.MULTILINE,
)
NOT_OURS = {"DJANGO_SETTINGS_MODULE"}
APPS = ("config", "pages", "accounts", "providers", "traces", "rubrics", "gateway", "evals", "demo")


def read_by_code() -> set[str]:
    found = set()
    for path in (path for app in APPS for path in (ROOT / app).rglob("*.py")):
        found |= {first or second for first, second in READS.findall(path.read_text())}
    return found - NOT_OURS


def documented() -> list[str]:
    return re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)


def test_settings_page_has_one_row_for_each_variable_that_the_code_reads():
    rows = documented()
    assert sorted(rows) == sorted(read_by_code())


def test_every_row_says_default_and_meaning():
    for line in (ROOT / "docs" / "settings.md").read_text().splitlines():
        if line.startswith("| `"):
            _, name, default, meaning, _ = line.split("|")
            assert default.strip(), name
            assert len(meaning.strip()) > 10, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MARKBOOK_LOGIN", "maybe"),
        ("MARKBOOK_DEBUG", "yes please"),
        ("MARKBOOK_PROVIDER_CONCURRENCY", "0"),
        ("MARKBOOK_PROVIDER_TIMEOUT_S", "soon"),
        ("MARKBOOK_INGEST_MAX_MB", "-1"),
        ("MARKBOOK_TRUSTED_PROXIES", "10.0.0.7,proxy.example"),
        ("MARKBOOK_SECRET_KEY", "short"),
        ("DATABASE_URL", "mysql://127.0.0.1/markbook"),
    ],
)
def test_bad_value_stops_the_start_with_its_name_and_a_sample(name, value, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        cwd=ROOT,
        env={**os.environ, "MARKBOOK_DATA_DIR": str(tmp_path), name: value},
        capture_output=True,
        text=True,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert name in last
    assert "example" in last


def test_secret_key_is_made_once_for_its_owner_only(tmp_path):
    from config.settings import read_secret_key

    first = read_secret_key(tmp_path / "new")
    assert read_secret_key(tmp_path / "new") == first
    assert len(first) == 64
    assert (tmp_path / "new" / "secret_key").stat().st_mode & 0o077 == 0
