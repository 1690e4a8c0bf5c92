"""The simulated provider: real sockets, OpenAI's own client, and every fault as a client meets it."""

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, Field

from avengers_pro.demo.generate import generate
from avengers_pro.demo.pool import MODELS
from avengers_pro.demo.provider import Fault, Speed, create_provider, serving
from avengers_pro.demo.provider.arrivals import MOST_KEPT, Arrivals
from avengers_pro.demo.provider.faults import NAMES
from avengers_pro.demo.provider.outcomes import sample_outcomes
from avengers_pro.demo.provider.schema import minimal_value
from avengers_pro.errors import AvengersProError, SettingsError

MODEL = "openai/gpt-5"
QUESTION = "Wie viele Möwen passen in ein Boot? 🐦"
CHAT = "/v1/chat/completions"
GIVE_UP_S = 5.0
STATUSES = {"429": 429, "500": 500, "503": 503, "401": 401, "400": 400, "404": 404}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string"}, "days": {"type": "integer"}, "unit": {"type": "string"}},
            "required": ["town", "days"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


@pytest.fixture
def provider() -> Iterator[str]:
    with serving(create_provider(seed=1)) as url:
        yield url


@contextmanager
def client_of(url: str, **options: Any) -> Iterator[openai.OpenAI]:
    given = {"api_key": "some-key", "max_retries": 0, **options}
    with openai.OpenAI(base_url=f"{url}/v1", **given) as client:
        yield client


def ask(content: Any = QUESTION, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def call(
    url: str,
    path: str = CHAT,
    body: Any = None,
    *,
    method: str | None = None,
    timeout: float = GIVE_UP_S,
    **headers: str,
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send one request without a client library's kindness; header names take _ for -."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)) as connection:
        sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if sent is None else "POST"), path, sent, named)
        response = connection.getresponse()
        return response, response.read()


def loaded(url: str, path: str = CHAT, body: Any = None, **options: Any) -> Any:
    return json.loads(call(url, path, body, **options)[1])


def data_of(stream: bytes) -> list[str]:
    """Return what follows ``data: `` in each event; checks that the stream has nothing else."""
    *blocks, rest = stream.decode().split("\n\n")
    assert rest == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


def chunks_of(stream: bytes) -> list[ChatCompletionChunk]:
    *chunks, done = data_of(stream)
    assert done == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(chunk) for chunk in chunks]


