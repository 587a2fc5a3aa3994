"""Fetch what an account keeps in the OpenAI Evals API into a folder. The work is in `providers/pull_evals.py`, which also runs alone."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from providers.pull_evals import add_arguments, pull


class Command(BaseCommand):
    help = (
        "Fetch every eval, run, output item and eval file with your key into a folder, for import_openai_evals. What is there is not "
        "fetched again. Exits 1 when something could not be fetched, 2 when it could not begin."
    )
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        names = ("out", "base_url", "key_env", "project", "organization", "concurrency", "refresh")
        code = pull(**{name: options[name] for name in names}, stdout=sys.stdout, stderr=sys.stderr)
        if code:
            sys.exit(code)
