"""The gateway's HTTP client against servers that say what the test wants, byte for byte."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.gateway.connection import BrokenError, Response
from avengers_pro.gateway.http_client import (
    ConnectTimeoutError,
    HttpClient,
    NotConnectedError,
    Origin,
    request_head,
    split_url,
)

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers the nth request, on whichever connection it comes, with the nth script."""

    def __init__(self, scripts: list[list[bytes]], *, hang_up: bool) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._scripts, self._hang_up = iter(scripts), hang_up

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                for part in next(self._scripts):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self._hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, StopIteration):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def talking(*scripts: list[bytes], hang_up: bool = False, tls: ssl.SSLContext | None = None):
    server = Server(list(scripts), hang_up=hang_up)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    client = HttpClient()
    try:
        port = listening.sockets[0].getsockname()[1]
        yield client, Origin("127.0.0.1" if tls is None else "localhost", port, tls is not None), server
    finally:
        await client.close()
        listening.close()
        await listening.wait_closed()


async def ask(client: HttpClient, origin: Origin, body: bytes = b"{}", seconds: float = 5.0) -> Response:
    now = asyncio.get_running_loop().time()
    head = request_head("POST", origin, "/v1/x", {"x-a": "b"})
    return await client.ask(origin, head, body, connect_by=now + 5, head_by=now + seconds, whole_by=now + 30)


async def body_of(response: Response, seconds: float = 5.0) -> bytes:
    until, found = asyncio.get_running_loop().time() + seconds, b""
    while piece := await response.read(until):
        found += piece
    return found


async def all_lost(client: HttpClient) -> None:
    for connection in tuple(client._open):
        await connection.lost


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_a_connection_serves_request_after_request():
    async def test() -> None:
        async with talking([PLAIN], [PLAIN], [PLAIN]) as (client, origin, server):
            for number in range(3):
                response = await ask(client, origin, b"%d" % number)
                assert (response.status, await body_of(response), response.is_whole) == (200, b"ok", True)
                response.close()
            assert server.connections == 1
            assert [request[-1:] for request in server.requests] == [b"0", b"1", b"2"]
            said = server.requests[0].lower()
            assert said.startswith(b"post /v1/x http/1.1\r\nhost: " + origin.authority.encode() + b"\r\n")
            assert b"\r\nx-a: b\r\n" in said

    run(test)


def test_requests_at_the_same_time_have_connections_of_their_own():
    async def test() -> None:
        async with talking(*[[PLAIN]] * 8) as (client, origin, server):
            responses = await asyncio.gather(*(ask(client, origin) for _ in range(8)))
            assert [await body_of(response) for response in responses] == [b"ok"] * 8
            assert server.connections == 8

    run(test)


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", PLAIN + b"x"])
def test_a_connection_that_will_close_or_says_too_much_is_not_used_again(said):
    async def test() -> None:
        async with talking([said], [PLAIN]) as (client, origin, server):
            assert await body_of(await ask(client, origin)) == b"ok"
            assert await body_of(await ask(client, origin)) == b"ok"
            assert server.connections == 2

    run(test)


def test_a_connection_that_the_server_closed_meanwhile_is_replaced():
    async def test() -> None:
        async with talking([PLAIN], [PLAIN], hang_up=True) as (client, origin, server):
            assert await body_of(await ask(client, origin)) == b"ok"
            await all_lost(client)
            assert await body_of(await ask(client, origin)) == b"ok"
            assert server.connections == 2

    run(test)


def test_an_answer_that_was_left_half_read_takes_its_connection_with_it():
    async def test() -> None:
        half = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok"
        async with talking([half], [PLAIN]) as (client, origin, server):
            response = await ask(client, origin)
            assert await response.read(asyncio.get_running_loop().time() + 5) == b"ok"
            response.close()
            assert await body_of(await ask(client, origin)) == b"ok"
            assert server.connections == 2

    run(test)


@pytest.mark.parametrize(
    "said",
    [
        [b"HTTP/1.1 100 Continue\r\n\r\n", PLAIN],
        [b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + PLAIN],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n", b"1;a=b\r\nk\r\n0\r\nx-late: 1\r\n\r\n"],
    ],
    ids=["continue", "early-hints", "chunks-and-trailer"],
)
def test_legal_ways_to_say_the_same(said):
    async def test() -> None:
        async with talking(said, [PLAIN]) as (client, origin, server):
            response = await ask(client, origin)
            assert (response.status, await body_of(response)) == (200, b"ok")
            assert response.header(b"link") == response.header(b"x-late") == ""
            assert await body_of(await ask(client, origin)) == b"ok"
            assert server.connections == 1

    run(test)


