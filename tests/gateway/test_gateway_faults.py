"""What the gateway makes of upstreams that fail: every fault of the simulated provider, and bytes that are no HTTP."""

import gzip
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from live import (
    FIRST,
    POOL,
    QUESTION,
    SECOND,
    THIRD,
    ask,
    call,
    card,
    chunk,
    eventually,
    hung_up,
    saying,
    stream,
    text_of,
)
from live import upstream as scripted

from avengers_pro.demo.provider import Fault, Speed
from avengers_pro.demo.provider.faults import NAMES
from avengers_pro.errors import AvengersProError

QUICK = {"first_byte_timeout": 1.0, "idle_timeout": 1.0}
"""For upstreams that hang: as short as a busy machine allows for those that answer."""
JUMPY = {"min_requests": 1, "cooldown": 600.0}
"""A breaker that opens at the first failure, so that whether a fault was counted can be seen."""

PASSED_ON = {"400": 400, "404": 404}
BEFORE_ANY_BYTE = {
    "429": "status 429",
    "500": "status 500",
    "503": "status 503",
    "401": "status 401",
    "hang": "first byte timeout",
    "reset": "connection lost (ConnectionResetError)",
    "malformed-json": "answer is no JSON",
    "empty-choices": "answer without choices",
    "error-in-200": "error in the answer",
}
WHOLE_ONLY = {
    "hang-mid-stream": "read timeout",
    "reset-mid-stream": "connection lost (ConnectionResetError)",
}
ANSWERED = ["huge-chunks", "slow-drip"]
NOT_COUNTED = {"429"}
"""Asking to be left alone for a while is no failure."""
LAST_STATUS = {"429": 429, "500": 500, "503": 503, "hang": 504, "hang-mid-stream": 504}


def failing(fault, models):
    return {model: [Fault(fault=fault, chunks=2)] for model in models}


def limits(fault):
    return QUICK if "hang" in fault else {}


def reason_of(fault, streams):
    if fault == "wrong-content-type":
        return "answer is no JSON"
    return BEFORE_ANY_BYTE.get(fault) or (None if streams else WHOLE_ONLY.get(fault))


def read(answer, streams):
    return text_of(answer.events) if streams else answer.json["choices"][0]["message"]["content"]


def test_every_fault_is_in_the_matrix():
    listed = {*PASSED_ON, *BEFORE_ANY_BYTE, *WHOLE_ONLY, *ANSWERED, "wrong-content-type"}
    assert listed == set(NAMES)


# One fault at one candidate


