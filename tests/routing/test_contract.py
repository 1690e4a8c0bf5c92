"""The contract catches methods that break it: each check, a method that is sound but for one thing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.routing import build_method
from avengers_pro.routing.contract import CHECKS, check_method, simulated_records


@dataclass(frozen=True)
class Bent:
    """The method ``knn`` with one thing about its estimates, its fit or its restoring bent."""

    estimates: Callable[..., Any] = lambda found, _: found
    records: Callable[..., Any] = lambda records: records
    restores: Callable[..., Any] | None = None
    given: Mapping[str, Any] | None = None
    name: str = "bent"
    uses_alpha: bool = True
    features: str = "none"
    inner = build_method("knn", {"neighbours": 30})

    def params(self):
        return self.given or {}

    def fit(self, records, vectors, seed):
        return FittedBent(self.inner.fit(self.records(records), vectors, seed), self)

    def restore(self, models, arrays):
        if self.restores is not None:
            return self.restores(self, models, arrays)
        return FittedBent(self.inner.restore(models, arrays), self)


@dataclass(frozen=True)
class FittedBent:
    inner: Any
    method: Bent
    cluster_profile: None = None

    @property
    def models(self):
        return self.inner.models

    def arrays(self):
        return self.inner.arrays()

    def estimate(self, queries):
        return self.method.estimates(self.inner.estimate(queries), queries)


@dataclass(frozen=True)
class Weighed:
    """An estimate whose utility is another one."""

    inner: Any
    weigh: Callable[[Any, float], Any]

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def utility(self, alpha):
        return self.weigh(self.inner, alpha)


def utility(weigh):
    return lambda found, _: Weighed(found, weigh)


CHANCE = np.random.default_rng(0)
BENT = {
    "shapes": [
        Bent(name=""),
        Bent(features="colour"),
        Bent(given={"levels": (1, 2)}),
        Bent(records=lambda records: records.select_models(records.models[:3])),
        Bent(lambda found, _: replace(found, observations=found.observations[:, :1])),
        Bent(lambda found, _: replace(found, clusters=np.zeros((1, 1), dtype=np.intp))),
    ],
    "ranges": [
        Bent(lambda found, _: replace(found, expected_score=found.expected_score * 2)),
        Bent(lambda found, _: replace(found, expected_cost=-found.expected_cost)),
        Bent(utility(lambda found, alpha: np.where(found.expected_score > 0.5, np.nan, found.utility(alpha)))),
        Bent(utility(lambda found, alpha: np.full_like(found.utility(alpha), -np.inf))),
    ],
    "repeatable": [
        Bent(utility(lambda found, alpha: found.utility(alpha) + CHANCE.random(found.expected_score.shape))),
        Bent(lambda found, queries: (queries.vectors.__imul__(2), found)[1]),
    ],
    "permuted expectations": [
        Bent(lambda found, _: replace(found, expected_score=found.expected_score * [1, 0.9, 0.8, 0.7]))
    ],
    "permuted choices": [Bent(utility(lambda found, alpha: found.utility(alpha) + np.arange(4) / 100))],
    "one by one": [Bent(utility(lambda found, alpha: found.utility(alpha) - found.utility(alpha).mean(axis=0)))],
    "duplicates": [
        Bent(utility(lambda found, alpha: found.utility(alpha) + np.arange(len(found.expected_score))[:, None])),
    ],
    "missing": [
        Bent(records=lambda records: replace(records, scores=np.nan_to_num(records.scores))),
        Bent(utility(lambda found, alpha: np.where(np.isnan(found.expected_score), 9.0, found.utility(alpha)))),
    ],
    "unpriced": [Bent(utility(lambda found, alpha: alpha * found.expected_score - (1 - alpha) * found.expected_cost))],
    "currency": [Bent(utility(lambda found, alpha: alpha * found.expected_score - (1 - alpha) * found.expected_cost))],
    "alpha": [
        Bent(uses_alpha=False),
        Bent(utility(lambda found, _: found.utility(0.5))),
        Bent(utility(lambda found, alpha: found.utility(1 - alpha))),
    ],
    "restored": [
        Bent(restores=lambda bent, *_: bent.fit(*simulated_records(seed=9), 0)),
        Bent(restores=lambda bent, models, arrays: FittedBent(bent.inner.restore(models[::-1], arrays), bent)),
    ],
}


def test_a_sound_method_passes():
    check_method(Bent())
    assert BENT.keys() == CHECKS.keys()


@pytest.mark.parametrize(
    ("check", "number"), [(check, number) for check, methods in BENT.items() for number in range(len(methods))]
)
def test_each_check_catches_what_it_is_for(check, number):
    with pytest.raises(MethodError, match="expected "):
        CHECKS[check](BENT[check][number])


def test_the_message_names_method_check_and_expectation():
    with pytest.raises(MethodError, match=r"method 'bent' fails the check 'alpha': expected the same choices"):
        check_method(Bent(uses_alpha=False))


def test_checks_can_be_skipped_by_name_only():
    check_method(Bent(uses_alpha=False), skip={"alpha"})
    with pytest.raises(MethodError, match="no check is named 'alhpa'"):
        check_method(Bent(), skip={"alhpa"})


def test_damage_that_goes_unnoticed_is_caught():
    def careless(bent, models, arrays):
        return FittedBent(bent.inner.restore(models, {**arrays, "costs": arrays["costs"]}), bent)

    def careful(bent, models, arrays):
        if "costs" not in arrays:
            raise DamagedArtifactError("no costs")
        return careless(bent, models, arrays)

    with pytest.raises(MethodError, match="DamagedArtifactError when 'costs' is missing"):
        CHECKS["restored"](Bent(restores=careless))
    CHECKS["restored"](Bent(restores=careful))
