"""What tests of a running gateway share: asking it over HTTP, reading its ledger, upstreams that say anything."""

import asyncio
import http.client
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from avengers_pro.gateway.access import KeyInfo, Keys, Limits
from avengers_pro.gateway.app import App
from avengers_pro.gateway.ledger import Ledger

CHAT = "/v1/chat/completions"
FIRST, SECOND, THIRD = POOL = ("openai/gpt-5", "qwen/qwen3-235b-thinking", "deepseek/deepseek-r1")
"""In the order in which the router ranks them for QUESTION when only quality counts."""
PRICES = {FIRST: (1.25, 10.0), SECOND: (0.3, 2.9), THIRD: (0.5, 2.15)}
QUESTION = "Which of these numbers is prime, and why are the others not?"
GIVE_UP_S = 10.0
ALL = ["tools", "images", "audio", "json_schema", "logprobs", "n"]


def card(name: str, url: str, **more: Any) -> dict[str, Any]:
    """Return a row of ``[[models]]`` with prices; ``url`` is that of a server."""
    input_price, output_price = PRICES.get(name, (1.0, 2.0))
    given = {"input_price": input_price, "output_price": output_price, "capabilities": ALL, **more}
    return {"name": name, **({} if "endpoints" in given else {"base_url": f"{url}/v1"}), **given}


def ask(content: Any = QUESTION, **fields: Any) -> dict[str, Any]:
    return {"model": "avengers-pro", "messages": [{"role": "user", "content": content}], **fields}


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which must have OpenAI's shape and nothing beside it."""
        found = self.json
        assert found.keys() == {"error"}, found
        assert found["error"].keys() == {"message", "type", "param", "code"}, found
        assert self.headers["content-type"] == "application/json"
        return found["error"]

    @property
    def events(self) -> list[str]:
        return events_of(self.body)

    @property
    def decision(self) -> str:
        return self.headers["x-avengers-pro-decision"]


def events_of(stream: bytes) -> list[str]:
    """Return what follows ``data: `` in each event; checks that the stream has nothing else."""
    *blocks, rest = stream.decode().split("\n\n")
    assert rest == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks), blocks
    return [block.removeprefix("data: ") for block in blocks]


def text_of(events: list[str]) -> str:
    """Return the text of a complete stream."""
    *chunks, done = events
    assert done == "[DONE]"
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in json.loads(chunk)["choices"])


def call(
    url: str,
    path: str = CHAT,
    body: Any = None,
    *,
    method: str | None = None,
    timeout: float = GIVE_UP_S,
    **headers: str,
) -> Answer:
    """Send one request, without a client library's kindness; header names take _ for -."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)) as connection:
        sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if sent is None else "POST"), path, sent, named)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def eventually(look: Callable[[], Any], timeout: float = GIVE_UP_S) -> Any:
    """Return the first true value, asked for until a deadline."""
    deadline = time.monotonic() + timeout
    while not (value := look()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
    return value


@dataclass(frozen=True)
class Live:
    """A running gateway; ``app`` is None where it runs in another process."""

    url: str
    database: Path
    app: App | None = None

    @property
    def store(self) -> str:
        return f"sqlite:///{self.database}"

    def ask(self, content: Any = QUESTION, *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        return call(self.url, body=ask(content, **fields), **(headers or {}))

    def call(self, path: str, body: Any = None, **options: Any) -> Answer:
        return call(self.url, path, body, **options)

    def rows(self) -> list[dict[str, Any]]:
        """Return all decisions with their texts, oldest first, once each is over."""
        return rows_of(self.store)

    def row(self) -> dict[str, Any]:
        """Return the only decision, once it is written."""
        (row,) = eventually(self.rows)
        return row

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample of the metrics; 0 if there is none. Labels may be given in part, and are added up then."""
        page = self.call("/metrics").body.decode()
        found = re.findall(rf"^avengers_pro_{name}(?:\{{(.*)\}})? (\S+)$", page, re.MULTILINE)
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        return sum(float(value) for text, value in found if wanted <= set(text.split(",")))

    def key(self, role: Any = "user", **limits: Any) -> tuple[KeyInfo, str]:
        """Make an API key; the gateway notices within ``access.refresh``."""
        return make_key(self.store, role, **limits)


