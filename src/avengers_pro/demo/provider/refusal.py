"""Errors in the shape that OpenAI's API gives them."""

from http import HTTPStatus
from typing import Any

import msgspec

from avengers_pro.errors import AvengersProError

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


class RefusalError(AvengersProError):
    """A request that is answered with an error.

    Attributes:
        status: Of the response.
        body: JSON, ``{"error": {"message", "type", "param", "code"}}``.
    """

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        kind: str = INVALID_REQUEST,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        """Say what is wrong; ``kind`` becomes the error's type, ``param`` names the field of the request."""
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode(error_object(message, kind=kind, code=code, param=param))


def error_object(
    message: str, *, kind: str = INVALID_REQUEST, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Return the object that an error's body holds."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
