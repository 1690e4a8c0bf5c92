"""An embedder behind any OpenAI-compatible ``POST {base_url}/embeddings``: vLLM, TEI, Ollama, OpenAI."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any

import numpy as np

from avengers_pro.embedding.cache import VectorCache
from avengers_pro.embedding.cached import Deliver, Progress, embed_missing
from avengers_pro.embedding.embedder import EmbeddingOptions, Vectors, unit_rows
from avengers_pro.embedding.endpoint import Endpoint
from avengers_pro.embedding.refusal import Refusal
from avengers_pro.embedding.static import clip
from avengers_pro.embedding.wire import clip_tokens, decode_vectors, encode_request
from avengers_pro.errors import EmbeddingError, MissingExtraError

_MAX_HALVINGS = 12
"""A text of 4 million characters ends at a thousand; what is refused then, is refused for something else."""
_SHORTEST = 4
"""Half of it still has a head and a tail."""
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0


class HttpEmbedder:
    """A model on a server.

    Attributes:
        truncated: How many texts were shortened so far, keeping head and tail: those over ``max_tokens``,
            and those that the server refused as too long. Repeats in one call count once. What only the
            server found too long is not counted when its vector comes from the cache.
    """

    def __init__(
        self,
        model: str,
        options: EmbeddingOptions,
        *,
        progress: Progress | None = None,
        batch_size: int = 64,
        concurrency: int = 8,
        timeout_s: float = 60.0,
        attempts: int = 6,
    ) -> None:
        """Set up; nothing is sent yet.

        Args:
            model: The server's name for it.
            options: Where the server is, and where vectors are kept.
            progress: Called with (texts done, texts in all) as batches finish.
            batch_size: Texts per request, at least 1.
            concurrency: Requests at the same time, at least 1.
            timeout_s: Longest duration of one request, in seconds.
            attempts: Tries per request, the first one included, at least 1.

        Raises:
            EmbeddingError: If the base URL is missing or no URL, the cache cannot be opened, or a number is
                below 1.
            MissingExtraError: If aiohttp or stamina is not installed.
        """
        for package in ("aiohttp", "stamina"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "http", f"the embedder 'openai:{model}'")
        _check_at_least_one(
            batch_size=batch_size,
            concurrency=concurrency,
            attempts=attempts,
            max_tokens=options.max_tokens,
            dimensions=options.dimensions,
        )
        self._endpoint = Endpoint.from_options(options, f"the embedder 'openai:{model}'")
        self._cache = None if options.cache_path is None else VectorCache(options.cache_path)
        self._model = model
        self._asked_dimension = self._dimension = options.dimensions
        self._max_tokens = options.max_tokens
        self._progress = progress
        self._batch_size = batch_size
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._attempts = attempts
        self.truncated = 0

    @property
    def id(self) -> str:
        """``openai:<model>``, and ``@<dimensions>`` when shorter vectors are asked for."""
        asked = self._asked_dimension
        return f"openai:{self._model}" + ("" if asked is None else f"@{asked}")

    @property
    def dimension(self) -> int:
        """Length of each vector; a word is embedded to learn it, unless something was embedded before.

        Raises:
            EmbeddingError: If that fails.
        """
        if self._dimension is None:
            self._dimension = self._embed(["dimension"], None).shape[1]
        return self._dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimension) unit rows, in the order of the texts.

        Each distinct text is sent once, unless the cache knows it. Every finished batch is put into the cache
        at once: after an interruption, the same call asks only for the rest. Inside a running event loop it
        works too, and blocks it.

        Raises:
            EmbeddingError: If a text is empty, or the server cannot be reached, refuses, or answers nonsense.
        """
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return self._embed(texts, self._progress)

    def _embed(self, texts: Sequence[str], progress: Progress | None) -> Vectors:
        fitting = [text if self._max_tokens is None else clip_tokens(text, self._max_tokens) for text in texts]
        shortened = {sent for text, sent in zip(texts, fitting, strict=True) if text != sent}

        def produce(missing: Sequence[str], deliver: Deliver) -> None:
            _run(self._send_all(missing, deliver, shortened))

        vectors = embed_missing(
            fitting, produce, self.id, dimension=self._dimension, cache=self._cache, progress=progress
        )
        self._dimension = vectors.shape[1]
        self.truncated += len(shortened)
        return vectors

    async def _send_all(self, texts: Sequence[str], deliver: Deliver, shortened: set[str]) -> None:
        """Send batches from a few workers that share one session; the first failure stops them all."""
        import aiohttp

        batches = (texts[start : start + self._batch_size] for start in range(0, len(texts), self._batch_size))
        async with aiohttp.ClientSession(
            headers=self._endpoint.headers,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            connector=aiohttp.TCPConnector(limit=self._concurrency),
        ) as session:
            workers = [
                asyncio.create_task(self._work(session, batches, deliver, shortened)) for _ in range(self._concurrency)
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self, session: Any, batches: Iterator[Sequence[str]], deliver: Deliver, shortened: set[str]
    ) -> None:
        for batch in batches:
            deliver(batch, await self._embed_batch(session, batch, shortened))

    async def _embed_batch(self, session: Any, texts: Sequence[str], shortened: set[str]) -> Vectors:
        """Embed one batch, in smaller parts if the server finds it too long."""
        try:
            return await self._request(session, texts)
        except Refusal as refusal:
            if len(texts) == 1:
                shortened.add(texts[0])
                return await self._embed_shortened(session, texts[0], refusal)
        half = len(texts) // 2
        first = await self._embed_batch(session, texts[:half], shortened)
        return np.concatenate([first, await self._embed_batch(session, texts[half:], shortened)])

    async def _embed_shortened(self, session: Any, text: str, refusal: Refusal) -> Vectors:
        """Halve a text until the server takes it."""
        for _ in range(_MAX_HALVINGS):
            if len(text) < _SHORTEST:
                break
            text = clip(text, len(text) // 2)
            try:
                return await self._request(session, [text])
            except Refusal as another:
                refusal = another
        raise EmbeddingError(f"{self._endpoint.shown} {refusal}; it refuses even a text cut to {len(text)} characters")

    async def _request(self, session: Any, texts: Sequence[str]) -> Vectors:
        """Send one request until it succeeds or no further attempt is due.

        Raises:
            Refusal: If fewer or shorter texts may succeed.
            EmbeddingError: If anything else went wrong.
        """
        import aiohttp
        import stamina

        tries = 0
        try:
            async for attempt in stamina.retry_context(
                on=_wait_before_retry,
                attempts=self._attempts,
                timeout=None,
                wait_initial=_FIRST_WAIT_S,
                wait_max=_LONGEST_WAIT_S,
            ):
                tries = attempt.num
                with attempt:
                    body = await self._post(session, texts)
        except Refusal as refusal:
            if refusal.is_too_long:
                raise
            raise EmbeddingError(f"{self._endpoint.shown} {refusal} (attempts: {tries})") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            # str(error) may hold the whole URL, with secrets in its query
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise EmbeddingError(
                f"{self._endpoint.shown} gave no answer: {reason} (attempts: {tries}, each up to "
                f"{self._timeout_s:g} s); is the server running, and is --embedding-base-url right?"
            ) from None
        return self._read(body, len(texts))

    async def _post(self, session: Any, texts: Sequence[str]) -> bytes:
        request = encode_request(self._model, texts, self._asked_dimension)
        async with session.post(self._endpoint.url, data=request, allow_redirects=False) as response:
            body: bytes = await response.read()
            if response.status != HTTPStatus.OK:
                secrets = (self._endpoint.api_key, *texts)
                raise Refusal(response.status, body, secrets, response.headers.get("Retry-After"))
            return body

    def _read(self, body: bytes, n_texts: int) -> Vectors:
        """Decode an answer and hold it to the dimension of the first one."""
        try:
            rows = decode_vectors(body, n_texts)
        except EmbeddingError as error:
            raise EmbeddingError(f"{self._endpoint.shown} sent {error}") from None
        dimension = rows.shape[1]
        if self._dimension not in {None, dimension}:
            raise EmbeddingError(
                f"{self._endpoint.shown} sent vectors of length {dimension} for {self.id!r}, "
                f"where {self._dimension} is expected"
            )
        self._dimension = dimension
        return unit_rows(rows)


def _check_at_least_one(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise EmbeddingError(f"{name} is {number}; it must be at least 1")


def _wait_before_retry(error: Exception) -> bool | float:
    """Tell stamina whether to try again: no, yes, or after this many seconds."""
    import aiohttp

    if isinstance(error, Refusal):
        return error.is_transient if error.wait_s is None or not error.is_transient else error.wait_s
    lost = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)
    return isinstance(error, lost) and not isinstance(error, aiohttp.ClientSSLError)


def _run(job: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end; in a thread of its own if this one has a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(job)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(asyncio.run, job).result()