@pytest.mark.parametrize("streams", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("fault", NAMES)
@pytest.mark.parametrize("place", [0, 1], ids=["first", "later"])
def test_a_fault_of_one_candidate(gateway, provide, fault, streams, place):
    """If the later candidate is to be reached, the first one answers 500."""
    faults = failing("500", POOL[:place]) | failing(fault, [POOL[place]])
    provider = provide(faults=faults)
    live = gateway([card(name, provider, **limits(fault)) for name in POOL], {"breaker": JUMPY})
    answer = live.ask(stream=streams)
    row = live.row()
    reason = reason_of(fault, streams)
    expected_attempts = [[f"{name}@{provider[7:]}", "status 500"] for name in POOL[:place]]
    if reason is not None:  # somebody else answers
        expected_attempts.append([f"{POOL[place]}@{provider[7:]}", reason])
        server = POOL[place + 1]
    else:
        server = POOL[place]
    assert json.loads(row["attempts"]) == expected_attempts
    assert (row["model"], row["served_by"], row["fallbacks"]) == (FIRST, server, len(expected_attempts))
    assert answer.headers["x-avengers-pro-model"] == server
    assert answer.headers["x-avengers-pro-fallbacks"] == str(len(expected_attempts))
    assert answer.decision == row["id"]
    assert row["status"] == answer.status
    is_counted = (reason is not None and fault not in NOT_COUNTED) or (streams and fault in WHOLE_ONLY)
    resting = fault == "429"  # left alone for a second, as it asked
    label = f"{POOL[place]}@{provider[7:]}"
    assert live.metric("upstream_open", upstream=label) == (is_counted or resting)
    assert live.metric("upstream_in_flight") == 0
    assert live.metric("fallbacks_total") == len(expected_attempts)
    check_answer(answer, row, fault, streams=streams)


def check_answer(answer, row, fault, *, streams):
    if fault in PASSED_ON:
        assert answer.status == PASSED_ON[fault]
        assert "(simulated)" in answer.error["message"]
        assert (row["outcome"], row["cost_usd"]) == ("refused-upstream", 0.0)
    elif fault in WHOLE_ONLY and streams:
        assert (answer.status, row["outcome"]) == (200, "upstream-error")
        *chunks, last = answer.events
        assert chunks
        error = json.loads(last)["error"]
        assert (error["type"], error["code"]) == ("server_error", "upstream_failed")
        assert row["cost_usd"] is None
    else:
        assert (answer.status, row["outcome"], row["finish_reason"]) == (200, "ok", "stop")
        assert read(answer, streams).startswith("[simulated answer" if fault != "huge-chunks" else "")
        assert row["cost_usd"] > 0
        assert row["completion_tokens"] > 0


# One fault at all candidates


@pytest.mark.parametrize(
    ("fault", "streams"), [(name, streams) for name in NAMES for streams in (False, True) if reason_of(name, streams)]
)
def test_a_fault_of_all_candidates(gateway, provide, fault, streams):
    provider = provide(faults={"*": [Fault(fault=fault)]})
    tables = {"breaker": JUMPY, "fallback": {"max_attempts": 2, "retry_after_max": 0.0}}
    live = gateway([card(name, provider, **limits(fault)) for name in POOL], tables)
    answer = live.ask(stream=streams)
    assert answer.status == LAST_STATUS.get(fault, 502)
    assert answer.error["code"] == "upstream_failed"
    assert answer.error["message"].count(reason_of(fault, streams)) == 2
    assert ("retry-after" in answer.headers) == (fault == "429")
    row = live.row()
    assert (row["outcome"], row["served_by"], row["fallbacks"]) == ("upstream-error", None, 1)
    assert (row["id"], row["status"]) == (answer.decision, answer.status)
    is_free = fault in {"429", "500", "503", "401"}
    assert row["cost_usd"] == (0.0 if is_free else None)
    assert live.metric("requests_total", outcome="upstream-error", status=str(answer.status)) == 1


def test_nobody_listens(gateway):
    live = gateway("http://127.0.0.1:9")
    answer = live.ask()
    assert (answer.status, answer.error["type"]) == (502, "server_error")
    assert answer.error["message"].count("cannot connect") == 3
    row = live.row()
    assert (row["outcome"], row["cost_usd"]) == ("upstream-error", 0.0)


def test_no_answer_falls_back_from_what_the_client_named(gateway, provide):
    provider = provide(faults=failing("500", [FIRST]))
    answer = gateway(provider).ask(model=FIRST)
    assert (answer.status, answer.error["code"]) == (500, "upstream_failed")


# Bytes that no provider should send


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
BROKEN = {
    "nothing": b"",
    "no-http": b"220 mail.example.com ESMTP\r\n",
    "half-a-head": b"HTTP/1.1 200 OK\r\ncontent-",
    "wrong-length": OK + b"content-length: ten\r\n\r\n{}",
    "two-lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "wrong-chunk": OK + b"transfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    "wrong-chunk-later": OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\nZZ\r\n{}\r\n0\r\n\r\n",
    "short-body": OK + b"content-length: 100\r\n\r\n{}",
    "not-json": OK + b"content-length: 2\r\n\r\n{[",
    "not-utf8": OK + b"content-length: 12\r\n\r\n" + b'{"a":"\xff\xff\xff"}'[:12],
    "deep": OK + b"content-length: 4000\r\n\r\n" + b"[" * 4000,
    "long-line": OK + b"x-long: " + b"a" * 100_000 + b"\r\n\r\n",
    "compressed": OK + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00",
    "redirection": b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    "redirection-with-an-answer": b'HTTP/1.1 307 x\r\ncontent-length: 16\r\n\r\n{"choices":[{}]}',
    "unheard-of-status": b"HTTP/1.1 999 Denied\r\ncontent-length: 0\r\n\r\n",
    "no-content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "cut-off-error": b"HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\n{",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("streams", [False, True], ids=["json", "stream"])
def test_an_upstream_that_is_no_api(gateway, provider, stack, caplog, streams):
    """Each is tried first, the simulated provider answers; nobody else being there is an error in OpenAI's shape."""
    said = []
    url = stack.enter_context(scripted(lambda connection: connection.sendall(said[-1])))
    tables = {"breaker": {"min_requests": 1000}}
    live = gateway([card(FIRST, url, **QUICK), card(SECOND, provider)], tables)
    for name, these in BROKEN.items():
        said.append(these)
        answer = live.ask(stream=streams)
        assert (name, answer.status) == (name, 200)
        assert read(answer, streams)
        assert (name, answer.headers["x-avengers-pro-model"]) == (name, SECOND)
        answer = live.ask(model=FIRST, stream=streams)
        assert (name, answer.status in {502, 504}, answer.error["code"]) == (name, True, "upstream_failed")
    assert live.metric("upstream_in_flight") == 0
    assert {row["outcome"] for row in live.rows()} == {"ok", "upstream-error"}
    assert not caplog.records, "one of them was unexpected"


def test_a_long_error_comes_through_whole_and_an_endless_one_is_no_answer(gateway, provider, stack):
    body = json.dumps({"error": {"message": "x" * 300_000, "type": "t", "param": None, "code": None}}).encode()
    half = len(body) // 2

    def halting(connection):
        connection.sendall(b"HTTP/1.1 422 x\r\ncontent-type: application/json\r\n")
        connection.sendall(b"x-kept: yes\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:half])
        time.sleep(0.05)  # the second half comes in a packet of its own
        connection.sendall(body[half:])

    url = stack.enter_context(scripted(halting))
    answer = gateway([card(FIRST, url), card(SECOND, provider)]).ask()
    assert (answer.status, answer.headers["x-kept"]) == (422, "yes")
    assert answer.body == body
    url = stack.enter_context(scripted(saying(b"HTTP/1.1 400 x\r\n\r\n", *[b"x" * 100_000] * 20)))
    answer = gateway([card(FIRST, url), card(SECOND, provider)]).ask()
    assert (answer.status, answer.headers["x-avengers-pro-model"]) == (200, SECOND)


def test_a_compressed_error_says_that_it_is(gateway, stack):
    packed = gzip.compress(b'{"error":{"message":"too long"}}')
    head = b"HTTP/1.1 400 x\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    url = stack.enter_context(scripted(saying(head % len(packed) + packed)))
    answer = gateway([card(FIRST, url)]).ask()
    assert (answer.status, answer.headers["content-encoding"], answer.body) == (400, "gzip", packed)


def test_headers_that_no_server_may_send_stay_behind(gateway, stack):
    body = b'{"choices":[{"message":{"content":"x"}}]}'
    said = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nX-Fine: caf\xe9\r\nset-cookie: a=b\r\n"
        b"x-avengers-pro-model: someone-else\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    )
    url = stack.enter_context(scripted(saying(said % len(body) + body)))
    odd = "a b/é"
    live = gateway([card(FIRST, url), card(odd, url)])
    answer = live.ask()
    assert answer.body == body
    assert answer.headers["x-fine"] == "caf\xe9"
    assert answer.headers["set-cookie"] is None
    assert answer.headers.get_all("content-length") == [str(len(body))]
    assert answer.headers.get_all("x-avengers-pro-model") == [FIRST]
    answer = live.ask(model=odd)
    assert (answer.status, answer.headers["x-avengers-pro-model"]) == (200, "a b/%C3%A9")


@pytest.mark.parametrize(
    ("more", "environ", "said"),
    [
        ({"api_key_env": "LAB_KEY"}, {"LAB_KEY": "secret\n"}, "LAB_KEY holds a line break"),
        ({"extra_headers": {"x-a": "one\r\ntwo"}}, {}, "'x-a' cannot be sent"),
        ({"extra_headers": {"x a": "one"}}, {}, "'x a' cannot be sent"),
    ],
)
def test_headers_that_cannot_be_sent_are_found_at_the_start(gateway, provider, more, environ, said):
    with pytest.raises(AvengersProError, match=said) as caught:
        gateway([card(FIRST, provider, **more)], environ=environ)
    assert "secret" not in str(caught.value)


# Streams


def test_an_upstream_that_sends_headers_and_then_nothing_falls_back(gateway, provider, stack):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    done = threading.Event()

    def silent(connection):
        connection.sendall(head)
        done.wait(5)

    url = stack.enter_context(scripted(silent))
    stack.callback(done.set)
    live = gateway([card(FIRST, url, **QUICK), card(SECOND, provider)])
    answer = live.ask(stream=True)
    assert text_of(answer.events)
    assert json.loads(live.row()["attempts"])[0][1] == "first byte timeout"


PRELUDE = b'data: {"choices":[],"prompt_filter_results":[]}\n\n'


def test_a_stream_may_begin_with_a_chunk_without_choices_or_a_comment(gateway, stack):
    for prelude in (PRELUDE, b": at work\n\n", b""):
        whole = prelude + chunk("a") + chunk("b", finish_reason="stop") + b"data: [DONE]\n\n"
        url = stack.enter_context(scripted(saying(stream(whole[:60]), whole[60:])))
        answer = gateway([card(FIRST, url)]).ask(stream=True)
        assert answer.body == whole


def test_an_error_after_a_chunk_without_choices_still_falls_back(gateway, provider, stack):
    said = stream(PRELUDE, b'data: {"error":{"message":"overloaded"}}\n\n')
    url = stack.enter_context(scripted(saying(said)))
    answer = gateway([card(FIRST, url), card(SECOND, provider)]).ask(stream=True)
    assert answer.headers["x-avengers-pro-model"] == SECOND


def test_a_first_event_too_long_to_be_held_is_an_answer(gateway, stack):
    whole = chunk("x" * 300_000) + chunk(finish_reason="stop") + b"data: [DONE]\n\n"
    url = stack.enter_context(scripted(saying(stream(whole))))
    answer = gateway([card(FIRST, url)]).ask(stream=True)
    assert (answer.status, answer.body) == (200, whole)


def last_error(body):
    """Return the error event that must end a stream, after a blank line."""
    before, _, event = body.rpartition(b"\n\ndata: ")
    assert before
    assert b"[DONE]" not in body
    return json.loads(event)["error"]


@pytest.mark.parametrize(
    "parts",
    [
        [chunk("a"), chunk("b")],
        [chunk("a"), chunk("b")[:20]],
        [chunk("a"), chunk("x" * 200_000)[:150_000]],
    ],
    ids=["between-events", "inside-an-event", "inside-a-long-event"],
)
def test_a_stream_that_just_ends_is_no_whole_answer(gateway, stack, parts):
    """Without chunked encoding the end of the connection is all there is to tell the end of the answer."""
    url = stack.enter_context(scripted(saying(stream(*parts))))
    live = gateway([card(FIRST, url)], {"breaker": JUMPY})
    answer = live.ask(stream=True)
    assert answer.body.startswith(parts[0])
    assert last_error(answer.body)["code"] == "upstream_failed"
    assert live.row()["outcome"] == "upstream-error"
    assert live.metric("upstream_open") == 1


def test_a_stream_without_done_but_with_a_finish_reason_is_whole(gateway, stack):
    whole = chunk("a") + chunk(finish_reason="stop")
    url = stack.enter_context(scripted(saying(stream(whole))))
    live = gateway([card(FIRST, url)])
    assert live.ask(stream=True).body == whole
    assert live.row()["outcome"] == "ok"


def test_a_stream_that_turns_into_garbage_after_its_beginning_ends_with_an_error(gateway, stack):
    event = chunk("a")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    parts = head + b"%x\r\n" % len(event) + event + b"\r\n", b"ZZ\r\n"
    first_read = threading.Event()

    def script(connection):
        connection.sendall(parts[0])
        first_read.wait(5)
        connection.sendall(parts[1])

    url = stack.enter_context(scripted(script))
    live = gateway([card(FIRST, url, idle_timeout=0.3)])  # the HTTP client does not say so, silence must tell
    with hung_up(live.url, ask(stream=True)) as client:
        received = b""
        while event not in received:
            received += client.recv(4096)
        first_read.set()
        while b"\r\n0\r\n\r\n" not in received:
            received += client.recv(4096)
    assert b"upstream_failed" in received
    assert live.row()["outcome"] == "upstream-error"


def test_an_error_in_the_middle_is_passed_on_as_it_is(gateway, stack):
    error = b'data: {"error":{"message":"overloaded","type":"t","param":null,"code":null}}\n\n'
    first_read = threading.Event()

    def script(connection):
        connection.sendall(stream(chunk("a")))
        first_read.wait(5)
        connection.sendall(error)

    url = stack.enter_context(scripted(script))
    live = gateway([card(FIRST, url)])
    with hung_up(live.url, ask(stream=True)) as client:
        received = b""
        while b'"a"' not in received:
            received += client.recv(4096)
        first_read.set()
        while b"\r\n0\r\n\r\n" not in received:
            received += client.recv(4096)
    assert error in received
    assert live.row()["outcome"] == "upstream-error"


# Retry-After


@pytest.mark.parametrize("fault", ["429", "503"])
@pytest.mark.parametrize("wait", [0.3, 0.0])
def test_retry_after_is_waited_for_when_there_is_nobody_else(gateway, provide, fault, wait):
    provider = provide(faults={"*": [Fault(fault=fault, times=1, retry_after=wait)]})
    live = gateway([card(FIRST, provider)])
    begin = time.monotonic()
    answer = live.ask()
    assert time.monotonic() - begin >= wait
    assert (answer.status, answer.headers["x-avengers-pro-fallbacks"]) == (200, "1")


def test_another_model_is_asked_rather_than_waited(gateway, provide):
    provider = provide(faults={FIRST: [Fault(fault="429", retry_after=1)]})
    live = gateway(provider)
    assert live.ask().headers["x-avengers-pro-model"] == SECOND
    arrivals = len(call(provider, "/requests").json)
    assert live.ask().headers["x-avengers-pro-model"] == SECOND
    assert len(call(provider, "/requests").json) == arrivals + 1, "the first was asked although it wants to be left"


def test_a_long_retry_after_is_passed_on(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="429", retry_after=77)]})
    live = gateway([card(FIRST, provider)])
    for code in ("upstream_failed", "no_upstream"):
        answer = live.ask()
        assert answer.error["code"] == code
        assert 70 <= int(answer.headers["retry-after"]) <= 77
    first, second = live.rows()
    assert (first["status"], second["status"]) == (429, 503)
    assert (second["outcome"], second["cost_usd"], second["fallbacks"]) == ("unavailable", 0.0, 0)


# Breaker


def test_the_breaker_opens_and_a_probe_closes_it(gateway, provide):
    provider = provide(faults={FIRST: [Fault(fault="500", times=3)]})
    breaker = {"min_requests": 2, "cooldown": 0.3, "half_open_probes": 1}
    live = gateway(provider, {"breaker": breaker})

    def served():
        return live.ask().headers["x-avengers-pro-model"]

    def arrived():
        return [arrival["body"]["model"] for arrival in call(provider, "/requests").json].count(FIRST)

    assert [served() for _ in range(4)] == [SECOND] * 4
    assert arrived() == 2, "it was asked after the breaker had opened"
    assert live.metric("upstream_open", upstream=f"{FIRST}@{provider[7:]}") == 1
    eventually(lambda: not live.metric("upstream_open"))
    assert served() == SECOND  # the probe meets the third fault, and the breaker opens again
    assert (arrived(), served(), arrived()) == (3, SECOND, 3)
    eventually(lambda: not live.metric("upstream_open"))
    assert served() == FIRST
    assert served() == FIRST


def test_only_one_probe_at_a_time_and_one_that_was_left_gives_its_place_back(gateway, provide):
    provider = provide(faults={FIRST: [Fault(fault="500", times=1), Fault(fault="hang")]})
    live = gateway(provider, {"breaker": {"min_requests": 1, "cooldown": 0.2}})
    assert live.ask().headers["x-avengers-pro-model"] == SECOND
    eventually(lambda: not live.metric("upstream_open"))
    with hung_up(live.url, ask()):
        eventually(lambda: live.metric("upstream_in_flight") == 1)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: live.ask(), range(8)))
        assert {answer.headers["x-avengers-pro-model"] for answer in answers} == {SECOND}
        assert live.metric("upstream_in_flight") == 1
    eventually(lambda: live.metric("upstream_in_flight") == 0)
    call(provider, "/faults", {}, method="PUT")
    assert live.ask().headers["x-avengers-pro-model"] == FIRST