def eventually(look: Callable[[], Any]) -> Any:
    """Return the first true value, asked for until a deadline."""
    deadline = time.monotonic() + GIVE_UP_S
    while not (value := look()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
    return value


def finished(url: str) -> dict[str, Any]:
    """Return the last request that arrived, once the provider is through with it."""
    eventually(lambda: [arrival for arrival in loaded(url, "/requests")[-1:] if arrival["done"]])
    return last_arrival(url)


def read_until(client: socket.socket, end: type[OSError]) -> bytes:
    """Return what comes before reading fails as it should; a regular end of the connection is wrong."""
    received = b""
    while True:
        try:
            part = client.recv(65536)
        except end:
            return received
        assert part, "the connection was closed in the regular way"
        received += part


def last_arrival(url: str) -> dict[str, Any]:
    return loaded(url, "/requests")[-1]


@contextmanager
def hung_up(url: str, body: dict[str, Any], **headers: str) -> Iterator[socket.socket]:
    """Send a request over a bare socket that the caller reads from, or does not."""
    address = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(GIVE_UP_S)
        client.connect((address.hostname, address.port))
        payload = json.dumps(body).encode()
        lines = [f"POST {CHAT} HTTP/1.1", f"host: {address.netloc}", f"content-length: {len(payload)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        client.sendall("\r\n".join([*lines, "", ""]).encode() + payload)
        yield client


# Answers


def test_the_answer_is_labelled_and_has_all_that_the_client_requires(provider):
    answer = ChatCompletion.model_validate_json(call(provider, body=ask())[1])
    assert answer.choices[0].message.content.startswith(f"[simulated answer of {MODEL}] ")
    assert (answer.object, answer.model, answer.choices[0].finish_reason) == ("chat.completion", MODEL, "stop")
    assert answer.id.startswith("chatcmpl-")
    assert answer.system_fingerprint is None
    assert abs(answer.created - time.time()) < 60
    assert answer.usage.prompt_tokens == len(QUESTION) // 4
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_openais_client_gets_answers(provider):
    with client_of(provider) as client:
        assert client.chat.completions.create(**ask()).choices[0].message.content
        assert [card.id for card in client.models.list()] == [model.name for model in MODELS]


def test_openais_asynchronous_client_gets_answers_and_streams(provider):
    async def both() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{provider}/v1", api_key="some-key") as client:
            whole = await client.chat.completions.create(**ask())
            stream = await client.chat.completions.create(**ask(stream=True))
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return whole.choices[0].message.content, "".join(pieces)

    whole, streamed = asyncio.run(both())
    assert whole == streamed


def test_answers_depend_on_seed_model_and_question_alone():
    def texts(seed: int) -> list[str]:
        with serving(create_provider(seed=seed, models=["a", "b"])) as url:
            bodies = [{**ask(f"question {number}"), "model": model} for number in range(3) for model in "ab"]
            return [loaded(url, body=body)["choices"][0]["message"]["content"] for body in bodies]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert len(set(texts(1))) == 6


def test_identifiers_differ_even_for_the_same_question(provider):
    assert loaded(provider, body=ask())["id"] != loaded(provider, body=ask())["id"]


def test_a_query_of_the_records_gets_their_score_and_length():
    rows = list(generate(40, seed=5))
    with serving(create_provider(rows=rows)) as url:
        for row in rows[::8]:
            for model in ("anthropic/claude-4-sonnet", "qwen/qwen3-235b"):
                response, body = call(url, body={**ask(row["query"]), "model": model})
                assert float(response.headers["x-simulated-score"]) == row["records"][model]
                usage, used = json.loads(body)["usage"], row["usages"][model]
                assert usage["prompt_tokens"] == used["prompt_tokens"]
                assert usage["completion_tokens"] == used["completion_tokens"]
                assert usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]


def test_the_text_is_no_longer_than_the_records_say():
    row = next(generate(1))
    row["usages"][MODEL]["completion_tokens"] = 40
    with serving(create_provider(rows=[row])) as url:
        for number in range(8):  # questions of the same words but other numbers, so that the wording differs
            answer = loaded(url, body=ask(f"{row['query']} {number}"))
            assert len(answer["choices"][0]["message"]["content"]) <= 160
            assert answer["usage"]["completion_tokens"] == 40


def test_kinds_of_new_queries_are_recognised_and_their_means_are_the_published_ones():
    outcomes = sample_outcomes()
    rows = [row for row in generate(2000, seed=11) if row["dataset"] == "sim-mmlu-pro"]
    assert sum(outcomes.kind(row["query"]) == "sim-mmlu-pro" for row in rows) > 0.95 * len(rows)
    drawn = [outcomes.outcome("moonshot/kimi-k2", row["query"], seed=0) for row in rows]
    scores = [outcome.score for outcome in drawn if outcome is not None]
    assert sum(scores) / len(scores) == pytest.approx(0.803, abs=0.08)  # 250 answers: three standard errors


def test_what_is_not_known_has_no_score_and_the_length_of_its_text():
    with serving(create_provider(models=["mine", MODEL])) as url:
        for model, question in (("mine", next(generate(20))["query"]), (MODEL, "xyzzy")):
            response, body = call(url, body={**ask(question), "model": model})
            answer = json.loads(body)
            assert "x-simulated-score" not in response.headers
            assert answer["usage"]["completion_tokens"] == -(-len(answer["choices"][0]["message"]["content"]) // 4)


def test_prompt_tokens_count_all_messages_parts_and_tools(provider):
    def tokens(**fields: Any) -> int:
        return loaded(provider, body={"model": MODEL, **fields})["usage"]["prompt_tokens"]

    system = {"role": "system", "content": "s" * 40}
    parts = {"role": "user", "content": [{"type": "text", "text": "p" * 40}]}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert tokens(messages=[system, parts]) == 20
    assert tokens(messages=[{"role": "user", "content": [*parts["content"], image]}]) == 95
    assert tokens(messages=[system, parts], tools=[WEATHER]) > 60


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_limit_cuts_the_answer(provider, field):
    answer = loaded(provider, body=ask(**{field: 3}))
    assert answer["choices"][0]["message"]["content"] == "[simulated a"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


def test_several_choices_with_log_probabilities(provider):
    fields = {"n": 3, "logprobs": True, "top_logprobs": 2}
    whole = ChatCompletion.model_validate_json(call(provider, body=ask(**fields))[1])
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    for choice in whole.choices:
        tokens = choice.logprobs.content
        assert "".join(token.token for token in tokens) == choice.message.content
        assert b"".join(bytes(token.bytes) for token in tokens).decode() == choice.message.content
        assert all(token.logprob < 0 and token.top_logprobs for token in tokens)
    assert whole.usage.completion_tokens == sum(len(choice.logprobs.content) for choice in whole.choices)
    texts = ["", "", ""]
    for chunk in chunks_of(call(provider, body=ask(stream=True, **fields))[1]):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            assert (choice.logprobs is not None) == bool(choice.delta.content)
    assert texts == [choice.message.content for choice in whole.choices]


# Tools and structured output


def test_a_user_message_with_tools_is_answered_with_a_call_and_its_result_with_text(provider):
    with client_of(provider) as client:
        first = client.chat.completions.create(**ask(tools=[WEATHER, CLOCK])).choices[0]
        (made,) = first.message.tool_calls
        assert (first.finish_reason, first.message.content, made.type) == ("tool_calls", None, "function")
        assert made.function.name == "weather"
        assert json.loads(made.function.arguments) == {"town": "simulated", "days": 1}
        result = {"role": "tool", "tool_call_id": made.id, "content": "rain"}
        messages = [*ask()["messages"], first.message.to_dict(), result]
        second = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER]).choices[0]
    assert second.message.content.startswith("[simulated answer of")
    assert second.finish_reason == "stop"


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", None),
        ("auto", "weather"),
        ("required", "weather"),
        ({"type": "function", "function": {"name": "clock"}}, "clock"),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "clock"}}]},
            },
            "clock",
        ),
    ],
)
def test_tool_choice(provider, choice, called):
    answer = loaded(provider, body=ask(tools=[WEATHER, CLOCK], tool_choice=choice))["choices"][0]
    calls = answer["message"].get("tool_calls", [])
    assert [made["function"]["name"] for made in calls] == ([] if called is None else [called])


