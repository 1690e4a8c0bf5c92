"""What a server's refusal asks for: to wait, to send less, or to give up."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from avengers_pro.embedding.wire import find_message, hide

MAX_WAIT_S = 60.0
"""Longest wait that a server can ask for."""
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_TOO_LONG = frozenset({400, 413, 422})
_SPEAKS_OF_LENGTH = re.compile(
    r"context.?(length|size|window)|too many (input )?tokens|tokens? exceed|maximum|too (long|large)|"
    r"n_ctx|max_model_len|must have less than",
    re.IGNORECASE,
)
_REMEDIES = {
    401: "check the API key (EMBEDDING_API_KEY)",
    403: "check what the API key (EMBEDDING_API_KEY) may use",
    404: "check the model's name and that --embedding-base-url goes up to and including /v1",
}


class Refusal(Exception):  # noqa: N818  it is an answer, and becomes an EmbeddingError only when nothing helps
    """An answer with another status than 200.

    Attributes:
        status: HTTP status.
        wait_s: How long the server asks to wait, in [0, 60] seconds; None = it does not say.
        is_too_long: Whether fewer or shorter texts may succeed.
    """

    def __init__(self, status: int, body: bytes, secrets: Sequence[str], retry_after: str | None) -> None:
        """Read an answer.

        Args:
            status: HTTP status.
            body: What the server says.
            secrets: The API key and the texts sent, which the message must not repeat.
            retry_after: The header of that name.
        """
        self.status = status
        self.wait_s = parse_retry_after(retry_after, datetime.now(UTC)) if retry_after else None
        self.is_too_long = status in _TOO_LONG and bool(_SPEAKS_OF_LENGTH.search(find_message(body)))
        said = hide(find_message(body), secrets)
        remedy = f"; {_REMEDIES[status]}" if status in _REMEDIES else ""
        super().__init__(f"answers {status}{said and f' and says: {said}'}{remedy}")

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _TRANSIENT


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Read a ``Retry-After`` header.

    Args:
        value: Seconds, or an HTTP date.
        now: With time zone.

    Returns:
        Seconds from now, in [0, 60]; None if it is neither.
    """
    if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        wait_s = float(value)
    else:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        wait_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return min(max(wait_s, 0.0), MAX_WAIT_S)
