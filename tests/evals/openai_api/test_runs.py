"""Runs: every data source, how they end, what they count, and their items."""

import json

import openai
import pytest
from celery.signals import before_task_publish

from evals.models import Comparison, Dataset, Run, Sample
from tests.evals.openai_api.made import ANSWERED, ASK, EQUAL, items_of, jsonl, make_eval, row, sampled
from tests.evals.openai_api.test_evals import refused
from tests.factories import make_span
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db(transaction=True)


def run_of(api, finish, criteria, data_source, **more):
    made = make_eval(api, criteria=criteria, **more)
    return finish(api.evals.runs.create(made.id, data_source=data_source))


def counts(run):
    """Return total, passed, failed and errored."""
    return (
        run.result_counts.total,
        run.result_counts.passed,
        run.result_counts.failed,
        run.result_counts.errored,
    )


# jsonl -----------------------------------------------------------------------------------------------------------


def test_jsonl_rows_are_graded_and_counted(api, finish):
    made = make_eval(api)
    answer = api.evals.runs.with_raw_response.create(made.id, name="one", data_source=jsonl(row("a", "a"), row("b")))
    assert answer.status_code == 201
    run = answer.parse()
    assert run.id.startswith("evalrun_")
    assert (run.object, run.eval_id, run.name, run.status) == ("eval.run", made.id, "one", "queued")
    assert (run.model, run.error, run.per_model_usage, run.per_testing_criteria_results) == (None, None, None, None)
    assert counts(run) == (0, 0, 0, 0)
    done = finish(run)
    assert done.status == "completed"
    assert counts(done) == (2, 1, 1, 0)
    assert done.data_source.source.content[1].item == {"question": "b", "answer": "yes"}
    [result] = done.per_testing_criteria_results
    assert (result.testing_criteria, result.passed, result.failed) == (made.testing_criteria[0].id, 1, 1)
    items = items_of(api, run)
    assert sorted((item.datasource_item_id, item.status) for item in items) == [(0, "pass"), (1, "fail")]
    first = min(items, key=lambda item: item.datasource_item_id)
    assert first.id.startswith("outputitem_")
    assert first.datasource_item == {"question": "a", "answer": "a"}
    assert (first.results[0].name, first.results[0].score, first.results[0].passed) == (
        made.testing_criteria[0].id,
        1.0,
        True,
    )
    assert first.sample.output == []
    again = api.evals.runs.output_items.retrieve(first.id, eval_id=made.id, run_id=run.id)
    assert again.to_dict() == first.to_dict()


def test_a_given_sample_is_what_graders_see_and_what_is_missing_follows_from_it(api, finish):
    choices = [{"index": 0, "message": {"role": "assistant", "content": '{"city": "Paris"}'}, "finish_reason": "stop"}]
    python = {
        "type": "python",
        "name": "All",
        "source": "def grade(sample, item):\n"
        "    return 1.0 if sample['output_json']['city'] == 'Paris' and sample['extra'] == 7 else 0.0",
    }
    done = run_of(
        api,
        finish,
        [{**ANSWERED, "reference": '{"city": "Paris"}'}, python],
        jsonl(row("q", sample={"choices": choices, "extra": 7, "model": "theirs"})),
        with_sample=True,
    )
    [item] = items_of(api, done)
    assert [(result.passed, result.model_extra.get("error")) for result in item.results] == [(True, None)] * 2
    assert item.sample.output[0].content == '{"city": "Paris"}'
    assert (item.sample.input, item.sample.model, item.sample.error) == ([], "theirs", None)
    assert (item.sample.temperature, item.sample.top_p, item.sample.seed) == (1.0, 1.0, 42)


def test_a_row_without_a_sample_fails_where_a_grader_wants_one_and_the_run_goes_on(api, finish):
    done = run_of(api, finish, [EQUAL, ANSWERED], jsonl(row("yes"), row("yes", sample={"output_text": "yes"})))
    assert done.status == "completed"
    assert counts(done) == (2, 1, 1, 0)
    bad, good = sorted(items_of(api, done), key=lambda item: item.datasource_item_id)
    assert (bad.status, good.status) == ("fail", "pass")
    assert bad.results[1].score == 0.0
    assert bad.results[1].error.startswith("invalid_variable")
    assert bad.results[0].passed is True


