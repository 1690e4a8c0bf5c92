"""Deciding together for the requests that come together: under load, one pass of matrix products serves several.

A request alone is decided in the event loop's next turn but one. A turn takes microseconds: nobody waits for company.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import EmbeddingError
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.decision import Decision
from avengers_pro.routing.prompt import Prompt

Vector = NDArray[np.float32]
Decided = tuple[Decision, Vector | None]
"""A decision, and the (d,) vector it was made from if that is kept."""
MOST = 12
"""Requests decided in one turn: embedding them takes about a millisecond, in which nothing else moves."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    text: str
    policy: Policy
    prompt: Prompt
    decision: "asyncio.Future[Decided]"


class Batcher:
    """Decides with one router, whose embedder must be quick."""

    def __init__(self, router: Router, *, keeps_vectors: bool = False) -> None:
        """Begin with nothing waiting."""
        self._router, self._keeps_vectors = router, keeps_vectors
        self._waiting: list[_Waiting] = []

    def decide(self, text: str, policy: Policy, prompt: Prompt) -> "asyncio.Future[Decided]":
        """Return the decision to come; it fails with EmbeddingError if the text cannot be embedded.

        Args:
            text: To route by; not empty.
            policy: What is wanted.
            prompt: What is known of the whole prompt.
        """
        loop = asyncio.get_running_loop()
        decision: asyncio.Future[Decided] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._turn, 0)
        self._waiting.append(_Waiting(text, policy, prompt, decision))
        return decision

    def _turn(self, before: int) -> None:
        """Decide for those that wait, unless more have come since the turn before and there is still room."""
        count, loop = len(self._waiting), asyncio.get_running_loop()
        if before < count < MOST:
            loop.call_soon(self._turn, count)
            return
        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if self._waiting:
            loop.call_soon(self._turn, 0)
        by_policy: dict[Policy, list[_Waiting]] = {}
        for one in batch:
            if not one.decision.cancelled():
                by_policy.setdefault(one.policy, []).append(one)
        for policy, group in by_policy.items():
            self._decide(policy, group)

    def _decide(self, policy: Policy, group: Sequence[_Waiting]) -> None:
        try:
            vectors = self._router.embed([one.text for one in group])
        except EmbeddingError as error:
            if len(group) == 1:
                group[0].decision.set_exception(error)
                return
            for one in group:  # one text spoils the batch: each by itself
                self._decide(policy, [one])
            return
        found = self._router.iter_decisions(vectors, policy, [one.prompt for one in group])
        kept = vectors if self._keeps_vectors else [None] * len(group)
        for one, decision, vector in zip(group, found, kept, strict=True):
            one.decision.set_result((decision, vector))
