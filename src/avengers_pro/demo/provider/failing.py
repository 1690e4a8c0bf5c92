"""Acting faults out."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from itertools import cycle
from typing import Any, NoReturn

import msgspec

from avengers_pro.demo.provider.answer import enlarged
from avengers_pro.demo.provider.exchange import EVENT_STREAM, JSON, Exchange
from avengers_pro.demo.provider.faults import Fault, FaultName
from avengers_pro.demo.provider.refusal import SERVER_ERROR, error_object
from avengers_pro.demo.provider.replying import Reply, send
from avengers_pro.demo.provider.wire import DONE, chunk_without_choices, event

_MEBIBYTE = 2**20
_DRIP_BYTES = (1, 3, 2, 11, 5, 29, 1, 7)
"""Sizes of the parts of a slow drip; coprime enough with the events to cut them everywhere, UTF-8 included."""
_RETRY_AFTER_S = 1.0
_PAGE = b"<!doctype html><html><head><title>Simulated</title></head><body>Not the API.</body></html>"


async def fail(exchange: Exchange, reply: Reply, fault: Fault) -> None:
    """Answer a request with a fault.

    Raises:
        ClientGoneError: If the client leaves before the end, which ends a hang.
    """
    act = _ACTS.get(fault.fault)
    if act is None:
        await _status(exchange, fault)
    else:
        await act(exchange, reply, fault)


_ERRORS: Mapping[FaultName, tuple[HTTPStatus, dict[str, Any]]] = {
    "429": (
        HTTPStatus.TOO_MANY_REQUESTS,
        error_object("Rate limit reached (simulated).", kind="requests", code="rate_limit_exceeded"),
    ),
    "500": (HTTPStatus.INTERNAL_SERVER_ERROR, error_object("The server had an error (simulated).", kind=SERVER_ERROR)),
    "503": (HTTPStatus.SERVICE_UNAVAILABLE, error_object("The engine is overloaded (simulated).", kind=SERVER_ERROR)),
    "401": (HTTPStatus.UNAUTHORIZED, error_object("Incorrect API key provided (simulated).", code="invalid_api_key")),
    "400": (HTTPStatus.BAD_REQUEST, error_object("The request is not understood (simulated).")),
    "404": (
        HTTPStatus.NOT_FOUND,
        error_object("The model does not exist (simulated).", code="model_not_found", param="model"),
    ),
}


async def _status(exchange: Exchange, fault: Fault) -> None:
    status, error = _ERRORS[fault.fault]
    wait_s = _RETRY_AFTER_S if fault.retry_after is None and fault.fault == "429" else fault.retry_after
    told = wait_s is not None and fault.fault in {"429", "503"}
    headers = [("retry-after", f"{wait_s:g}")] if told else []
    await exchange.respond(status, msgspec.json.encode(error), headers=headers)


async def _hang(exchange: Exchange, _reply: Reply, _fault: Fault) -> NoReturn:
    await exchange.hang()


async def _hang_midway(exchange: Exchange, reply: Reply, _fault: Fault) -> NoReturn:
    await _send_half(exchange, reply)
    await exchange.hang()


async def _reset(exchange: Exchange, _reply: Reply, _fault: Fault) -> None:
    await exchange.reset()


async def _reset_midway(exchange: Exchange, reply: Reply, _fault: Fault) -> None:
    await _send_half(exchange, reply)
    await exchange.reset()


async def _send_half(exchange: Exchange, reply: Reply) -> None:
    """Send a body's first half: whole events of a stream, else bytes of a body whose length is announced."""
    if reply.streamed:
        await exchange.start(HTTPStatus.OK, content_type=EVENT_STREAM, headers=reply.headers)
        parts = [part.data for part in reply.events()]
        for data in parts[: len(parts) // 2]:
            await exchange.write(data)
        return
    body = reply.body()
    length = ("content-length", str(len(body)))
    await exchange.start(HTTPStatus.OK, content_type=JSON, headers=(*reply.headers, length))
    await exchange.write(body[: len(body) // 2])


async def _malformed(exchange: Exchange, reply: Reply, _fault: Fault) -> None:
    if reply.streamed:
        first, second, *_ = (part.data for part in reply.events())
        broken = second[: len(second) // 2] + b"\n\n"
        await exchange.respond(HTTPStatus.OK, first + broken + DONE, content_type=EVENT_STREAM, headers=reply.headers)
    else:
        body = reply.body()
        await exchange.respond(HTTPStatus.OK, body[: len(body) // 2], headers=reply.headers)


async def _page(exchange: Exchange, _reply: Reply, _fault: Fault) -> None:
    await exchange.respond(HTTPStatus.OK, _PAGE, content_type="text/html; charset=utf-8")


async def _no_choices(exchange: Exchange, reply: Reply, _fault: Fault) -> None:
    empty = replace(reply, answer=replace(reply.answer, choices=()))
    if reply.streamed:
        body = chunk_without_choices(reply.answer) + DONE
        await exchange.respond(HTTPStatus.OK, body, content_type=EVENT_STREAM, headers=reply.headers)
    else:
        await exchange.respond(HTTPStatus.OK, empty.body(), headers=reply.headers)


async def _error_in_200(exchange: Exchange, reply: Reply, _fault: Fault) -> None:
    error = error_object("The model failed after the response had begun (simulated).", kind=SERVER_ERROR)
    if reply.streamed:
        await exchange.respond(HTTPStatus.OK, event(error) + DONE, content_type=EVENT_STREAM, headers=reply.headers)
    else:
        await exchange.respond(HTTPStatus.OK, msgspec.json.encode(error), headers=reply.headers)


async def _huge(exchange: Exchange, reply: Reply, fault: Fault) -> None:
    await send(exchange, replace(reply, answer=enlarged(reply.answer, chunks=fault.chunks, chars=_MEBIBYTE)))


async def _drip(exchange: Exchange, reply: Reply, fault: Fault) -> None:
    body = b"".join(part.data for part in reply.events()) if reply.streamed else reply.body()
    headers = reply.headers if reply.streamed else (*reply.headers, ("content-length", str(len(body))))
    await exchange.start(HTTPStatus.OK, content_type=EVENT_STREAM if reply.streamed else JSON, headers=headers)
    for part in _drops(body):
        await exchange.write(part)
        await exchange.pause(fault.pause_ms / 1000)
    await exchange.end()


def _drops(body: bytes) -> Iterator[bytes]:
    start = 0
    for size in cycle(_DRIP_BYTES):
        if start >= len(body):
            return
        yield body[start : start + size]
        start += size


_ACTS: Mapping[FaultName, Callable[[Exchange, Reply, Fault], Awaitable[None]]] = {
    "hang": _hang,
    "hang-mid-stream": _hang_midway,
    "reset": _reset,
    "reset-mid-stream": _reset_midway,
    "malformed-json": _malformed,
    "wrong-content-type": _page,
    "empty-choices": _no_choices,
    "error-in-200": _error_in_200,
    "huge-chunks": _huge,
    "slow-drip": _drip,
}
