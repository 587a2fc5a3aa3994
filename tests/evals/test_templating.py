import pytest

from evals.templating import MissingVariable, references, render, render_messages

SAMPLE = {
    "output_text": "Berlin",
    "output_tools": [{"id": "1", "function": {"name": "get", "arguments": '{"city": "Paris", "days": [1, 2]}'}}],
}


def test_a_path_through_lists_and_json_text_reaches_the_tool_argument():
    template = (
        "{{ sample.output_tools[0].function.arguments.city }}/{{sample.output_tools[0].function.arguments.days[1]}}"
    )
    assert render(template, sample=SAMPLE) == "Paris/2"


def test_values_other_than_text_go_in_as_compact_json():
    item = {"f": 1.0, "n": 3, "t": True, "nothing": None, "o": {"é": [1, "a"]}}
    assert (
        render("{{item.f}} {{item.n}} {{item.t}} [{{item.nothing}}] {{item.o}}", item=item)
        == '1.0 3 true [] {"é":[1,"a"]}'
    )


def test_inserted_braces_backslashes_and_dollars_stay_text():
    item = {"x": "{{ item.secret }} \\1 $1 \\g<0>\n", "secret": "no"}
    assert render("<{{ item.x }}>", item=item) == "<{{ item.secret }} \\1 $1 \\g<0>\n>"


def test_keys_with_spaces_dots_and_hyphens_are_reached_in_brackets():
    item = {"a b": 1, "a.b": 2, "a-b": 3, "item": {"sample": 4}}
    assert render("""{{ item["a b"] }}{{ item['a.b'] }}{{ item.a-b }}{{ item.item.sample }}""", item=item) == "1234"


@pytest.mark.parametrize(
    "template", ["{{ item.x }", "{ item.x }}", "{{ other.x }}", "{{ item x }}", "{{ items }}", "{{}}"]
)
def test_what_is_no_reference_stays_as_it_is(template):
    assert render(template, item={"x": 1}) == template


def test_the_root_alone_inserts_the_whole_object():
    assert render("{{item}}", item={"a": 1}) == '{"a":1}'


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ item.y }}", "has no 'y'; it has x, rows"),
        ("{{ item.rows[5].a }}", "item.rows has 2 entries"),
        ("{{ item.x.y }}", "item.x is a text"),
        ("{{ sample.output_text }}", "there is no sample here"),
        ("{{ item.rows.a }}", "use a number such as [0]"),
    ],
)
def test_a_reference_that_leads_nowhere_says_which_step_and_what_is_there(template, says):
    with pytest.raises(MissingVariable, match=r"item|sample") as caught:
        render(template, item={"x": "text", "rows": [{}, {}]})
    assert says in str(caught.value)


def test_references_are_listed_once_in_order():
    assert references("{{ item.a }} {{sample.b[0]}} {{item.a}}") == ["item.a", "sample.b[0]"]


def test_messages_are_rendered_in_content_and_in_parts():
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Say {{ item.x }}"}]},
        {"role": "user", "content": "{{item.x}}"},
    ]
    rendered = render_messages(messages, item={"x": "hi"})
    assert rendered[0]["content"][0]["text"] == "Say hi"
    assert rendered[1]["content"] == "hi"
