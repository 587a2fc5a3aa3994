"""How alike two texts are, from 0 to 1, by the usual measures. Pure; the libraries are imported on first use, they are slow to load.

Words are runs of letters and digits (Unicode), in lower case. Two texts that are the same score 1 by every measure, and a text
without words scores 0 against any other.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

WORD = re.compile(r"[^\W_]+")
MAX_WORDS = 50_000  # of each text, for the measures that compare words
MAX_CHARS = 1_000_000
MAX_FUZZY = 4e9  # characters of one text times characters of the other
MAX_FUZZY_PARTIAL = 2e10  # the longer times the square of the shorter, where one is at least 1.5 times as long
MAX_ORDER = 4  # of BLEU and GLEU
ROUGE_ORDERS = range(1, 6)


class TooLong(ValueError):
    """Texts that would take too long to compare; the text says how long they are and what to use."""


def words_of(text: str) -> list[str]:
    """Return the words of a text as the measures compare them. Raises TooLong."""
    if len(text) > MAX_CHARS:
        raise TooLong(f"A text has {len(text):,} characters; at most {MAX_CHARS:,} are compared.")
    words = WORD.findall(text.lower())
    if len(words) > MAX_WORDS:
        raise TooLong(f"A text has {len(words):,} words; at most {MAX_WORDS:,} are compared.")
    return words


def similarity(metric: str, text: str, reference: str) -> float:
    """Return how alike two texts are by a metric of METRICS. Raises TooLong."""
    if text == reference:
        return 1.0
    if metric == "fuzzy_match":
        return fuzzy_match(text, reference)
    words, wanted = words_of(text), words_of(reference)
    if not words or not wanted:
        return float(not words and not wanted and text.strip() == reference.strip())
    return min(1.0, max(0.0, METRICS[metric](words, wanted)))


def fuzzy_match(text: str, reference: str) -> float:
    """Return RapidFuzz's WRatio with its default processor, divided by 100. Raises TooLong."""
    from rapidfuzz import fuzz, utils

    shorter, longer = sorted((len(text), len(reference)))
    is_partial = longer >= 1.5 * shorter
    if longer > MAX_CHARS or shorter * longer > MAX_FUZZY or (is_partial and longer * shorter**2 > MAX_FUZZY_PARTIAL):
        raise TooLong(
            f"Texts of {longer:,} and {shorter:,} characters would take too long to match; use rouge_l or cosine for texts so long."
        )
    return fuzz.WRatio(text, reference, processor=utils.default_process) / 100


def bleu(words: Sequence[str], wanted: Sequence[str]) -> float:
    """Return sentence BLEU up to 4-grams, or up to the length of a shorter text, with NIST smoothing of counts that are zero (as
    sacreBLEU's `exp`). Without a common word it is 0.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    order = min(MAX_ORDER, len(words))
    weights = (1 / order,) * order
    return float(sentence_bleu([wanted], words, weights=weights, smoothing_function=SmoothingFunction().method3))


def gleu(words: Sequence[str], wanted: Sequence[str]) -> float:
    """Return sentence Google BLEU over 1- to 4-grams."""
    from nltk.translate.gleu_score import sentence_gleu

    return float(sentence_gleu([wanted], words, min_len=1, max_len=MAX_ORDER))


class NoSynonyms:
    """Stands in for WordNet, which has to be downloaded: no word has a synonym, so that a score is the same on every machine."""

    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(words: Sequence[str], wanted: Sequence[str]) -> float:
    """Return METEOR with NLTK's defaults, by equal words and equal Porter stems, without synonyms. The same words in the same order: 1."""
    from nltk.translate.meteor_score import single_meteor_score

    if words == wanted:
        return 1.0  # NLTK's penalty for one chunk would give less
    return float(single_meteor_score(wanted, words, wordnet=NoSynonyms()))


def rouge_n(order: int) -> Callable[[Sequence[str], Sequence[str]], float]:
    """Return the measure: the F measure of n-gram overlap, without stemming."""

    def measure(words: Sequence[str], wanted: Sequence[str]) -> float:
        from rouge_score.rouge_scorer import RougeScorer

        if max(len(words), len(wanted)) < order:
            return float(words == wanted)
        name = f"rouge{order}"
        scorer = RougeScorer([name], tokenizer=SplitWords())
        return float(scorer.score(" ".join(wanted), " ".join(words))[name].fmeasure)

    return measure


class SplitWords:
    """Gives rouge-score our words; its own tokenizer drops letters that are not ASCII."""

    def tokenize(self, text: str) -> list[str]:
        return text.split(" ")


def rouge_l(words: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the F measure of the longest common subsequence, as rouge-score has it; RapidFuzz finds the length, much faster."""
    from rapidfuzz.distance import LCSseq

    common = LCSseq.similarity(list(words), list(wanted))
    return 2 * common / (len(words) + len(wanted))


def cosine(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the cosine of two vectors, cut to 0 to 1; None where they cannot be compared."""
    if len(one) != len(other) or not one:
        return None
    length = math.sqrt(math.fsum(value * value for value in one)) * math.sqrt(
        math.fsum(value * value for value in other)
    )
    if not length or not math.isfinite(length):
        return None
    value = math.fsum(a * b for a, b in zip(one, other, strict=True)) / length
    return min(1.0, max(0.0, value))


METRICS: dict[str, Callable[[Sequence[str], Sequence[str]], float]] = {
    "bleu": bleu,
    "gleu": gleu,
    "meteor": meteor,
    **{f"rouge_{order}": rouge_n(order) for order in ROUGE_ORDERS},
    "rouge_l": rouge_l,
}
