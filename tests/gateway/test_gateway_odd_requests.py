"""Requests that are odd but legal, and some that are neither, to a gateway as `avengers-pro serve` runs it."""

import asyncio
import gzip
import http.client
import json
import socket
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from ledger_stores import needs_postgresql, postgresql_url
from live import CHAT, GIVE_UP_S, POOL, Answer, ask, eventually, text_of

from avengers_pro.demo.provider import Speed
from avengers_pro.gateway.ledger import upgrade

SERVE = """
import json, sys
from pathlib import Path
from avengers_pro.gateway.app import create_app
from avengers_pro.gateway.server import run
from avengers_pro.gateway.settings import settings_of
table = json.loads(sys.argv[2])
settings = settings_of({**table, "server": {**table.get("server", {}), "port": 0}}, "gateway.toml")
run(create_app(sys.argv[1], settings, {}), settings, started=lambda url: print(url, flush=True))
"""
TARGET = CHAT.encode()
BODY = json.dumps(ask()).encode()
CHUNKED = b"5;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nx-trailer: y\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
OFFER = (
    b"connection: Upgrade, HTTP2-Settings",
    b"upgrade: h2c",
    b"http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)


HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
LAST = HEALTH.replace(b"host:", b"connection: close\r\nhost:")


@pytest.fixture
def served(separate_gateway, provider):
    return separate_gateway(provider, {"access": {"required": False}}, script=SERVE).live


def request(method=b"POST", target=TARGET, *headers, body=BODY, version=b"1.1"):
    """Return the bytes of a request; the length of the body is said unless it comes in chunks."""
    lines = [b"%b %b HTTP/%b" % (method, target, version), b"host: localhost", *headers]
    if body and not any(header.startswith(b"transfer-encoding") for header in headers):
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + body


@contextmanager
def talk(live):
    address = urlsplit(live.url)
    with socket.create_connection((address.hostname, address.port), GIVE_UP_S) as client:
        yield client


def answer_of(client, method="POST"):
    response = http.client.HTTPResponse(client, method=method)
    response.begin()
    return Answer(response.status, response.headers, response.read())


def everything(client):
    """Return all that is said until the connection ends."""
    with client.makefile("rb") as reader:
        return reader.read()


def tell(live, *parts, method="POST"):
    """Send the parts of a request, one after the other, and return the answer."""
    with talk(live) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            client.sendall(part)
        return answer_of(client, method)


LEGAL = {
    "chunks": request(b"POST", TARGET, b"transfer-encoding: chunked", body=CHUNKED),
    "HTTP/1.0": request(version=b"1.0"),
    "absolute form": request(target=b"http://elsewhere:1" + TARGET),
    "query": request(target=TARGET + b"?api-version=1&x=%ff"),
    "encoded path": request(target=b"/v1%2fchat/completions"),
    "another type": request(b"POST", TARGET, b"content-type: text/plain"),
    "no null": request(body=json.dumps(ask(avengers_pro=None, stream=None, tools=[])).encode()),
    "repeated keys": request(body=b'{"model":"nobody",' + BODY[1:]),
    "an empty line first": b"\r\n" + request(),
}
"""Answered by a model."""


def test_what_is_odd_but_legal_is_answered(served):
    for name, sent in LEGAL.items():
        answer = tell(served, sent)
        assert (name, answer.status) == (name, 200), answer.body
        assert answer.json["choices"]
    with talk(served) as client:
        client.sendall(request(b"POST", TARGET, b"expect: 100-continue", b"content-length: %d" % len(BODY), body=b""))
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(BODY)
        assert answer_of(client).status == 200
    with talk(served) as client:
        client.sendall(HEALTH + request() + LAST)
        assert everything(client).count(b"HTTP/1.1 200 OK\r\n") == 3


NO_HTTP = {
    "two lengths": request(b"POST", TARGET, b"content-length: 3"),
    "length and chunks": request(b"POST", TARGET, b"content-length: 3", b"transfer-encoding: chunked", body=CHUNKED),
    "a wrong chunk": request(b"POST", TARGET, b"transfer-encoding: chunked", body=b"zz\r\n"),
    "a negative length": request(b"POST", TARGET, b"content-length: -5", body=b""),
    "a length beyond numbers": request(b"POST", TARGET, b"content-length: " + b"9" * 30, body=b""),
    "a folded header": request(b"GET", b"/v1/models", b"x-a: b", b" c", body=b""),
    "NUL in a header": request(b"GET", b"/v1/models", b"x-a: \0", body=b""),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a tunnel": request(b"CONNECT", b"elsewhere:443", body=b""),
    "no ASCII": request(b"GET", "/v1/models/é".encode(), body=b""),
    "an endless path": request(b"GET", b"/v1/models/" + b"a" * 70_000, body=b""),
}


def test_what_is_no_http_is_refused_in_openai_s_shape(served):
    for name, sent in NO_HTTP.items():
        answer = tell(served, sent)
        assert (name, answer.status, answer.headers["connection"]) == (name, 400, "close")
        assert answer.error["type"] == "invalid_request_error"
    answer = tell(served, b"GET / HTTP/1.1\r\nx-a: ", *[b"a" * 8192] * 80)
    assert (answer.status, answer.error["message"]) == (431, "the request's head is too long")


def test_what_was_asked_before_nonsense_is_answered(served):
    assert tell(served, request() + b"NONSENSE\r\n\r\n").json["choices"]


def test_an_offer_to_upgrade_is_passed_over(served):
    """Java's HTTP client makes one with each request; so does curl --http2."""
    offering = request(b"POST", TARGET, *OFFER)
    in_chunks = request(b"POST", TARGET, *OFFER, b"transfer-encoding: chunked", body=CHUNKED)
    cut = offering.index(b"\r\n\r\n") + 2
    for parts in ([offering], [in_chunks], [offering[:30], offering[30:cut], offering[cut:-20], offering[-20:]]):
        assert tell(served, *parts).json["choices"]
    with talk(served) as client:
        for _ in range(3):
            client.sendall(offering)
            assert answer_of(client).json["choices"]
        client.sendall(HEALTH.replace(b"host:", b"\r\n".join([*OFFER, b"host:"])) * 300 + LAST)
        assert everything(client).count(b"HTTP/1.1 200 OK\r\n") == 301
    websocket = request(b"GET", b"/v1/models", b"connection: upgrade", b"upgrade: websocket", body=b"")
    assert tell(served, websocket, method="GET").status == 200
    assert tell(served, request(b"POST", TARGET, *OFFER, b"content-length: 1")).status == 400


def test_a_stream_for_http_1_0_has_no_chunks_and_ends_with_the_connection(separate_gateway, provide):
    live = separate_gateway(provide(speed=Speed(tokens_per_s=200)), script=SERVE).live
    streaming = request(body=json.dumps(ask(stream=True, max_tokens=20)).encode(), version=b"1.0")
    answer = tell(live, streaming)
    assert "transfer-encoding" not in answer.headers
    assert text_of(answer.events)


# What bodies and paths may hold


def test_why_a_body_is_no_json_is_said(gateway, provider):
    live = gateway(provider)
    bodies = {
        b"": "empty",
        gzip.compress(BODY): "compressed",
        b"\xef\xbb\xbf" + BODY: "byte order mark",
        BODY.decode().encode("utf-16"): "byte order mark",
        b'{"score":NaN}': "invalid",
        b"--boundary": "invalid",
    }
    for body, why in bodies.items():
        for path in (CHAT, "/v1/route", "/v1/feedback"):
            answer = live.call(path, body)
            assert (path, answer.status) == (path, 400)
            assert why in answer.error["message"], path


def test_alpha_in_a_model_s_name_is_a_number_as_json_writes_it(gateway, provider):
    live = gateway(provider)
    assert live.ask(model="avengers-pro@5e-1").status == 200
    for alpha in ("0_1", "\N{ARABIC-INDIC DIGIT ONE}", "\N{VULGAR FRACTION ONE HALF}", "", "inf", "-0.1", "1.1", "0x1"):
        answer = live.ask(model=f"avengers-pro@{alpha}")
        assert (alpha, answer.status, answer.error["param"]) == (alpha, 400, "model")


def test_paths_lead_nowhere_else(gateway, provider):
    live = gateway(provider, {"access": {"required": True}})
    paths = ["/v1/models/../../admin/reload", "//admin/reload", "/admin/reload/", "/ADMIN/reload", "/admin%2freload%00"]
    for path in [
        *paths,
        "/v1/models/%2e%2e/metrics",
        "//metrics",
        "/metrics/",
        "/metrics;x",
        "/v1/decisions/%ed%a0%80",
    ]:
        for method in ("GET", "POST"):
            answer = live.call(path, method=method)
            assert answer.status in {401, 404, 405}, path
            assert answer.error


# Keys and what is another's


def test_keys_count_only_where_they_belong(gateway, provider):
    live = gateway(provider, {"access": {"required": True, "refresh": 0.02}})
    _, secret = live.key("admin")
    eventually(lambda: live.call("/v1/models", x_api_key=secret).status == 200)
    for query in (f"?api_key={secret}", f"?key={secret}", f"?x-api-key={secret}"):
        assert live.call(f"/v1/models{query}").status == 401
    for headers in ({"cookie": f"x-api-key={secret}"}, {"proxy_authorization": f"Bearer {secret}"}):
        assert live.call("/v1/models", **headers).status == 401
    assert live.call("/v1/models", authorization=f"Basic {secret}").status == 401
    assert live.call("/v1/models", authorization=f"Basic {secret}", x_api_key=secret).status == 200
    assert live.call("/metrics").status == live.call("/admin/reload", method="POST").status == 401


def test_another_s_decision_can_neither_be_seen_nor_judged(gateway, provider):
    """And is as unknown as one that never was."""
    live = gateway(provider, {"access": {"refresh": 0.02}})
    nobodys = live.ask().decision
    (_, one), (_, other) = live.key(), live.key()
    eventually(lambda: live.call("/v1/models", x_api_key=other).status == 200 != live.call("/v1/models").status)
    ones = live.ask(headers={"x_api_key": one}).decision
    for decision in (ones, nobodys, "dec_none"):
        seen = live.call(f"/v1/decisions/{decision}", x_api_key=other)
        judged = live.call("/v1/feedback", {"decision": decision, "score": 0.0}, x_api_key=other)
        for answer in (seen, judged):
            assert (answer.status, answer.error["message"]) == (404, f"no decision has the id {decision!r}")
    assert [row["feedback"] for row in live.rows()] == [[], []]


@needs_postgresql
def test_an_id_that_postgresql_cannot_hold_is_that_of_no_decision(gateway, provider, stack):
    url = stack.enter_context(contextmanager(postgresql_url)())
    asyncio.run(upgrade(url))
    live = gateway(provider, {"store": {"url": url}})
    assert live.call(f"/v1/decisions/{live.ask().decision}").status == 200
    assert live.call("/v1/decisions/a%00b").error["code"] == "decision_not_found"
    answer = live.call("/v1/feedback", {"decision": "\0", "score": 1})
    assert (answer.status, answer.error["code"]) == (404, "decision_not_found")


def test_the_description_names_no_model(gateway, provider):
    """It is there for everyone."""
    live = gateway(provider, {"access": {"required": True}, "presets": {"secretly": {"alpha": 0.0}}})
    page = live.call("/openapi.json").body.decode()
    assert not [name for name in (*POOL, "secretly", provider) if name in page]
