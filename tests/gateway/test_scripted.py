import json

import pytest

from gateway.completions import RequestError, read_request
from gateway.scripted import MODELS, respond
from gateway.scripted.chance import quantile

ORDER = {
    "order_id": "FH-10234",
    "status": "delivered",
    "items": [{"name": "Hand grinder", "price": 38.0}],
    "days_since_delivery": 6,
    "tracking_number": "TRK123456",
    "customer": "Ada",
    "charge_id": "ch_1",
}
REFUND = "The Hand grinder from order FH-10234 is not for me. Can I have my money back?"
AGENTS = ["demo/careful", "demo/brisk", "demo/terse"]


def ask(model, text, *, order=ORDER, seed=1, **fields):
    system = {
        "role": "system",
        "content": f"You are a support agent. The tools returned: {json.dumps(order)} Be brief.",
    }
    body = {"model": model, "messages": [system, {"role": "user", "content": text}], "seed": seed, **fields}
    return respond(read_request(json.dumps(body).encode()))


def said(*args, **fields) -> str:
    return ask(*args, **fields)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("model", list(MODELS))
def test_respond_is_a_labelled_completion_with_counted_tokens(model):
    answer = ask(model, REFUND)

    assert (answer["system_fingerprint"], answer["object"], answer["model"]) == ("scripted", "chat.completion", model)
    assert (
        answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"] > 0
    )
    assert answer["scripted_latency_ms"] > 0


@pytest.mark.parametrize("model", AGENTS)
def test_respond_is_the_same_for_the_same_seed_and_differs_between_seeds(model):
    def choices(number, seed):
        return json.dumps(ask(model, REFUND, order={**ORDER, "charge_id": f"ch_{number}"}, seed=seed)["choices"])

    first, again, other = ([choices(number, seed) for number in range(30)] for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_careful_states_the_policy_with_the_facts_of_the_order():
    within = said("demo/careful", REFUND)
    late = said("demo/careful", REFUND, order={**ORDER, "days_since_delivery": 41})
    dear = said("demo/careful", REFUND, order={**ORDER, "items": [{"name": "Kettle", "price": 99.0}]})

    assert "$38.00" in within
    assert "FH-10234" in within
    assert "cannot be refunded" in late
    assert "41 days" in late
    assert "approval" in dear


@pytest.mark.parametrize(
    ("text", "order", "says"),
    [
        ("Where is order FH-10234?", {**ORDER, "status": "shipped"}, "TRK123456"),
        ("Where is order FH-10234?", {**ORDER, "status": "packed"}, "not shipped"),
        ("Can you send FH-10234 to 4 Foundry Row, Ely instead?", {**ORDER, "status": "packed"}, "4 Foundry Row, Ely"),
        ("Can you send FH-10234 to 4 Foundry Row, Ely instead?", {**ORDER, "status": "shipped"}, "cannot be changed"),
        ("I want to pause my plan, ada@example.com", {}, "next box"),
        ("This is the third time FH-10234 comes late. I am really annoyed.", ORDER, "2 working days"),
        ("Hola, ¿qué tal?", {}, "order number"),
    ],
)
def test_careful_answers_each_kind_of_request(text, order, says):
    assert any(says in said("demo/careful", text, order=order, seed=seed) for seed in (1, 2, 3))


def test_agents_differ_in_quality_over_many_cases():
    late = [{**ORDER, "order_id": f"FH-{10000 + n}", "days_since_delivery": 31 + n} for n in range(60)]

    def share_right(model):
        answers = [said(model, REFUND.replace("FH-10234", order["order_id"]), order=order) for order in late]
        return sum("cannot be refunded" in text or "No refund" in text for text in answers) / len(answers)

    careful, brisk, terse = (share_right(model) for model in AGENTS)

    assert careful >= 0.9
    assert 0.5 < brisk < 0.9
    assert terse < brisk


def tool(name, properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [
    tool("get_order", {"order_id": {"type": "string"}}),
    tool("create_refund", {"charge_id": {"type": "string"}, "amount": {"type": "number"}}),
    tool("find_user_id_by_name_zip", {"first_name": {}, "last_name": {}, "zip": {}}),
]


def test_careful_looks_up_then_acts_then_answers_from_the_results():
    messages = [{"role": "user", "content": REFUND}]
    called = []
    for _ in range(5):
        message = respond({"model": "demo/careful", "messages": messages, "tools": TOOLS, "seed": 1})["choices"][0][
            "message"
        ]
        messages.append(message)
        if not message.get("tool_calls"):
            break
        call = message["tool_calls"][0]
        name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
        called.append((name, arguments))
        result = (
            {**ORDER, "charges": [{"charge_id": "ch_1"}]}
            if name == "get_order"
            else {"status": "succeeded", "refund_id": "re_1"}
        )
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})

    assert called == [("get_order", {"order_id": "FH-10234"}), ("create_refund", {"charge_id": "ch_1", "amount": 38.0})]
    assert "I have refunded $38.00" in messages[-1]["content"]