def test_a_tool_call_is_streamed_in_deltas(provider):
    with client_of(provider) as client, client.chat.completions.stream(**ask(tools=[WEATHER])) as stream:
        argument_deltas = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        final = stream.get_final_completion().choices[0]
    assert len(argument_deltas) > 2
    assert final.finish_reason == "tool_calls"
    assert final.message.tool_calls[0].id.startswith("call_")
    assert json.loads(final.message.tool_calls[0].function.arguments) == {"town": "simulated", "days": 1}
    deltas = [chunk.choices[0].delta for chunk in chunks_of(call(provider, body=ask(tools=[CLOCK], stream=True))[1])]
    assert deltas[0].role == "assistant"
    assert deltas[0].tool_calls[0].function.name == "clock"


class Leaf(BaseModel):
    kind: Literal["leaf", "flower"]
    weight: float = Field(gt=0, lt=1)


class Tree(BaseModel):
    name: str = Field(min_length=12)
    born: str = Field(json_schema_extra={"format": "date"})
    height: int = Field(ge=3, multiple_of=2)
    depth: int = Field(le=-2)
    evergreen: bool
    leaves: list[Leaf] = Field(min_length=2)
    pair: tuple[int, str]
    next: "Tree | None"
    either: Leaf | int
    note: str | None = None


def test_structured_output_matches_its_schema(provider):
    with client_of(provider) as client:
        parsed = client.chat.completions.parse(**ask(response_format=Tree)).choices[0].message.parsed
    assert isinstance(parsed, Tree)
    assert parsed.leaves == [Leaf(kind="leaf", weight=0.5)] * 2
    plain = loaded(provider, body=ask(response_format={"type": "json_object"}))["choices"][0]["message"]["content"]
    assert isinstance(json.loads(plain), dict)


