"""A real HTTP server that speaks ``POST /v1/embeddings`` on loopback, with faults on demand."""

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSION = 8
GIVE_UP_S = 10.0
"""No wait inside the server lasts longer, so that a failing test ends."""


def vector_of(text: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Return the vector, not of length 1, that the server gives to a text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32) * 3


def unit_vectors(texts: Sequence[str], dimension: int = DIMENSION) -> NDArray[np.float64]:
    """Return what an embedder must make of the server's vectors."""
    rows = np.stack([vector_of(text, dimension) for text in texts]).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass(frozen=True)
class Refuse:
    """Answer with a status and a body; a message is put into OpenAI's shape."""

    status: int
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class Alter:
    """Answer 200 with an altered answer: another object, or raw bytes."""

    change: Callable[[dict[str, Any]], Any]


class Hang:
    """Never answer, until the server is closed."""


class Reset:
    """Close the connection the hard way."""


class CutShort:
    """Promise more bytes than are sent."""


Fault = Refuse | Alter | Hang | Reset | CutShort


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    time_s: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        return list(self.body["input"])


class EmbeddingServer:
    """The server's state: what came, and what to do next.

    Attributes:
        requests: In the order of arrival.
        faults: One is used up by each request; without one the answer is right.
        lasting_fault: Used when ``faults`` is empty, after ``good_answers`` right ones.
        max_chars: Longer texts are refused in the words of OpenAI.
        wait_for: Each request waits until so many are in flight; 1 = no waiting.
        peak: Most requests in flight at the same time.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: deque[Fault] = deque()
        self.lasting_fault: Fault | None = None
        self.good_answers = 0
        self.max_chars: int | None = None
        self.max_texts: int | None = None
        self.wait_for = 1
        self.peak = 0
        self.closed = threading.Event()
        self._in_flight = 0
        self._arrived = 0
        self._state = threading.Condition()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.base_url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def sent_texts(self) -> list[str]:
        """All texts of all requests."""
        return [text for request in self.requests for text in request.texts]

    def take(self, request: Request) -> Fault | None:
        """Note a request and say how to treat it."""
        with self._state:
            self.requests.append(request)
            self._arrived += 1
            self._in_flight += 1
            self.peak = max(self.peak, self._in_flight)
            wave = -(-self._arrived // self.wait_for) * self.wait_for
            self._state.notify_all()
            self._state.wait_for(lambda: self._arrived >= wave, GIVE_UP_S)
            if self.faults:
                return self.faults.popleft()
            if self.lasting_fault is not None and self.good_answers == 0:
                return self.lasting_fault
            self.good_answers -= 1
        return self._refuse_long(request.texts)

    def leave(self) -> None:
        """Note that a request is about to be answered."""
        with self._state:
            self._in_flight -= 1

    def _refuse_long(self, texts: list[str]) -> Fault | None:
        if self.max_texts is not None and len(texts) > self.max_texts:
            return Refuse(413, f"batch size {len(texts)} > maximum allowed batch size {self.max_texts}")
        if self.max_chars is not None and max(map(len, texts)) > self.max_chars:
            return Refuse(400, f"This model's maximum context length is {self.max_chars} tokens.")
        return None


@contextmanager
def running_server() -> Iterator[EmbeddingServer]:
    """Serve on a free port until the block ends."""
    server = EmbeddingServer()
    thread = threading.Thread(target=server._http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.closed.set()
        server._http.shutdown()
        server._http.server_close()
        thread.join()


def right_answer(request: dict[str, Any]) -> dict[str, Any]:
    """Answer as OpenAI does."""
    vectors = [vector_of(text, request.get("dimensions", DIMENSION)) for text in request["input"]]
    return {
        "object": "list",
        "model": request["model"],
        "data": [_item(*pair) for pair in enumerate(vectors)],
    }


def _item(index: int, vector: NDArray[np.float32]) -> dict[str, Any]:
    data = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return {"object": "embedding", "index": index, "embedding": data}


def _handler(server: EmbeddingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fault = server.take(Request(time.monotonic(), self.path, dict(self.headers), body))
            if isinstance(fault, Hang):
                server.closed.wait(GIVE_UP_S)
            server.leave()
            if isinstance(fault, Hang):
                self.close_connection = True
            elif isinstance(fault, Reset):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
            elif isinstance(fault, Refuse):
                message = json.dumps({"error": {"message": fault.message, "type": "fault"}}).encode()
                self._send(fault.status, message if fault.body is None else fault.body, fault.headers)
            else:
                answer: Any = right_answer(body)
                if isinstance(fault, Alter):
                    answer = fault.change(answer)
                payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self._send(200, payload, {}, missing=7 if isinstance(fault, CutShort) else 0)

        def _send(self, status: int, body: bytes, headers: dict[str, str], missing: int = 0) -> None:
            with suppress(ConnectionError):  # the client may have given up
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) + missing))
                self.end_headers()
                self.wfile.write(body)
            self.close_connection = self.close_connection or bool(missing)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  http.server's name
            """Stay silent."""

    return Handler
