"""The gateway as its clients see it: OpenAI's library, curl, its own routes, keys and limits."""

import asyncio
import json
import logging
import socket
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from shutil import which
from urllib.parse import urlsplit

import openai
import pytest
from live import (
    CHAT,
    FIRST,
    POOL,
    QUESTION,
    SECOND,
    ask,
    call,
    card,
    events_of,
    eventually,
    hung_up,
    request_of,
    text_of,
)
from pydantic import BaseModel

from avengers_pro.demo.provider import Fault, Speed
from avengers_pro.gateway import asgi

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}


class Town(BaseModel):
    name: str
    people: int


@contextmanager
def client_of(live, **options):
    given = {"api_key": "any", "max_retries": 0, **options}
    with openai.OpenAI(base_url=f"{live.url}/v1", **given) as client:
        yield client


# OpenAI's library


def test_answers_and_streams(gateway, provider):
    live = gateway(provider)
    with client_of(live) as client:
        whole = client.chat.completions.create(**ask())
        assert whole.choices[0].message.content.startswith(f"[simulated answer of {FIRST}]")
        stream = client.chat.completions.create(**ask(stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content
    assert {row["outcome"] for row in live.rows()} == {"ok"}


def test_the_asynchronous_client_asks_many_things_at_once(gateway, provider):
    live = gateway(provider)

    async def one(client, number):
        if number % 2:
            stream = await client.chat.completions.create(**ask(f"{QUESTION} {number}", stream=True))
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        answer = await client.chat.completions.create(**ask(f"{QUESTION} {number}"))
        return answer.choices[0].message.content

    async def many():
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="any") as client:
            return await asyncio.gather(*(one(client, number) for number in range(40)))

    assert all("[simulated answer" in text for text in asyncio.run(many()))
    assert len(live.rows()) == len({row["id"] for row in live.rows()}) == 40


def test_tools(gateway, provider):
    with client_of(gateway(provider)) as client:
        first = client.chat.completions.create(**ask(tools=[WEATHER])).choices[0]
        (made,) = first.message.tool_calls
        assert (first.finish_reason, made.function.name) == ("tool_calls", "weather")
        messages = [
            *ask()["messages"],
            first.message.to_dict(),
            {"role": "tool", "tool_call_id": made.id, "content": "8"},
        ]
        second = client.chat.completions.create(model="avengers-pro", messages=messages, tools=[WEATHER])
        assert second.choices[0].message.content
        with client.chat.completions.stream(**ask(tools=[WEATHER])) as stream:
            streamed = stream.get_final_completion().choices[0].message.tool_calls
        assert streamed[0].function.arguments == made.function.arguments


def test_structured_output(gateway, provider):
    with client_of(gateway(provider)) as client:
        parsed = client.chat.completions.parse(**ask(response_format=Town)).choices[0].message.parsed
        assert parsed == Town(name="simulated", people=1)
        plain = client.chat.completions.create(**ask(response_format={"type": "json_object"}))
        assert isinstance(json.loads(plain.choices[0].message.content), dict)


def test_several_choices_with_log_probabilities(gateway, provider):
    with client_of(gateway(provider)) as client:
        answer = client.chat.completions.create(**ask(n=3, logprobs=True, top_logprobs=2))
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.logprobs.content for choice in answer.choices)


def test_a_model_that_lacks_what_is_needed_is_no_candidate(gateway, provider):
    live = gateway([card(FIRST, provider, capabilities=[]), card(SECOND, provider, capabilities=["tools"])])
    assert live.ask(tools=[WEATHER]).headers["x-avengers-pro-model"] == SECOND
    answer = live.ask(n=2)
    assert (answer.status, answer.error["code"]) == (422, "infeasible")
    assert "lacks n" in answer.error["message"]


def test_the_librarys_own_retries_and_time_limit(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="500", times=2)]})
    live = gateway([card(FIRST, provider)], {"breaker": {"min_requests": 100}})
    with client_of(live, max_retries=2) as client:
        assert client.chat.completions.create(**ask()).choices
    assert [row["status"] for row in live.rows()] == [500, 500, 200]
    call(provider, "/faults", {"*": [{"fault": "hang"}]}, method="PUT")
    with client_of(live, timeout=0.3) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**ask())
    assert live.rows()[-1]["outcome"] == "client-gone"