def test_the_steps_of_a_given_sample_reach_a_trace_grader(api, finish):
    grader = {
        "type": "python",
        "name": "Looked before it answered",
        "source": "def grade(sample, item):\n"
        "    calls = [s for s in sample['steps'] if s['type'] == 'tool_call']\n"
        "    ok = any(c['name'] == 'lookup' for c in calls)\n"
        "    return {'score': 1.0 if ok else 0.0, 'passed': ok, 'rationale': str(len(calls)) + ' calls'}",
    }
    good = [{"type": "tool_call", "name": "lookup", "arguments": {"id": 1}}, {"type": "message", "content": "yes"}]
    done = run_of(
        api,
        finish,
        [grader, ANSWERED],
        jsonl(row("q", sample={"steps": good}), row("q", sample={"steps": good[1:]})),
        with_sample=True,
    )
    assert counts(done) == (2, 1, 1, 0)
    first, second = sorted(items_of(api, done), key=lambda item: item.datasource_item_id)
    assert (first.results[0].reason, first.results[1].passed) == ("1 calls", True)
    assert (second.results[0].passed, second.results[0].reason) == (False, "0 calls")


def recorded(project, **fields):
    """Record a run of an agent with one model call that used a tool."""
    trace_id = "ab" * 16
    root = make_span(trace_id=trace_id, span_id="01" * 8, name="agent")
    call = make_span(
        trace_id=trace_id,
        span_id="02" * 8,
        parent_span_id="01" * 8,
        kind="llm",
        model="gpt-x",
        input_messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is order 7?"}],
        output_messages=[{"role": "assistant", "content": "On its way."}],
        metadata={"usecase": "orders"},
        **fields,
    )
    tool = make_span(
        trace_id=trace_id,
        span_id="03" * 8,
        parent_span_id="01" * 8,
        kind="tool",
        tool={"name": "lookup", "call_id": "c1", "arguments": {"id": 7}, "result": "sent"},
    )
    root.metadata = {"usecase": "orders"}
    ingest_spans(project, [root, call, tool])
    return trace_id


def test_a_row_that_names_a_recorded_trace_is_graded_on_what_was_done_there(api, finish, project):
    trace_id = recorded(project)
    grader = {
        "type": "python",
        "name": "Used the tool",
        "source": "def grade(sample, item):\n    return 1.0 if sample['tool_calls'][0]['name'] == 'lookup' else 0.0",
    }
    answered = {**ANSWERED, "reference": "On its way."}
    done = run_of(api, finish, [grader, answered], jsonl(row("q", trace_id=trace_id)), with_sample=True)
    assert counts(done) == (1, 1, 0, 0)
    [item] = items_of(api, done)
    assert item.sample.output[0].content == "On its way."
    assert Sample.objects.get().trace.trace_id == trace_id
    made = make_eval(api)
    place = refused(api.evals.runs.create, made.id, data_source=jsonl(row("q", trace_id="no-such")))
    assert place == "data_source.source.content"


def test_items_may_be_called_sample_and_item_and_have_odd_keys(api, finish):
    item = {"item": "in", "sample": "sam", "a b": "spaced", "x-y": "hyphen", "braces": "{{ item.item }} $1 \\ \n"}
    criteria = [
        {**EQUAL, "name": name, "input": template, "reference": wanted}
        for name, template, wanted in [
            ("1", "{{ item.item }}", "in"),
            ("2", "{{item.sample}}", "sam"),
            ("3", '{{ item["a b"] }}', "spaced"),
            ("4", "{{ item.x-y }}", "hyphen"),
            ("5", "{{ item.braces }}", "{{item.braces}}"),
        ]
    ]
    done = run_of(api, finish, criteria, jsonl({"item": item}), schema={"type": "object"})
    assert counts(done) == (1, 1, 0, 0)


