"""Values are worked out by hand or are the published examples of the libraries."""

import math
import random
import time

import pytest
from rouge_score.rouge_scorer import RougeScorer

from evals.graders import BadConfig, grader_kind
from evals.graders.base import Embedded, JudgeUnavailable, Surroundings
from evals.graders.similarity import cosine, similarity
from tests.evals.graders.graded import grade

CAT, MAT = "The cat sat on the mat.", "the cat is on the mat"


def test_fuzzy_match_is_wratio_with_its_default_processor():
    # https://rapidfuzz.github.io/RapidFuzz/Usage/fuzz.html#wratio
    assert similarity("fuzzy_match", "this is a test", "this is a new test!!!") == pytest.approx(0.95)


def test_bleu_by_hand_with_a_smoothed_fourth_order():
    # 5/6 words, 3/5 pairs, 1/4 triples; no run of four in common, smoothed to 1/(2 * 3). No brevity penalty: same length.
    wanted = (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** (1 / 4)
    assert similarity("bleu", CAT, MAT) == pytest.approx(wanted)


def test_bleu_of_a_short_text_uses_the_orders_that_it_has_and_its_brevity_penalty():
    assert similarity("bleu", "hello there", "hello there friend") == pytest.approx(math.exp(1 - 3 / 2))


def test_gleu_by_hand():
    assert similarity("gleu", CAT, MAT) == pytest.approx(9 / 18)  # of 6 + 5 + 4 + 3 n-grams 5 + 3 + 1 + 0 are shared


def test_meteor_by_hand():
    # Five of six words match in two chunks: F 5/6, penalty 0.5 * (2/5)^3.
    assert similarity("meteor", CAT, MAT) == pytest.approx((1 - 0.5 * (2 / 5) ** 3) * 5 / 6)


def test_meteor_published_example():
    # nltk.translate.meteor_score; its words match by form and stem alone, so that the missing synonyms make no difference
    hypothesis = "It is a guide to action which ensures that the military always obeys the commands of the party"
    reference = "It is a guide to action that ensures that the military will forever heed Party commands"
    assert similarity("meteor", hypothesis, reference) == pytest.approx(0.6944, abs=5e-5)


def test_meteor_matches_stems_and_knows_no_synonyms():
    assert similarity("meteor", "running", "runs") == pytest.approx(0.5)
    assert similarity("meteor", "a car", "an automobile") == 0


@pytest.mark.parametrize(
    ("metric", "value"),
    [("rouge_1", 12 / 17), ("rouge_2", 4 / 15), ("rouge_l", 10 / 17)],
)
def test_rouge_published_texts(metric, value):
    # The texts of rouge-score's README: 9 and 8 words; 6 words, 2 pairs, and a subsequence of 5 in common.
    reference, text = "The quick brown fox jumps over the lazy dog", "The quick brown dog jumps on the log."
    assert similarity(metric, text, reference) == pytest.approx(value)


def test_rouge_l_is_that_of_rouge_score_on_any_texts():
    chance = random.Random(7)
    scorer = RougeScorer(["rougeL"])
    for _ in range(200):
        one, two = (" ".join(chance.choices("abcdefg", k=chance.randint(1, 30))) for _ in range(2))
        if one != two:
            assert similarity("rouge_l", one, two) == pytest.approx(scorer.score(two, one)["rougeL"].fmeasure)


@pytest.mark.parametrize("metric", ["rouge_4", "rouge_5"])
def test_rouge_of_texts_shorter_than_its_order_is_1_where_they_are_equal_else_0(metric):
    assert similarity(metric, "one two", "One two!") == 1
    assert similarity(metric, "one two", "one three") == 0


METRICS = ["fuzzy_match", "bleu", "gleu", "meteor", *(f"rouge_{n}" for n in range(1, 6)), "rouge_l"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", ["", "one", "one two", "a b c d e f g", "!!!", "Привет, мир", "日本語"])
def test_texts_that_are_the_same_score_1(metric, text):
    assert similarity(metric, text, text) == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("text", "reference"), [("", "one"), ("one", ""), ("...", "one"), ("red", "xylophone jumping")]
)
def test_nothing_in_common_scores_0(metric, text, reference):
    assert similarity(metric, text, reference) == (pytest.approx(0, abs=0.5) if metric == "fuzzy_match" else 0)


def test_words_of_other_scripts_count():
    assert similarity("rouge_1", "привет мир", "Привет друг") == pytest.approx(0.5)


def test_two_huge_texts_are_refused_at_once_and_it_is_said_why():
    config = {
        "input": "{{ item.a }}",
        "reference": "{{ item.b }}",
        "evaluation_metric": "fuzzy_match",
        "pass_threshold": 0.5,
    }
    begun = time.perf_counter()
    result = grade("text_similarity", config, item={"a": "ab c" * 250_000, "b": "ba c" * 250_000})
    assert time.perf_counter() - begun < 2
    assert (result.state, result.value) == ("failed", None)
    assert "1,000,000" in result.reason
    assert "rouge_l" in result.reason


@pytest.mark.parametrize("metric", METRICS)
def test_the_longest_texts_that_are_compared_take_a_few_seconds(metric):
    chance = random.Random(3)
    length = 3_000 if metric == "fuzzy_match" else 40_000
    one, two = (" ".join(chance.choices(["red", "green", "blue", "order", "refund"], k=length)) for _ in range(2))
    begun = time.perf_counter()
    assert 0 <= similarity(metric, one, two) <= 1
    assert time.perf_counter() - begun < 10


def test_the_score_passes_at_its_threshold():
    config = {"input": CAT, "reference": MAT, "evaluation_metric": "gleu"}
    assert grade("text_similarity", {**config, "pass_threshold": 0.5}).passed is True
    assert grade("text_similarity", {**config, "pass_threshold": 0.51}).passed is False
    assert grade("text_similarity", config).passed is None


def test_a_missing_variable_is_skipped():
    config = {"input": "{{ item.no }}", "reference": "b", "evaluation_metric": "bleu"}
    result = grade("text_similarity", config, item={})
    assert (result.state, result.problem) == ("skipped", "invalid_variable")


# Cosine

COSINE = {"input": "{{ item.a }}", "reference": "{{ item.b }}", "evaluation_metric": "cosine", "embedding_model": "e-1"}


def embedding(*vectors):
    async def embed(*, model, texts):
        assert model == "e-1"
        asked.append(texts)
        if isinstance(vectors[0], Exception):
            raise vectors[0]
        return Embedded(list(vectors), 0.002, 12.0)

    asked = []
    return asked, Surroundings(embed=embed)


def test_cosine_is_that_of_the_two_vectors():
    asked, surroundings = embedding([1.0, 0.0], [1.0, 1.0])
    result = grade("text_similarity", COSINE, item={"a": "x", "b": "y"}, surroundings=surroundings)
    assert result.value == pytest.approx(1 / math.sqrt(2))
    assert (asked, result.cost_usd, result.duration_ms) == ([["x", "y"]], 0.002, 12.0)


def test_cosine_below_zero_is_cut_to_zero_and_unlike_lengths_have_none():
    assert cosine([1.0, 0.0], [-1.0, 0.0]) == 0
    assert cosine([1.0], [1.0, 2.0]) is None
    assert cosine([0.0], [1.0]) is None


@pytest.mark.parametrize(("a", "b", "value"), [("same", "same", 1), ("", "x", 0), ("x", " ", 0), ("", "", 1)])
def test_cosine_of_equal_or_empty_texts_asks_nobody(a, b, value):
    assert grade("text_similarity", COSINE, item={"a": a, "b": b}).value == value


def test_cosine_without_an_answer_is_failed_with_its_message():
    _, surroundings = embedding(JudgeUnavailable('Provider "x" answered 503.'))
    result = grade("text_similarity", COSINE, item={"a": "x", "b": "y"}, surroundings=surroundings)
    assert (result.state, result.problem, result.reason) == (
        "failed",
        "judge_unavailable",
        'Provider "x" answered 503.',
    )


def test_cosine_needs_an_embedding_model_and_takes_that_of_the_settings(settings):
    config = {name: value for name, value in COSINE.items() if name != "embedding_model"}
    settings.EMBEDDING_MODEL = ""
    with pytest.raises(BadConfig, match="MARKBOOK_EMBEDDING_MODEL") as caught:
        grader_kind("text_similarity").validate(config)
    assert caught.value.param == "evaluation_metric"
    settings.EMBEDDING_MODEL = "text-embedding-3-large"
    assert grader_kind("text_similarity").validate(config)["embedding_model"] == "text-embedding-3-large"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"evaluation_metric": "levenshtein"}, "evaluation_metric"),
        ({"evaluation_metric": ["bleu"]}, "evaluation_metric"),
        ({"pass_threshold": "high"}, "pass_threshold"),
        ({"input": None}, "input"),
        ({"stemming": True}, "stemming"),
    ],
)
def test_settings_that_cannot_be_used_name_their_place(change, param):
    config = {"input": "a", "reference": "b", "evaluation_metric": "bleu", **change}
    with pytest.raises(BadConfig) as caught:
        grader_kind("text_similarity").validate(config)
    assert caught.value.param == param
