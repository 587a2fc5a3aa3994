import time

from evals.word_diff import word_diff


def before(diff):
    return "".join(piece.text for piece in diff.pieces if piece.kind != "ins")


def after(diff):
    return "".join(piece.text for piece in diff.pieces if piece.kind != "del")


def test_equal_texts_are_one_same_piece():
    diff = word_diff("All is well.", "All is well.")
    assert [(piece.kind, piece.text) for piece in diff.pieces] == [("same", "All is well.")]
    assert diff.is_same


def test_two_empty_texts_have_no_pieces():
    assert word_diff("", "").pieces == []


def test_a_changed_word_is_deleted_and_inserted():
    diff = word_diff("You should see it soon.", "You should see money soon.")
    assert [(piece.kind, piece.text) for piece in diff.pieces] == [
        ("same", "You should see "),
        ("del", "it"),
        ("ins", "money"),
        ("same", " soon."),
    ]


def test_a_rewritten_sentence_reads_as_one_change():
    diff = word_diff("Hi, cancelled your plan.", "Hi, refunded the add-on.")
    assert [piece.kind for piece in diff.pieces] == ["same", "del", "ins", "same"]


def test_both_texts_can_be_read_back_whatever_they_hold():
    cases = [
        ("", "new\nlines\t\n"),
        ("退款已经完成了", "退款还没有完成"),
        ("مرحبا بالعالم", "مرحبا يا عالم"),
        ("<b>x</b>\x00 é", "<i>x</i>\x00 é"),
        ("a b c d", "d c b a"),
    ]
    for old, new in cases:
        diff = word_diff(old, new)
        assert (before(diff), after(diff)) == (old, new)


def test_text_without_spaces_is_compared_by_character():
    diff = word_diff("退款已完成", "退款未完成")
    assert ("del", "已") in [(piece.kind, piece.text) for piece in diff.pieces]


def test_a_huge_change_is_rough_and_quick():
    old, new = " ".join(f"a{n}" for n in range(50_000)), " ".join(f"b{n}" for n in range(50_000))
    started = time.monotonic()
    diff = word_diff("same start " + old, "same start " + new)
    assert diff.is_rough
    assert (before(diff), after(diff)) == ("same start " + old, "same start " + new)
    assert time.monotonic() - started < 5


def test_a_small_change_in_a_huge_text_is_still_found():
    text = " ".join(f"w{n}" for n in range(50_000))
    diff = word_diff(text + " end", text.replace("w25000", "changed") + " end")
    assert not diff.is_rough
    assert ("del", "w25000") in [(piece.kind, piece.text) for piece in diff.pieces]