# Sampling a model ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["completions", "responses"])
def test_a_model_is_sampled_for_every_row_and_its_answer_graded(api, finish, server, kind):
    sampling = {"temperature": 0.5, "seed": 7, "max_completions_tokens": 99}
    source = sampled(row("yes"), row("no"), kind=kind, sampling_params=sampling)
    done = run_of(api, finish, [ANSWERED], source, with_sample=True)
    assert (done.status, done.model, done.data_source.type) == ("completed", "echo", kind)
    assert counts(done) == (2, 1, 1, 0)
    assert done.data_source.sampling_params.model_dump(exclude_none=True) == sampling
    message = done.data_source.input_messages.template[0]
    assert (message.type, message.content.text) == ("message", "{{ item.question }}")
    assert len(server.calls) == 2
    sent = next(call for call in server.calls if call["messages"][0]["content"] == "yes")
    assert (sent["temperature"], sent["seed"], sent["max_completion_tokens"]) == (0.5, 7, 99)
    assert "top_p" not in sent
    first, second = sorted(items_of(api, done), key=lambda item: item.datasource_item_id)
    assert first.sample.input[0].content == "yes"
    assert (first.sample.output[0].role, first.sample.output[0].content) == ("assistant", "yes")
    assert (first.sample.model, first.sample.finish_reason) == ("echo", "stop")
    assert (first.sample.temperature, first.sample.top_p, first.sample.max_completion_tokens) == (0.5, 1.0, 99)
    usage = first.sample.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert (second.status, second.results[0].passed) == ("fail", False)
    [used] = done.per_model_usage
    assert (used.run_model_name, used.invocation_count) == ("echo", 2)
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens > 0


def test_responses_parameters_are_translated_to_chat_completions(api, finish, server):
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "name": "lookup", "parameters": {"type": "object", "properties": {}}, "strict": True}
    sampling = {
        "text": {"format": {"type": "json_schema", "name": "out", "schema": schema, "strict": True}},
        "tools": [tool],
        "reasoning_effort": "low",
    }
    done = run_of(api, finish, [ANSWERED], sampled(row("yes"), kind="responses", sampling_params=sampling))
    assert done.status == "completed"
    [sent] = server.calls
    assert sent["response_format"]["json_schema"] == {"name": "out", "schema": schema, "strict": True}
    assert sent["tools"][0]["function"]["name"] == "lookup"
    assert sent["reasoning_effort"] == "low"


def test_parts_of_messages_are_sent_in_chat_form(api, finish, server):
    template = [
        {"role": "developer", "content": {"type": "input_text", "text": "About {{ item.question }}"}},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": "https://example.com/{{ item.answer }}.png", "detail": "low"},
            ],
        },
    ]
    source = sampled(row("cats"), input_messages={"type": "template", "template": template})
    run_of(api, finish, [EQUAL], source)
    [call] = server.calls
    assert call["messages"][0] == {"role": "developer", "content": "About cats"}
    assert call["messages"][1]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/yes.png", "detail": "low"}},
    ]


def test_an_item_reference_sends_the_messages_of_the_item_as_they_are(api, finish, server):
    trajectory = [
        {"role": "user", "content": "Where is {{ item.x }}?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "there"},
        {"role": "user", "content": "yes"},
    ]
    source = sampled(
        {"item": {"input_trajectory": trajectory, "answer": "yes"}},
        input_messages={"type": "item_reference", "item_reference": "item.input_trajectory"},
    )
    done = run_of(api, finish, [ANSWERED], source, schema={"type": "object"}, with_sample=True)
    assert counts(done) == (1, 1, 0, 0)
    [call] = server.calls
    assert call["messages"] == trajectory


def test_tool_calls_keep_the_very_text_of_their_arguments(api, finish, server):
    arguments = '{"city":"Paris",  "n":1.0}'
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}

    def answer(body):
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "echo-2026-01-01",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }

    server.answer = answer
    criteria = [
        {**EQUAL, "name": "text", "input": "{{ sample.output_tools[0].function.arguments }}", "reference": arguments},
        {
            **EQUAL,
            "name": "path",
            "input": "{{ sample.output_tools[0].function.arguments.city }}",
            "reference": "Paris",
        },
        {**EQUAL, "name": "empty", "input": "{{ sample.output_text }}", "reference": ""},
    ]
    done = run_of(api, finish, criteria, sampled(row("q")), with_sample=True)
    assert counts(done) == (1, 1, 0, 0)
    [item] = items_of(api, done)
    assert item.sample.model == "echo-2026-01-01"
    assert item.sample.finish_reason == "tool_calls"
    assert item.sample.output[0].model_dump()["tool_calls"] == calls


