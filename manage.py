#!/usr/bin/env python
"""Run Markbook's commands: `manage.py help` lists them."""

import os
import sys
from pathlib import Path


def keep_bytecode() -> None:
    """Keep what Python compiles in the data folder where it was told not to put it beside the sources, as containers often do.

    Each process of the server would compile a thousand modules for itself otherwise: two seconds of every start.
    """
    if sys.dont_write_bytecode:
        data = Path(os.environ.get("MARKBOOK_DATA_DIR") or Path(__file__).resolve().parent / "data").resolve()
        sys.dont_write_bytecode = False
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(data / "bytecode")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] in (["serve"], ["demo"], ["worker"]):
        keep_bytecode()
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import CommandError, execute_from_command_line

    if len(sys.argv) > 1 and not {"-h", "--help"} & set(sys.argv):
        try:
            django.setup()
            from config.upkeep import prepare_database

            prepare_database(sys.argv[1], sys.argv[2:])
        except (CommandError, ImproperlyConfigured) as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(getattr(error, "returncode", 2))
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