@pytest.mark.parametrize("stream", [False, True])
def test_structured_output_is_the_same_in_a_stream(provider, stream):
    schema = {"type": "json_schema", "json_schema": {"name": "leaf", "schema": Leaf.model_json_schema()}}
    body = call(provider, body=ask(response_format=schema, stream=stream))[1]
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks_of(body))
    else:
        text = json.loads(body)["choices"][0]["message"]["content"]
    assert Leaf.model_validate_json(text) == Leaf(kind="leaf", weight=0.5)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, "simulated"),
        (True, "simulated"),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "null"}, None),
        ({"const": None}, None),
        ({"enum": [7, 8]}, 7),
        ({"type": "string", "maxLength": 3}, "sim"),
        ({"type": "number", "minimum": 2.5}, 3),
        ({"type": "integer", "exclusiveMaximum": -1}, -2),
        ({"items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"oneOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        (
            {
                "allOf": [{"$ref": "#/$defs/a"}, {"required": ["b"], "properties": {"b": {"type": "integer"}}}],
                "$defs": {"a": {"type": "object", "required": ["a"], "properties": {"a": {"type": "boolean"}}}},
            },
            {"a": True, "b": 1},
        ),
        (
            {"type": "object", "properties": {"a": {"type": "integer"}}, "anyOf": [{"required": ["a"]}]},
            {"a": 1},
        ),
        ({"type": "object", "required": ["self"], "properties": {"self": {"$ref": "#"}}}, {"self": None}),
        ({"allOf": [{"$ref": "#"}], "type": "integer"}, 1),
    ],
)
def test_the_minimal_value_of_a_schema(schema, value):
    assert minimal_value(schema) == value


def test_a_schema_that_cannot_be_followed_is_refused(provider):
    broken = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "number", "minimum": "two"}}}
    response, body = call(provider, body=ask(response_format=broken))
    assert response.status == 400
    assert json.loads(body)["error"]["param"] == "response_format"


# Streams