def test_rows_whose_sampling_fails_are_errored_and_the_run_completes(api, finish, server):
    server.mode = "bad_request"
    done = run_of(api, finish, [ANSWERED], sampled(row("a"), row("b")), with_sample=True)
    assert done.status == "completed"
    assert counts(done) == (2, 0, 0, 2)
    assert [(result.passed, result.failed) for result in done.per_testing_criteria_results] == [(0, 0)]
    item, _ = items_of(api, done)
    assert (item.status, item.results) == ("error", [])
    assert item.sample.error.code == "sampling_error"
    assert "Invalid value" in item.sample.error.message
    assert item.sample.output == []


def test_a_python_grader_that_raises_gives_score_0_and_its_message_and_the_run_goes_on(api, finish):
    python = {
        "type": "python",
        "name": "P",
        "source": "def grade(sample, item):\n"
        "    if item['question'] == 'nan': return float('nan')\n"
        "    if item['question'] == 'raise': return 1 / 0\n"
        "    if item['question'] == 'spin':\n        while True: pass\n"
        "    return 1.0",
    }
    done = run_of(api, finish, [python], jsonl(row("ok"), row("nan"), row("raise")))
    assert counts(done) == (3, 1, 2, 0)
    found = {item.datasource_item["question"]: item.results[0] for item in items_of(api, done)}
    assert (found["raise"].score, found["raise"].passed) == (0.0, False)
    assert "ZeroDivisionError" in found["raise"].error
    assert "finite number" in found["nan"].error
    assert found["ok"].model_extra.get("error") is None


def test_every_grader_kind_gives_its_result(api, finish, server):
    def answer(body):
        text = body["messages"][-1]["content"]
        if body.get("response_format"):
            schema = json.dumps(body["response_format"])
            text = json.dumps({"steps": [], "result": "good" if "enum" in schema else 6})
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "judge-2026",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }

    server.answer = answer
    ask = [{"role": "developer", "content": "Grade."}, {"role": "user", "content": "{{ sample.output_text }}"}]
    similar = {
        "type": "text_similarity",
        "name": "similar",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.answer }}",
        "evaluation_metric": "fuzzy_match",
        "pass_threshold": 0.9,
    }
    criteria = [
        {**ANSWERED, "name": "string"},
        similar,
        {"type": "python", "name": "code", "source": "def grade(sample, item):\n    return 0.75"},
        {"type": "score_model", "name": "score", "model": "judge", "input": ask, "range": [1, 7], "pass_threshold": 5},
        {
            "type": "label_model",
            "name": "label",
            "model": "judge",
            "input": ask,
            "labels": ["good", "bad"],
            "passing_labels": ["good"],
        },
        {
            "type": "multi",
            "name": "both",
            "graders": {"a": {**ANSWERED, "name": "a"}, "b": {**similar, "name": "b"}},
            "calculate_output": "0.5 * a + 0.5 * b",
            "pass_threshold": 1.0,
        },
    ]
    done = run_of(api, finish, criteria, jsonl(row("q", sample={"output_text": "yes"})), with_sample=True)
    [item] = items_of(api, done)
    got = [(result.type, result.passed, result.score) for result in item.results]
    assert got == [
        ("string_check", True, 1.0),
        ("text_similarity", True, 1.0),
        ("python", True, 0.75),
        ("score_model", True, 6.0),
        ("label_model", True, 1.0),
        ("multi", True, 1.0),
    ]
    assert item.results[4].label == "good"
    judged = item.results[3].sample
    assert judged["input"][-1]["content"] == "yes"
    assert json.loads(judged["output"][0]["content"])["result"] == 6
    assert (judged["model"], judged["usage"]["total_tokens"]) == ("judge-2026", 15)
    assert {entry.run_model_name for entry in done.per_model_usage} == {"judge"}
    assert done.per_model_usage[0].invocation_count == 2


