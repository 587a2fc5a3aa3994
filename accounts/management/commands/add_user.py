"""Make a person who can sign in; an admin then adds them to projects."""

import getpass
import sys
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import services


class Command(BaseCommand):
    help = "Make a person who can sign in. Asks for the password, or reads it from standard input when that is no terminal."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--server-admin", action="store_true", help="admin of every project")

    def handle(self, *args: Any, **options: Any) -> None:
        password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        try:
            validate_password(password)
            services.add_user(options["username"], password, is_superuser=options["server_admin"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except services.AccountError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{options['username']} can sign in now; add them to a project under its Settings.")
