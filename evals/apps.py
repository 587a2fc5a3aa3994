from django.apps import AppConfig


class EvalsConfig(AppConfig):
    name = "evals"

    def ready(self) -> None:
        """Put the scores into every trace's document: the traces room below knows nothing of them."""
        from evals.queries.scores import trace_score_documents
        from traces.queries import register_document_part

        register_document_part("scores", trace_score_documents)
