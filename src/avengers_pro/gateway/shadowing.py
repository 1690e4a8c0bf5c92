"""A second router that decides every routed request as well, and that nobody but the ledger listens to.

It shows what a new router would do on the traffic as it is, before anything depends on it. It decides when a request
is over, from the vector at hand, many requests together: no answer waits for it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import msgspec
import numpy as np

from avengers_pro.errors import AvengersProError, SettingsError, UnreachableRouterError
from avengers_pro.gateway.checking import Finding
from avengers_pro.gateway.deciding import Grounds, Plan, fingerprint_of
from avengers_pro.gateway.ledger import Closing
from avengers_pro.gateway.loading import load_router
from avengers_pro.gateway.needs import Needs
from avengers_pro.gateway.settings import Settings
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.artifact import EmbedderEntry
from avengers_pro.routing.decision import Decision
from avengers_pro.routing.place import RouterPlace

MOST = 32
"""Requests decided in one turn of the event loop, in which nothing else moves."""
GATHER_S = 0.02
"""How long requests gather: nobody waits for them, and a decision alone costs as much as six of thirty-two together."""
_log = logging.getLogger(__name__)


class Shadow:
    """A router that is tried out on the requests of another one, whose vectors it takes.

    Attributes:
        router: With the pool's prices; models that the pool has not are no candidates.
        fingerprint: Of its folder.
    """

    def __init__(self, router: Router, settings: Settings, fingerprint: str) -> None:
        """Join router and pool, and work out the policies that are sure to come.

        Raises:
            PolicyError: If the router cannot follow one of them.
        """
        self.router, self.fingerprint = router.with_pool(settings.models), fingerprint
        self._cards = {card.name: card for card in settings.models if card.name in router.models}
        self._narrowed = lru_cache(maxsize=1024)(self._narrow)
        for policy in (settings.policy, *settings.presets.values()):
            narrowed = self._narrowed(policy, tuple(self._cards))
            if narrowed is not None:
                self.router.route_blind(narrowed)

    def policy(self, asked: Policy, needs: Needs) -> Policy | None:
        """Return the policy, of the models that can do what is needed and that the router knows; None = of none."""
        able = tuple(name for name, card in self._cards.items() if needs.missing(card) is None)
        return self._narrowed(asked, able)

    def _narrow(self, policy: Policy, able: tuple[str, ...]) -> Policy | None:
        left = tuple(
            name
            for name in able
            if name not in policy.exclude
            and (policy.models is None or name in policy.models)
            and self._can(policy, name)
        )
        return replace(policy, models=left, exclude=()) if left else None

    def _can(self, policy: Policy, name: str) -> bool:
        capabilities = self._cards[name].capabilities
        return policy.can(None if capabilities is None else frozenset(capabilities))

    def decide(self, policy: Policy, grounds: Sequence[Grounds]) -> list[Decision]:
        """Decide for requests under one policy; for those without a vector by the means."""
        seen = [one for one in grounds if one.vector is not None]
        vectors = np.array([one.vector for one in seen], dtype=np.float32)
        found = iter(self.router.iter_decisions(vectors, policy, [one.prompt for one in seen]) if seen else ())
        return [self.router.route_blind(policy, one.prompt) if one.vector is None else next(found) for one in grounds]


def load_shadow(settings: Settings, beside: Router) -> Shadow | None:
    """Load ``[shadow] router``; None = there is none.

    Args:
        settings: As read.
        beside: The router in use; what it embeds must be what the other one understands.

    Raises:
        UnreachableRouterError: If its place does not answer.
        SettingsError: If it cannot be loaded, has another embedder, or has no model in common with the pool.
    """
    if settings.shadow.router is None:
        return None
    try:
        place = RouterPlace(settings.shadow.router)
        router, folder = load_router(place)
        _check_embedder(place.shown, router.embedding, beside.embedding)
        if not {card.name for card in settings.models} & set(router.models):
            raise SettingsError(f"{place.shown} knows none of [[models]]; it knows {', '.join(router.models)}")
        return Shadow(router, settings, fingerprint_of(folder))
    except UnreachableRouterError:
        raise  # not the settings' fault, and worth another try
    except AvengersProError as error:
        raise SettingsError(f"shadow.router: {error}") from error


def check_shadow(settings: Settings, beside: Router) -> tuple[Finding, ...]:
    """Return what is wrong with ``[shadow]``, or probably not meant; arguments as in ``load_shadow``."""
    try:
        shadow = load_shadow(settings, beside)
    except (SettingsError, UnreachableRouterError) as error:
        return (Finding("error", "shadow.router", str(error).removeprefix("shadow.router: ")),)
    missing = [] if shadow is None else sorted(set(shadow.router.models) - {card.name for card in settings.models})
    if not missing:
        return ()
    return (Finding("warning", "shadow.router", f"no [[models]] for {', '.join(missing)}: never its choice"),)


def _check_embedder(where: str, theirs: EmbedderEntry, ours: EmbedderEntry) -> None:
    if msgspec.structs.replace(theirs, spec=ours.spec) != ours:
        raise SettingsError(
            f"{where} was fitted with the embedder {theirs.id} ({theirs.dimension}-d), the router in use with "
            f"{ours.id} ({ours.dimension}-d): a shadow decides from the same vectors, so fit it with the same embedder"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    shadow: Shadow
    policy: Policy | None
    grounds: Grounds
    chosen: str | None
    closing: Closing


class Shadowing:
    """Completes closings with what the shadow would have chosen, and passes them on.

    Attributes:
        shadow: The shadow; replaced when the routers are loaded again.
    """

    def __init__(self, shadow: Shadow, finish: Callable[[Closing], None], count: Callable[[str], None]) -> None:
        """Begin with nothing waiting, in a running event loop.

        Args:
            shadow: Who decides.
            finish: Takes each closing, complete; called once for each, whatever happens.
            count: Told for each whether the two routers chose the ``same`` or a ``different`` model, or whether the
                shadow found none (``infeasible``) or could not decide (``failed``).
        """
        self.shadow = shadow
        self._finish, self._count = finish, count
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._preparing: set[asyncio.Future[Decision]] = set()
        self._told = ""

    def add(self, plan: Plan, closing: Closing) -> None:
        """Decide for a request that is over, soon; never blocks. One whose model the client named goes on as it is."""
        if plan.grounds is None or plan.decision is None:
            self._finish(closing)
            return
        vector = plan.grounds.vector
        if vector is not None and len(vector) != self.shadow.router.embedding.dimension:
            self._count("failed")  # the routers have been changed for some of another embedder since it was decided
            self._finish(closing)
            return
        if not self._waiting:
            self._loop.call_later(GATHER_S, self._turn)
        policy = self.shadow.policy(plan.grounds.policy, plan.needs)
        self._waiting.append(_Waiting(self.shadow, policy, plan.grounds, plan.decision.model, closing))

    async def close(self) -> None:
        """Decide for all that waits."""
        while self._waiting or self._preparing:
            self._turn()
            if self._preparing:
                await asyncio.wait(self._preparing)
                await asyncio.sleep(0)  # for what is to be done when they are

    def _turn(self) -> None:
        """Decide for those that want the same as the first one."""
        if not self._waiting:
            return
        first, group, others = self._waiting[0], list[_Waiting](), list[_Waiting]()
        for one in self._waiting[:MOST]:
            (group if one.shadow is first.shadow and one.policy == first.policy else others).append(one)
        self._waiting = others + self._waiting[MOST:]
        if self._waiting:
            self._loop.call_soon(self._turn)
        if first.policy is None or first.shadow.router.is_ready(first.policy):
            self._decide(first.shadow, first.policy, group)
        else:
            self._prepare(first.shadow, first.policy, group)

    def _prepare(self, shadow: Shadow, policy: Policy, group: Sequence[_Waiting]) -> None:
        """Work a new policy out in a thread, which takes some 40 ms, and then decide."""
        prepared = self._loop.run_in_executor(None, shadow.router.route_blind, policy)
        self._preparing.add(prepared)

        def go_on(done: "asyncio.Future[Decision]") -> None:
            self._preparing.discard(done)
            done.exception()  # deciding fails in the same way, and tells
            self._decide(shadow, policy, group)

        prepared.add_done_callback(go_on)

    def _decide(self, shadow: Shadow, policy: Policy | None, group: Sequence[_Waiting]) -> None:
        decisions: Sequence[Decision | None] = [None] * len(group)
        failed = True
        try:
            if policy is not None:
                decisions = shadow.decide(policy, [one.grounds for one in group])
            failed = False
        except AvengersProError as error:
            self._tell(str(error))
        finally:  # the ledger gets its rows even if this is a bug
            for one, decision in zip(group, decisions, strict=True):
                self._complete(one, decision, failed=failed)

    def _complete(self, one: _Waiting, decision: Decision | None, *, failed: bool) -> None:
        if failed:
            self._count("failed")
            self._finish(one.closing)
            return
        model = None if decision is None else decision.model
        score, cost = (None, None) if decision is None or model is None else decision.expectation(model)
        self._count("infeasible" if model is None else "same" if model == one.chosen else "different")
        said = {"shadow_model": model, "shadow_score": score, "shadow_cost_usd": cost}
        self._finish(msgspec.structs.replace(one.closing, shadow_router=one.shadow.fingerprint, **said))

    def _tell(self, message: str) -> None:
        """Log a failure, once as long as it stays the same."""
        if message != self._told:
            self._told = message
            _log.warning("the shadow router cannot decide: %s", message)
