"""The refusal of a request, in the shape that OpenAI's clients understand."""

import math
from typing import Any

from avengers_pro.errors import AvengersProError


class AccessDenied(AvengersProError):  # noqa: N818  it is an answer to a client, not a fault
    """A request may not go ahead.

    The message is for the client; it never repeats a key.

    Attributes:
        status: HTTP status: 400, 401, 403 or 429.
        code: OpenAI's error code, or one in its style, such as ``rate_limit_exceeded``.
        type: OpenAI's error type, such as ``invalid_request_error``.
        message: What is wrong, with the values, and what to do.
        param: The request's field that is refused; None = it is not about a field.
        retry_after: Seconds until the same request may succeed; None = waiting does not help.
        is_worth_retrying: Whether a client should try again by itself.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        kind: str = "invalid_request_error",
        param: str | None = None,
        retry_after: float | None = None,
        is_worth_retrying: bool = False,
    ) -> None:
        """Refuse a request; ``kind`` becomes ``type``."""
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.type = kind
        self.param = param
        self.retry_after = retry_after
        self.is_worth_retrying = is_worth_retrying

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON object, as OpenAI writes it."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that belong to the refusal.

        OpenAI's clients repeat every 429 unless ``x-should-retry`` says otherwise: a spent budget or a request that
        is larger than the limit would only be refused again.
        """
        headers = []
        if self.status == 401:  # noqa: PLR2004  RFC 9110 demands the header with this status
            headers.append((b"www-authenticate", b"Bearer"))
        if self.retry_after is not None:
            headers.append((b"retry-after", str(max(1, math.ceil(self.retry_after))).encode()))
        if self.status == 429 and not self.is_worth_retrying:  # noqa: PLR2004
            headers.append((b"x-should-retry", b"false"))
        return headers