def test_a_stream_has_role_content_finish_and_done_in_this_order(provider):
    response, body = call(provider, body=ask(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    first, *contents, last = chunks_of(body)
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert all(chunk.choices[0].delta.content and chunk.choices[0].finish_reason is None for chunk in contents)
    assert last.choices[0].finish_reason == "stop"
    assert last.choices[0].delta.content is None
    whole = loaded(provider, body=ask())["choices"][0]["message"]["content"]
    assert "".join(chunk.choices[0].delta.content for chunk in contents) == whole
    assert all(chunk.usage is None for chunk in (first, *contents, last))


def test_the_usage_comes_last_and_only_when_asked_for(provider):
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    *_, finish, last = chunks_of(call(provider, body=ask(**fields))[1])
    assert finish.choices[0].finish_reason == "stop"
    assert last.choices == []
    usage = loaded(provider, body=ask())["usage"]
    assert last.usage.model_dump(exclude_unset=True) == usage


def test_the_speed_is_kept_for_the_models_it_is_for():
    speed = {"slow": Speed(first_token_s=0.1, tokens_per_s=100)}
    with serving(create_provider(models=["slow", "quick"], speed=speed)) as url:
        begin = time.monotonic()
        with client_of(url) as client:
            request = {**ask(max_tokens=10), "model": "slow"}
            times = [time.monotonic() - begin for _ in client.chat.completions.create(**request, stream=True)]
            assert times[0] >= 0.1
            assert times[-1] >= 0.2
            begin = time.monotonic()
            client.chat.completions.create(**request)
            assert time.monotonic() - begin >= 0.2
            begin = time.monotonic()
            client.chat.completions.create(**{**request, "model": "quick"})
            assert time.monotonic() - begin < 0.2


# Refusals


def test_an_unknown_model_is_not_found(provider):
    with client_of(provider) as client, pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**{**ask(), "model": "no/such"})
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_the_key_is_checked_if_one_is_set():
    with serving(create_provider(api_key="right")) as url:
        with client_of(url, api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                client.chat.completions.create(**ask())
            assert caught.value.code == "invalid_api_key"
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
        with client_of(url, api_key="right") as client:
            assert client.chat.completions.create(**ask()).choices


def test_a_prompt_over_the_context_is_refused():
    with serving(create_provider(models=["short", "long"], context={"short": 10})) as url, client_of(url) as client:
        fits, too_long = ask("x" * 43)["messages"], ask("x" * 44)["messages"]
        assert client.chat.completions.create(model="short", messages=fits).choices
        assert client.chat.completions.create(model="long", messages=too_long).choices
        with pytest.raises(openai.BadRequestError, match="maximum context length is 10 tokens") as caught:
            client.chat.completions.create(model="short", messages=too_long)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{nonsense", "could not parse the JSON body"),
        (b"\xff\xfe", "could not parse the JSON body"),
        ({"model": MODEL}, "messages"),
        ({"model": MODEL, "messages": []}, "messages"),
        ({"model": MODEL, "messages": [{"role": "king", "content": "x"}]}, "role"),
        (ask(max_tokens=0), "max_tokens"),
        (ask(n="two"), "n"),
        (ask(tools=[WEATHER], tool_choice="perhaps"), "tool_choice"),
        (ask(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "cook"}}), "cook"),
    ],
)
def test_a_wrong_request_is_refused_in_openais_shape(provider, body, message):
    response, answer = call(provider, body=body)
    error = json.loads(answer)["error"]
    assert response.status == 400
    assert message in error["message"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_unknown_routes_are_not_found_and_health_is_told(provider):
    assert call(provider, "/v2/chat")[0].status == 404
    assert call(provider, CHAT)[0].status == 404
    assert call(provider, "/healthz")[0].status == 200


# What arrived


def test_requests_are_kept_as_they_came(provider):
    call(provider, body=ask(temperature=0.5), X_Trace="Abc")
    call(provider, "/v1/models")
    call(provider, body=b"{nonsense")
    first, second, third = loaded(provider, "/requests")
    assert (first["method"], first["path"], first["status"]) == ("POST", CHAT, 200)
    assert first["headers"]["x-trace"] == "Abc"
    assert first["body"] == ask(temperature=0.5)
    assert (first["done"], first["disconnected"], first["fault"]) == (True, False, None)
    assert (second["path"], second["body"]) == ("/v1/models", None)
    assert (third["body"], third["status"]) == ("{nonsense", 400)
    assert call(provider, "/requests", method="DELETE")[0].status == 200
    assert loaded(provider, "/requests") == []
    call(provider, "/v1/models")
    assert last_arrival(provider)["number"] == 3


def test_only_the_latest_requests_are_kept():
    arrivals = Arrivals()
    for _ in range(MOST_KEPT + 2):
        arrivals.note("GET", "/v1/models", {})
    kept = json.loads(arrivals.to_json())
    assert [kept[0]["number"], kept[-1]["number"]] == [2, MOST_KEPT + 1]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_early_is_noticed(stream):
    with serving(create_provider(speed=Speed(first_token_s=0.01, tokens_per_s=5))) as url:
        with hung_up(url, ask(stream=stream)) as client:
            if stream:
                assert client.recv(100)
            else:
                eventually(lambda: loaded(url, "/requests"))
        assert finished(url)["disconnected"]


def test_a_client_that_does_not_read_is_waited_for():
    """Each of the 300 other requests takes a turn of the server's loop, as each of the 64 chunks would."""
    faults = {"*": [Fault(fault="huge-chunks", chunks=64)]}
    with serving(create_provider(faults=faults)) as url:
        with hung_up(url, ask(stream=True)) as client:
            assert client.recv(100)
            with closing(http.client.HTTPConnection(urlsplit(url).netloc)) as other:
                for _ in range(300):
                    other.request("GET", "/healthz")
                    assert other.getresponse().read()
            assert not last_arrival(url)["done"]
        assert finished(url)["disconnected"]


# Faults


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "status"), STATUSES.items())
def test_error_statuses(provider, fault, status, stream):
    response, body = call(provider, body=ask(stream=stream), x_simulate=fault)
    assert response.status == status
    assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}
    assert response.headers.get("retry-after") == ("1" if fault == "429" else None)
    assert last_arrival(provider)["fault"] == fault


