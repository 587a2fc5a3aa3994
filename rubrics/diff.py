"""The difference between two texts, line by line, with the changed words of a changed line marked. Pure."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

ALIKE = 0.4  # share of common words from which two lines count as one line changed
CONTEXT = 2  # unchanged lines kept around a change


@dataclass(frozen=True)
class DiffLine:
    """One line. kind: same, add, del or gap (lines left out). parts: (text, is_changed) pairs; a gap has its count as text."""

    kind: str
    parts: tuple[tuple[str, bool], ...]


def diff_lines(old: str, new: str) -> list[DiffLine]:
    """Return the lines that turn `old` into `new`, long unchanged stretches folded. Equal texts give an empty list."""
    before, after = old.splitlines(), new.splitlines()
    if before == after:
        return []
    lines: list[DiffLine] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [DiffLine("same", ((line, False),)) for line in before[i1:i2]]
            continue
        for old_line, new_line in pair_lines(before[i1:i2], after[j1:j2]):
            if old_line is not None and new_line is not None:
                old_parts, new_parts = diff_words(old_line, new_line)
            else:
                old_parts, new_parts = ((old_line or "", False),), ((new_line or "", False),)
            if old_line is not None:
                lines.append(DiffLine("del", old_parts))
            if new_line is not None:
                lines.append(DiffLine("add", new_parts))
    return fold(lines)


def pair_lines(removed: list[str], added: list[str]) -> list[tuple[str | None, str | None]]:
    """Set each removed line beside the next added one that resembles it, in order; lines without a like stand alone."""
    pairs: list[tuple[str | None, str | None]] = []
    start = 0
    for line in removed:
        like = next((place for place in range(start, len(added)) if resemblance(line, added[place]) >= ALIKE), None)
        if like is None:
            pairs.append((line, None))
            continue
        pairs += [(None, extra) for extra in added[start:like]]
        pairs.append((line, added[like]))
        start = like + 1
    return pairs + [(None, extra) for extra in added[start:]]


def resemblance(old: str, new: str) -> float:
    """Return the share of words that two lines have in common, in order, from 0 to 1."""
    return SequenceMatcher(None, old.split(), new.split(), autojunk=False).ratio()


def diff_words(old: str, new: str) -> tuple[tuple[tuple[str, bool], ...], tuple[tuple[str, bool], ...]]:
    """Return both lines as (text, is_changed) parts, words compared."""
    before, after = re.findall(r"\s*\S+\s*", old), re.findall(r"\s*\S+\s*", new)
    old_parts: list[tuple[str, bool]] = []
    new_parts: list[tuple[str, bool]] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if i2 > i1:
            old_parts.append(("".join(before[i1:i2]), tag != "equal"))
        if j2 > j1:
            new_parts.append(("".join(after[j1:j2]), tag != "equal"))
    return tuple(old_parts), tuple(new_parts)


def fold(lines: list[DiffLine]) -> list[DiffLine]:
    """Leave out unchanged lines further than CONTEXT from a change, each stretch as one gap line with its count."""
    near = {
        index + offset
        for index, line in enumerate(lines)
        if line.kind != "same"
        for offset in range(-CONTEXT, CONTEXT + 1)
    }
    folded: list[DiffLine] = []
    hidden = 0
    for index, line in enumerate(lines):
        if index in near:
            if hidden:
                folded.append(DiffLine("gap", ((str(hidden), False),)))
                hidden = 0
            folded.append(line)
        else:
            hidden += 1
    if hidden:
        folded.append(DiffLine("gap", ((str(hidden), False),)))
    return folded