# Logs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "source"),
    [("completions", "stored_completions"), ("responses", "responses"), ("completions", "logs")],
)
def test_recorded_requests_are_rows_and_their_answers_samples(api, finish, project, kind, source):
    recorded(project)
    made = api.evals.create(
        data_source_config={"type": "logs", "metadata": {"usecase": "orders"}},
        testing_criteria=[
            {**ANSWERED, "reference": "On its way."},
            {**EQUAL, "input": "{{ item.input[1].content }}", "reference": "Where is order 7?"},
        ],
    )  # fmt: skip
    run = api.evals.runs.create(made.id, data_source={"type": kind, "source": {"type": source, "model": "gpt-x"}})
    done = finish(run)
    assert counts(done) == (1, 1, 0, 0)
    assert done.model is None
    [item] = items_of(api, done)
    assert [message["role"] for message in item.datasource_item["input"]] == ["system", "user"]
    assert item.sample.output[0].content == "On its way."


def test_recorded_requests_are_sampled_anew_with_a_model(api, finish, project, server):
    recorded(project)
    made = api.evals.create(
        data_source_config={"type": "stored_completions"},
        testing_criteria=[{**ANSWERED, "reference": "Where is order 7?"}],
    )
    source = {
        "type": "completions",
        "source": {"type": "stored_completions", "metadata": {"usecase": "orders"}, "limit": 5},
        "model": "echo",
        "input_messages": {"type": "item_reference", "item_reference": "item.input"},
    }
    done = finish(api.evals.runs.create(made.id, data_source=source))
    assert counts(done) == (1, 1, 0, 0)
    assert [message["content"] for message in server.calls[0]["messages"]] == ["Be brief.", "Where is order 7?"]


@pytest.mark.parametrize(
    "filters",
    [
        {"model": "other"},
        {"metadata": {"usecase": "refunds"}},
        {"created_after": 4_000_000_000},
        {"created_before": 1},
        {"temperature": 0.3},
        {"instructions_search": "be verbose"},
        {"tools": ["search"]},
        {"users": ["someone"]},
        {"reasoning_effort": "high"},
    ],
)
def test_a_filter_that_nothing_matches_makes_a_run_that_failed_for_want_of_rows(api, project, filters):
    recorded(project)
    made = api.evals.create(data_source_config={"type": "logs"}, testing_criteria=[{**EQUAL, "input": "x"}])
    source = {"type": "responses", "source": {"type": "responses", **filters}}
    run = api.evals.runs.create(made.id, data_source=source)
    assert run.status == "failed"
    assert run.error.code == "no_rows"
    assert counts(run) == (0, 0, 0, 0)
    assert api.evals.runs.output_items.list(run.id, eval_id=made.id).data == []
    assert api.evals.delete(made.id).deleted


@pytest.mark.parametrize(
    "filters",
    [
        {"created_after": 1_700_000_000, "created_before": 4_000_000_000},
        {"temperature": 0.5},
        {"instructions_search": "BE BRIEF"},
        {"tools": ["search"]},
        {"users": ["u1"]},
        {"reasoning_effort": "high"},
    ],
)
def test_a_filter_that_matches_finds_the_request(api, project, filters):
    recorded(
        project,
        user_id="u1",
        available_tools=[{"type": "function", "function": {"name": "search"}}],
        attributes={"gen_ai.request.temperature": 0.5, "markbook.request": {"reasoning": {"effort": "high"}}},
    )
    made = api.evals.create(data_source_config={"type": "logs"}, testing_criteria=[{**EQUAL, "input": "x"}])
    source = {"type": "responses", "source": {"type": "responses", **filters}}
    assert api.evals.runs.create(made.id, data_source=source).status == "queued"