def test_errors_become_the_librarys_exceptions(gateway, provide):
    provider = provide(faults={FIRST: [Fault(fault="400")], SECOND: [Fault(fault="500")]})
    with client_of(gateway(provider)) as client:
        with pytest.raises(openai.BadRequestError, match="not understood"):
            client.chat.completions.create(**ask())
        with pytest.raises(openai.InternalServerError, match="no upstream answered") as caught:
            client.chat.completions.create(**{**ask(), "model": SECOND})
        assert caught.value.code == "upstream_failed"
        with pytest.raises(openai.NotFoundError, match="did you mean"):
            client.chat.completions.create(**{**ask(), "model": "openai/gpt-55"})
        with pytest.raises(openai.UnprocessableEntityError):
            client.chat.completions.create(**ask(), extra_body={"avengers_pro": {"max_cost": 1e-9}})


def test_a_stream_that_breaks_is_an_exception_too(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="reset-mid-stream")]})
    with client_of(gateway(provider)) as client, pytest.raises(openai.APIError, match="not complete"):
        list(client.chat.completions.create(**ask(stream=True)))


def test_models_are_listed_with_the_presets(gateway, provider):
    live = gateway(provider, {"presets": {"cheap": {"alpha": 0.0}}})
    with client_of(live) as client:
        names = [model.id for model in client.models.list()]
        assert client.models.retrieve(FIRST).owned_by == "openai"
        assert client.models.retrieve("avengers-pro/cheap").object == "model"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("no/such")
    assert names == ["avengers-pro", "avengers-pro/cheap", *POOL]


# What a request may say


def test_presets_alpha_headers_and_body_say_the_policy(gateway, provider):
    live = gateway(provider, {"presets": {"cheap": {"alpha": 0.0}}})
    cheapest = SECOND
    assert live.ask().headers["x-avengers-pro-model"] == FIRST
    assert live.ask(model="avengers-pro/cheap").headers["x-avengers-pro-model"] == cheapest
    assert live.ask(model="avengers-pro@0").headers["x-avengers-pro-alpha"] == "0"
    assert live.ask(avengers_pro={"alpha": 0.0}).headers["x-avengers-pro-model"] == cheapest
    assert live.ask(headers={"x_avengers_pro_alpha": "0"}).headers["x-avengers-pro-model"] == cheapest
    assert live.ask(avengers_pro={"exclude": [FIRST]}).headers["x-avengers-pro-model"] == SECOND
    assert live.ask(model=POOL[2]).headers["x-avengers-pro-model"] == POOL[2]
    rows = live.rows()
    assert [row["alpha"] for row in rows] == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, None]
    assert [row["asked"] for row in rows][1:3] == ["avengers-pro/cheap", "avengers-pro@0"]


def test_answers_carry_the_decision_and_only_if_wanted(gateway, provider):
    live = gateway(provider)
    answer = live.ask()
    ours = {name for name in answer.headers if name.startswith("x-avengers-pro-")}
    names = ("decision", "model", "alpha", "expected-score", "expected-cost", "fallbacks")
    assert ours == {f"x-avengers-pro-{name}" for name in names}
    rows = [card(FIRST, provider), card(SECOND, "http://127.0.0.1:9")]
    quiet = gateway(rows, {"server": {"headers": False}})
    for answer in (quiet.ask(), quiet.ask(stream=True), quiet.ask(model="nobody"), quiet.ask(model=SECOND)):
        assert not [name for name in answer.headers if name.startswith("x-avengers-pro-")]


MEANINGLESS = [
    ({"avengers_pro": {"alfa": 0.1}}, {}, 400, "alfa"),
    ({"avengers_pro": {"alpha": 2}}, {}, 400, "alpha"),
    ({"avengers_pro": {"alpha": 0.1, "target": 1.0}}, {}, 400, "contradict"),
    ({"avengers_pro": []}, {}, 400, "avengers_pro"),
    ({}, {"x_avengers_pro_alfa": "0.1"}, 400, "alfa"),
    ({}, {"x_avengers_pro_alpha": "nan"}, 400, "alpha"),
    ({"model": "avengers-pro@two"}, {}, 400, "alpha"),
    ({"model": "avengers-pro@nan"}, {}, 400, "alpha"),
    ({"model": "avengers-pro/none"}, {}, 404, "none"),
    ({"model": 5}, {}, 400, "model"),
    ({"messages": [{"content": "no role"}]}, {}, 400, "messages"),
    ({"avengers_pro": {"models": ["no/such"]}}, {}, 400, "no/such"),
    ({"avengers_pro": {"min_score": 1.0}}, {}, 422, "min_score"),
    ({"avengers_pro": {"requires": ["sight"]}}, {}, 400, "sight"),
]


