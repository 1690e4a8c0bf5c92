"""Word by word gives the tokens of the whole text."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avengers_pro.embedding import words as words_module
from avengers_pro.embedding.static import StaticEmbedder
from avengers_pro.embedding.words import Words

TOKENIZER = StaticEmbedder()._words._encode.__self__
PIECES = st.sampled_from(
    [
        "def f(x):",
        "\n",
        "  ",
        " ",
        "▁",
        "<s>",
        "</s>",
        "<unk>",
        "\t",
        "naïve",
        "数学",
        "😀",
        "x^2",
        "1234567",
        "it's",
        "a",
    ]
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=20).map("".join), st.lists(PIECES).map(" ".join))


@settings(max_examples=400, deadline=None)
@given(text=TEXTS)
@example(" leading").via("spaces")
@example("trailing ").via("spaces")
@example("a  b   c").via("spaces")
@example("    indented\n    code").via("spaces")
def test_tokens_are_those_of_the_whole_text(text):
    words = Words(TOKENIZER)
    expected = TOKENIZER.encode(text, add_special_tokens=False).ids
    for _ in range(2):  # the second time from memory
        assert words.ids(text).tolist() == expected


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(words_module, "MOST_WORDS", 10)
    words = Words(TOKENIZER)
    text = " ".join(f"w{i}" for i in range(100)) + " " + "long" * 100
    assert words.ids(text).tolist() == TOKENIZER.encode(text, add_special_tokens=False).ids
    assert len(words._known) <= 10
    assert all(len(word) <= words_module.LONGEST_WORD for word in words._known)


@pytest.mark.parametrize("count", [1, 50])
def test_vectors_do_not_depend_on_what_was_seen_before(count):
    texts = [f"the same words in text {i} of many" for i in range(count)]
    fresh, used = StaticEmbedder(), StaticEmbedder()
    used.embed(["many words of the same text in"])
    assert (fresh.embed(texts) == used.embed(texts)).all()
