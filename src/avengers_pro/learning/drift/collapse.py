"""Whether the gateway has come down to one model although its router would use several."""

import numpy as np
from numpy.typing import NDArray

from avengers_pro.learning.drift.finding import Measurement
from avengers_pro.records.table import Floats

CHECK = "models in use"
LEAST_EXPECTED = 1.5
"""Effective number of models from which on there is something to collapse."""
SHARE = 0.25
"""Drift = of the models beyond the first, no more than this share is left."""
_DRAWS = 999
_ADVICE = (
    "almost all answers come from {model} although the router would spread them: look for failing upstreams, open "
    "breakers, clients that pin a model, or prices that have changed"
)


def effective_models(shares: Floats) -> Floats:
    """Return exp(entropy) of shares: 1 = one model has all, m = m models have the same.

    Args:
        shares: (..., m) that add up to 1.

    Returns:
        (...) numbers in [1, m].
    """
    logs = np.log(shares, out=np.zeros(shares.shape), where=shares > 0)
    found: Floats = np.exp(-(shares * logs).sum(axis=-1))
    return found


def check_collapse(
    served: NDArray[np.intp], expected_shares: Floats, training: int, models: tuple[str, ...], seed: int = 0
) -> Measurement:
    """Test whether far fewer models answer than the router would choose.

    The p-value is that of a parametric bootstrap: shares drawn as from the training rows, answers drawn from them.

    Args:
        served: (n,) columns of the models that answered.
        expected_shares: (m,) as on the training rows.
        training: Rows behind these shares.
        models: m names.
        seed: Of the draws.
    """
    n = len(served)
    expected = float(effective_models(expected_shares))
    if n == 0 or expected < LEAST_EXPECTED:
        return Measurement(
            check=CHECK,
            rows=n,
            expected=expected,
            problem="no answer" if n == 0 else f"on its training rows the router itself uses {expected:.1f} models",
        )
    shares = np.bincount(served, minlength=len(models)) / n
    found = float(effective_models(shares))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(training, expected_shares, size=_DRAWS) / training
    by_chance = effective_models(rng.multinomial(n, drawn) / n)
    threshold = 1 + SHARE * (expected - 1)
    return Measurement(
        check=CHECK,
        rows=n,
        value=found,
        expected=expected,
        threshold=threshold,
        beyond=found <= threshold,
        p_value=(1 + int((by_chance <= found).sum())) / (1 + _DRAWS),
        shown=f"{found:.2f} ({expected:.2f} on training rows)",
        limit=f"{threshold:.2f}",
        advice=_ADVICE.format(model=models[int(shares.argmax())]),
    )
