"""Checks of the project as a whole: style, types, import directions, migrations, what may not be in a file."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent
# Words of package indexes and of machines that must not be written into the project: they hold on one machine only.
INDEX_HOST = re.compile(
    r"files\.p[y]thonhosted|p[y]pi\.org/simple|regist[r]y\.npmjs|--(extra-)?index-url|tool\.uv\.index", re.IGNORECASE
)
SECRET = re.compile(r"sk-[A-Za-z0-9]{32,}|-----BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}")
MACHINE_PATH = re.compile(r"/(root|work|home)/[a-z]")
COMMENT = re.compile(r"{%\s*comment.*?endcomment\s*%}", re.DOTALL)
INLINE = {
    "a script element without src": re.compile(
        r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")", re.IGNORECASE
    ),
    "a style element": re.compile(r"<style\b", re.IGNORECASE),
    "an event handler attribute": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "a javascript: address": re.compile(r"javascript:", re.IGNORECASE),
    "the safe filter": re.compile(r"\|\s*safe(seq)?\b"),
    "autoescape off": re.compile(r"autoescape\s+off"),
    "an address of another host": re.compile(r"(src|href)=\"(https?:)?//", re.IGNORECASE),
}


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def project_files(*patterns: str) -> list[Path]:
    """Every file that git tracks (or would track); outside a git clone, every file but the ignored folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    left_out = {".venv", "data", "__pycache__", ".git"}
    return [
        path
        for pattern in patterns or ("*",)
        for path in ROOT.rglob(pattern)
        if path.is_file() and not left_out & set(path.parts)
    ]


def texts(*patterns: str) -> list[tuple[str, str]]:
    found = []
    for path in project_files(*patterns):
        try:
            found.append((path.relative_to(ROOT).as_posix(), path.read_text()))
        except UnicodeDecodeError:
            continue  # a picture or a recorded payload
    return found


# Tools -----------------------------------------------------------------------------------------------------------


def test_ruff_finds_nothing():
    run("ruff", "check", ".")


def test_code_is_formatted():
    run("ruff", "format", "--check", ".")


def test_types_hold():
    run("mypy", ".")


def test_apps_import_one_way():
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.django_db
def test_models_have_their_migrations():
    call_command("makemigrations", check=True, dry_run=True, verbosity=1)


# Versions --------------------------------------------------------------------------------------------------------


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [
        *settings["project"]["dependencies"],
        *settings["dependency-groups"]["dev"],
        *settings["tool"]["uv"]["constraint-dependencies"],
    ]
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==([^\s;]+)", line)
        assert match, f"{line} is not pinned exactly"
        found[normal(match[1])] = match[2]
    return found


def test_every_installed_package_is_pinned_to_its_version():
    if "uv" not in (Path(sys.prefix) / "pyvenv.cfg").read_text():
        pytest.skip("not an environment that uv made: other packages may be in it")
    pinned = pins()
    tools = {"pip", "setuptools", "wheel", "uv"}
    wrong = {
        name: (distribution.version, pinned.get(name))
        for distribution in distributions()
        if (name := normal(distribution.name)) not in tools and pinned.get(name) != distribution.version
    }
    assert wrong == {}


# What may not be in a file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "pattern"), [("index", INDEX_HOST), ("secret", SECRET), ("path", MACHINE_PATH)])
def test_no_file_names_an_index_a_secret_or_a_path_of_one_machine(what, pattern):
    here = Path(__file__).relative_to(ROOT).as_posix()
    found = [f"{name}: {match[0]}" for name, text in texts() if name != here and (match := pattern.search(text))]
    assert found == []


@pytest.mark.parametrize("what", INLINE)
def test_no_template_holds(what):
    found = []
    for name, text in texts("*.html"):
        found += [f"{name}: {match[0][:80]}" for match in INLINE[what].finditer(COMMENT.sub("", text))]
    assert found == []


def test_no_code_marks_text_as_safe():
    found = [name for name, text in texts("*.py") if "mark_safe" in text and not name.startswith("tests/")]
    assert found == []


def test_style_attributes_hold_custom_properties_only():
    found = []
    for name, text in texts("*.html"):
        for match in re.finditer(r"\sstyle=\"([^\"]*)\"", text):
            plain = re.sub(r"{[{%].*?[}%]}", "x", match[1])
            if any(part.strip() and not part.strip().startswith("--") for part in plain.split(";")):
                found.append(f"{name}: {match[1][:80]}")
    assert found == []


def test_every_icon_that_a_template_draws_is_in_the_sprite():
    sprite = set(re.findall(r'id="i-([a-z0-9-]+)"', (ROOT / "templates/components/sprite.html").read_text()))
    used = {
        icon
        for _, text in texts("*.html")
        for icon in re.findall(r'{%\s*icon "([a-z0-9-]+)"|href="#i-([a-z0-9-]+)"', COMMENT.sub("", text))
    }
    assert {first or second for first, second in used} - sprite == set()


def test_package_is_named_with_one_licence():
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