def test_the_client_library_waits_as_a_429_says():
    faults = {"*": [{"fault": "429", "times": 1, "retry_after": 0.2}]}
    with serving(create_provider(faults=faults)) as url, client_of(url, max_retries=1) as client:
        begin = time.monotonic()
        assert client.chat.completions.create(**ask()).choices
        assert time.monotonic() - begin >= 0.2
        assert [arrival["status"] for arrival in loaded(url, "/requests")] == [429, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_hang_sends_nothing_until_the_client_leaves(provider, stream):
    with pytest.raises(TimeoutError):
        call(provider, body=ask(stream=stream), x_simulate="hang", timeout=0.1)
    arrival = finished(provider)
    assert (arrival["status"], arrival["disconnected"]) == (None, True)


@pytest.mark.parametrize("stream", [False, True])
def test_hang_mid_stream_sends_half(provider, stream):
    with hung_up(provider, ask(stream=stream), x_simulate="hang-mid-stream") as client:
        received = b""
        while b"[sim" not in received:
            received += client.recv(65536)
        client.settimeout(0.1)
        received += read_until(client, TimeoutError)
    assert b'"finish_reason":"stop"' not in received
    arrival = finished(provider)
    assert (arrival["status"], arrival["disconnected"]) == (200, True)


@pytest.mark.parametrize("stream", [False, True])
def test_reset_comes_before_any_byte(provider, stream):
    with hung_up(provider, ask(stream=stream), x_simulate="reset") as client, pytest.raises(ConnectionResetError):
        client.recv(1)
    arrival = finished(provider)
    assert (arrival["fault"], arrival["status"], arrival["disconnected"]) == ("reset", None, False)


@pytest.mark.parametrize("stream", [False, True])
def test_reset_mid_stream_comes_after_half(provider, stream):
    with hung_up(provider, ask(stream=stream), x_simulate="reset-mid-stream") as client:
        received = read_until(client, ConnectionResetError)
    assert b"[sim" in received
    assert b'"finish_reason":"stop"' not in received


def test_a_reset_is_what_aiohttp_says_it_is(provider):
    async def meet(fault: str) -> None:
        async with (
            aiohttp.ClientSession(headers={"x-simulate": fault}) as session,
            session.post(f"{provider}{CHAT}", json=ask(stream=True)) as response,
        ):
            await response.read()

    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        asyncio.run(meet("reset"))
    with pytest.raises(aiohttp.ClientPayloadError):
        asyncio.run(meet("reset-mid-stream"))


def test_malformed_json(provider):
    response, body = call(provider, body=ask(), x_simulate="malformed-json")
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    good, bad, done = data_of(call(provider, body=ask(stream=True), x_simulate="malformed-json")[1])
    assert ChatCompletionChunk.model_validate_json(good)
    with pytest.raises(json.JSONDecodeError):
        json.loads(bad)
    assert done == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_wrong_content_type(provider, stream):
    response, body = call(provider, body=ask(stream=stream), x_simulate="wrong-content-type")
    assert (response.status, response.headers.get_content_type()) == (200, "text/html")
    assert body.startswith(b"<!doctype html>")


def test_empty_choices(provider):
    whole = ChatCompletion.model_validate_json(call(provider, body=ask(), x_simulate="empty-choices")[1])
    (chunk,) = chunks_of(call(provider, body=ask(stream=True), x_simulate="empty-choices")[1])
    assert whole.choices == chunk.choices == []


def test_error_in_200(provider):
    response, body = call(provider, body=ask(), x_simulate="error-in-200")
    assert response.status == 200
    assert json.loads(body)["error"]["type"] == "server_error"
    response, body = call(provider, body=ask(stream=True), x_simulate="error-in-200")
    assert response.headers.get_content_type() == "text/event-stream"
    assert json.loads(data_of(body)[0])["error"]["type"] == "server_error"


@pytest.mark.parametrize("stream", [False, True])
def test_huge_chunks(stream):
    with serving(create_provider(faults={MODEL: [Fault(fault="huge-chunks", chunks=3)]})) as url:
        body = call(url, body=ask(stream=stream))[1]
    if stream:
        contents = [chunk.choices[0].delta.content for chunk in chunks_of(body)]
        assert [len(content) for content in contents if content] == [2**20] * 3
    else:
        assert len(json.loads(body)["choices"][0]["message"]["content"]) == 3 * 2**20


@pytest.mark.parametrize("stream", [False, True])
def test_slow_drip_is_the_right_answer_in_splinters(provider, stream):
    with hung_up(provider, ask(stream=stream), x_simulate="slow-drip", connection="close") as client:
        received = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, rest = received.partition(b"\r\n\r\n")
    if stream:
        assert b"transfer-encoding: chunked" in head.lower()
        parts = list(unchunked(rest))
        chunks = chunks_of(b"".join(parts))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert max(map(len, parts)) < 30
        assert any(not decodes(part) for part in parts), "no character is split"
        assert any(part.endswith(b"\n") and not part.endswith(b"\n\n") for part in parts), "no event's end is split"
    else:
        text = json.loads(rest)["choices"][0]["message"]["content"]
    assert text == loaded(provider, body=ask())["choices"][0]["message"]["content"]


def unchunked(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length:
            yield body[:length]
        body = body[length + 2 :]


def decodes(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_slow_drip_pauses_between_the_parts():
    faults = {"*": [Fault(fault="slow-drip", pause_ms=2)]}
    with serving(create_provider(faults=faults)) as url:
        begin = time.monotonic()
        body = call(url, body=ask(max_tokens=1))[1]
        assert time.monotonic() - begin >= 0.002 * len(body) / 29


def test_every_fault_is_known_to_some_test_of_this_file():
    tested = {"hang", "hang-mid-stream", "reset", "reset-mid-stream", "malformed-json", "wrong-content-type"}
    assert set(NAMES) == tested | {"empty-choices", "error-in-200", "huge-chunks", "slow-drip", *STATUSES}


# When faults happen


def test_a_fault_stops_after_its_times_and_others_follow(provider):
    plan = {MODEL: [{"fault": "503", "times": 2, "retry_after": 2}], "*": [{"fault": "500", "times": 1}]}
    assert loaded(provider, "/faults", plan, method="PUT")[MODEL][0]["times"] == 2
    responses = [call(provider, body=ask())[0] for _ in range(4)]
    assert [response.status for response in responses] == [503, 503, 500, 200]
    assert responses[0].headers["retry-after"] == "2"


def test_a_fault_of_one_model_leaves_the_others_alone(provider):
    loaded(provider, "/faults", {MODEL: [{"fault": "500"}]}, method="PUT")
    assert call(provider, body={**ask(), "model": "moonshot/kimi-k2"})[0].status == 200
    assert call(provider, body=ask())[0].status == 500
    assert loaded(provider, "/faults", {}, method="PUT") == {}
    assert call(provider, body=ask())[0].status == 200


def test_the_share_of_faults_is_kept_and_repeatable():
    def statuses(seed: int) -> list[int]:
        faults = {"*": [Fault(fault="500", share=0.25)]}
        with (
            serving(create_provider(seed=seed, faults=faults)) as url,
            closing(http.client.HTTPConnection(urlsplit(url).netloc)) as connection,
        ):
            return [status_of(connection) for _ in range(200)]

    first = statuses(3)
    assert first == statuses(3)
    assert 30 <= first.count(500) <= 70  # 50 expected: three standard deviations are 18
    assert first.count(200) == 200 - first.count(500)


def status_of(connection: http.client.HTTPConnection) -> int:
    connection.request("POST", CHAT, json.dumps(ask()))
    response = connection.getresponse()
    response.read()
    return response.status


def test_the_header_goes_before_the_plan_and_uses_nothing_of_it():
    with serving(create_provider(faults={"*": [Fault(fault="500", times=1)]})) as url:
        assert call(url, body=ask(), x_simulate="503")[0].status == 503
        assert [call(url, body=ask())[0].status for _ in range(2)] == [500, 200]


def test_an_unknown_fault_in_the_header_is_refused(provider):
    response, body = call(provider, body=ask(), x_simulate="hangs")
    assert response.status == 400
    assert "did you mean 'hang'?" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"*": [{"fault": "explode"}]}, r"faults\['\*'\]\[0\]: no fault is named 'explode'; there are 429"),
        ({"*": [{"fault": "429", "tims": 3}]}, "unknown key 'tims'; did you mean 'times'"),
        ({"*": [{"fault": "429", "share": 1.5}]}, r"\[0\] \(429\): .*share"),
        ({"*": [{"fault": "429", "times": 0}]}, "times"),
        ({"*": [{"share": 0.5}]}, "a table such as"),
        ({"*": {"fault": "429"}}, "a list of faults is needed"),
        ({"openai/gpt-6": []}, "unknown key 'openai/gpt-6'; did you mean 'openai/gpt-5'"),
        ([], "a table of lists"),
    ],
)
def test_a_wrong_plan_is_refused_and_changes_nothing(plan, message):
    if plan:
        with pytest.raises(SettingsError, match=message):
            create_provider(faults=plan)
    with serving(create_provider(faults={"*": [Fault(fault="500")]})) as url:
        response, body = call(url, "/faults", plan, method="PUT")
        assert response.status == 400
        assert json.loads(body)["error"]["message"]
        assert call(url, body=ask())[0].status == 500


