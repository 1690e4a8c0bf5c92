"""Tokenizing word by word: words repeat, so most of a text's tokens are known already.

The bundled tokenizer marks the spaces of a text and then merges neighbours; none of its pieces holds a mark but at its
start. So no piece crosses from one word into the next, and the tokens of a text are those of its words.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_WORDS = 20_000
LONGEST_WORD = 32
_WORD = re.compile(r" *[^ ]+| +$")
_WHOLE = re.compile(r"▁|<s>|</s>|<unk>| $")
"""What means something to the tokenizer beyond words; such texts are tokenized whole."""


class Words:
    """A tokenizer that remembers words."""

    def __init__(self, tokenizer: Any) -> None:
        """Begin with none."""
        self._encode = tokenizer.encode
        self._known: dict[str, bytes] = {}

    def ids(self, text: str) -> NDArray[np.int32]:
        """Return the (t,) tokens of a text, the same as the tokenizer gives for it whole."""
        if _WHOLE.search(text):
            return np.frombuffer(self._tokens(text), dtype=np.int32)
        words = text.split(" ")
        if "" in words:  # several spaces in a row: all but the one before a word belong to it
            words = _WORD.findall(text)
            words[1:] = [word[1:] for word in words[1:]]
        tokens = list(map(self._known.get, words))
        while None in tokens:
            place = tokens.index(None)
            tokens[place] = self._word(words[place])
        return np.frombuffer(b"".join(tokens), dtype=np.int32)  # type: ignore[arg-type]  # none is None now

    def _word(self, word: str) -> bytes:
        tokens = self._tokens(word)
        if len(word) <= LONGEST_WORD:
            if len(self._known) >= MOST_WORDS:
                self._known.clear()
            self._known[word] = tokens
        return tokens

    def _tokens(self, text: str) -> bytes:
        return np.array(self._encode(text, add_special_tokens=False).ids, dtype=np.int32).tobytes()