def test_whole_traces_are_rows(api, finish, project):
    trace_id = recorded(project)
    python = {
        "type": "python",
        "name": "tools",
        "source": "def grade(sample, item):\n"
        "    return 1.0 if item['tools_called'] == ['lookup'] and item['trajectory'] and sample['steps'] else 0.0",
    }
    made = api.evals.create(data_source_config={"type": "logs"}, testing_criteria=[python])
    source = {"type": "jsonl", "source": {"type": "traces", "metadata": {"usecase": "orders"}}}
    done = finish(api.evals.runs.create(made.id, data_source=source))
    assert counts(done) == (1, 1, 0, 0)
    assert items_of(api, done)[0].datasource_item["trace_id"] == trace_id


# Refused ---------------------------------------------------------------------------------------------------------

CONTENT = {"type": "file_content", "content": [row("a")]}


WRONG_RUNS = [
        (None, "data_source"),
        ({"source": CONTENT}, "data_source.type"),
        ({"type": "csv", "source": CONTENT}, "data_source.type"),
        ({"type": "jsonl"}, "data_source.source"),
        ({"type": "jsonl", "source": {"type": "stored_completions"}}, "data_source.source.type"),
        ({"type": "completions", "source": {"type": "responses"}}, "data_source.source.type"),
        ({"type": "jsonl", "source": {"type": "file_content"}}, "data_source.source.content"),
        (jsonl(), "data_source.source.content"),
        (jsonl({"question": "a"}), "data_source.source.content[0].item"),
        (jsonl(row("a"), {"item": "text"}), "data_source.source.content[1].item"),
        (jsonl(row("a"), {"item": {"question": 5, "answer": "x"}}), "data_source.source.content[1].item.question"),
        (jsonl({"item": {"question": "a"}}), "data_source.source.content[0].item"),
        (jsonl(row("a\x00b")), "data_source.source.content[0].item.question"),
        (jsonl(row("a", sample="text")), "data_source.source.content[0].sample"),
        ({"type": "jsonl", "source": {"type": "file_id", "id": "file-none"}}, "data_source.source.id"),
        ({"type": "jsonl", "source": {"type": "file_id"}}, "data_source.source.id"),
        ({"type": "completions", "source": CONTENT, "input_messages": ASK}, "data_source.model"),
        ({"type": "completions", "source": CONTENT, "model": "echo"}, "data_source.input_messages"),
        (sampled(row("a"), model="gone-1"), "data_source.model"),
        (
            sampled(row("a"), input_messages={"type": "item_reference", "item_reference": "sample.input"}),
            "data_source.input_messages.item_reference",
        ),
        (sampled(row("a"), input_messages={"type": "list"}), "data_source.input_messages.type"),
        (
            sampled(row("a"), input_messages={"type": "template", "template": [{"role": "robot", "content": "x"}]}),
            "data_source.input_messages.template[0].role",
        ),
        (
            sampled(row("a"), input_messages={"type": "template", "template": [{"role": "user", "content": 5}]}),
            "data_source.input_messages.template[0].content",
        ),
        (sampled(row("a"), sampling_params={"temperature": 3}), "data_source.sampling_params.temperature"),
        (sampled(row("a"), sampling_params={"seed": "x"}), "data_source.sampling_params.seed"),
        (
            sampled(row("a"), kind="responses", sampling_params={"tools": [{"type": "web_search_preview"}]}),
            "data_source.sampling_params.tools[0].type",
        ),
        ({"type": "responses", "source": {"type": "responses", "limit": 0}}, "data_source.source.limit"),
    ]  # fmt: skip


def test_a_run_that_cannot_be_is_refused_with_its_place(api):
    made = make_eval(api)
    for source, param in WRONG_RUNS:
        assert refused(api.evals.runs.create, made.id, data_source=source) == param, source
    assert not Run.objects.exists()
    assert not Dataset.objects.exists()