def test_a_plan_that_is_no_json_is_refused(provider):
    assert call(provider, "/faults", b"{nonsense", method="PUT")[0].status == 400


@pytest.mark.parametrize(
    "options",
    [{"speed": {"no/such": Speed()}}, {"context": {"no/such": 5}}, {"faults": {"no/such": []}}],
    ids=lambda options: next(iter(options)),
)
def test_settings_for_a_model_that_is_not_served_are_refused(options):
    with pytest.raises(SettingsError, match="no/such"):
        create_provider(**options)


@pytest.mark.parametrize("values", [{"first_token_s": -1}, {"tokens_per_s": 0}, {"tokens_per_s": float("nan")}])
def test_a_speed_out_of_range_is_refused(values):
    with pytest.raises(SettingsError, match=next(iter(values))):
        Speed(**values)


def test_a_reset_needs_a_server_that_can():
    """Run by hand: a server without the extension is told what it lacks."""
    body = json.dumps(ask()).encode()
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [(b"x-simulate", b"reset")]}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        pytest.fail(f"sent {message}")

    with pytest.raises(AvengersProError, match="run the provider with `serving`"):
        asyncio.run(create_provider()(scope, receive, send))


# Serving any application


def application(events: list[str], *, failure: str | None = None, wait_s: float = 0.0) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                events.append(message["type"])
                if failure is not None:
                    await send({"type": "lifespan.startup.failed", "message": failure})
                    return
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        events.append(scope["path"])
        await asyncio.sleep(wait_s)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def test_serving_runs_the_lifespan_around_the_block():
    events: list[str] = []
    with serving(application(events)) as url:
        assert events == ["lifespan.startup"]
        assert call(url, "/here")[1] == b"ok"
    assert events == ["lifespan.startup", "/here", "lifespan.shutdown"]