def test_what_means_nothing_is_refused_by_name(gateway, provider):
    live = gateway(provider)
    for fields, headers, status, named in MEANINGLESS:
        answer = live.ask(headers=headers, **fields)
        assert (fields, headers, answer.status) == (fields, headers, status)
        assert named in answer.error["message"]


ODD_BODIES = [
    b"",
    b"null",
    b"[]",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"model":"avengers-pro","messages":' + b"[" * 100_000,
    b'{"model":"avengers-pro","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    b'{"model":"avengers-pro","messages":[{"role":"user","content":"\\ud800"}]}',
    b'{"model":"\\u0000","messages":[]}',
    b'{"model":"avengers-pro","messages":[],"n":1e999,"max_tokens":-5}',
    b'{"model":"avengers-pro","messages":[{"role":"user","content":"\\u200b \\u0000\\ufffe"}]}',
    b'{"model":"avengers-pro","messages":[{"role":"user","content":"x"}],"stream_options":"yes","stream":true}',
    b'{"model":"avengers-pro","messages":[{"role":"user","content":"x"}],"max_tokens":99999999999999999999}',
    b'{"model":"avengers-pro@1e400","messages":[{"role":"user","content":"x"}]}',
    b'{"model":"avengers-pro","messages":[{"role":"user","content":"x"}],"avengers_pro":{"session":"\\u0000"}}',
    b'{"model":"avengers-pro","messages":[{"role":"user","content":"x"}],"avengers_pro":' + b'{"alpha":' * 90_000,
]


def test_no_body_is_too_odd(gateway, provider, caplog):
    """Whatever it is, it is answered: by a model, or with an error that is no fault of the gateway."""
    live = gateway(provider)
    for body in ODD_BODIES:
        for path in (CHAT, "/v1/route", "/v1/feedback"):
            answer = live.call(path, body)
            assert answer.status in {200, 400, 404, 422}, (path, body[:100], answer.body)
            assert answer.status == 200 or answer.error
    assert not caplog.records


def test_faults_of_its_own_are_answered_logged_and_closed(gateway, provider, caplog):
    """A part is taken out of a running gateway: where the fault is, nobody thought of it."""
    live = gateway(provider)
    for part, recorded in (("walker", 1), ("decider", 0)):
        delattr(live.app.gateway, part)
        for streams in (False, True):
            caplog.clear()
            answer = live.ask(stream=streams)
            assert (answer.status, answer.error["code"]) == (500, "internal_error")
            assert (answer.decision is not None) == recorded
            (record,) = caplog.records
            assert "AttributeError" in record.getMessage()
            assert "chat.py" in record.getMessage()
            assert QUESTION not in caplog.text
    assert [(row["outcome"], row["status"], row["cost_usd"]) for row in live.rows()] == [("error", 500, 0.0)] * 2
    assert live.call("/v1/models").error["code"] == "internal_error"
    assert live.metric("requests_total", outcome="error", status="500") == 2
    assert live.metric("in_flight") == 0


# Its other routes


def test_a_route_is_explained_and_nothing_is_asked_or_recorded(gateway, provider):
    live = gateway(provider)
    found = live.call("/v1/route", ask()).json
    assert found["order"] == list(POOL)
    assert found["model"] == FIRST
    assert live.call("/v1/route", ask(model=SECOND)).json["model"] == SECOND
    assert live.call("/v1/route", {"model": "avengers-pro", "messages": []}).json["model"] == FIRST
    assert live.call("/v1/route", {"model": "avengers-pro"}).status == 400
    assert live.rows() == []
    assert call(provider, "/requests").json == []


