"""What changed between two answers, word by word. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

MAX_WORDS = 3_000  # words of each side that are compared one by one; the work grows with their product
# Scripts written without spaces are compared by character; everything else by word, with runs of space kept as they are.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"\s+|[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A stretch of text: `kind` is same, del (only before) or ins (only after)."""

    kind: str
    text: str


@dataclass(frozen=True)
class WordDiff:
    """The pieces in order. `is_rough`: the changed part was too long to compare word by word and is shown as a whole."""

    pieces: list[Piece]
    is_rough: bool = False

    @property
    def is_same(self) -> bool:
        return all(piece.kind == "same" for piece in self.pieces)


def word_diff(before: str, after: str, *, max_words: int = MAX_WORDS) -> WordDiff:
    """Return what turns `before` into `after`. What both start and end with is set aside first, so long equal texts are cheap."""
    old, new = WORD.findall(before), WORD.findall(after)
    start = common_prefix(old, new)
    end = common_prefix(reversed(old[start:]), reversed(new[start:]))
    head, tail = old[:start], old[len(old) - end :]
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    is_rough = len(old) > max_words or len(new) > max_words
    pieces = [Piece("same", "".join(head))]
    if is_rough:
        pieces += [Piece("del", "".join(old)), Piece("ins", "".join(new))]
    else:
        for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if kind == "equal":
                pieces.append(Piece("same", "".join(old[a:b])))
            else:
                pieces += [Piece("del", "".join(old[a:b])), Piece("ins", "".join(new[c:d]))]
    pieces.append(Piece("same", "".join(tail)))
    return WordDiff(joined(pieces), is_rough)


def common_prefix(old: Iterable[str], new: Iterable[str]) -> int:
    """Return how many words both start with."""
    count = 0
    for left, right in zip(old, new, strict=False):
        if left != right:
            break
        count += 1
    return count


def joined(pieces: list[Piece]) -> list[Piece]:
    """Drop empty pieces; take a lone space between two changes into both, so that a rewritten sentence reads as one change."""
    pieces = [piece for piece in pieces if piece.text]
    result: list[Piece] = []
    dropped, added = "", ""

    def flush() -> None:
        nonlocal dropped, added
        result.extend(piece for piece in (Piece("del", dropped), Piece("ins", added)) if piece.text)
        dropped, added = "", ""

    for number, piece in enumerate(pieces):
        if piece.kind == "del":
            dropped += piece.text
        elif piece.kind == "ins":
            added += piece.text
        elif piece.text.isspace() and dropped and added and number + 1 < len(pieces):
            dropped, added = dropped + piece.text, added + piece.text
        else:
            flush()
            result.append(piece)
    flush()
    return result