def test_whoever_was_there_before_the_breaker_opened_holds_no_probes_place(gateway, provide):
    faults = [Fault(fault="hang", times=1), Fault(fault="500", times=1), Fault(fault="hang")]
    provider = provide(faults={FIRST: faults})
    live = gateway(provider, {"breaker": {"min_requests": 1, "cooldown": 0.2}})
    with hung_up(live.url, ask()):
        eventually(lambda: live.metric("upstream_in_flight") == 1)
        assert live.ask().headers["x-avengers-pro-model"] == SECOND
        eventually(lambda: not live.metric("upstream_open"))
        probe = stack_of(hung_up(live.url, ask()))
        eventually(lambda: live.metric("upstream_in_flight") == 2)
    with probe:
        eventually(lambda: live.metric("upstream_in_flight") == 1)
        assert live.ask().headers["x-avengers-pro-model"] == SECOND


def stack_of(context):
    """Enter a context now, to be left later."""
    stack = ExitStack()
    stack.enter_context(context)
    return stack


def test_a_wrong_key_opens_the_breaker_at_once(gateway, provide):
    good, bad = provide(), provide(api_key="right")
    live = gateway([card(FIRST, bad), card(SECOND, good)])
    assert [live.ask().headers["x-avengers-pro-model"] for _ in range(3)] == [SECOND] * 3
    assert [arrival["status"] for arrival in call(bad, "/requests").json] == [401]
    assert live.metric("upstream_open", upstream=f"{FIRST}@{bad[7:]}") == 1