def test_feedback_reaches_the_decision(gateway, provider):
    live = gateway(provider)
    decision = live.ask().decision
    assert live.call("/v1/feedback", {"decision": decision, "thumbs": True}).json == {
        "decision": decision,
        "score": 1.0,
    }
    assert live.call("/v1/feedback", {"decision": decision, "score": 0.25, "comment": "meh"}).status == 200
    found = live.call(f"/v1/decisions/{decision}").json
    assert (found["feedback_score"], found["feedback_comment"], len(found["feedback"])) == (0.25, "meh", 2)
    assert found["candidates"][0][0] == FIRST
    for wrong in ({"decision": decision}, {"decision": decision, "score": 2}, {"decision": decision, "stars": 5}):
        assert live.call("/v1/feedback", wrong).error["type"] == "invalid_request_error"
    assert live.call("/v1/feedback", {"decision": "dec_none", "score": 1}).status == 404
    assert live.call("/v1/decisions/dec_none").error["code"] == "decision_not_found"


def test_health_and_metrics(gateway, provider):
    live = gateway(provider)
    assert live.call("/healthz").json == {"status": "ok"}
    assert live.call("/readyz").json == {"status": "ready"}
    live.ask()
    live.ask(stream=True)
    eventually(lambda: live.metric("requests_total", outcome="ok", status="200") == 2)
    assert live.metric("decisions_total", model=FIRST) == 2
    assert live.metric("answers_total", model=FIRST) == 2
    assert live.metric("cost_dollars_total", model=FIRST) == pytest.approx(
        sum(row["cost_usd"] for row in live.rows()), rel=1e-9
    )
    assert live.metric("tokens_total", kind="completion") == sum(row["completion_tokens"] for row in live.rows())
    assert live.metric("in_flight") == 0
    live.ask(model="nobody")
    assert live.metric("requests_total", outcome="refused", status="404") == 1
    silent = gateway(provider, {"telemetry": {"metrics": False}})
    assert silent.call("/metrics").status == 404


def test_other_methods_are_refused_with_the_right_one(gateway, provider):
    live = gateway(provider)
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        answer = live.call(CHAT, method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert method == "HEAD" or answer.error["type"] == "invalid_request_error"


def test_unknown_paths_and_odd_hosts(gateway, provider):
    live = gateway(provider, {"server": {"insecure": True}})
    for path in ("/", "/v1/chat", "/v1/chat/completions/", "/v1/route/", "/%00", "/v1/decisions/%0a"):
        answer = live.call(path, ask(), host="[")
        assert answer.status in {404, 405}, path
        assert answer.error


@pytest.mark.skipif(which("curl") is None, reason="curl is not installed")
def test_curl(gateway, provider):
    live = gateway(provider)

    def curl(*options, **fields):
        command = ["curl", "-sS", "--max-time", "10", f"{live.url}{CHAT}", "-H", "content-type: application/json"]
        done = subprocess.run([*command, *options, "-d", json.dumps(ask(**fields))], capture_output=True, check=False)
        return done.returncode, done.stdout.decode()

    code, body = curl()
    assert (code, json.loads(body)["model"]) == (0, FIRST)
    code, body = curl("-N", stream=True)
    assert (code, text_of(events_of(body.encode()))) == (0, json.loads(curl()[1])["choices"][0]["message"]["content"])
    code, body = curl("-w", "%{http_code}", model="avengers-pro@7")
    assert (code, body[-3:]) == (0, "400")
    assert json.loads(body[:-3])["error"].keys() == {"message", "type", "param", "code"}
    assert curl("--fail", model="avengers-pro@7")[0] == 22


# The connection


def test_a_connection_survives_errors(gateway, provide):
    provider = provide(faults={SECOND: [Fault(fault="500")]})
    live = gateway(provider)
    bodies = [ask(), ask(model="nobody"), ask(model=SECOND), ask(avengers_pro={"alpha": 7}), ask(stream=True), ask()]
    with hung_up(live.url, bodies[0]) as client, client.makefile("rb") as reader:
        statuses = [read_response(reader)]
        for body in bodies[1:]:
            client.sendall(request_of(body))
            statuses.append(read_response(reader))
    assert statuses == [200, 404, 500, 400, 200, 200]


def read_response(reader):
    status = int(reader.readline().split()[1])
    headers = dict(line.decode().lower().rstrip().split(": ", 1) for line in iter(reader.readline, b"\r\n"))
    if "content-length" in headers:
        reader.read(int(headers["content-length"]))
    else:
        while size := int(reader.readline(), 16):
            reader.read(size + 2)
        reader.readline()
    return status


def test_bodies_and_headers_have_limits(gateway, provider):
    limits = {"max_body_bytes": 2000, "max_header_bytes": 5000, "max_headers": 20}
    live = gateway(provider, {"server": limits})
    assert live.ask("x" * 1000).status == 200
    answer = live.ask("x" * 2000)
    assert (answer.status, answer.error["code"], answer.headers["connection"]) == (413, "body_too_large", "close")
    assert live.call("/v1/route", ask("x" * 2000)).status == 413
    assert live.ask(headers={"x_long": "x" * 5000}).status == 431
    assert live.ask(headers={f"x_{number}": "x" for number in range(30)}).status == 431
    assert len(live.rows()) == 1


def test_a_body_in_chunks_has_the_same_limit(gateway, provider):
    live = gateway(provider, {"server": {"max_body_bytes": 2000}})
    for size, status in ((100, b"200"), (3000, b"413")):
        body = json.dumps(ask("x" * size)).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        with hung_up_raw(live.url, head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)) as client:
            assert client.recv(4096).split()[1] == status


