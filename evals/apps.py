from django.apps import AppConfig


class EvalsConfig(AppConfig):
    name = "evals"

    def ready(self) -> None:
        """Tell the traces room below of the scores in a trace's document, and of what hangs on a trace that is deleted."""
        from evals.queries.score_filter import SCORE
        from evals.queries.scores import trace_score_documents
        from evals.services.dependents import DEPENDENTS
        from traces.deletion import register_dependents
        from traces.queries import register_document_part
        from traces.search import register_key

        register_key(SCORE)
        register_document_part("scores", trace_score_documents)
        register_dependents("evals", DEPENDENTS)