def test_all_left_alone(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="500")]})
    live = gateway(provider, {"breaker": JUMPY})
    assert live.ask().status == 500
    answer = live.ask()
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "no_upstream", "1")
    assert live.rows()[-1]["outcome"] == "unavailable"


# Limits


def test_what_is_over_the_concurrency_limit_goes_to_the_next_model_or_is_shed(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="hang")]})
    live = gateway([card(name, provider, max_concurrency=1) for name in (FIRST, SECOND)])
    with hung_up(live.url, ask()):
        eventually(lambda: live.metric("upstream_in_flight") == 1)
        with hung_up(live.url, ask()):
            eventually(lambda: live.metric("upstream_in_flight") == 2)
            answer = live.ask()
            assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "no_upstream", "1")
            assert [a["body"]["model"] for a in call(provider, "/requests").json] == [FIRST, SECOND]
    eventually(lambda: live.metric("upstream_in_flight") == 0)
    call(provider, "/faults", {}, method="PUT")
    assert live.ask().status == 200


def test_attempts_are_bounded(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="500")]})
    live = gateway(provider, {"fallback": {"max_attempts": 1}})
    assert live.ask().status == 500
    assert len(call(provider, "/requests").json) == 1


def test_the_deadline_is_for_all_attempts_together(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="hang")]})
    live = gateway([card(name, provider, first_byte_timeout=1.5) for name in POOL], {"fallback": {"deadline": 2.0}})
    begin = time.monotonic()
    answer = live.ask()
    assert 2.0 <= time.monotonic() - begin < 2.9
    assert answer.status == 504
    assert [model for model, _ in json.loads(live.row()["attempts"])] == [
        f"{name}@{provider[7:]}" for name in (FIRST, SECOND)
    ]


