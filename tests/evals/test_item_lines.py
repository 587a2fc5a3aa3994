from evals.item_lines import read_item_lines


def test_good_lines_become_items_and_blank_lines_are_passed_over():
    lines = read_item_lines('{"input": "a", "key": "k1", "bucket": "refunds"}\n\n{"input": "b", "reference": "B"}\n')
    assert lines.items == [{"input": "a", "key": "k1", "bucket": "refunds"}, {"input": "b", "reference": "B"}]
    assert lines.wrong == []


def test_wrong_lines_are_listed_by_number_with_the_reason_and_good_ones_kept():
    lines = read_item_lines('{"input": "a"}\n{"input": \n"text"\n{"key": "only"}\n{"input": NaN}\n{"input": "z"}')
    assert [item["input"] for item in lines.items] == ["a", "z"]
    assert [line.number for line in lines.wrong] == [2, 3, 4, 5]
    assert "not JSON" in lines.wrong[0].reason
    assert lines.wrong[1].reason.startswith("a text")
    assert "nothing to work on" in lines.wrong[2].reason


def test_a_repeated_key_names_the_line_that_used_it_first():
    lines = read_item_lines('{"input": "a", "key": "k"}\n{"input": "b", "key": "k"}')
    assert [(line.number, line.reason) for line in lines.wrong] == [(2, "the key 'k' was used on line 1")]


def test_a_key_that_is_a_number_becomes_text():
    assert read_item_lines('{"input": "a", "key": 7}').items == [{"input": "a", "key": "7"}]


def test_a_json_array_is_taken_element_by_element():
    lines = read_item_lines('[{"input": "a"},\n 3,\n {"input": "c"}]')
    assert len(lines.items) == 2
    assert lines.wrong[0].number == 2


def test_a_line_separator_inside_a_text_does_not_end_the_line():
    assert read_item_lines('{"input": "one\u2028two"}').items == [{"input": "one\u2028two"}]


def test_deep_nesting_is_a_wrong_line_and_not_a_crash():
    lines = read_item_lines('{"input": ' + "[" * 200_000 + "\n" + '{"input": "good"}')
    assert lines.wrong_count == 1
    assert lines.items == [{"input": "good"}]


def test_wrong_lines_beyond_the_first_are_counted():
    lines = read_item_lines("x\n" * 500)
    assert lines.wrong_count == 500
    assert len(lines.wrong) + lines.more_wrong == 500


def test_values_that_no_database_keeps_are_wrong_lines():
    lines = read_item_lines('{"input": "a\\u0000b"}\n{"input": ["\\ud800"]}\n{"input": {"n": 1e999}}\n{"input": "😀"}')
    assert [line.number for line in lines.wrong] == [1, 2, 3]
    assert lines.items == [{"input": "😀"}]