def test_serving_says_why_an_application_does_not_start():
    app = application([], failure="the moon is full")
    with pytest.raises(SettingsError, match="did not start: the moon is full"), serving(app):
        pytest.fail("it must not start")


def test_a_given_port_is_used_and_free_again_afterwards():
    with serving(application([])) as url:
        port = urlsplit(url).port
        with pytest.raises(SettingsError, match=f"{port}: cannot be listened on"), serving(application([]), port):
            pytest.fail("the port is taken")
    for _ in range(2):
        with serving(application([]), port) as again:
            assert again == url
            assert call(again, "/")[1] == b"ok"


def test_leaving_is_quick_even_with_requests_that_hang():
    with closing(socket.socket()) as client:
        with serving(create_provider()) as url:
            payload = json.dumps(ask()).encode()
            client.connect(("127.0.0.1", urlsplit(url).port))
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-simulate: hang\r\ncontent-length: {len(payload)}\r\n\r\n"
            client.sendall(head.encode() + payload)
            eventually(lambda: loaded(url, "/requests"))
            begin = time.monotonic()
        assert time.monotonic() - begin < 1
        client.settimeout(GIVE_UP_S)
        assert client.recv(1) == b""


def test_requests_in_flight_finish_within_the_grace_period():
    events: list[str] = []
    with closing(socket.socket()) as client:
        with serving(application(events, wait_s=0.1), grace_s=GIVE_UP_S) as url:
            client.connect(("127.0.0.1", urlsplit(url).port))
            client.settimeout(GIVE_UP_S)
            client.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            eventually(lambda: "/slow" in events)
        assert b"".join(iter(lambda: client.recv(65536), b"")).endswith(b"ok")


def test_importing_the_package_stays_light():
    code = (
        "import sys, avengers_pro.demo, avengers_pro.demo.provider\n"
        "assert not {'uvicorn', 'aiohttp', 'starlette', 'sqlalchemy', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