def test_a_tool_of_another_shop_is_called_with_what_the_customer_said():
    text = "I want to exchange a lamp. My name is Mei Kovacs and my zip code is 28236."
    answer = respond({"model": "demo/careful", "messages": [{"role": "user", "content": text}], "tools": TOOLS})

    function = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    assert function["name"] == "find_user_id_by_name_zip"
    assert json.loads(function["arguments"]) == {"first_name": "Mei", "last_name": "Kovacs", "zip": "28236"}
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


def test_no_tool_is_called_where_its_arguments_are_not_known():
    answer = respond({"model": "demo/careful", "messages": [{"role": "user", "content": "Hello"}], "tools": TOOLS})

    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\x00",
        "\ud800 half a character",
        "{" * 3000,
        "[" * 100_000,
        "FH-" * 50_000,
        "<script>alert(1)</script> refund FH-1234",
        "שלום, איפה ההזמנה שלי?",
        "a" * 300_000,
        "label" + " " * 300_000,
        "score 1" + "1" * 300_000,
        '{"items": [3], "days_since_delivery": "x", "status": ["y"], "customer": {"a": 1}} refund',
    ],
)
@pytest.mark.parametrize("model", list(MODELS))
def test_respond_survives_any_text(model, text):
    for role in ("user", "system", "tool"):
        answer = respond(
            {"model": model, "messages": [{"role": role, "content": text}, {"role": "user", "content": text}]}
        )
        assert isinstance(answer["choices"][0]["message"]["content"], str)
        json.dumps(answer)


def test_limits_and_stops_cut_the_text():
    assert ask("demo/careful", REFUND, max_tokens=3)["choices"][0]["finish_reason"] == "length"
    assert "." not in said("demo/careful", REFUND, stop=".")
    assert len(ask("demo/brisk", REFUND, n=3)["choices"]) == 3


def test_candidates_answer_in_a_schema_that_is_asked_for():
    schema = {
        "type": "object",
        "properties": {
            "reply": {"type": "string"},
            "topic": {"enum": ["refund", "other"]},
            "sure": {"type": "boolean"},
        },
    }
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}

    value = json.loads(said("demo/careful", REFUND, response_format=form))

    assert set(value) == {"reply", "topic", "sure"}
    assert value["topic"] == "refund"


def test_happens_has_the_share_that_it_is_given():
    import random

    rng = random.Random(1)
    draws = [0.6 * rng.random() + 0.4 * rng.random() for _ in range(20_000)]
    for share in (0.08, 0.28, 0.42, 0.8):
        assert sum(draw < quantile(share) for draw in draws) / len(draws) == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[1]", None),
        (b"[" * 100_000, None),
        (b'{"messages": []}', "model"),
        (b'{"model": 5, "messages": []}', "model"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": "hi"}', "messages"),
        (b'{"model": "m", "messages": [4]}', "messages[0]"),
        (b'{"model": "m", "messages": [{"role": "boss"}]}', "messages[0].role"),
        (b'{"model": "m", "messages": [{"role": ["user"]}]}', "messages[0].role"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 5}]}', "messages[0].content"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "temperature": 9}', "temperature"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "temperature": NaN}', "temperature"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "n": 1000}', "n"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 0}', "max_tokens"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "seed": "x"}', "seed"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": {}}', "tools"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "stop": [1]}', "stop"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": "yes"}', "stream"),
        (b"\xff\xfe{", None),
    ],
)
def test_read_request_names_the_place_that_is_wrong(body, param):
    with pytest.raises(RequestError) as caught:
        read_request(body)

    assert (caught.value.status, caught.value.param) == (400, param)
    assert len(str(caught.value)) < 400
