"""The words of a text, as the search index holds them, and what a query asks of that index. Pure.

A text is folded (case, width, accents) and cut into tokens: words; for scripts without spaces the pairs of neighbouring characters, and
the last character of a run; symbols such as € and emoji one by one. Tokens are written with a-z and 0-9 only, so that FTS5 and
tsvector take them as they are. A query becomes a `Plan`: which tokens a text must have, and a pattern that it must hold where
the tokens alone do not decide.
"""

import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import regex

MAX_WORD = 40  # characters of one token; longer words go in as windows of that size, each half over the next
STEP = MAX_WORD // 2
PART = 100_000  # characters of one indexed part of a text; parts overlap, so that no phrase falls between two
OVERLAP = 2_000
MOST_BYTES = 900_000  # of the tokens of one part; a tsvector holds 1,048,575
UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303b\u3041-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
UNSPACED_ONE = re.compile(f"[{UNSPACED}]")
# In order: a run of an unspaced script, a word, a symbol.
TOKEN = regex.compile(
    rf"(?P<run>[{UNSPACED}]+)|(?P<word>[[\p{{L}}\p{{N}}\p{{M}}]--[{UNSPACED}]]+)|(?P<sign>[\p{{S}}--[\x00-\x7f]])",
    regex.V1,
)
RUN = re.compile(r"\S+")
SPACE = re.compile(r"\s")
ASCII_WORDS = bytes(code if chr(code).isalnum() and code < 128 else 32 for code in range(256))  # the rest as spaces
WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}\p{M}]")
# Marks that people leave out when they type: accents, Hebrew points, Arabic vowels and the stretching line.
DROPPED = re.compile("[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed\ufe0e\ufe0f]")


class Folds(dict[int, str]):
    """Characters as they are compared, worked out at first use."""

    def __missing__(self, code: int) -> str:
        plain = DROPPED.sub("", unicodedata.normalize("NFKD", chr(code)))
        plain = DROPPED.sub("", unicodedata.normalize("NFKD", plain.casefold()))
        self[code] = folded = unicodedata.normalize("NFC", plain)
        return folded


FOLDS = Folds()