@contextmanager
def hung_up_raw(url, data):
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), 5) as client:
        client.sendall(data)
        yield client


@pytest.mark.parametrize("sent", [b"", b'{"model"'], ids=["nothing", "a-part"])
def test_a_body_that_does_not_come_is_not_waited_for(gateway, provider, monkeypatch, sent):
    monkeypatch.setattr(asgi, "BODY_TIMEOUT", 0.2)
    live = gateway(provider)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n".encode()
    with hung_up_raw(live.url, head + sent) as client:
        assert client.recv(4096).split()[1] == b"408"


# Keys


def test_keys_are_needed_and_roles_kept_apart(gateway, provider):
    live = gateway(provider, {"access": {"required": True, "refresh": 0.02}})
    for headers in ({}, {"authorization": "Bearer ap-wrong"}, {"x_api_key": "ap-wrong"}):
        for path, body in ((CHAT, ask()), ("/v1/models", None), ("/v1/route", ask()), ("/metrics", None)):
            answer = live.call(path, body, **headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.error["code"] in {"missing_api_key", "invalid_api_key"}
    assert live.call("/healthz").status == live.call("/readyz").status == 200
    (_, user), (_, other), (_, admin) = live.key(), live.key(), live.key("admin")

    def as_(secret, path, body=None, **options):
        return live.call(path, body, authorization=f"Bearer {secret}", **options)

    eventually(lambda: as_(admin, "/v1/models").status == 200)
    decision = as_(user, CHAT, ask()).decision
    assert as_(user, f"/v1/decisions/{decision}").status == as_(admin, f"/v1/decisions/{decision}").status == 200
    assert as_(other, f"/v1/decisions/{decision}").status == 404
    assert as_(user, "/admin/reload", method="POST").error["code"] == "role_needed"
    assert as_(admin, "/admin/reload", method="POST").status == 200
    assert live.call(CHAT, ask(), x_api_key=user).status == 200
    with client_of(live, api_key=user) as client:
        assert client.chat.completions.create(**ask()).choices
    with client_of(live, api_key="ap-wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_the_first_key_closes_the_gateway(gateway, provider):
    live = gateway(provider, {"access": {"refresh": 0.02}})
    assert live.ask().status == 200
    _, secret = live.key()
    eventually(lambda: live.ask().status == 401)
    assert live.call("/admin/reload", method="POST").status == 401
    assert live.ask(headers={"authorization": f"Bearer {secret}"}).status == 200


def limited(gateway, **limits):
    """Make a key and return a function that asks with it."""
    _, secret = gateway.key(**limits)
    headers = {"authorization": f"Bearer {secret}"}
    eventually(lambda: gateway.call("/v1/models", **headers).status == 200)
    return lambda content=QUESTION, live=gateway, **fields: live.ask(content, headers=headers, **fields)


KEYED = {"access": {"required": True, "refresh": 0.02}}


def test_a_keys_models_and_alpha(gateway, provider):
    live = gateway(provider, KEYED)
    asks = limited(live, models=(SECOND,), min_alpha=0.2, max_alpha=0.5)
    answer = asks()
    assert (answer.headers["x-avengers-pro-model"], answer.headers["x-avengers-pro-alpha"]) == (SECOND, "0.5")
    for fields, code in (
        ({"model": FIRST}, "model_not_allowed"),
        ({"avengers_pro": {"alpha": 0.9}}, "alpha_not_allowed"),
        ({"avengers_pro": {"target": 0.9}}, "objective_not_allowed"),
    ):
        answer = asks(**fields)
        assert (answer.status, answer.error["code"]) == (403, code)


def test_a_key_is_told_of_its_models_alone(gateway, provider):
    live = gateway(provider, KEYED)
    for limits, named in (
        ({"models": (SECOND,)}, [SECOND]),
        ({"exclude": (SECOND,)}, [name for name in POOL if name != SECOND]),
    ):
        _, secret = live.key(**limits)
        headers = {"authorization": f"Bearer {secret}"}
        eventually(lambda headers=headers: live.call("/v1/models", **headers).status == 200)
        told = [model["id"] for model in live.call("/v1/models", **headers).json["data"]]
        assert told == ["avengers-pro", *named]
        assert {name for name in POOL if live.call(f"/v1/models/{name}", **headers).status == 200} == set(named)


def test_a_keys_requests_and_tokens_a_minute(gateway, provider):
    live = gateway(provider, KEYED)
    asks = limited(live, requests_per_minute=2)
    assert [asks().status for _ in range(3)] == [200, 200, 429]
    answer = asks()
    assert answer.error["code"] == "rate_limit_exceeded"
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    asks = limited(live, tokens_per_minute=1000)
    assert asks(max_tokens=5000).headers["x-should-retry"] == "false"
    assert asks(max_tokens=900).status == 200
    eventually(lambda: len(live.rows()) == 3)
    assert asks(max_tokens=900).status == 200, "the reservation was not replaced by what was used"


def test_a_keys_dollars_are_settled_and_outlive_a_restart(gateway, provider):
    live = gateway(provider, KEYED)
    first = limited(live)()
    expected, actual = float(first.headers["x-avengers-pro-expected-cost"]), live.row()["cost_usd"]
    asks = limited(live, dollars_per_day=expected + 1.5 * actual)
    assert [asks().status for _ in range(2)] == [200, 200], "the reservation was not replaced by the cost"
    answer = asks()
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
    begun = datetime.fromtimestamp(live.rows()[0]["at"], UTC)  # by now every cost is in the ledger
    again = gateway(provider, KEYED)
    if datetime.now(UTC).date() == begun.date():
        assert asks(live=again).status == 429


def test_hanging_up_before_the_answer_costs_what_was_reserved(gateway, provide):
    """Else a budget would be none: the provider charges for what nobody waited for."""
    provider = provide(faults={"*": [Fault(fault="hang")]})
    live = gateway(provider, KEYED)
    info, secret = live.key(dollars_per_day=0.08)
    headers = {"authorization": f"Bearer {secret}"}
    eventually(lambda: live.call("/v1/models", **headers).status == 200)
    with pytest.raises(TimeoutError):
        call(live.url, body=ask(), timeout=0.2, **headers)
    assert live.row()["cost_usd"] is None
    call(provider, "/faults", {}, method="PUT")
    answer = live.ask(headers=headers)
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota"), info


def test_what_no_provider_charges_for_costs_nothing(gateway, provide):
    provider = provide(faults={"*": [Fault(fault="500")], FIRST: [Fault(fault="400", times=2)]})
    live = gateway([card(FIRST, provider)], {**KEYED, "breaker": {"min_requests": 100}})
    asks = limited(live, dollars_per_day=0.06)
    assert [asks().status for _ in range(4)] == [400, 400, 500, 500]
    call(provider, "/faults", {}, method="PUT")
    assert asks().status == 200


def test_secrets_stay_where_they_belong(gateway, provide, caplog, tmp_path):
    """Client keys do not reach upstreams, upstream keys neither clients, logs, metrics nor the ledger."""
    caplog.set_level(logging.DEBUG, "avengers_pro")
    ours, wrong = "upstream-secret-1", "upstream-secret-2"
    provider = provide(api_key=ours)
    environ = {"RIGHT": ours, "WRONG": wrong}
    rows = [card(FIRST, provider, api_key_env="WRONG"), card(SECOND, provider, api_key_env="RIGHT")]
    live = gateway(rows, KEYED, environ=environ)
    _, secret = live.key("admin")
    headers = {"authorization": f"Bearer {secret}", "cookie": f"k={secret}"}
    eventually(lambda: live.call("/v1/models", **headers).status == 200)
    answers = [
        live.ask(headers=headers),
        live.ask(headers=headers, stream=True),
        live.ask(headers=headers, model=FIRST),
    ]
    assert [answer.status for answer in answers] == [200, 200, 503]
    assert json.loads(live.rows()[0]["attempts"])[0][1] == "status 401"
    pages = [live.call(path, **headers) for path in ("/metrics", "/v1/models")]
    said = [answer.body.decode() + str(answer.headers) for answer in answers + pages]
    said += [json.dumps(live.rows()), caplog.text]
    said += [path.read_bytes().decode("latin-1") for path in tmp_path.glob("ledger.db*")]
    assert not [text for text in said if "upstream-secret" in text or secret in text]
    assert not [text for text in said if QUESTION in text and "simulated answer" not in text]
    arrived = call(provider, "/requests").json
    assert len(arrived) == 3
    assert secret not in json.dumps(arrived)
    assert {arrival["headers"]["authorization"] for arrival in arrived} == {f"Bearer {ours}", f"Bearer {wrong}"}


def test_what_was_not_meant_for_the_gateway_is_forwarded_as_it_was(gateway, provider):
    live = gateway(provider)
    odd = '{"messages":[{"role":"user","content":"\\u00e9 \\ud83d\\ude00","x":1e2}],  "model" : "avengers-pro"'
    odd += ',"a_b":[1.0, 10E-1]'
    odd += ',"avengers_pro":{"alpha":1},"provider":{"order":["a"]}}'
    assert live.call(CHAT, odd.encode()).status == 200
    (arrival,) = call(provider, "/requests").json
    assert arrival["body"].keys() == {"messages", "model", "a_b", "provider"}
    assert "avengers" not in json.dumps(arrival["headers"])
    assert arrival["body"]["model"] == FIRST


# Sessions


def test_a_tool_loop_keeps_its_model_and_a_failed_one_is_not_remembered(gateway, provide):
    provider = provide()
    live = gateway(provider)
    begun = live.ask(avengers_pro={"session": "s", "exclude": [FIRST]}, tools=[WEATHER])
    assert begun.headers["x-avengers-pro-model"] == SECOND
    message = begun.json["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "rain"}
    messages = [*ask()["messages"], message, result]
    going_on = {"messages": messages, "tools": [WEATHER]}
    assert live.ask(**going_on, avengers_pro={"session": "s"}).headers["x-avengers-pro-model"] == SECOND
    assert live.ask(**going_on, avengers_pro={"session": "t"}).headers["x-avengers-pro-model"] == FIRST
    call(provider, "/faults", {SECOND: [{"fault": "reset-mid-stream"}]}, method="PUT")
    live.ask(stream=True, avengers_pro={"session": "u", "exclude": [FIRST]})
    call(provider, "/faults", {}, method="PUT")
    assert live.ask(**going_on, avengers_pro={"session": "u"}).headers["x-avengers-pro-model"] == FIRST


def test_a_slow_model_streams_as_it_speaks(gateway, provide):
    """The first byte comes long before the last one."""
    provider = provide(speed=Speed(first_token_s=0.0, tokens_per_s=40))
    live = gateway(provider)
    begin = time.monotonic()
    with client_of(live) as client:
        times = [time.monotonic() - begin for _ in client.chat.completions.create(**ask(stream=True, max_tokens=20))]
    assert times[-1] - times[0] > 0.3
    row = live.row()
    assert row["total_ms"] - row["first_byte_ms"] > 300
    assert text_of(live.ask(stream=True, max_tokens=3).events)
