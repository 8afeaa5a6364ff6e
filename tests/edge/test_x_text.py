"""What of a text is posted to X: cut at a word, weighed as X does, without what it would link."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.publishers.x_text import fit, has_link, weight
from tests import x_server


def test_a_long_text_is_cut_at_a_word() -> None:
    assert fit("egg " * 100, urls=False) == " ".join(["egg"] * 69) + "…"
    assert fit("a" * 280, urls=False) == "a" * 280
    assert fit("a" * 281, urls=False) == "a" * 278 + "…"
    assert fit("鳥" * 140, urls=False) == "鳥" * 140
    assert fit("鳥" * 141, urls=False) == "鳥" * 139 + "…"
    assert fit("👩‍🌾" * 99, urls=False)[-2:] in ("🌾…", "👩…")


def test_a_text_weighs_what_x_counts() -> None:
    weights = {"A jay": 5, "Ünï – “ß”’…": 12, "日本": 4, "🐦": 2, "©®": 4, "e\u0301": 1, "\u0915\u093c": 2}
    assert {text: weight(text) for text in weights} == weights
    assert weight("t.co") >= 23
    assert len(fit("a.de " * 99, urls=True).split()) <= 280 / 24


PIECES = st.sampled_from(
    ["https://a.example/b", "example.com", "Ab.Co.uk/x?y", "t.co/x", "www.a.fr", "münchen.de", "🐦.org", "e.g. ",
     "1.9 s ", "👩‍🌾", "日本語", "A jay came. ",
     "\u200b", "\u0301", "…", ". ", ".", "/", "@", "com", "x", "://", " ", "\n", "©"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=40)), max_size=60).map("".join)
# What X's own rule finds (twitter-text): a domain of known ending after anything it takes for a name.
LINKED = re.compile(
    r"https?://\S|\bwww\.|[^\s!-/:-@\[-`{-~]\.(com|org|net|uk|fr|de|co|example)(?![a-z0-9@])", re.IGNORECASE
)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_any_text_fits_without_a_link(text: str) -> None:
    posted = fit(text, urls=False)
    assert x_server.weight(unicodedata.normalize("NFC", posted)) <= weight(posted) <= 280
    assert not LINKED.search(posted)
    assert not has_link(posted)
    assert posted == posted.strip()
    assert fit(posted, urls=False) == posted, "what fits is left alone"


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_any_text_fits_with_its_links(text: str) -> None:
    posted = fit(text, urls=True)
    assert sum(23 * len(LINKED.findall(word)) or x_server.weight(word) for word in posted.split()) <= 280
    assert weight(posted) <= 280
    assert posted or not re.search(r"[a-z]", text)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_something_to_read_is_left(text: str) -> None:
    assert len(fit("A jay " + text, urls=False)) >= len("A jay")
