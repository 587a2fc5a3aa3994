"""The evals and runs of the OpenAI guides, as they are published; only the address and the model behind the name are ours."""

import json

import pytest

from providers.models import Provider
from tests.evals.openai_api.made import items_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(api, project, server):
    """The models that the guides name are answered by the test server."""
    Provider.objects.create(
        project=project, name="guides", base_url=server.base_url, model_names=["gpt-4.1", "gpt-4.1-mini", "o3"]
    )
    return api


def answer_with(server, **choose):
    """Let the test server answer by what is asked: `judge` where a response format is given, else `model`."""

    def answer(body):
        message = choose["judge" if body.get("response_format") else "model"](body)
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
        }

    server.answer = answer


def say(text):
    return {"role": "assistant", "content": text}


def test_ticket_classification_with_string_check(client, finish, server, tmp_path):
    path = tmp_path / "tickets.jsonl"
    path.write_text(
        '{ "item": { "ticket_text": "My monitor won\'t turn on!", "correct_label": "Hardware" } }\n'
        '{ "item": { "ticket_text": "I\'m in vim and I can\'t quit!", "correct_label": "Software" } }\n'
        '{ "item": { "ticket_text": "Best restaurants in Cleveland?", "correct_label": "Other" } }'
    )
    labels = {"monitor": "Hardware", "vim": "Software", "Cleveland": "Hardware"}
    answer_with(
        server,
        model=lambda body: say(
            next(label for word, label in labels.items() if word in body["messages"][-1]["content"])
        ),
    )
    eval_obj = client.evals.create(
        name="IT Ticket Categorization",
        data_source_config={
            "type": "custom",
            "item_schema": {
                "type": "object",
                "properties": {"ticket_text": {"type": "string"}, "correct_label": {"type": "string"}},
                "required": ["ticket_text", "correct_label"],
            },
            "include_sample_schema": True,
        },
        testing_criteria=[
            {
                "type": "string_check",
                "name": "Match output to human label",
                "input": "{{ sample.output_text }}",
                "operation": "eq",
                "reference": "{{ item.correct_label }}",
            }
        ],
    )
    with path.open("rb") as opened:
        file = client.files.create(file=opened, purpose="evals")
    run = client.evals.runs.create(
        eval_obj.id,
        name="Categorization text run",
        data_source={
            "type": "responses",
            "model": "gpt-4.1",
            "input_messages": {
                "type": "template",
                "template": [
                    {
                        "role": "developer",
                        "content": "You are an expert in categorizing IT support tickets. Given the support ticket below, categorize the "
                        "request into one of 'Hardware', 'Software', or 'Other'. Respond with only one of those words.",
                    },
                    {"role": "user", "content": "{{ item.ticket_text }}"},
                ],
            },
            "source": {"type": "file_id", "id": file.id},
        },
    )
    assert run.status == "queued"
    done = finish(run)
    assert (done.status, done.model) == ("completed", "gpt-4.1")
    assert (done.result_counts.total, done.result_counts.passed, done.result_counts.failed) == (3, 2, 1)
    assert done.report_url.startswith("http://")
    assert done.per_model_usage[0].run_model_name == "gpt-4.1"
    failing = items_of(client, done, status="fail")
    assert [item.datasource_item["correct_label"] for item in failing] == ["Other"]
    assert failing[0].sample.output[0].content == "Hardware"


def test_summary_grading_with_score_model(client, finish, server):
    grades = {"short": 6, "long": 2}
    answer_with(
        server,
        model=lambda body: say("a short one" if "brief" in body["messages"][-1]["content"] else "a long one"),
        judge=lambda body: say(
            json.dumps(
                {
                    "steps": [{"description": "Read", "conclusion": "Read it."}],
                    "result": next(grade for word, grade in grades.items() if word in body["messages"][-1]["content"]),
                }
            )
        ),
    )
    made = client.evals.create(
        name="Summaries",
        data_source_config={
            "type": "custom",
            "item_schema": {"type": "object", "properties": {"article": {"type": "string"}}, "required": ["article"]},
            "include_sample_schema": True,
        },
        testing_criteria=[
            {
                "type": "score_model",
                "name": "Summary quality",
                "model": "o3",
                "input": [
                    {"role": "system", "content": "You are an expert reviewer. Score the summary from 1 to 7."},
                    {"role": "user", "content": "Article: {{item.article}}\nSummary: {{sample.output_text}}"},
                ],
                "range": [1, 7],
                "pass_threshold": 5.5,
            }
        ],
    )
    run = client.evals.runs.create(
        made.id,
        name="gpt-4.1-mini",
        data_source={
            "type": "completions",
            "source": {
                "type": "file_content",
                "content": [{"item": {"article": "be brief"}}, {"item": {"article": "go on"}}],
            },
            "input_messages": {
                "type": "template",
                "template": [
                    {
                        "type": "message",
                        "role": "user",
                        "content": {"type": "input_text", "text": "Summarize: {{item.article}}"},
                    }
                ],
            },
            "model": "gpt-4.1-mini",
            "sampling_params": {"temperature": 0.2, "max_completions_tokens": 2048, "top_p": 1, "seed": 42},
        },
    )
    done = finish(run)
    assert (done.result_counts.passed, done.result_counts.failed, done.result_counts.errored) == (1, 1, 0)
    assert {entry.run_model_name for entry in done.per_model_usage} == {"gpt-4.1-mini", "o3"}
    [good] = items_of(client, done, status="pass")
    result = good.results[0]
    assert (result.score, result.passed, result.type) == (6.0, True, "score_model")
    assert result.sample["input"][-1]["content"] == "Article: be brief\nSummary: a short one"
    assert "Read it." in result.reason