def fold(text: str) -> str:
    """Return a text as it is compared: without case, width and accents."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).translate(FOLDS)


def encode(token: str) -> str:
    """Write a token with a-z and 0-9 only; what starts alike still starts alike."""
    if token.isascii() and not token.startswith("0u"):
        return token
    return "0u" + token.encode("utf-8", "replace").hex()


def windows(word: str) -> list[str]:
    """Cut a word into tokens: itself, or windows so that every stretch of STEP characters is whole in one of them."""
    if len(word) <= MAX_WORD:
        return [word]
    return [word[start : start + MAX_WORD] for start in range(0, len(word) - STEP, STEP)]


def pairs(run: str) -> list[str]:
    """Return the neighbouring pairs of a run of characters, and its last character."""
    return [*(run[place : place + 2] for place in range(len(run) - 1)), run[-1]]


@dataclass(frozen=True)
class Indexed:
    """What the index takes of a text: its tokens as written there, and its words as they read."""

    tokens: set[str]
    words: set[str]


def index_words(text: str) -> Indexed:
    """Return the tokens and words of a text."""
    folded = fold(text)
    if folded.isascii():
        words = set(folded.encode().translate(ASCII_WORDS).decode().split())
        if max(map(len, words), default=0) > MAX_WORD:
            words = {part for word in words for part in windows(word)}
        return Indexed({encode(word) for word in words} if "0u" in folded else words, words)
    words, others = set(), set()
    for run, word, sign in set(TOKEN.findall(folded)):
        if word:
            words.update(windows(word))
        elif run:
            others.update(pairs(run))
        else:
            others.add(sign)
    return Indexed({encode(token) for token in words | others}, words)


def parts_of(text: str) -> list[str]:
    """Cut a long text into the parts that are indexed one by one."""
    if len(text) <= PART:
        return halves(text)
    starts = range(0, len(text), PART)
    return [half for start in starts for half in halves(text[start : start + PART + OVERLAP])]


def halves(text: str) -> list[str]:
    """Cut a text in halves, and these again, until the tokens of each are few enough for one row of the index."""
    # A character is in two tokens at most, in hexadecimal: only where that is too much are they counted.
    if 4 * len(text.encode("utf-8", "replace")) + 2 * len(text) <= MOST_BYTES or token_bytes(text) <= MOST_BYTES:
        return [text]
    middle = len(text) // 2
    return [*halves(text[: middle + OVERLAP]), *halves(text[middle:])]


def token_bytes(text: str) -> int:
    return sum(map(len, index_words(text).tokens))


# Queries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """A token that a text must have. `place`: the token itself ("is"), any that starts with it, ends with it, or holds it."""

    word: str
    place: str  # is, start, end, in
    is_word: bool = True  # listed among the words; pairs of characters and symbols are not


@dataclass(frozen=True)
class Pieces:
    """What is looked for between stars: by word, the pieces that a run without spaces must hold in this order.

    Words after the first begin a run, those before the last end one. Done by hand, since `\\S*` in a regular expression takes
    the length of the text to the power of the stars.
    """

    words: tuple[tuple[str, ...], ...]

    def search(self, folded: str) -> tuple[int, int] | None:
        """Return where the first match in a folded text begins and ends."""
        if len(self.words) == 1:
            return self.search_one(folded, self.words[0])
        recent: deque[tuple[int, int]] = deque(maxlen=len(self.words))
        for run in RUN.finditer(folded) if self.words else ():
            recent.append(run.span())
            if len(recent) == len(self.words) and (found := self.match(folded, recent)):
                return found
        return None

    @staticmethod
    def search_one(folded: str, pieces: Sequence[str]) -> tuple[int, int] | None:
        """Return the first match of the pieces of one word; each run is looked at once."""
        begins = folded.find(pieces[0])
        while begins >= 0:
            space = SPACE.search(folded, begins)
            end = space.start() if space else len(folded)
            at = begins
            for piece in pieces:
                found = folded.find(piece, at, end)
                if found < 0:
                    break
                at = found + len(piece)
            else:
                return begins, at
            begins = folded.find(pieces[0], end)
        return None

    def match(self, folded: str, runs: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
        """Return where a match in these neighbouring runs begins and ends; there are as many as words."""
        begins, at, last = -1, 0, len(self.words) - 1
        for number, (pieces, (start, end)) in enumerate(zip(self.words, runs, strict=True)):
            at = start
            for place, piece in enumerate(pieces):
                if number and not place:
                    found = start if folded.startswith(piece, start, end) else -1
                elif number < last and place == len(pieces) - 1:
                    found = end - len(piece) if folded.endswith(piece, at, end) else -1
                else:
                    found = folded.find(piece, at, end)
                if found < 0 or (number and number < last and len(pieces) == 1 and len(piece) != end - start):
                    return None
                begins = found if begins < 0 else begins
                at = found + len(piece)
        return begins, at


@dataclass(frozen=True)
class Phrase:
    """A text that is looked for as it stands."""

    pattern: re.Pattern[str]

    def search(self, folded: str) -> tuple[int, int] | None:
        """Return where the first match in a folded text begins and ends."""
        match = self.pattern.search(folded)
        return match.span() if match else None


Sought = Phrase | Pieces


@dataclass(frozen=True)
class Plan:
    """What a text must have to match: all `needs`, and where `pattern` is given, a match of it in the folded text."""

    needs: tuple[Need, ...]
    pattern: Sought | None
    shown: Sought  # what an excerpt marks

    def find(self, folded: str) -> bool:
        return self.pattern is None or self.pattern.search(folded) is not None


def plan(text: str, *, is_exact: bool) -> Plan:
    """Return what a query's text asks for: as it stands between quotes (whole words), else anywhere, `*` being any text in a word."""
    pieces = [text] if is_exact else [piece for piece in text.split("*") if piece]
    needs: list[Need] = []
    decided = len(pieces) == 1
    for piece in pieces:
        found, is_decided = piece_needs(fold(piece), is_exact=is_exact)
        needs += found
        decided = decided and is_decided
    shown: Sought
    if len(pieces) > 1:
        # Folding may make spaces of other characters, and stars; a query holds no NUL.
        words = "\0".join(map(fold, pieces)).split()
        shown = Pieces(tuple(tuple(filter(None, word.split("\0"))) for word in words if word.strip("\0")))
    else:
        shown = Phrase(re.compile("".join(spaced(fold(piece), is_exact=is_exact) for piece in pieces) or "(?!)"))
    return Plan(tuple(dict.fromkeys(needs)), None if decided else shown, shown)


