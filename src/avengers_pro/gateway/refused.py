"""Answers of the gateway's own that are no success, in OpenAI's error shape."""

from collections.abc import Sequence

import msgspec

from avengers_pro.errors import AvengersProError

Headers = list[tuple[bytes, bytes]]


class RefusedError(AvengersProError):
    """A request that the gateway answers itself, with an error.

    Attributes:
        status: HTTP status.
        message: What is wrong and what to do.
        kind: OpenAI's ``type``.
        code: OpenAI's ``code``; None = none.
        param: The field or header at fault; None = none.
        headers: Added to the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Say what is wrong, and where."""
        super().__init__(message)
        self.status, self.message, self.kind, self.code, self.param = status, message, kind, code, param
        self.headers: Headers = list(headers)

    def body(self) -> bytes:
        """Return the JSON body."""
        return error_body(self.message, self.kind, self.code, self.param)


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """Return ``{"error": {...}}`` as OpenAI clients expect it."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_event(message: str, kind: str, code: str | None = None) -> bytes:
    """Return the same as a server-sent event, for streams that end badly; no ``[DONE]`` follows."""
    return b"data: " + error_body(message, kind, code) + b"\n\n"
