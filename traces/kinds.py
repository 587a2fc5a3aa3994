"""How each kind of span looks: colour class, icon of the sprite, and the word for it. Pure."""

from typing import NamedTuple


class KindLook(NamedTuple):
    """The look of a kind: class `k-…` of the stylesheet, icon of the sprite, label."""

    css: str
    icon: str
    label: str


KINDS: dict[str, KindLook] = {
    "agent": KindLook("k-agent", "agent", "Agent"),
    "llm": KindLook("k-llm", "llm", "Model call"),
    "tool": KindLook("k-tool", "tool", "Tool call"),
    "retriever": KindLook("k-retrieval", "book", "Retrieval"),
    "embedding": KindLook("k-llm", "data", "Embedding"),
    "reranker": KindLook("k-retrieval", "sort", "Reranking"),
    "guardrail": KindLook("k-guard", "guard", "Guardrail"),
    "evaluator": KindLook("k-guard", "rubric", "Evaluator"),
    "prompt": KindLook("k-agent", "copy", "Prompt"),
    "chain": KindLook("k-agent", "link", "Chain"),
    "handoff": KindLook("k-agent", "user", "Hand-over"),
    "event": KindLook("k-agent", "clock", "Event"),
    "unknown": KindLook("k-agent", "dots", "Span"),
    "missing": KindLook("k-agent", "eyeoff", "Parent not received"),  # not a kind that is stored: see `traces.tree`
}


def kind_look(kind: str) -> KindLook:
    """Return the look of a kind; a word that is not a kind looks like an unknown span."""
    return KINDS.get(kind) or KINDS["unknown"]