def spaced(folded: str, *, is_exact: bool) -> str:
    """Return the pattern of a folded text: any white space where it has some; whole words at its ends where that is asked."""
    pattern = r"\s+".join(re.escape(word) for word in folded.split())
    if not is_exact or not folded.strip():
        return pattern
    first, last = folded.strip()[0], folded.strip()[-1]
    if WORD_CHARACTER.match(first) and not UNSPACED_ONE.match(first):
        pattern = r"(?<![^\W_])" + pattern
    if WORD_CHARACTER.match(last) and not UNSPACED_ONE.match(last):
        pattern += r"(?![^\W_])"
    return pattern


def piece_needs(folded: str, *, is_exact: bool) -> tuple[list[Need], bool]:
    """Return the tokens that a text holding this one must have, and whether having them is enough."""
    matches = list(TOKEN.finditer(folded))
    needs: list[Need] = []
    for match in matches:
        run, word, sign = match.group("run", "word", "sign")
        opens = not is_exact and match.start() == 0
        closes = not is_exact and match.end() == len(folded)
        if sign:
            needs.append(Need(sign, "is", False))
        elif run and len(run) == 1:
            needs.append(Need(run, "start", False))
        elif run:
            needs += [Need(pair, "is", False) for pair in pairs(run)[:-1]]
        elif len(word) > STEP:
            # Where the windows of the text begin is not known: its first stretch is whole in one of them.
            needs.append(Need(word[:STEP], "in"))
        else:
            place = {(True, True): "in", (True, False): "end", (False, True): "start", (False, False): "is"}
            needs.append(Need(word, place[opens, closes]))
    is_whole = len(matches) == 1 and matches[0].span() == (0, len(folded))
    short = is_whole and len(folded) <= (STEP if matches[0]["word"] else 2)
    return needs, short


def expand(words: Iterable[bytes], need: Need, *, limit: int) -> list[str] | None:
    """Return the words of a vocabulary that meet a need; None where there are more than `limit`.

    `words` are blocks of words, one a line, with a line end before and after each.
    """
    needle = need.word.encode("utf-8", "replace")
    if need.place == "end":
        needle += b"\n"
    found: set[bytes] = set()
    for block in words:
        at = block.find(needle)
        while at >= 0:
            start = block.rfind(b"\n", 0, at) + 1
            end = block.find(b"\n", at)
            found.add(block[start:end])
            if len(found) > limit:
                return None
            at = block.find(needle, end)
    return sorted(word.decode("utf-8", "replace") for word in found)


# Excerpts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a text around what was found in it."""

    before: str
    found: str
    after: str


def excerpt(text: str, pattern: Sought, *, before_it: int = 24, after_it: int = 90) -> Excerpt | None:
    """Return the first match of what is sought in a text, with so many characters on both sides, on one line."""
    whole = unicodedata.normalize("NFC", text)
    folded = fold(whole)
    span = pattern.search(folded)
    if span is None:
        return None
    start, end = span
    if len(folded) != len(whole) or not whole.isascii():
        start, end = unfolded(whole, start, end)
    before, found, after = whole[max(0, start - before_it) : start], whole[start:end], whole[end : end + after_it]
    if start > before_it:
        before = "…" + (before.split(" ", 1)[1] if " " in before.rstrip() else before)
    if end + after_it < len(whole):
        after = (after.rsplit(" ", 1)[0] if " " in after else after) + "…"
    return Excerpt(one_line(before), one_line(found), one_line(after))


def one_line(text: str) -> str:
    """Return a text with white space as single spaces, those at its ends kept."""
    return re.sub(r"\s+", " ", text)


def unfolded(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the place in a text of a stretch of its folded form."""
    position, first, last = 0, -1, len(text)
    for place, character in enumerate(text):
        size = len(fold(character))
        if first < 0 and position + size > start:
            first = place
        if position >= end:
            last = place
            break
        position += size
    return max(first, 0), last
