"""What goes over the wire to an OpenAI-compatible ``/embeddings``, and what comes back."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import EmbeddingError

_BYTES_PER_TOKEN = 4
"""The usual rule of thumb for English; other scripts have more tokens a character, and more bytes."""
_MESSAGE_CHARS = 300
_HEAD_CHARS = 24
"""A server that quotes a text is recognised by this much of it."""
_WHOLE_WORDS_BELOW = 8
"""Shorter texts are likely to occur in a message by chance; only whole words are hidden then."""


class _Item(msgspec.Struct):
    embedding: str | list[float]
    index: int


class _Answer(msgspec.Struct):
    data: list[_Item]


def encode_request(model: str, texts: Sequence[str], dimensions: int | None) -> bytes:
    """Ask for base64 vectors of these texts; lone surrogates, which UTF-8 cannot carry, become ``?``."""
    body: dict[str, Any] = {
        "model": model,
        "input": [text.encode("utf-8", "replace").decode("utf-8") for text in texts],
        "encoding_format": "base64",
    }
    if dimensions is not None:
        body["dimensions"] = dimensions
    return msgspec.json.encode(body)


def clip_tokens(text: str, max_tokens: int) -> str:
    """Keep head and tail of a text of more than ``max_tokens`` tokens, estimated from its length in UTF-8."""
    max_bytes = max_tokens * _BYTES_PER_TOKEN
    data = text.encode("utf-8", "replace")
    if len(data) <= max_bytes:
        return text
    half = max_bytes // 2
    return data[:half].decode("utf-8", "ignore") + data[-half:].decode("utf-8", "ignore")


def decode_vectors(body: bytes, n_texts: int) -> NDArray[np.float64]:
    """Read an answer.

    Args:
        body: JSON; each vector is base64 of little-endian float32, or a list of numbers.
        n_texts: How many texts were sent.

    Returns:
        (n_texts, d) float64, placed by each item's ``index``; finite, no row zero.

    Raises:
        EmbeddingError: If the answer is anything else; the message starts with what came.
    """
    try:
        items = msgspec.json.decode(body, type=_Answer).data
    except msgspec.DecodeError as error:  # a ValidationError is one
        raise EmbeddingError(f"no usable JSON ({error})") from None
    if len(items) != n_texts:
        raise EmbeddingError(f"{len(items)} vectors for {n_texts} texts")
    indices = sorted(item.index for item in items)
    if indices != list(range(n_texts)):
        odd = next(index for place, index in enumerate(indices) if index != place)
        raise EmbeddingError(f"index {odd} twice, missing or out of range, for {n_texts} texts")
    vectors = [_decode_vector(item.embedding) for item in sorted(items, key=lambda item: item.index)]
    lengths = sorted({len(vector) for vector in vectors})
    if len(lengths) > 1 or lengths == [0]:
        raise EmbeddingError(f"vectors of length {' and '.join(map(str, lengths))}")
    rows = np.stack(vectors)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1) | ~rows.any(axis=1))
    if bad.size:
        raise EmbeddingError(f"a vector that is zero or not finite, at index {bad[0]}")
    return rows


def find_message(body: bytes) -> str:
    """Find what a server says in an error, on one line.

    Args:
        body: JSON in the shape of OpenAI, vLLM, TEI, Ollama or FastAPI; anything else is taken as it is.
    """
    try:
        message = _find_in(msgspec.json.decode(body))
    except msgspec.DecodeError:
        message = body.decode("utf-8", "replace")
    return " ".join(message.split())


def hide(message: str, secrets: Sequence[str]) -> str:
    """Take the API key and the texts sent out of a message, and shorten it to 300 characters."""
    for secret in secrets:
        message = _hide_one(message, " ".join(secret.split()))
    return message if len(message) <= _MESSAGE_CHARS else message[: _MESSAGE_CHARS - 1] + "…"


def _decode_vector(embedding: str | list[float]) -> NDArray[np.float64]:
    if isinstance(embedding, list):
        return np.asarray(embedding, dtype=np.float64)
    try:
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float64)
    except (binascii.Error, ValueError):
        raise EmbeddingError("a vector that is not base64 of float32") from None


def _find_in(answer: object) -> str:
    """Look into ``error``, ``message``, ``detail`` and ``msg``; nothing else, it might quote the request."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, list):
        return "; ".join(filter(None, map(_find_in, answer)))
    if isinstance(answer, dict):
        found = (_find_in(answer[key]) for key in ("message", "error", "detail", "msg") if key in answer)
        return next(filter(None, found), "")
    return ""


def _hide_one(message: str, secret: str) -> str:
    if len(secret) < _WHOLE_WORDS_BELOW:
        return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", message) if secret else message
    message = message.replace(secret, "***")
    before, quoted, _ = message.partition(secret[:_HEAD_CHARS])
    return f"{before}***" if quoted else message
