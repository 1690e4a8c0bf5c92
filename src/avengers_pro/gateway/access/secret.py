"""The secret text of a key, and what is kept of it."""

import hashlib
import secrets

PREFIX = "ap-"
_SECRET_BYTES = 32
_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without the letters and digits that are mistaken for each other; 32 of them, 5 bits each."""
_ID_LETTERS = 8


class Secret:
    """The text of a key, which shows itself only when asked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, to be shown once."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({PREFIX}…)"


def new_secret() -> Secret:
    """Return ``ap-`` and 256 random bits, safe in URLs and headers."""
    return Secret(PREFIX + secrets.token_urlsafe(_SECRET_BYTES))


def new_id() -> str:
    """Return 8 letters and digits by which people name a key; they are no part of the secret."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LETTERS))


def digest_of(text: str) -> bytes:
    """Return the SHA-256 under which a key is stored, 32 bytes.

    A slow, salted hash protects passwords, which can be guessed. These secrets are 256 random bits: nobody can try
    them all against a stolen table, at whatever speed, and every request pays for the hash.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
