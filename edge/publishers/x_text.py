"""What X makes of a text: what it counts, what it turns into a link (which costs), and what of it fits into a post."""

from __future__ import annotations

import re
import unicodedata

MOST = 280
"""What a post may weigh."""
_MARK = "…"
_URL_WEIGHS = 23  # however long it is
# X's configuration 3 (twitter-text): what is in these ranges weighs one, everything else two.
_LIGHT = ((0x0000, 0x10FF), (0x2000, 0x200D), (0x2010, 0x201F), (0x2032, 0x2037))
_EMOJI = "©®"  # within them, but drawn as emoji: two
_MOST_READ = 1000  # characters of a text that are looked at
_SAID = re.compile(r"[a-z][a-z0-9+.-]*://\S*|\bwww\.\S*", re.IGNORECASE)
# Which endings are domains changes by the week, so every full stop before two letters may be part of one. What else
# follows it in a text ("e.g.", "1.9 s", "gone.”") is spared.
_DOT = re.compile(r"(?<=\S)[.．](?=[^\s\d!-/:-@\[-`{-~\u2000-\u206f]{2})")


def has_link(text: str) -> bool:
    """Whether X may turn something into a link: an address, or the bare name of a place in the net."""
    return bool(_SAID.search(text) or _DOT.search(text))


def weight(text: str) -> int:
    """What X counts for a text, or more: emoji of several signs count as one there, as all of them here."""
    links = len(_SAID.findall(text)) + len(_DOT.findall(text))
    return sum(1 if _light(sign) else 2 for sign in unicodedata.normalize("NFC", text)) + _URL_WEIGHS * links


def fit(text: str, urls: bool) -> str:
    """The text as it is posted: cut at a word, at most `MOST` heavy; unless `urls`, without anything X would link.

    Empty where nothing is left to read.
    """
    text = "".join(filter(_readable, text[:_MOST_READ]))
    if not urls:
        text = _DOT.sub(". ", _SAID.sub(" ", text))
    text = "\n".join(" ".join(line.split()) for line in text.strip().split("\n"))
    if not any(sign.isalnum() or unicodedata.category(sign) == "So" for sign in text):
        return ""
    return text if len(text) <= MOST and weight(text) <= MOST else _cut(text)


def _cut(text: str) -> str:
    text = text[:MOST]  # more signs than that seldom weigh less
    while weight(text + _MARK) > MOST:
        # The last word, or, where one word is too long by itself, its last sign with what belongs to that.
        text = re.sub(r"\s+\S*\Z", "", text) if re.search(r"\S\s", text) else text[:-1].rstrip("\u200d\ufe0f")
    return text.rstrip(" \n.,;:–-") + _MARK


def _light(sign: str) -> bool:
    return sign not in _EMOJI and any(first <= ord(sign) <= last for first, last in _LIGHT)


def _readable(sign: str) -> bool:
    """X refuses or mangles what steers (but new lines, and what joins emoji), half characters and byte order marks."""
    if sign in "\n\u200c\u200d":
        return True
    return unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Cn") or sign == "\t"
