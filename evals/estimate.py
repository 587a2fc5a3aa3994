"""What a comparison will ask of models, and about what it will cost, before it is started. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

CHARS_PER_TOKEN = 4
ANSWER_TOKENS = 250  # of an answer, where the model was not asked before
VERDICT_TOKENS = 220  # of a judge's answer for one criterion
FRAME_TOKENS = 350  # of the judge's instructions around rubric and answer

Price = Callable[[str, int, int], float | None]  # model, input tokens, output tokens: US dollars or not known


@dataclass(frozen=True)
class Asked:
    """One candidate: its model (empty: none is asked), the length of its prompt, and the tokens that it usually answers with."""

    model: str = ""
    prompt_chars: int = 0
    answer_tokens: int = ANSWER_TOKENS


@dataclass(frozen=True)
class Judge:
    """One judge: its model, the length of its rubric's text, and how many criteria it marks."""

    model: str
    rubric_chars: int
    criteria: int = 1


@dataclass(frozen=True)
class Estimate:
    """Samples, calls, and the cost of the calls whose price is known. `unpriced` are the models whose price is not."""

    samples: int
    answer_calls: int
    judge_calls: int
    cost_usd: float
    unpriced: tuple[str, ...]
    all_scripted: bool

    @property
    def calls(self) -> int:
        return self.answer_calls + self.judge_calls

    @property
    def money(self) -> str:
        """Say the cost: about $0.42, no cost, not known. Scripted models have made-up prices, which the books show as well."""
        if not self.calls:
            return "no cost"
        if self.unpriced and not self.cost_usd:
            return "cost not known"
        known = "less than $0.01" if self.cost_usd < 0.005 else f"about ${self.cost_usd:,.2f}"
        return f"{known} and what is not known" if self.unpriced else known

    @property
    def words(self) -> str:
        """Say what the button does: Run 240 samples, about $0.42."""
        return f"Run {self.samples:,} sample{'' if self.samples == 1 else 's'}, {self.money}"


def estimate_comparison(
    *,
    items: int,
    item_chars: int,
    trials: int,
    candidates: Sequence[Asked],
    judges: Sequence[Judge],
    price: Price,
    is_scripted: Callable[[str], bool],
) -> Estimate:
    """Estimate a comparison. `item_chars` is the mean length of what an item puts before a model."""
    per_candidate = items * trials
    cost, unpriced = 0.0, []
    models = []
    answer_calls = judge_calls = 0
    for candidate in candidates:
        if candidate.model:
            answer_calls += per_candidate
            tokens = (candidate.prompt_chars + item_chars) // CHARS_PER_TOKEN + 10
            models.append((candidate.model, per_candidate, tokens, candidate.answer_tokens))
        for judge in judges:
            judge_calls += per_candidate
            tokens = (judge.rubric_chars + item_chars) // CHARS_PER_TOKEN + candidate.answer_tokens + FRAME_TOKENS
            models.append((judge.model, per_candidate, tokens, VERDICT_TOKENS * max(1, judge.criteria)))
    for model, calls, input_tokens, output_tokens in models:
        one = price(model, input_tokens, output_tokens)
        if one is None:
            unpriced.append(model)
        else:
            cost += one * calls
    return Estimate(
        samples=per_candidate * len(candidates),
        answer_calls=answer_calls,
        judge_calls=judge_calls,
        cost_usd=cost,
        unpriced=tuple(dict.fromkeys(unpriced)),
        all_scripted=bool(models) and all(is_scripted(model) for model, *_ in models),
    )