@pytest.mark.parametrize("kind", ["responses", "completions"])
def test_tool_call_evaluation_looks_into_the_arguments(client, finish, server, kind):
    symbols = [{"name": "add", "symbol_type": "function"}]

    def call_tool(body):
        assert body["tools"][0]["function"]["name"] == "extract_symbols"
        function = {"name": "extract_symbols", "arguments": json.dumps({"symbols": symbols})}
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        }

    answer_with(
        server,
        model=call_tool,
        judge=lambda body: say(
            json.dumps({"steps": [], "result": 7 if '"name":"add"' in body["messages"][-1]["content"] else 1})
        ),
    )
    made = client.evals.create(
        name=f"code_qa_eval_{kind}",
        data_source_config={
            "type": "custom",
            "item_schema": {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]},
            "include_sample_schema": True,
        },
        testing_criteria=[
            {
                "type": "score_model",
                "name": "General Evaluator",
                "model": "o3",
                "range": [1, 7],
                "pass_threshold": 5.5,
                "input": [
                    {"role": "system", "content": "You are grading extracted symbols. 7 is complete."},
                    {
                        "role": "user",
                        "content": "Code: {{item.input}}\nSymbols: {{ sample.output_tools[0].function.arguments.symbols }}",
                    },
                ],
            },
            {
                "type": "string_check",
                "name": "Right tool",
                "input": "{{ sample.output_tools[0].function.name }}",
                "reference": "extract_symbols",
                "operation": "eq",
            },
            {
                "type": "python",
                "name": "One symbol",
                "image_tag": "2025-05-08",
                "source": "import json\n\ndef grade(sample, item):\n"
                "    arguments = json.loads(sample['output_tools'][0]['function']['arguments'])\n"
                "    return 1.0 if len(arguments['symbols']) == 1 else 0.0",
            },
        ],
    )
    parameters = {
        "type": "object",
        "properties": {"symbols": {"type": "array", "items": {"type": "object"}}},
        "required": ["symbols"],
        "additionalProperties": False,
    }
    flat = {"type": "function", "name": "extract_symbols", "description": "Extract symbols", "parameters": parameters}
    nested = {"type": "function", "function": {name: value for name, value in flat.items() if name != "type"}}
    run = client.evals.runs.create(
        made.id,
        name="gpt-4.1",
        data_source={
            "type": kind,
            "source": {"type": "file_content", "content": [{"item": {"input": "def add(a, b): return a + b"}}]},
            "input_messages": {
                "type": "template",
                "template": [
                    {
                        "type": "message",
                        "role": "system",
                        "content": {"type": "input_text", "text": "You are a helpful assistant."},
                    },
                    {
                        "type": "message",
                        "role": "user",
                        "content": {"type": "input_text", "text": "Extract the symbols from the code {{item.input}}"},
                    },
                ],
            },
            "model": "gpt-4.1",
            "sampling_params": {
                "seed": 42,
                "temperature": 0.7,
                "max_completions_tokens": 10000,
                "top_p": 0.9,
                "tools": [flat if kind == "responses" else nested],
            },
        },
    )
    done = finish(run)
    assert (done.result_counts.passed, done.result_counts.failed, done.result_counts.errored) == (1, 0, 0)
    [item] = items_of(client, done)
    assert [result.passed for result in item.results] == [True, True, True]
    assert item.sample.output[0].content is None or item.sample.output[0].content == ""