def test_all_wrong_rows_are_listed(api):
    made = make_eval(api)
    rows = [row("a"), {"q": 1}, row("b"), {"item": {"question": "c"}}]
    with pytest.raises(openai.BadRequestError) as caught:
        api.evals.runs.create(made.id, data_source=jsonl(*rows))
    message = caught.value.response.json()["error"]["message"]
    assert "row 2" in message
    assert "row 4" in message
    assert "'answer' is a required property" in message


# Life ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/evals/{}/runs/{}", "/evals/{}/runs/{}/cancel"])
def test_both_paths_cancel_a_run_and_nothing_is_stored_after_it(api, finish, path):
    made = make_eval(api)
    run = api.evals.runs.create(made.id, data_source=jsonl(row("a", "a")))
    answer = api.post(path.format(made.id, run.id), cast_to=object)
    assert answer["status"] == "canceled"
    done = finish(run)
    assert done.status == "canceled"
    assert counts(done) == (0, 0, 0, 0)
    assert api.evals.runs.cancel(run.id, eval_id=made.id).status == "canceled"


def test_cancelling_a_run_that_is_over_changes_nothing(api, finish):
    run = run_of(api, finish, [EQUAL], jsonl(row("a", "a")))
    answer = api.evals.runs.cancel(run.id, eval_id=run.eval_id)
    assert answer.status == "completed"
    assert counts(answer) == (1, 1, 0, 0)


def test_runs_are_listed_by_status_and_page_by_page(api, finish):
    made = make_eval(api)
    runs = [api.evals.runs.create(made.id, name=str(n), data_source=jsonl(row(str(n)))) for n in range(4)]
    finish(runs[1])
    api.evals.runs.cancel(runs[2].id, eval_id=made.id)
    listed = [run.id for run in api.evals.runs.list(made.id, limit=1)]
    assert listed == [run.id for run in runs]
    assert [run.id for run in api.evals.runs.list(made.id, order="desc", limit=3)] == listed[::-1]
    for status, wanted in (("completed", [1]), ("canceled", [2]), ("queued", [0, 3]), ("failed", [])):
        found = list(api.evals.runs.list(made.id, status=status, limit=1))
        assert [run.name for run in found] == [str(number) for number in wanted], status
    assert refused(api.evals.runs.list, made.id, status="done") == "status"
    other = make_eval(api)
    assert refused(api.evals.runs.list, other.id, after=runs[0].id) == "after"
    with pytest.raises(openai.NotFoundError):
        api.evals.runs.retrieve(runs[0].id, eval_id=other.id)


def test_deleting_a_run_leaves_its_eval_and_the_rows_that_others_use(api, finish):
    made = make_eval(api)
    first, second = (api.evals.runs.create(made.id, data_source=jsonl(row("a", "a"))) for _ in range(2))
    assert Dataset.objects.count() == 1
    finish(first)
    gone = api.evals.runs.delete(first.id, eval_id=made.id)
    assert (gone.object, gone.deleted, gone.run_id) == ("eval.run.deleted", True, first.id)
    assert counts(finish(second)) == (1, 1, 0, 0)
    assert Comparison.objects.count() == 1
    api.evals.runs.delete(second.id, eval_id=made.id)
    assert not Dataset.objects.exists()


def test_output_items_page_through_equal_times_and_filter_by_outcome(api, finish):
    rows = [row("a", "a" if number % 2 else "b") for number in range(9)]
    run = run_of(api, finish, [EQUAL], jsonl(*rows))
    everything = [item.id for item in items_of(api, run)]
    assert len(everything) == 9
    for limit in (1, 4):
        assert [item.id for item in items_of(api, run, limit=limit)] == everything
        assert [item.id for item in items_of(api, run, limit=limit, order="desc")] == everything[::-1]
    passed, failed = items_of(api, run, status="pass", limit=1), items_of(api, run, status="fail", limit=2)
    assert (len(passed), len(failed)) == (4, 5)
    assert {item.status for item in passed} == {"pass"}
    assert [item.id for item in items_of(api, run, status="failed")] == [item.id for item in failed]
    assert sorted(item.datasource_item_id for item in passed + failed) == list(range(9))
    wrong = api.evals.runs.output_items.list
    assert refused(wrong, run.id, eval_id=run.eval_id, status="passed") == "status"
    assert refused(wrong, run.id, eval_id=run.eval_id, limit=500) == "limit"