def test_silence_before_the_first_byte_is_not_silence_between_bytes(gateway, provide):
    provider = provide(speed=Speed(first_token_s=1.5))
    live = gateway([card(FIRST, provider, idle_timeout=1.0)])
    assert live.ask().status == 200
    assert text_of(live.ask(stream=True).events)


def test_a_slow_body_that_is_no_stream_may_take_longer_than_its_first_byte(gateway, provide):
    provider = provide(faults={FIRST: [Fault(fault="slow-drip", pause_ms=40)]})
    live = gateway([card(FIRST, provider, first_byte_timeout=1.0)], {"fallback": {"deadline": 1.0}})
    begin = time.monotonic()
    assert live.ask().status == 200
    assert time.monotonic() - begin > 1.2


@pytest.mark.parametrize("streams", [False, True], ids=["json", "stream"])
def test_the_whole_request_has_a_limit(gateway, provide, streams):
    provider = provide(faults={"*": [Fault(fault="hang-mid-stream")]})
    live = gateway(provider, {"server": {"request_timeout": 1.5}})
    answer = live.ask(stream=streams)
    row = live.row()
    if streams:
        *_, last = answer.events
        assert json.loads(last)["error"]["code"] == "timeout"
    else:
        assert (answer.status, answer.error["code"]) == (504, "timeout")
    assert (row["outcome"], row["status"], row["cost_usd"]) == ("timeout", answer.status, None)
    assert answer.decision == row["id"]


