#!/usr/bin/env python
"""Run Markbook's commands: `manage.py help` lists them."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import CommandError, execute_from_command_line

    if len(sys.argv) > 1 and not {"-h", "--help"} & set(sys.argv):
        try:
            django.setup()
            from config.upkeep import prepare_database

            prepare_database(sys.argv[1])
        except (CommandError, ImproperlyConfigured) as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(getattr(error, "returncode", 2))
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