def test_rows_in_any_order_keep_the_number_that_they_were_sent_with(api, finish):
    run = run_of(api, finish, [EQUAL], jsonl(*[row(str(number)) for number in range(40)]))
    found = {item.datasource_item_id: item.datasource_item["question"] for item in items_of(api, run, limit=100)}
    assert found == {number: str(number) for number in range(40)}


def test_a_created_run_wakes_a_worker(api):
    sent = []

    def note(sender, **kwargs):
        sent.append(sender)

    made = make_eval(api)
    before_task_publish.connect(note)
    try:
        api.evals.runs.create(made.id, data_source=jsonl(row("a")))
    finally:
        before_task_publish.disconnect(note)
    assert sent == ["evals.tasks.pump_run"]


def test_bodies_beyond_the_limit_of_forms_are_taken(api, finish):
    made = make_eval(api)
    big = "x" * (40 * 1024 * 1024)
    run = finish(api.evals.runs.create(made.id, data_source=jsonl(row(big, "x"))))
    assert counts(run) == (1, 0, 1, 0)


def test_a_run_of_large_rows_repeats_only_the_first_of_them(api, finish):
    rows = [row("x" * 1_000_000, str(number)) for number in range(6)]
    run = finish(api.evals.runs.create(make_eval(api).id, data_source=jsonl(*rows)))
    assert [entry.item["answer"] for entry in run.data_source.source.content] == ["0", "1", "2"]
    assert run.result_counts.total == 6
    assert sorted(item.datasource_item["answer"] for item in items_of(api, run)) == list("012345")


def test_a_refusal_is_no_text_for_graders(api, finish, server):
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    server.answer = lambda body: {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "echo",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    done = run_of(api, finish, [{**ANSWERED, "reference": ""}], sampled(row("q")), with_sample=True)
    assert counts(done) == (1, 1, 0, 0)


def test_tokens_that_came_from_a_cache_are_counted_by_model(api, finish, server):
    server.answer = lambda body: {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "echo",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "q"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 24}},
    }
    done = run_of(api, finish, [ANSWERED], sampled(row("a"), row("b")), with_sample=True)
    [used] = done.per_model_usage
    assert (used.prompt_tokens, used.cached_tokens) == (60, 48)


def test_a_rubric_of_ours_is_a_criterion(api, finish, project, server):
    from tests.evals.engine import rubric_spec

    version = rubric_spec(project).rubric_version
    verdict = {"facts": {"evidence": [], "reason": "Right.", "level": 5}, "explanation": "Good."}
    server.answer = lambda body: {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "judge",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": json.dumps(verdict)}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    criterion = {"type": "rubric", "name": "By rubric", "rubric": version.rubric.slug, "model": "judge"}
    source = jsonl(row("q", sample={"output_text": "yes"}))
    done = run_of(api, finish, [criterion], source, with_sample=True)
    [item] = items_of(api, done)
    assert (item.results[0].score, item.results[0].passed, item.results[0].reason) == (5.0, True, "Good.")
    place = refused(make_eval, api, criteria=[{**criterion, "rubric": "none-such"}])
    assert place == "testing_criteria[0].rubric"


def test_an_old_model_name_is_answered_by_the_model_that_stands_for_it(api, finish, project, server):
    from providers.models import ModelAlias

    ModelAlias.objects.create(project=project, old_name="gpt-4-gone", model="echo")
    source = sampled(row("yes"), model="gpt-4-gone")
    done = run_of(api, finish, [ANSWERED], source, with_sample=True)
    assert (done.model, counts(done)) == ("gpt-4-gone", (1, 1, 0, 0))
    assert server.calls[0]["model"] == "echo"
    [item] = items_of(api, done)
    assert item.sample.model == "echo"
