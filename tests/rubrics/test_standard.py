from rubrics.diff import diff_lines
from rubrics.lint import problems
from rubrics.standard import CriterionText, LevelText, Standard, as_text, standard_from
from rubrics.starters import STARTERS

PASS_FAIL = (LevelText(0, "Fail", "The refund is missing."), LevelText(1, "Pass", "The refund is made."))
ONE_TO_FIVE = tuple(LevelText(value, str(value), f"Meaning {value}.") for value in (1.0, 2.0, 3.0, 4.0, 5.0))


def make_standard(*criteria: CriterionText, **overrides) -> Standard:
    return Standard(**{"name": "Refunds", "number": 1, "pass_threshold": 1, "criteria": criteria, **overrides})


def make_criterion(key: str = "refund", **overrides) -> CriterionText:
    return CriterionText(
        **{"key": key, "name": key.title(), "description": "What happened.", "levels": PASS_FAIL, **overrides}
    )


def test_overall_with_one_scale_is_the_weighted_mean_on_that_scale():
    standard = make_standard(
        make_criterion("a", levels=ONE_TO_FIVE, weight=3), make_criterion("b", levels=ONE_TO_FIVE, weight=1)
    )
    assert standard.scale == (1, 5)
    assert standard.overall({"a": 5, "b": 1}) == 4.0


def test_overall_with_different_scales_runs_from_zero_to_one():
    standard = make_standard(make_criterion("a", levels=ONE_TO_FIVE), make_criterion("b"))
    assert standard.scale == (0, 1)
    assert standard.overall({"a": 3, "b": 1}) == 0.75


def test_overall_with_a_criterion_without_a_value_is_none_and_does_not_pass():
    standard = make_standard(make_criterion("a"), make_criterion("b"))
    assert standard.overall({"a": 1}) is None
    assert standard.passes(None) is None


def test_criteria_of_weight_zero_are_left_out_of_the_overall_score():
    standard = make_standard(make_criterion("a"), make_criterion("b", weight=0))
    assert standard.overall({"a": 1}) == 1


def test_digest_changes_with_a_level_and_not_with_name_or_number():
    standard = make_standard(make_criterion())
    assert standard.digest() == make_standard(make_criterion(), name="Other", number=9).digest()
    changed = make_criterion(levels=(LevelText(0, "Fail", "Otherwise."), PASS_FAIL[1]))
    assert standard.digest() != make_standard(changed).digest()


def test_diff_of_two_versions_marks_the_changed_words_only():
    old = as_text(make_standard(make_criterion()))
    new = as_text(make_standard(make_criterion(levels=(LevelText(0, "Fail", "The refund is wrong."), PASS_FAIL[1]))))
    changed = [line for line in diff_lines(old, new) if line.kind in ("add", "del")]
    assert [line.kind for line in changed] == ["del", "add"]
    assert [text for text, is_changed in changed[1].parts if is_changed] == ["wrong."]
    assert diff_lines(old, old) == []


def test_lint_names_what_blocks_and_what_is_weak():
    no_meaning = make_criterion(levels=(LevelText(0, "Fail"), LevelText(1, "Pass", "Good answer")))
    texts = [problem.text for problem in problems(make_standard(no_meaning))]
    assert any("level 0 has no meaning" in text for text in texts)
    assert any("can mean anything" in text for text in texts)
    blocked = problems(make_standard(make_criterion(levels=PASS_FAIL[:1]), make_criterion(), pass_threshold=7))
    assert [problem.blocks for problem in blocked][:3] == [True, True, True]
    two_questions = make_criterion(description="Is it polite? Is it right?")
    assert any("two questions" in problem.text for problem in problems(make_standard(two_questions)))
    variable = problems(make_standard(make_criterion(), instructions="Judge {{ item.answer }}"))
    assert any("item.answer" in problem.text for problem in variable)


def test_every_starter_but_the_blank_one_is_fit_to_publish():
    for key, starter in STARTERS.items():
        found = problems(standard_from(starter))
        assert not [problem for problem in found if problem.blocks], key
        if key != "blank":
            assert not [problem.text for problem in found if "no meaning" in problem.text], key


def test_lint_names_levels_without_a_label():
    criterion = make_criterion(levels=(LevelText(0, "", "The refund is missing."), LevelText(1, " ", "It is made.")))
    texts = [problem.text for problem in problems(make_standard(criterion))]
    assert "“Refund”: level 0, 1 has no label, so readers see a bare number." in texts
    assert not any("label" in problem.text for problem in problems(make_standard(make_criterion())))


def test_lint_sees_two_questions_in_the_instructions_and_not_one():
    for text in ("Is it polite? Is it right?", "Say whether the refund was made and is within policy."):
        assert any(
            "instructions seem to ask two questions" in p.text for p in problems(make_standard(instructions=text))
        )
    one = make_standard(make_criterion(), instructions="Was the request resolved as asked, and within policy?")
    assert not any("two questions" in problem.text for problem in problems(one))
