"""Streams through the gateway: as they come, no longer than somebody reads, and in little memory."""

import json
import threading
import time
from urllib.parse import urlsplit

import openai
import pytest
from live import FIRST, ask, call, card, chunk, eventually, hung_up, saying, stream, text_of
from live import upstream as scripted

from avengers_pro.demo.provider import Fault, Speed

USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,'
    b'"prompt_tokens_details":{"cached_tokens":3}}}\n\n'
)
DONE = b"data: [DONE]\n\n"


# Usage and bytes


ODD = [
    b": waiting\n\n",
    chunk("one"),
    b'data:{"choices":[{"delta":{"content":"\\u00fc \xc3\xbc"} , "finish_reason":null}], "usage": null}\n\n',
    b'event: message\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}],"x":1E2}\n\n',
]


@pytest.mark.parametrize("pieces", [1, 7, 1000], ids=["whole", "in-7-bytes", "in-1000-bytes"])
def test_bytes_pass_as_they_are_but_for_usage_nobody_asked_for(gateway, stack, pieces):
    whole = b"".join([*ODD, USAGE, DONE])
    parts = [whole] if pieces == 1 else [whole[start : start + pieces] for start in range(0, len(whole), pieces)]
    url = stack.enter_context(scripted(saying(stream(), *parts)))
    live = gateway([card(FIRST, url)])
    assert live.ask(stream=True).body == b"".join([*ODD, DONE])
    assert live.ask(stream=True, stream_options={"include_usage": True}).body == whole
    for row in live.rows():
        assert (row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"]) == (7, 5, 3)
        assert (row["finish_reason"], row["outcome"]) == ("stop", "ok")
        assert row["cost_usd"] == pytest.approx((7 * 1.25 + 5 * 10.0) / 1e6)


def test_usage_is_asked_for_beside_what_the_client_asked(gateway, provider):
    live = gateway(provider)
    live.ask(stream=True)
    live.ask(stream=True, stream_options={"include_usage": False, "include_obfuscation": False})
    live.ask(stream=True, stream_options=None)
    live.ask()
    sent = [arrival["body"].get("stream_options") for arrival in call(provider, "/requests").json]
    wanted = {"include_usage": True}
    assert sent == [wanted, {"include_usage": True, "include_obfuscation": False}, wanted, None]


def test_openais_client_sees_usage_exactly_if_it_asked(gateway, provider):
    live = gateway(provider)
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="any") as client:
        asked = {"stream_options": {"include_usage": True}}
        plain, full = (list(client.chat.completions.create(**ask(stream=True, **more))) for more in ({}, asked))
    assert all(part.usage is None and part.choices for part in plain)
    assert full[-1].usage.completion_tokens == live.rows()[0]["completion_tokens"]


def test_huge_events_arrive_whole_and_their_usage_is_read(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="huge-chunks", chunks=3)]})
    live = gateway(provider)
    assert len(text_of(live.ask(stream=True).events)) == 3 * 2**20
    assert live.row()["completion_tokens"] == 3 * 2**20 / 4


def test_a_slow_drip_is_the_same_stream(gateway, provide):
    provider = provide()
    live = gateway(provider)
    smooth = live.ask(stream=True)
    call(provider, "/faults", {"*": [{"fault": "slow-drip"}]}, method="PUT")
    assert text_of(live.ask(stream=True).events) == text_of(smooth.events)


# Clients that leave


@pytest.mark.parametrize(
    ("streams", "fault"),
    [(False, "hang"), (True, "hang"), (True, "hang-mid-stream"), (False, "hang-mid-stream")],
)
def test_a_client_that_leaves_is_followed_at_once(gateway, provide, streams, fault):
    provider = provide(faults={"*": [Fault(fault=fault)]})
    live = gateway(provider)
    taken = []
    for number in range(3):
        with hung_up(live.url, ask(stream=streams)) as client:
            if streams and fault != "hang":
                assert client.recv(100)
            eventually(lambda n=number: len(call(provider, "/requests").json) > n)
            eventually(lambda: live.metric("upstream_in_flight") == 1)
        begin = time.monotonic()
        eventually(lambda: call(provider, "/requests").json[-1]["disconnected"])
        taken.append(time.monotonic() - begin)
    assert min(taken) < 0.1, taken
    begun = streams and fault != "hang"
    for row in live.rows():
        assert (row["outcome"], row["status"]) == ("client-gone", 200 if begun else 0)
        assert row["cost_usd"] is None
    assert live.metric("upstream_in_flight") == live.metric("in_flight") == live.metric("upstream_open") == 0


def test_a_client_that_leaves_while_another_answer_is_looked_for(gateway, provide):
    """During the pause before an upstream that asked for it is tried again."""
    provider = provide(faults={"*": [Fault(fault="429", retry_after=3)]})
    live = gateway([card(FIRST, provider)])
    with hung_up(live.url, ask()):
        eventually(lambda: len(call(provider, "/requests").json) == 1)
    row = live.row()
    assert (row["outcome"], row["cost_usd"]) == ("client-gone", 0.0)
    assert row["total_ms"] < 2000


def test_a_client_that_leaves_after_the_end_was_answered(gateway, stack):
    """Libraries hang up at ``[DONE]``, not when the upstream closes the stream."""
    ended = threading.Event()

    def script(connection):
        connection.sendall(stream(chunk("a"), chunk(finish_reason="stop"), USAGE, DONE))
        ended.wait(5)

    url = stack.enter_context(scripted(script))
    stack.callback(ended.set)
    live = gateway([card(FIRST, url)])
    with hung_up(live.url, ask(stream=True)) as client:
        received = b""
        while DONE not in received:
            received += client.recv(4096)
    row = live.row()
    assert (row["outcome"], row["completion_tokens"]) == ("ok", 5)


def test_whoever_has_the_whole_answer_and_hangs_up_was_answered(gateway, provider):
    live = gateway(provider)
    for _ in range(20):
        with hung_up(live.url, ask()) as client:
            assert client.recv(16)
    assert {row["outcome"] for row in live.rows()} == {"ok"}


# Clients that do not read


def test_a_slow_reader_of_a_large_stream_costs_little_memory(separate_gateway, provide):
    provider = provide(faults={"*": [Fault(fault="huge-chunks", chunks=100)]}, speed=Speed())
    gateway = separate_gateway(provider)
    live = gateway.live
    with hung_up(live.url, ask(stream=True)) as client:  # what any large stream needs once
        for _ in range(1000):
            client.recv(65536)
    eventually(lambda: live.metric("in_flight") == 0)
    before = gateway.resident_bytes
    most = 0
    with hung_up(live.url, ask(stream=True)) as client:
        for _ in range(30):
            assert client.recv(65536)
            most = max(most, gateway.resident_bytes)
            call(live.url, "/healthz")  # a turn of the gateway's loop, in which it could read on
        assert not call(provider, "/requests").json[-1]["done"]
    assert most - before < 2_000_000
    assert json.loads(live.call("/readyz").body)["status"] == "ready"


def test_a_client_that_never_reads_does_not_keep_its_upstream_for_ever(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="huge-chunks", chunks=64)]})
    live = gateway(provider, {"server": {"request_timeout": 0.5}})
    with hung_up(live.url, ask(stream=True)):
        eventually(lambda: call(provider, "/requests").json and call(provider, "/requests").json[-1]["disconnected"])
    assert live.row()["outcome"] in {"timeout", "client-gone"}
    assert urlsplit(live.url).port