_APP = """
import json, sys
from avengers_pro.gateway.app import create_app
from avengers_pro.gateway.settings import settings_of
app = create_app(sys.argv[1], settings_of(json.loads(sys.argv[2]), "gateway.toml"), {})
"""
SERVING = f"""{_APP}
from avengers_pro.demo.provider import serving
with serving(app) as url:
    print(url, flush=True)
    sys.stdin.read()
"""
"""A program that is a gateway until its standard input ends."""
UVICORN = f"""{_APP}
import socket, uvicorn
listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{{listener.getsockname()[1]}}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)).run(sockets=[listener])
"""
"""A program that is a gateway until it is asked to end, and then gives its requests a second."""


@dataclass(frozen=True)
class Separate:
    """A gateway in a process of its own."""

    live: Live
    process: subprocess.Popen[str]

    @property
    def resident_bytes(self) -> int:
        """Memory that the process occupies."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def rows_of(store: str, *, open_ones: bool = False) -> list[dict[str, Any]]:
    """Read a ledger as another process would, waiting until every request is over unless open ones may be there."""

    async def read() -> list[dict[str, Any]]:
        async with await Ledger.open(store, recording=False) as ledger:
            deadline = time.monotonic() + GIVE_UP_S
            while True:
                rows = [row async for row in ledger.export()]
                if open_ones or all(row["outcome"] is not None for row in rows):
                    return rows
                assert time.monotonic() < deadline, f"still open: {rows}"
                await asyncio.sleep(0.01)

    return asyncio.run(read())


def make_key(store: str, role: Any = "user", **limits: Any) -> tuple[KeyInfo, str]:
    """Make an API key in a store, as another process would."""

    async def make() -> tuple[KeyInfo, str]:
        async with await Ledger.open(store) as ledger, await Keys.open(ledger.engine, refresh_s=None) as keys:
            info, secret = await keys.create("somebody", role, Limits(**limits))
            return info, secret.reveal()

    return asyncio.run(make())


@contextmanager
def hung_up(url: str, body: dict[str, Any], receive_bytes: int = 4096) -> Iterator[socket.socket]:
    """Ask over a bare socket that the caller reads from, or does not; leaving the block hangs up."""
    address = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(GIVE_UP_S)
        client.connect((address.hostname, address.port))
        client.sendall(request_of(body, address.netloc))
        yield client


def request_of(body: dict[str, Any], host: str = "localhost", path: str = CHAT) -> bytes:
    """Return the bytes of a request."""
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


Script = Callable[[socket.socket], None]


def saying(*parts: bytes) -> Script:
    """Return a script that says some bytes and hangs up."""

    def script(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return script


def stream(*parts: bytes) -> bytes:
    """Return a response that ends when the connection does: nothing tells its end from its death."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return head + b"".join(parts)


def chunk(content: str | None = None, **choice: Any) -> bytes:
    """Return an event of a stream."""
    delta = {} if content is None else {"content": content}
    value = {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}],
    }
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@contextmanager
def upstream(script: Script) -> Iterator[str]:
    """Serve a script to every connection, each in a thread of its own, after its request was read."""
    stopping = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(GIVE_UP_S)
            if _read_request(connection):
                script(connection)

    def accept() -> None:
        while not stopping.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.settimeout(0.02)
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopping.set()
            acceptor.join()
            for thread in threads:
                thread.join(GIVE_UP_S)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
    while len(rest) < length:
        rest += connection.recv(65536)
    return head + b"\r\n\r\n" + rest
