"""What arrived at the simulated provider, for those who check what was forwarded."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

MOST_KEPT = 10_000
_API = "/v1/"


@dataclass(slots=True, kw_only=True)
class Arrival:
    """One request, filled in while it is served.

    Attributes:
        number: Position in the order of arrival since the provider was created, from 0.
        method: In capitals.
        path: Without the query string.
        headers: Names in lower case.
        body: As it came; shown parsed if it is JSON, else as text.
        fault: Name of the fault it met; None = none.
        status: Of the response; None = none was sent.
        disconnected: Whether the client left before the end of the response.
        done: Whether the provider is through with it; until then the fields above may change.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    fault: str | None = None
    status: int | None = None
    disconnected: bool = False
    done: bool = False

    def shown(self) -> dict[str, Any]:
        """Return what ``GET /requests`` says of it."""
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "body": _parsed(self.body),
            "fault": self.fault,
            "status": self.status,
            "disconnected": self.disconnected,
            "done": self.done,
        }


@dataclass(slots=True)
class Arrivals:
    """The latest requests, at most ``MOST_KEPT``."""

    _kept: deque[Arrival] = field(default_factory=lambda: deque(maxlen=MOST_KEPT))
    _count: int = 0

    def note(self, method: str, path: str, headers: dict[str, str]) -> Arrival:
        """Note a request; it is kept if it is for the API, and the oldest is forgotten if there are too many."""
        arrival = Arrival(number=self._count, method=method, path=path, headers=headers)
        if path.startswith(_API):
            self._count += 1
            self._kept.append(arrival)
        return arrival

    def clear(self) -> None:
        """Forget all; the numbers go on."""
        self._kept.clear()

    def to_json(self) -> bytes:
        """Return a JSON list, oldest first."""
        return msgspec.json.encode([arrival.shown() for arrival in self._kept])


def _parsed(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")
