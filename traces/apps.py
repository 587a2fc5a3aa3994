from django.apps import AppConfig
from django.db.models.signals import post_migrate


class TracesConfig(AppConfig):
    name = "traces"

    def ready(self) -> None:
        """Have made with the tables what no model holds; put signals and what people say into every trace's document."""
        from traces import count_schema, people, signal_rows, storage_schema
        from traces.queries import register_document_part
        from traces.text_schema import prepare

        post_migrate.connect(prepare, sender=self)
        post_migrate.connect(count_schema.prepare, sender=self)
        post_migrate.connect(storage_schema.prepare, sender=self)
        register_document_part("signals", signal_rows.signal_documents)
        register_document_part("signals_blind", signal_rows.blind_document)
        register_document_part("notes", people.note_documents)
        register_document_part("person_tags", people.tag_documents)
