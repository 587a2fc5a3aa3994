"""A worker in a process of its own, for tests that kill it: `python -m tests.evals.pump_process DATABASE RUN…`."""

import asyncio
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


def main() -> None:
    from django.conf import settings

    settings.DATABASES["default"]["NAME"] = sys.argv[1]
    import django

    django.setup()
    from evals import services
    from evals.workers import worker_name

    services.release_dead_leases()

    async def pump_all() -> None:
        await asyncio.gather(*(services.pump_run(int(pk), worker=worker_name()) for pk in sys.argv[2:]))

    asyncio.run(pump_all())


if __name__ == "__main__":
    main()
