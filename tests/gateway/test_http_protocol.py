"""Connections that are slow, or long, before they say what they want; over real sockets."""

import select
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from avengers_pro.gateway.http_protocol import HEAD_TIMEOUT_S, GuardedProtocol, guarded_protocol

LIMIT_S = 0.4
HEAD = b"POST /x HTTP/1.1\r\nhost: here\r\n"


class Impatient(GuardedProtocol):
    head_timeout = LIMIT_S
    max_head_bytes = 4096


async def app(scope, receive, send):
    """Answer at once, without reading the body; /read says what it has read."""
    body = b""
    if scope["path"] == "/read":
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port():
    config = uvicorn.Config(
        app, http=Impatient, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=30
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@contextmanager
def connected(port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def say_for_ever(connection):
    begun = time.monotonic()
    while time.monotonic() < begun + 20:
        connection.sendall(b"a")
        time.sleep(LIMIT_S / 10)


def closed_after(connection, keep_saying=None):
    """Return the seconds until the server closes, saying something all the time."""
    begun = time.monotonic()
    connection.settimeout(0.05)
    while True:
        try:
            if connection.recv(4096) == b"":
                return time.monotonic() - begun
        except TimeoutError:
            if keep_saying is not None:
                try:
                    connection.sendall(keep_saying)
                except OSError:
                    return time.monotonic() - begun
        except ConnectionError:
            return time.monotonic() - begun
        assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("first", "more"), [(b"", None), (b"GET", None), (HEAD, b"x-a: b\r\n")])
def test_a_head_that_does_not_come_ends_the_connection(port, first, more):
    with connected(port) as connection:
        connection.sendall(first)
        assert LIMIT_S * 0.8 < closed_after(connection, more) < LIMIT_S * 10


def test_a_second_head_on_the_same_connection_has_the_same_time(port):
    with connected(port) as connection:
        connection.sendall(HEAD + b"content-length: 0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(LIMIT_S * 1.5)  # idle, which keep-alive allows for longer
        connection.sendall(HEAD)
        assert LIMIT_S * 0.8 < closed_after(connection, b"x-a: b\r\n") < LIMIT_S * 10


def test_a_slow_body_is_the_application_s_to_judge(port):
    with connected(port) as connection:
        connection.sendall(HEAD.replace(b"/x", b"/read") + b"content-length: 4\r\n\r\n")
        for byte in (b"a", b"b", b"c", b"d"):
            time.sleep(LIMIT_S / 2)  # two limits in all
            connection.sendall(byte)
        answer = b""
        while not answer.endswith(b"abcd"):
            answer += connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200")


def test_a_body_that_trickles_in_after_the_answer_ends_the_connection(port):
    with connected(port) as connection:
        connection.sendall(HEAD + b"content-length: 1000000\r\n\r\n")
        assert closed_after(connection, b"a") < LIMIT_S * 10


def test_many_requests_on_one_connection_are_answered(port):
    with connected(port) as connection:
        for _ in range(50):
            connection.sendall(HEAD + b"content-length: 0\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_head_is_read_up_to_its_limit(port):
    with connected(port) as connection:
        connection.sendall(HEAD + b"x-a: " + b"a" * 3000 + b"\r\n")
        connection.sendall(b"content-length: 0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    with connected(port) as connection:
        connection.sendall(HEAD + b"x-a: " + b"a" * 5000)
        assert connection.recv(4096).startswith(b"HTTP/1.1 431 ")
        assert connection.recv(4096) == b""


def test_the_gateway_s_own_limits():
    made = guarded_protocol(10_000)
    assert 10_000 < made.max_head_bytes < 30_000
    assert made.head_timeout == HEAD_TIMEOUT_S == 10.0


@pytest.mark.parametrize("said", [b"NONSENSE\r\n\r\n", HEAD + b"x-a: " + b"a" * 5000])
def test_a_refusal_reaches_who_is_still_sending(port, said):
    with connected(port) as connection:
        connection.sendall(said)
        select.select([connection], [], [], 20)  # refused, and not yet read
        for _ in range(50):
            connection.sendall(b"a" * 8192)
        answer = b""
        while part := connection.recv(4096):
            answer += part
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))


def test_who_was_refused_is_not_listened_to_for_ever(port):
    with connected(port) as connection:
        connection.sendall(b"NONSENSE\r\n\r\n")
        while connection.recv(4096):
            pass
        with pytest.raises(ConnectionError):
            say_for_ever(connection)