# Several endpoints


def test_two_endpoints_of_one_model_share_by_weight_and_stand_in_for_each_other(gateway, provide):
    large, small = provide(), provide(faults={"*": [Fault(fault="500")]})
    endpoints = [{"base_url": f"{large}/v1", "weight": 3.0}, {"base_url": f"{small}/v1", "weight": 1.0}]
    live = gateway([card(FIRST, "", endpoints=endpoints)], {"breaker": {"min_requests": 1000}})
    for _ in range(120):
        assert live.ask().status == 200
    assert len(call(large, "/requests").json) == 120
    assert 10 <= len(call(small, "/requests").json) <= 55  # 30 expected: five standard deviations are 24
    rows = live.rows()
    assert {row["endpoint"] for row in rows} == {f"{FIRST}@{large[7:]}"}
    assert sum(row["fallbacks"] for row in rows) == len(call(small, "/requests").json)


def test_an_endpoint_has_its_own_model_name_key_body_and_headers(gateway, provide):
    provider = provide(models=["gpt-5-2026"], api_key="upstream-secret")
    row = card(
        FIRST,
        provider,
        upstream_model="gpt-5-2026",
        api_key_env="LAB_KEY",
        extra_body={"reasoning_effort": "low", "seed": 1},
        extra_headers={"x-team": "seven"},
    )
    live = gateway([row], environ={"LAB_KEY": "upstream-secret"})
    assert live.ask(seed=2).json["model"] == "gpt-5-2026"
    (arrival,) = call(provider, "/requests").json
    assert arrival["headers"]["x-team"] == "seven"
    assert arrival["body"] == {**ask(seed=2), "model": "gpt-5-2026", "reasoning_effort": "low"}
    assert THIRD not in json.dumps(arrival)
    assert QUESTION in json.dumps(arrival)
