"""From a request to the models to try, best first: policy, capabilities, conversation, decision."""

import asyncio
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from avengers_pro.errors import EmbeddingError, PolicyError, SettingsError
from avengers_pro.gateway.batching import Batcher, Decided, Vector
from avengers_pro.gateway.controls import Controls, asked_policy
from avengers_pro.gateway.exploring import explore
from avengers_pro.gateway.intent import intent
from avengers_pro.gateway.needs import Needs, needs_of
from avengers_pro.gateway.refused import RefusedError
from avengers_pro.gateway.request import CONTROLS_FIELD, ChatRequest
from avengers_pro.gateway.sessions import Sessions, in_tool_loop, session_key
from avengers_pro.gateway.settings import OWN_MODEL_NAME, Settings
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.artifact import HEADER, read_file
from avengers_pro.routing.decision import Decision
from avengers_pro.routing.place import header_fingerprint
from avengers_pro.routing.pool import ModelCard
from avengers_pro.routing.prompt import Prompt

Expected = tuple[str, float, float]
"""A model with its expected score and its expected cost of this request in US dollars; NaN = not known."""
_ANSWER_TOKENS = 512
"""Guess at an answer's length where nothing is known of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Grounds:
    """What a request was decided from, for those who look at it again.

    Attributes:
        policy: As it was asked for, of models that can do it or not.
        prompt: What is known of the whole prompt.
        vector: (d,) the embedded text; None = it was decided blindly, by the overall means.
    """

    policy: Policy
    prompt: Prompt
    vector: Vector | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with a request.

    Attributes:
        id: Of the decision; ids sort by time.
        chat: The request.
        policy: The policy that was applied.
        ranking: Models to try, best first, but for one that was drawn to be the first; never empty.
        baseline: The best single model on the same request; None = the router does not know the models.
        needs: What the request needs of a model.
        session: What the conversation is known by.
        decision: The router's; None = the client named its model.
        text: What was embedded; empty = nothing was.
        micros: Microseconds that deciding took.
        propensity: Probability, given the request, with which the first of the ranking was to be the first.
        grounds: What it was decided from; None = the client named its model, or nobody asks for them.
    """

    id: str
    chat: ChatRequest
    policy: Policy
    ranking: list[Expected]
    baseline: Expected | None
    needs: Needs
    session: bytes
    decision: Decision | None
    text: str
    micros: float
    propensity: float = 1.0
    grounds: Grounds | None = None

    @property
    def explores(self) -> bool:
        """Whether another model than the best-ranked one was drawn to be the first."""
        return self.propensity < 1 and self.decision is not None and self.ranking[0][0] != self.decision.model


