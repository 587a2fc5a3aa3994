from django.apps import AppConfig
from django.db.models.signals import post_migrate


class TracesConfig(AppConfig):
    name = "traces"

    def ready(self) -> None:
        """Have the search index made with the tables."""
        from traces.text_schema import prepare

        post_migrate.connect(prepare, sender=self)