def test_a_body_may_end_with_the_connection():
    async def test() -> None:
        async with talking([b"HTTP/1.1 200 OK\r\n\r\n", b"o", b"k"], hang_up=True) as (client, origin, _):
            assert await body_of(await ask(client, origin)) == b"ok"

    run(test)


def test_an_answer_without_a_body_is_whole():
    async def test() -> None:
        async with talking([b"HTTP/1.1 204 No Content\r\n\r\n"], [PLAIN]) as (client, origin, server):
            response = await ask(client, origin)
            assert (response.status, await body_of(response)) == (204, b"")
            assert await body_of(await ask(client, origin)) == b"ok"
            assert server.connections == 1

    run(test)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nx-bell: \x07\r\ncontent-length: 0\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 10_000, "endless headers"),
        (b"HTTP/1.1 200 OK\r\nconten", "closed"),
        (b"", "closed"),
    ],
)
def test_what_is_no_head_is_an_error(said, why):
    async def test() -> None:
        async with talking([said], hang_up=True) as (client, origin, _):
            with pytest.raises(BrokenError, match=why):
                await ask(client, origin)
            await all_lost(client)

    run(test)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
)
def test_what_came_before_a_connection_was_lost_is_given_and_then_the_error(said):
    async def test() -> None:
        async with talking([said], hang_up=True) as (client, origin, _):
            response = await ask(client, origin)
            until = asyncio.get_running_loop().time() + 5
            assert await response.read(until) == b"ok"
            with pytest.raises(BrokenError, match="closed"):
                await response.read(until)

    run(test)


def test_silence_is_a_timeout_and_nobody_listening_is_told_apart():
    async def test() -> None:
        async with talking([], [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok"]) as (client, origin, server):
            with pytest.raises(TimeoutError):
                await ask(client, origin, seconds=0.05)
            response = await ask(client, origin)
            assert server.connections == 2  # an answer may still come on the first one
            with pytest.raises(TimeoutError):
                await body_of(response, 0.05)
        with pytest.raises(NotConnectedError):
            await ask(client, origin)
        now = asyncio.get_running_loop().time()
        with pytest.raises(ConnectTimeoutError):
            await client.ask(origin, b"", b"", connect_by=now - 1, head_by=now + 1, whole_by=now + 1)

    run(test)


def test_a_reader_that_waits_holds_the_server_back():
    size = 50_000_000

    async def test() -> None:
        pieces = [b"x" * 100_000] * (size // 100_000)
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
        async with talking([head, *pieces]) as (client, origin, _):
            response = await ask(client, origin)
            for _ in range(200):
                await asyncio.sleep(0)
            assert response._size < 1_000_000
            assert len(await body_of(response, 15)) == size

    run(test)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(["openssl", *made.split(), *files], check=True, capture_output=True)
    return folder


def test_encrypted_connections_check_who_answers(certificate, monkeypatch):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")

    async def test() -> None:
        async with talking([PLAIN], [PLAIN], tls=tls) as (client, origin, server):
            with pytest.raises(NotConnectedError):  # nobody vouches for the certificate
                await ask(client, origin)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
            trusting = HttpClient()
            for _ in range(2):
                assert await body_of(await ask(trusting, origin)) == b"ok"
            with pytest.raises(NotConnectedError):  # it is another one's
                await ask(trusting, Origin("127.0.0.1", origin.port, tls=True))
            await trusting.close()
            assert len(server.requests) == 2

    run(test)


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("http://localhost:8000/v1", Origin("localhost", 8000, tls=False), "/v1"),
        ("https://api.example.com/v1/", Origin("api.example.com", 443, tls=True), "/v1/"),
        ("http://[::1]:9/v1?api-version=1 2", Origin("::1", 9, tls=False), "/v1?api-version=1%202"),
        ("http://büro.example/ä%20b", Origin("xn--bro-hoa.example", 80, tls=False), "/%C3%A4%20b"),
        ("https://h", Origin("h", 443, tls=True), "/"),
    ],
)
def test_urls(url, origin, path):
    assert split_url(url) == (origin, path)


def test_authorities():
    assert Origin("::1", 9, tls=False).authority == "[::1]:9"
    assert Origin("h", 443, tls=True).authority == "h"
    assert Origin("h", 443, tls=False).authority == "h:443"


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.data())
@settings(max_examples=40, deadline=None)
def test_however_the_bytes_are_cut_the_body_is_the_same(chunks, data):
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    whole += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    async def test() -> None:
        async with talking(parts) as (client, origin, _):
            response = await ask(client, origin)
            assert await body_of(response) == b"".join(chunks)

    run(test)