class Decider:
    """Decides with one router and one pool; both are replaced together when the router is reloaded."""

    def __init__(self, router: Router, settings: Settings, sessions: Sessions, fingerprint: str) -> None:
        """Join router and pool: what the router knows, but the pool has not, is no candidate."""
        self.router = router.with_pool(settings.models)
        self._settings, self._sessions, self.fingerprint = settings, sessions, fingerprint
        self.cards: Mapping[str, ModelCard] = {card.name: card for card in settings.models}
        self.pool = tuple(name for name in self.router.models if name in self.cards)
        self._quick = self.router.embedding.spec == "static"
        self._explores = settings.explore.rate > 0
        self._keeps_grounds = settings.store.log_vectors or settings.shadow.router is not None
        self._chance = random.Random().random  # noqa: S311  # no secret depends on it
        self._capabilities = [
            None if fact.capabilities is None else frozenset(fact.capabilities) for fact in self.router.facts
        ]
        self._batcher = Batcher(self.router, keeps_vectors=self._explores or self._keeps_grounds)
        self._restricted = lru_cache(maxsize=1024)(self._restrict)
        if not self.pool:
            raise SettingsError(
                f"no model of the router has a [[models]] row; it knows {', '.join(self.router.models)}"
            )
        if self._quick:
            self.router.embed(["the first text loads the embedder"])
        known = self.router.route_blind(self._restricted(Policy(alpha=1.0), self.pool)).model
        self.best_single = self.pool[0] if known is None else known
        for policy in (settings.policy, *settings.presets.values()):
            self.router.route_blind(self._restricted(policy, self.pool))

    async def plan(
        self,
        chat: ChatRequest,
        controls: Controls,
        policy: Policy | None,
        caller: str | None,
        now: float,
        *,
        explores: bool = False,
    ) -> Plan:
        """Decide for one request.

        Args:
            chat: The request.
            controls: Its own settings.
            policy: What holds for it, as ``policy`` returns it; None = the client named its model.
            caller: Id of the API key.
            now: Seconds of the clock that sessions live by.
            explores: Whether the first choice may be drawn, if ``[explore]`` says so.

        Raises:
            RefusedError: If no model can do it, or none meets the policy.
        """
        started = time.perf_counter()
        needs = needs_of(chat)
        key = session_key(caller, controls.session, chat.messages)
        propensity, grounds = 1.0, None
        if policy is None:
            ranking, decision, text, applied = [self._named(chat.model, needs)], None, "", Policy(models=(chat.model,))
        else:
            applied = self._applied(policy, needs)
            text = intent(chat.messages)
            session = self._sessions.find(key, now)
            prompt = self._sessions.prompt(needs.prompt_tokens, session, now)
            try:
                decision, vector = await self._decide(text, applied, prompt)
            except PolicyError as error:
                raise RefusedError(400, str(error), param=CONTROLS_FIELD) from error
            ranking = decision.ranking()
            if not ranking:
                raise self._infeasible(policy, needs, decision)
            if in_tool_loop(chat.messages):
                if session is not None:
                    ranking.sort(key=lambda expected: expected[0] != session.model)
            elif explores and self._explores and vector is not None and prompt.cached_model is None:
                ranking, propensity = self._explored(ranking, decision)
            if self._keeps_grounds:
                grounds = Grounds(policy, prompt, vector)
        return Plan(
            f"dec_{time.time_ns() // 1_000_000:012x}{os.urandom(8).hex()}",
            chat,
            applied,
            ranking,
            self._baseline(decision),
            needs,
            key,
            decision,
            text,
            (time.perf_counter() - started) * 1e6,
            propensity,
            grounds,
        )

    def explain(self, plan: Plan) -> dict[str, Any]:
        """Return the grounds of a plan that was decided on a text."""
        return self.router.explain(plan.text, plan.policy).to_dict()

    def policy(self, model: str, controls: Controls) -> Policy | None:
        """Return what a request asks for; None if it names a model of the pool.

        Raises:
            RefusedError: If the model, a preset or a setting means nothing here.
        """
        if model in self.cards:
            said = [
                name for name in Controls.__struct_fields__ if name != "session" and getattr(controls, name) is not None
            ]
            if said:
                raise RefusedError(
                    400,
                    f"{', '.join(said)} cannot go with the model {model!r}, which is not chosen but named; ask for "
                    f"{OWN_MODEL_NAME!r} instead",
                    param=said[0],
                )
            return None
        for name in (*(controls.models or ()), *(controls.exclude or ())):
            if name not in self.pool:
                raise RefusedError(400, f"models and exclude: {_unknown(name, self.pool)}", param=CONTROLS_FIELD)
        asked = asked_policy(model, controls, self._settings.policy, self._settings.presets)
        if asked is not None:
            return asked
        known = [OWN_MODEL_NAME, *(f"{OWN_MODEL_NAME}/{name}" for name in self._settings.presets), *self.cards]
        raise RefusedError(404, _unknown(model, known), code="model_not_found", param="model")

    def _applied(self, policy: Policy, needs: Needs) -> Policy:
        """Leave only models that can do what is needed."""
        able = tuple(name for name in self.pool if needs.missing(self.cards[name]) is None)
        try:
            return self._restricted(policy, able)
        except PolicyError as error:
            raise self._infeasible(policy, needs) from error

    def _restrict(self, policy: Policy, able: tuple[str, ...]) -> Policy:
        allowed = policy.allowed(self.router.models, self._capabilities)
        left = tuple(name for name, fine in zip(self.router.models, allowed, strict=True) if fine and name in able)
        if not left:
            raise PolicyError("none is left")
        if len(left) == len(self.router.models):
            return policy
        return replace(policy, models=left, exclude=())

    def _infeasible(self, policy: Policy, needs: Needs, decision: Decision | None = None) -> RefusedError:
        """Say which constraint removed which model of the pool."""
        removed = {} if decision is None else {each.model: each.removed for each in decision.candidates}
        names_by_reason: dict[str, list[str]] = {}
        for name in self.pool:
            capabilities = self.cards[name].capabilities
            if name in policy.exclude:
                reason = "excluded by the policy"
            elif policy.models is not None and name not in policy.models:
                reason = "not among the policy's models"
            elif not policy.can(None if capabilities is None else frozenset(capabilities)):
                reason = f"not known to have {', '.join(policy.requires)}"
            else:
                reason = needs.missing(self.cards[name]) or str(removed.get(name))
            names_by_reason.setdefault(reason, []).append(name)
        why = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in names_by_reason.items())
        return RefusedError(422, f"infeasible: no model can take this request ({why})", code="infeasible")

    def _explored(self, ranking: list[Expected], decision: Decision) -> tuple[list[Expected], float]:
        """Draw who goes first; where no model meets the policy, nothing is tried on top of that."""
        if decision.relaxed:
            return ranking, 1.0
        return explore(ranking, self._settings.explore, decision.policy, self._chance())

    async def _decide(self, text: str, policy: Policy, prompt: Prompt) -> Decided:
        """Return the decision and, if it was not made blindly and somebody asks for it, the vector."""
        router = self.router
        if not router.is_ready(policy):
            await asyncio.to_thread(router.route_blind, policy)
        if not text:
            return router.route_blind(policy, prompt), None
        try:
            if self._quick:
                return await self._batcher.decide(text, policy, prompt)
            async with asyncio.timeout(self._settings.server.decision_timeout):
                vectors = await asyncio.to_thread(router.embed, [text])
        except (TimeoutError, EmbeddingError):
            return router.route_blind(policy, prompt), None
        return router.route_vector(vectors[0], policy, prompt), vectors[0]

    def _named(self, model: str, needs: Needs) -> Expected:
        """Expect of a model that the client named what it does on average."""
        score, cost = math.nan, math.nan
        if model in self.router.models:
            score, cost = self.router.route_blind(prompt=Prompt(needs.prompt_tokens)).expectation(model)
        if math.isnan(cost):
            cost = self.cards[model].cost_usd(needs.prompt_tokens, needs.answer_tokens or _ANSWER_TOKENS)
        return model, score, cost

    def _baseline(self, decision: Decision | None) -> Expected | None:
        if decision is None:
            return None
        best = self.best_single
        return best, *decision.expectation(best)


def fingerprint_of(folder: Path) -> str:
    """Return the fingerprint of a router's folder, by which ledgers name it.

    Raises:
        DamagedArtifactError: If it cannot be read.
    """
    return header_fingerprint(read_file(folder / HEADER))


def _unknown(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"no model is named {name!r}; {hint}"
