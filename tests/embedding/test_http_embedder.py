"""The HTTP embedder against a real server that misbehaves on demand."""

import asyncio
import email.utils
import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stamina
from embedding_server import (
    DIMENSION,
    Alter,
    CutShort,
    EmbeddingServer,
    Fault,
    Hang,
    Refuse,
    Reset,
    running_server,
    unit_vectors,
    vector_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avengers_pro.embedding.embedder import EmbeddingOptions
from avengers_pro.embedding.endpoint import Endpoint
from avengers_pro.embedding.http import HttpEmbedder
from avengers_pro.embedding.refusal import parse_retry_after
from avengers_pro.embedding.wire import clip_tokens, find_message, hide
from avengers_pro.errors import EmbeddingError, MissingExtraError

KEY = "sk-very-secret-key-0123456789"


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def at_once() -> Iterator[None]:
    """Retries happen, but without waiting."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


def embedder_for(server: EmbeddingServer, **settings: Any) -> HttpEmbedder:
    options = {name: settings.pop(name) for name in ("dimensions", "max_tokens", "cache_path") if name in settings}
    return HttpEmbedder("m", EmbeddingOptions(base_url=server.base_url, api_key=KEY, **options), **settings)


def names(count: int) -> list[str]:
    return [f"text number {number}" for number in range(count)]


def test_vectors_come_in_the_order_of_the_texts(server: EmbeddingServer) -> None:
    texts = names(50)

    vectors = embedder_for(server, batch_size=7).embed(texts)

    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, unit_vectors(texts), atol=1e-6)
    assert sorted(len(request.texts) for request in server.requests) == [1, *[7] * 7]


def test_what_is_sent(server: EmbeddingServer) -> None:
    embedder_for(server, dimensions=4).embed(["hello"])

    (request,) = server.requests
    assert request.path == "/v1/embeddings"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == {"model": "m", "input": ["hello"], "encoding_format": "base64", "dimensions": 4}


def test_without_a_key_no_authorization_is_sent(server: EmbeddingServer) -> None:
    HttpEmbedder("m", EmbeddingOptions(base_url=server.base_url + "/")).embed(["hello"])

    assert "Authorization" not in server.requests[0].headers
    assert server.requests[0].path == "/v1/embeddings"


def test_repeated_texts_are_sent_once(server: EmbeddingServer) -> None:
    texts = ["a", "c", "a", "b", "c", "a"]

    vectors = embedder_for(server, batch_size=2).embed(texts)

    np.testing.assert_allclose(vectors, unit_vectors(texts), atol=1e-6)
    assert sorted(server.sent_texts) == ["a", "b", "c"]


def test_only_missing_texts_are_sent_when_others_are_cached(server: EmbeddingServer, tmp_path: Path) -> None:
    cache_path = tmp_path / "vectors.sqlite"
    embedder_for(server, cache_path=cache_path).embed(["c", "d"])
    server.requests.clear()

    texts = ["a", "c", "a", "d", "b"]
    vectors = embedder_for(server, cache_path=cache_path).embed(texts)

    np.testing.assert_allclose(vectors, unit_vectors(texts), atol=1e-6)
    assert sorted(server.sent_texts) == ["a", "b"]


def test_a_full_cache_needs_no_server(server: EmbeddingServer, tmp_path: Path) -> None:
    cache_path = tmp_path / "vectors.sqlite"
    before = embedder_for(server, cache_path=cache_path).embed(["a", "b"])
    server.lasting_fault = Refuse(500)

    offline = embedder_for(server, cache_path=cache_path)

    np.testing.assert_array_equal(offline.embed(["b", "a"]), before[::-1])
    assert offline.dimension == DIMENSION


@pytest.mark.usefixtures("at_once")
def test_a_run_resumes_where_the_server_died(server: EmbeddingServer, tmp_path: Path) -> None:
    texts, cache_path = names(20), tmp_path / "vectors.sqlite"
    server.good_answers, server.lasting_fault = 3, Reset()
    with pytest.raises(EmbeddingError, match="gave no answer"):
        embedder_for(server, cache_path=cache_path, batch_size=2, concurrency=1, attempts=2).embed(texts)
    server.requests.clear()
    server.lasting_fault = None

    vectors = embedder_for(server, cache_path=cache_path, batch_size=2, concurrency=1).embed(texts)

    np.testing.assert_allclose(vectors, unit_vectors(texts), atol=1e-6)
    assert server.sent_texts == texts[6:]


def test_the_first_failure_stops_the_other_workers(server: EmbeddingServer) -> None:
    server.wait_for = 2
    server.faults.extend([Hang(), Refuse(401)])
    before = time.monotonic()

    with pytest.raises(EmbeddingError, match="401"):
        embedder_for(server, batch_size=1, concurrency=2).embed(names(10))

    assert len(server.requests) == 2
    assert time.monotonic() - before < 5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), texts=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=12))
def test_cached_equals_uncached(
    server: EmbeddingServer, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, texts: list[str]
) -> None:
    """For any texts with repeats and any part of them cached before."""
    texts += data.draw(st.lists(st.sampled_from(texts), max_size=6))
    known = data.draw(st.lists(st.sampled_from(texts), max_size=6, unique=True))
    cache_path = tmp_path_factory.mktemp("cache") / "vectors.sqlite"
    if known:
        embedder_for(server, cache_path=cache_path).embed(known)
    server.requests.clear()

    cached = embedder_for(server, cache_path=cache_path, batch_size=3).embed(texts)
    sent = sorted(server.sent_texts)

    np.testing.assert_array_equal(cached, embedder_for(server).embed(texts))
    assert sent == sorted(set(texts) - set(known))


def test_several_requests_at_a_time_and_never_more(server: EmbeddingServer) -> None:
    server.wait_for = 3

    embedder_for(server, batch_size=1, concurrency=3).embed(names(12))

    assert server.peak == 3
    assert len(server.requests) == 12


def test_progress_ends_at_the_number_of_texts(server: EmbeddingServer, tmp_path: Path) -> None:
    cache_path = tmp_path / "vectors.sqlite"
    embedder_for(server, cache_path=cache_path).embed(["a"])
    seen: list[tuple[int, int]] = []

    embedder = embedder_for(
        server,
        cache_path=cache_path,
        batch_size=1,
        concurrency=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    embedder.embed(["a", "b", "a", "c", "b"])

    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_id_and_dimension(server: EmbeddingServer) -> None:
    """The dimension is learnt from an answer, with a probe only when there was none."""
    assert embedder_for(server).id == "openai:m"
    assert embedder_for(server, dimensions=4).id == "openai:m@4"
    assert embedder_for(server, dimensions=4).dimension == 4
    assert not server.requests

    embedder = embedder_for(server)
    embedder.embed(["a"])
    assert embedder.dimension == DIMENSION
    assert len(server.requests) == 1

    assert embedder_for(server).dimension == DIMENSION
    assert server.requests[1].texts == ["dimension"]


def test_no_texts_give_no_rows(server: EmbeddingServer) -> None:
    assert embedder_for(server).embed([]).shape == (0, DIMENSION)


def test_an_empty_text_is_refused_before_anything_is_sent(server: EmbeddingServer) -> None:
    with pytest.raises(EmbeddingError, match="text 1 is empty"):
        embedder_for(server).embed(["a", ""])
    assert not server.requests


def test_a_lone_surrogate_does_not_stop_a_run(server: EmbeddingServer, tmp_path: Path) -> None:
    embedder = embedder_for(server, cache_path=tmp_path / "vectors.sqlite", max_tokens=100)

    assert embedder.embed(["half \ud83d a smile"]).shape == (1, DIMENSION)
    assert server.sent_texts == ["half ? a smile"]


def test_works_inside_a_running_loop(server: EmbeddingServer) -> None:
    async def main() -> np.ndarray:
        return embedder_for(server).embed(["a", "b"])

    np.testing.assert_allclose(asyncio.run(main()), unit_vectors(["a", "b"]), atol=1e-6)


def test_errors_reach_the_caller_inside_a_running_loop(server: EmbeddingServer) -> None:
    async def main() -> None:
        embedder_for(server).embed(["a"])

    server.faults.append(Refuse(401))
    with pytest.raises(EmbeddingError, match="401"):
        asyncio.run(main())


# Answers that are right in another form.


def shuffled(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"data": answer["data"][::-1]}


def as_floats(_: dict[str, Any]) -> dict[str, Any]:
    vectors = [[float(value) for value in vector_of(text)] for text in ("a", "b", "c")]
    return {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]}


@pytest.mark.parametrize("change", [shuffled, as_floats])
def test_other_forms_of_a_right_answer(server: EmbeddingServer, change: Any) -> None:
    server.faults.append(Alter(change))

    vectors = embedder_for(server).embed(["a", "b", "c"])

    np.testing.assert_allclose(vectors, unit_vectors(["a", "b", "c"]), atol=1e-6)


# Answers that are wrong.


def with_item(position: int, **changes: Any) -> Alter:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"][position] |= changes
        return answer

    return Alter(change)


def without(answer: dict[str, Any], key: str) -> dict[str, Any]:
    for item in answer["data"]:
        del item[key]
    return answer


NONSENSE = {
    "wrong count": (
        Alter(lambda answer: answer | {"data": answer["data"][:1]}),
        "sent 1 vectors for 2 texts",
    ),
    "duplicate index": (with_item(1, index=0), "index 0 twice, missing or out of range"),
    "index out of range": (with_item(1, index=2), "index 2 twice, missing or out of range"),
    "negative index": (with_item(1, index=-1), "index -1 twice, missing or out of range"),
    "missing index": (Alter(lambda answer: without(answer, "index")), "missing required field `index`"),
    "missing vector": (
        Alter(lambda answer: without(answer, "embedding")),
        "missing required field `embedding`",
    ),
    "mixed dimensions": (with_item(1, embedding=[1.0, 2.0]), "vectors of length 2 and 8"),
    "no numbers": (
        Alter(lambda answer: answer | {"data": [i | {"embedding": []} for i in answer["data"]]}),
        "length 0",
    ),
    "not base64": (with_item(0, embedding="!!!!"), "not base64 of float32"),
    "not whole floats": (with_item(0, embedding="AAAA"), "not base64 of float32"),
    "not a number": (
        with_item(1, embedding="AADAfwAAwH8AAMB/AADAfwAAwH8AAMB/AADAfwAAwH8="),
        "not finite, at index 1",
    ),
    "literal NaN": (with_item(1, embedding=[float("nan")] * DIMENSION), "no usable JSON"),
    "null": (with_item(1, embedding=[None] * DIMENSION), "no usable JSON"),
    "all zero": (with_item(1, embedding=[0.0] * DIMENSION), "zero or not finite, at index 1"),
    "an error with status 200": (
        Alter(lambda _: {"error": {"message": "no"}}),
        "missing required field `data`",
    ),
    "no JSON": (Alter(lambda _: b"<html>It works!</html>"), "no usable JSON"),
    "nothing": (Alter(lambda _: b""), "no usable JSON"),
}


@pytest.mark.parametrize(("fault", "message"), NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_an_error_that_names_the_address(server: EmbeddingServer, fault: Alter, message: str) -> None:
    """It is not asked for again, and neither key nor text is in the message."""
    server.faults.append(fault)

    with pytest.raises(EmbeddingError) as caught:
        embedder_for(server).embed(["a private text", "another private text"])

    assert str(caught.value).startswith(f"{server.base_url}/embeddings sent ")
    assert message in str(caught.value)
    assert "private" not in str(caught.value)
    assert len(server.requests) == 1


def test_a_changing_dimension_is_an_error(server: EmbeddingServer) -> None:
    embedder = embedder_for(server)
    embedder.embed(["a"])
    server.faults.append(with_item(0, embedding=[1.0, 2.0]))

    with pytest.raises(EmbeddingError, match="sent vectors of length 2 for 'openai:m', where 8 is expected"):
        embedder.embed(["b"])


def test_another_dimension_than_asked_for_is_an_error(server: EmbeddingServer) -> None:
    server.faults.append(with_item(0, embedding=[1.0] * DIMENSION))

    with pytest.raises(EmbeddingError, match="length 8 for 'openai:m@4', where 4 is expected"):
        embedder_for(server, dimensions=4).embed(["a"])


def test_another_dimension_than_cached_is_an_error(server: EmbeddingServer, tmp_path: Path) -> None:
    cache_path = tmp_path / "vectors.sqlite"
    embedder_for(server, cache_path=cache_path).embed(["a"])
    server.faults.append(with_item(0, embedding=[1.0, 2.0]))

    with pytest.raises(EmbeddingError, match=r"length 2 beside others of length 8.*name another cache file"):
        embedder_for(server, cache_path=cache_path).embed(["a", "b"])


# Retries.


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "fault",
    [Refuse(429), Refuse(500), Refuse(502), Refuse(503), Refuse(504), Reset(), CutShort()],
    ids=lambda fault: f"{type(fault).__name__} {getattr(fault, 'status', '')}",
)
def test_passing_faults_are_retried(server: EmbeddingServer, fault: Fault) -> None:
    server.faults.extend([fault, fault])

    vectors = embedder_for(server).embed(["a"])

    np.testing.assert_allclose(vectors, unit_vectors(["a"]), atol=1e-6)
    assert len(server.requests) == 3


@pytest.mark.usefixtures("at_once")
def test_a_timeout_is_retried(server: EmbeddingServer) -> None:
    server.faults.append(Hang())

    embedder_for(server, timeout_s=1.0).embed(["a"])

    assert len(server.requests) == 2


@pytest.mark.usefixtures("at_once")
def test_attempts_are_bounded(server: EmbeddingServer) -> None:
    server.lasting_fault = Refuse(503, "overloaded")

    with pytest.raises(EmbeddingError) as caught:
        embedder_for(server, attempts=4).embed(["a"])

    assert str(caught.value) == f"{server.base_url}/embeddings answers 503 and says: overloaded (attempts: 4)"
    assert len(server.requests) == 4


@pytest.mark.usefixtures("at_once")
def test_a_server_that_only_hangs_is_given_up(server: EmbeddingServer) -> None:
    server.lasting_fault = Hang()

    with pytest.raises(EmbeddingError, match=r"gave no answer: .*attempts: 2, each up to 0.1 s.*is the server running"):
        embedder_for(server, timeout_s=0.1, attempts=2).embed(["a"])


@pytest.mark.usefixtures("at_once")
def test_nobody_listens() -> None:
    with running_server() as server:
        gone = embedder_for(server, attempts=2)

    with pytest.raises(EmbeddingError, match=r"/v1/embeddings gave no answer: .*attempts: 2"):
        gone.embed(["a"])


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
def test_lasting_refusals_are_not_retried(server: EmbeddingServer, status: int) -> None:
    server.lasting_fault = Refuse(status, "no such thing")

    with pytest.raises(EmbeddingError, match=f"answers {status} and says: no such thing"):
        embedder_for(server).embed(["a"])

    assert len(server.requests) == 1


def test_a_refused_key_names_the_variable(server: EmbeddingServer) -> None:
    server.faults.append(Refuse(401))

    with pytest.raises(EmbeddingError, match="answers 401; check the API key"):
        embedder_for(server).embed(["a"])


def test_no_encryption_where_it_is_expected_is_not_retried(server: EmbeddingServer) -> None:
    options = EmbeddingOptions(base_url=server.base_url.replace("http", "https"))

    with pytest.raises(EmbeddingError, match="attempts: 1"):
        HttpEmbedder("m", options).embed(["a"])


def test_retry_after_seconds_are_honoured(server: EmbeddingServer) -> None:
    server.faults.append(Refuse(429, headers={"Retry-After": "1.6"}))

    embedder_for(server).embed(["a"])

    first, second = (request.time_s for request in server.requests)
    assert second - first >= 1.6  # its own back-off is at most 1.5 s the first time


def test_retry_after_a_past_date_is_at_once(server: EmbeddingServer) -> None:
    server.faults.extend([Refuse(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})] * 5)

    embedder_for(server).embed(["a"])

    times_s = [request.time_s for request in server.requests]
    assert len(times_s) == 6
    assert times_s[-1] - times_s[0] < 10  # its own back-off takes at least 15.5 s


def test_forms_of_retry_after() -> None:
    now = datetime(2025, 1, 1, tzinfo=UTC)

    assert parse_retry_after("2", now) == 2
    assert parse_retry_after(" 0 ", now) == 0
    assert parse_retry_after("86400", now) == 60
    assert parse_retry_after(email.utils.format_datetime(now + timedelta(seconds=7), usegmt=True), now) == 7
    assert parse_retry_after("Wed, 01 Jan 2025 00:00:05 -0000", now) == 5
    assert parse_retry_after("Wed, 01 Jan 2031 00:00:00 GMT", now) == 60
    assert parse_retry_after("soon", now) is None


# Long texts.


def test_texts_over_max_tokens_keep_head_and_tail(server: EmbeddingServer) -> None:
    embedder = embedder_for(server, max_tokens=2)

    embedder.embed(["abcdefghijkl", "short", "abcdefghijkl"])

    assert server.sent_texts == ["abcdijkl", "short"]
    assert embedder.truncated == 1


@given(text=st.text(min_size=1), max_tokens=st.integers(1, 20))
def test_clipped_texts_fit(text: str, max_tokens: int) -> None:
    clipped = clip_tokens(text, max_tokens)

    assert len(clipped.encode()) <= 4 * max_tokens
    assert clipped == text or len(text.encode()) > 4 * max_tokens


def test_another_max_tokens_does_not_meet_old_vectors(server: EmbeddingServer, tmp_path: Path) -> None:
    """A shortened text is cached as what was sent."""
    cache_path = tmp_path / "vectors.sqlite"
    embedder_for(server, cache_path=cache_path, max_tokens=2).embed(["abcdefghijkl"])

    vectors = embedder_for(server, cache_path=cache_path).embed(["abcdefghijkl"])

    np.testing.assert_allclose(vectors, unit_vectors(["abcdefghijkl"]), atol=1e-6)


def test_texts_that_the_server_finds_too_long_are_halved(server: EmbeddingServer) -> None:
    server.max_chars = 10
    texts = [*names(3), "a", "b", "c" * 10 + "d" * 30, "e", "c" * 10 + "d" * 30]
    sent = ["text number 0"[:3] + "mber 0"[-3:], "c" * 5 + "d" * 5]

    embedder = embedder_for(server)
    vectors = embedder.embed(texts)

    np.testing.assert_allclose(vectors[[3, 4, 6]], unit_vectors(["a", "b", "e"]), atol=1e-6)
    np.testing.assert_allclose(vectors[[0, 5]], unit_vectors(sent), atol=1e-6)
    np.testing.assert_array_equal(vectors[5], vectors[7])
    assert embedder.truncated == 4


def test_a_text_shortened_on_both_sides_counts_once(server: EmbeddingServer) -> None:
    server.max_chars = 10
    embedder = embedder_for(server, max_tokens=5)

    embedder.embed(["x" * 100])

    assert [len(text) for text in server.sent_texts] == [20, 10]
    assert embedder.truncated == 1


def test_a_batch_over_the_servers_limit_is_split_and_nothing_shortened(server: EmbeddingServer) -> None:
    server.max_texts = 4
    texts = names(16)

    embedder = embedder_for(server)

    np.testing.assert_allclose(embedder.embed(texts), unit_vectors(texts), atol=1e-6)
    assert embedder.truncated == 0


def test_halving_ends(server: EmbeddingServer) -> None:
    server.lasting_fault = Refuse(400, "maximum context length is 0 tokens")

    with pytest.raises(EmbeddingError, match="length is 0 tokens; it refuses even a text cut to 2 characters"):
        embedder_for(server).embed(["x" * 100])
    assert [len(text) for text in server.sent_texts] == [100, 50, 24, 12, 6, 2]

    with pytest.raises(EmbeddingError, match="cut to 24 characters"):
        embedder_for(server).embed(["x" * 100_000])


def test_another_refusal_of_a_shortened_text_is_final(server: EmbeddingServer) -> None:
    server.faults.extend([Refuse(400, "too many tokens"), Refuse(401, "key expired")])

    with pytest.raises(EmbeddingError, match="401 and says: key expired"):
        embedder_for(server).embed(["x" * 100])


# Secrets.


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("shape", ["json", "plain"])
def test_neither_key_nor_text_is_in_an_error(
    server: EmbeddingServer, caplog: pytest.LogCaptureFixture, status: int, shape: str
) -> None:
    """Not even when the server repeats them; nor in what is logged about retries."""
    text = "my private\n diary, " * 30
    quoted = f"bad key {KEY} for input '{text[:200]}"
    body = json.dumps({"detail": [{"msg": quoted, "input": text}]}) if shape == "json" else quoted
    server.lasting_fault = Refuse(status, body=body.encode())

    with caplog.at_level(logging.DEBUG), pytest.raises(EmbeddingError) as caught:
        embedder_for(server, attempts=2).embed([text, "ok"])

    seen = f"{caught.value!r} {caught.value.__cause__!r} {[vars(record) for record in caplog.records]}"
    assert "bad key *** for input" in str(caught.value)
    assert KEY not in seen
    assert "private" not in seen


def test_a_url_is_shown_without_its_secrets(server: EmbeddingServer) -> None:
    url = server.base_url.replace("http://", "http://user:hunter2@") + "?api-key=hunter3"
    server.faults.append(Refuse(404, "no such model"))

    with pytest.raises(EmbeddingError) as caught:
        HttpEmbedder("m", EmbeddingOptions(base_url=url)).embed(["a"])

    assert server.requests[0].path == "/v1/embeddings?api-key=hunter3"
    assert str(caught.value).startswith(f"{server.base_url}/embeddings answers 404")
    assert "hunter" not in str(caught.value)
    assert "hunter" not in repr(Endpoint.from_options(EmbeddingOptions(base_url=url), "x"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "one"}}', "one"),
        (b'{"error": "two", "error_type": "x"}', "two"),
        (b'{"object": "error", "message": "three"}', "three"),
        (b'{"detail": [{"msg": "four", "input": "private"}, {"msg": "five"}]}', "four; five"),
        (b'{"input": "private"}', ""),
        (b"17", ""),
        (b"<h1>six</h1>\n seven", "<h1>six</h1> seven"),
    ],
)
def test_messages_of_servers(body: bytes, message: str) -> None:
    assert find_message(body) == message


def test_messages_are_shortened_and_short_secrets_hidden_as_words() -> None:
    assert hide("x" * 301, ()) == "x" * 299 + "…"
    assert hide("a bad apple", ("a", "")) == "*** bad apple"


# Set-up.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "openai:m.*--embedding-base-url.*EMBEDDING_BASE_URL"),
        ({"base_url": "localhost:8000/v1"}, "must look like http://localhost:8000/v1"),
        ({"base_url": "http://"}, "must look like"),
        ({"base_url": "http://host:port/v1"}, "must look like"),
        ({"base_url": "http://[::1/v1"}, "must look like"),
        ({"base_url": "http://user:pass@x/v1", "api_key": "key"}, "both an API key and a user"),
        ({"base_url": "http://x/v1", "api_key": "one\ntwo"}, "line break"),
    ],
)
def test_options_that_cannot_work(options: dict[str, str], message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        HttpEmbedder("m", EmbeddingOptions(**options))


@pytest.mark.parametrize("name", ["batch_size", "concurrency", "attempts", "max_tokens", "dimensions"])
def test_numbers_start_at_one(server: EmbeddingServer, name: str) -> None:
    with pytest.raises(EmbeddingError, match=f"{name} is 0"):
        embedder_for(server, **{name: 0})


@pytest.mark.parametrize("package", ["aiohttp", "stamina"])
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError, match=rf"'openai:m' needs {package}: pip install 'avengers-pro\[http\]'"):
        HttpEmbedder("m", EmbeddingOptions(base_url="http://x/v1"))
