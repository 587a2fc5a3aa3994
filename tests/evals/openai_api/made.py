"""Evals and runs in a few words."""

from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
}
EQUAL = {
    "type": "string_check",
    "name": "Equal",
    "input": "{{ item.question }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
ANSWERED = {**EQUAL, "name": "Answered", "input": "{{ sample.output_text }}"}
ASK = {"type": "template", "template": [{"role": "user", "content": "{{ item.question }}"}]}


def row(question: str, answer: str = "yes", **more: Any) -> dict[str, Any]:
    return {"item": {"question": question, "answer": answer}, **more}


def make_eval(api, *, criteria=(EQUAL,), schema=None, with_sample=False, **more: Any):
    config = {"type": "custom", "item_schema": schema or SCHEMA, "include_sample_schema": with_sample}
    return api.evals.create(
        **{"name": "An eval", "data_source_config": config, "testing_criteria": list(criteria), **more}
    )


def jsonl(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"type": "jsonl", "source": {"type": "file_content", "content": list(rows)}}


def sampled(*rows: dict[str, Any], kind="completions", model="echo", **more: Any) -> dict[str, Any]:
    source = {"type": "file_content", "content": list(rows)}
    return {"type": kind, "source": source, "model": model, "input_messages": ASK, **more}


def items_of(api, run, **filters: Any):
    return list(api.evals.runs.output_items.list(run.id, eval_id=run.eval_id, **filters))
