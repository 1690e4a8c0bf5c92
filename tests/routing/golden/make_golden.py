"""Write recipe.npz: our method worked out a second time, from its description, by plain loops, without the package.

    python tests/routing/golden/make_golden.py

Simulated records of 150 queries x 4 models; 105 train. Three cases share texts, vectors and centroids: ``open`` has
something to learn; in ``closed`` and ``static`` the outcomes are dealt to other queries, so that the guard stays
shut, and in ``static`` no level predicts anything. Every number is worked out one cell at a time in float64; only
k-means is simpler than the real one, since centroids are given.
"""

import math
import re
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("recipe.npz")
SEED = 22
"""Its shuffles leave a little to predict in ``closed``, where a dearer policy is 1.9 errors ahead."""
N, MODELS, TRAIN, DIMENSION = 150, 4, 105, 4
SIZES = (8, 16, 32, 64, 128)
ALPHAS = [step / 10 for step in range(11)]
SHARES = (1.0, 0.95, 0.9, 0.8)
WINDOW = 200
BUDGETS = (0.002, 0.004, 0.008, 1.0)
Z90 = 1.2815515655446004
"""Standard normal quantile of 90 %."""

# --- simulated records ------------------------------------------------------------------------------------------


def simulate():
    """Return texts, unit vectors (n, 4), scores and costs (n, 4), the order of train then test, and two shuffles."""
    rng = np.random.default_rng(SEED)
    topic, form = rng.integers(0, 4, N), rng.integers(0, 3, N)
    vectors = rng.normal(size=(4, DIMENSION))[topic] * 1.5 + rng.normal(size=(N, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32).astype(np.float64)
    texts = [text_of(int(kind), row, rng) for row, kind in enumerate(form)]
    skill = rng.uniform(0.0, 0.8, (4, 3, MODELS))[topic, form] + np.array([0.0, 0.05, 0.1, 0.2])
    scores = np.round(np.clip(skill + rng.normal(size=(N, MODELS)) * 0.3, 0, 1) * 4) / 4
    costs = np.array([1.0, 2.0, 4.0, 9.0]) * 1e-3 * rng.lognormal(sigma=0.5, size=(N, MODELS)) * (1 + form[:, None])
    costs = costs.astype(np.float32).astype(np.float64)
    return texts, vectors, scores, costs, *(rng.permutation(N).astype(np.int16) for _ in range(3))


def text_of(form, row, rng):
    words = " ".join(["why", "two", "Paris", "over", "x1"][i] for i in rng.integers(0, 5, rng.integers(2, 8)))
    if form == 0:
        return f"{words}, and what is {row} + {row * 7}?"
    if form == 1:
        return f'def f{row}(x):\n    return {{"a": x[{row}]}}\n\n# {words}'
    return f"Let $\\alpha_{{{row}}} = {row}$. {words.capitalize()} é\nA) {row}\nB) none\n(C) both"


# --- representation -----------------------------------------------------------------------------------------


def features_of(text):
    head = text[:8000]
    n, words = len(head) + 1, head.split()
    nw = len(words) + 1

    def share(belongs):
        return sum(1 for char in head if belongs(char)) / n

    return [
        math.log(n),
        50 * share(lambda c: c == "\n"),
        5 * share(str.isdigit),
        5 * share(str.isupper),
        5 * share(lambda c: c in "{}[]();=_<>"),
        50 * share(lambda c: c == "\\"),
        50 * share(lambda c: c == "$"),
        float("```" in head or "def " in head or "import " in head),
        math.log1p(len(re.findall(r"(?:^|\n)\s*\(?[A-J][\).:]\s", head))),
        100 * share(lambda c: c == "?"),
        len(set(words)) / nw,
        sum(len(word) for word in words) / nw / 5,
        float(head.rstrip().endswith("?")),
        5 * share(lambda c: ord(c) > 127),
        5 * share(lambda c: c in "+-*/^=<>≤≥"),
        float("http://" in head or "https://" in head),
        100 * share(lambda c: c == '"'),
        float("{" in head and '"' in head and ":" in head),
        float(head[:1].islower()),
        math.log1p(head.count("\n\n")),
        100 * share(lambda c: c == ","),
        100 * share(lambda c: c == "."),
    ]


def moments(values):
    """Return mean and standard deviation, dividing by the number of values."""
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def represent(vectors, features, train):
    """Return x = [e ; f * z], each feature's mean and factor, and f."""
    spread = sum(moments([vectors[i][d] for i in train])[1] ** 2 for d in range(DIMENSION))
    factor = math.sqrt(0.28 / (1 - 0.28) * spread / 22)
    means, scales = [], []
    for j in range(22):
        mean, deviation = moments([features[i][j] for i in train])
        means.append(mean)
        scales.append(0.0 if deviation <= 1e-6 else factor / deviation)
    rows = []
    for i in range(len(vectors)):
        scaled = [(features[i][j] - means[j]) * scales[j] for j in range(22)]
        rows.append([*vectors[i], *(min(max(value, -3 * factor), 3 * factor) for value in scaled)])
    return np.array(rows), np.array(means), np.array(scales), factor


# --- clusters -----------------------------------------------------------------------------------------------


def square(a, b):
    return float(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)))


def some_centroids(rows, k):
    """Move the first k rows to the means of their nearest rows, five times."""
    centroids = [list(row) for row in rows[:k]]
    for _ in range(5):
        nearest = [min(range(k), key=lambda c: square(row, centroids[c])) for row in rows]
        for c in range(k):
            mine = [row for row, label in zip(rows, nearest, strict=True) if label == c]
            if mine:
                centroids[c] = [sum(column) / len(mine) for column in zip(*mine, strict=True)]
    return np.array(centroids).astype(np.float32)


def temperature(rows, centroids):
    return 0.12 * sum(min(square(row, c) for c in centroids) for row in rows) / len(rows) + 1e-12


def members(row, centroids, heat):
    """Return {cluster: weight} of the four nearest."""
    squares = [square(row, c) for c in centroids]
    near = sorted(range(len(centroids)), key=lambda c: squares[c])[:4]
    raw = {c: math.exp(-(squares[c] - squares[near[0]]) / heat) for c in near}
    return {c: weight / sum(raw.values()) for c, weight in raw.items()}


# --- tables -------------------------------------------------------------------------------------------------


def centred(row):
    mean = sum(row) / len(row)
    return [value - mean for value in row]


def strength_of(scores, belonging, k):
    """Method of moments on the row-centred scores."""
    n = len(scores)
    residual = [centred(row) for row in scores]
    column = [sum(row[m] for row in residual) / n for m in range(MODELS)]
    residual = [[row[m] - column[m] for m in range(MODELS)] for row in residual]
    total = sum(value**2 for row in residual for value in row)
    counts = [sum(w.get(c, 0.0) for w in belonging) for c in range(k)]
    between = 0.0
    for c in range(k):
        for m in range(MODELS):
            if counts[c] > 0:
                mean = sum(w.get(c, 0.0) * row[m] for w, row in zip(belonging, residual, strict=True)) / counts[c]
                between += counts[c] * mean**2
    if k == 1 or n <= k:
        return 200.0
    within = (total - between) / (n - k)
    typical = (n - sum(count**2 for count in counts) / n) / (k - 1)
    variance = (between / (k - 1) - within) / typical
    return 200.0 if variance <= 0 else min(max(0.7 * within / variance, 2.0), 200.0)


def tables(values, belonging, k):
    """Return each cluster's count and sums of deviations."""
    counts, sums = [0.0] * k, [[0.0] * MODELS for _ in range(k)]
    for row, weights in zip(values, belonging, strict=True):
        for c, weight in weights.items():
            counts[c] += weight
            for m in range(MODELS):
                sums[c][m] += weight * row[m]
    return counts, sums


def predicted(weights, counts, sums, strength, own=None):
    """Return what a level adds for each model; ``own`` takes the row itself out of the tables first."""
    found = [0.0] * MODELS
    for c, weight in weights.items():
        for m in range(MODELS):
            mine = weight * own[m] if own is not None else 0.0
            count = counts[c] - (weight if own is not None else 0.0)
            found[m] += weight * (sums[c][m] - mine) / (count + strength)
    return found


def r2(truth, guess):
    error = sum((t - g) ** 2 for a, b in zip(truth, guess, strict=True) for t, g in zip(a, b, strict=True))
    return 1 - error / sum(t**2 for row in truth for t in row)


def shares_of(found):
    squares = [max(value, 0.0) ** 2 for value in found]
    return [value / sum(squares) if sum(squares) > 0 else 0.0 for value in squares]


# --- decision -----------------------------------------------------------------------------------------------


def walk(expected, dollars, scores, costs, prices):
    """Return each price's mean score and cost, and the scores of its choices; ties go to the cheaper model."""
    cheapest = sorted(range(MODELS), key=lambda m: sum(row[m] for row in dollars) / len(dollars))
    means, outcomes = [], []
    for price in prices:
        chosen = []
        for p, q in zip(expected, dollars, strict=True):
            best = cheapest[0]
            for m in cheapest[1:]:
                if p[m] - price * q[m] > p[best] - price * q[best]:
                    best = m
            chosen.append(best)
        outcomes.append([scores[i][m] for i, m in enumerate(chosen)])
        means.append((sum(outcomes[-1]) / len(scores), sum(costs[i][m] for i, m in enumerate(chosen)) / len(scores)))
    return [score for score, _ in means], [cost for _, cost in means], outcomes


def arc_of(scores, costs, start):
    """Return the position of each price on the path, both axes scaled to [0, 1] and made monotone."""

    def scaled(values):
        lowest = [min(values[: i + 1]) for i in range(len(values))]
        width = max(lowest) - min(lowest)
        return [(value - min(lowest)) / (width or 1.0) for value in lowest]

    x, y = scaled(costs), scaled(scores)
    length = [0.0]
    for i in range(1, len(x)):
        step = math.hypot(x[i] - x[i - 1], y[i] - y[i - 1])
        length.append(length[-1] + (step if i > start else 0.0))
    return [value / length[-1] for value in length]


def price_of(alpha, arc, prices):
    """Interpolate log price along the arc; price 0 stands for a tenth of the smallest."""
    logs = [math.log(max(price, prices[1] / 10)) for price in prices]
    position = 1 - alpha
    if position >= arc[-1]:
        return prices[-1]
    for i in range(len(arc) - 1, 0, -1):
        if arc[i - 1] <= position <= arc[i] and arc[i] > arc[i - 1]:
            part = (position - arc[i - 1]) / (arc[i] - arc[i - 1])
            return math.exp(logs[i - 1] + part * (logs[i] - logs[i - 1]))
    return math.exp(logs[-1])


def price_of_target(share, z, path, single, single_cost):
    """Return the price of the cheapest policy that keeps the share, NaN if only the reference does."""
    best = (math.inf, math.nan)
    for price, cost, outcome in path:
        mean, deviation = moments([got - share * mine for got, mine in zip(outcome, single, strict=True)])
        if cost <= single_cost and mean - z * deviation / math.sqrt(len(single)) >= 0 and cost < best[0]:
            best = (cost, price)
    return best[1]


def novelty_limit(rows):
    """Return the 99 % quantile of the mean distances to the five nearest other rows."""
    means = []
    for i, row in enumerate(rows):
        distances = sorted(math.sqrt(square(row, other)) for j, other in enumerate(rows) if j != i)
        means.append(sum(distances[:5]) / 5)
    means.sort()
    place = 0.99 * (len(means) - 1)
    low = math.floor(place)
    return means[low] + (place - low) * (means[low + 1] - means[low])


# --- one case ---------------------------------------------------------------------------------------------------


def expectations(scores, costs, belonging, held, sizes):
    """Return means, strengths, level weights and expectations of train rows, each left out, and of held-out rows.

    Args:
        scores: Of the train rows.
        costs: Likewise.
        belonging: For each level, each train row's {cluster: weight}.
        held: The same for held-out rows.
        sizes: Clusters of each level.
    """
    n = len(scores)
    g, gc = ([sum(row[m] for row in values) / n for m in range(MODELS)] for values in (scores, costs))
    deviation = [[row[m] - g[m] for m in range(MODELS)] for row in scores]
    relative = [[row[m] / gc[m] - 1 for m in range(MODELS)] for row in costs]
    strengths, r2_score, r2_cost, on_train, on_held = [], [], [], [], []
    for mine, theirs, k in zip(belonging, held, sizes, strict=True):
        strength = strength_of(scores, mine, k)
        loo, out = [], []
        for values, prior in ((deviation, strength), (relative, max(strength, 10.0))):
            counts, sums = tables(values, mine, k)
            loo.append([predicted(w, counts, sums, prior, own) for w, own in zip(mine, values, strict=True)])
            out.append([predicted(w, counts, sums, prior) for w in theirs])
        strengths.append(strength)
        r2_score.append(r2([centred(row) for row in deviation], [centred(row) for row in loo[0]]))
        r2_cost.append(r2(relative, loo[1]))
        on_train.append(loo)
        on_held.append(out)
    u, v = shares_of(r2_score), shares_of(r2_cost)
    found = {"strengths": strengths, "score_weights": u, "cost_weights": v, "mean_scores": g, "mean_costs": gc}
    for where, levels in (("train", on_train), ("held", on_held)):
        rows = range(len(levels[0][0]))
        expected = [
            [g[m] + sum(u[i] * levels[i][0][row][m] for i in range(len(sizes))) for m in range(MODELS)] for row in rows
        ]
        dollars = [
            [gc[m] * max(1 + sum(v[i] * levels[i][1][row][m] for i in range(len(sizes))), 0.02) for m in range(MODELS)]
            for row in rows
        ]
        found[where] = [expected, dollars]
    return found


def decisions(found, scores, costs):
    """Return the path of prices, the guard, and what alpha, targets and budgets become."""
    n, g, gc = len(scores), found["mean_scores"], found["mean_costs"]
    grid = [0.0, *(10 ** (-4 + 7 * step / 199) for step in range(200))]
    prices = [price / (sum(gc) / MODELS) for price in grid]
    so, co, outcomes = walk(*found["train"], scores, costs, prices)
    r = max(range(MODELS), key=lambda m: g[m])
    single = [row[r] for row in scores]
    mean, deviation = moments([got - mine for got, mine in zip(outcomes[0], single, strict=True)])
    z = mean / (deviation / math.sqrt(n)) if deviation > 0 else 0.0
    is_open = mean > 0 and z >= (1.0 if co[0] <= gc[r] else 2.0)
    arc = arc_of(so, co, 0 if is_open else min(i for i in range(len(co)) if co[i] <= gc[r]))
    path = list(zip(prices, co, outcomes, strict=True))
    targets = [
        price_of_target(share, Z90 * math.sqrt(more), path, single, gc[r])
        for share in SHARES
        for more in (1.0, 1 + n / WINDOW)
    ]
    within = [[i for i in range(len(co)) if co[i] <= dollars] for dollars in BUDGETS]
    budgets = [prices[max(lines, key=lambda i: so[i])] if lines else prices[-1] for lines in within]
    return {
        "reference": r,
        "guard_z": z,
        "open": is_open,
        "path": [so, co, arc],
        "alpha_prices": [price_of(alpha, arc, prices) for alpha in ALPHAS[:-1]],
        "target_prices": targets,
        "budget_prices": budgets,
    }


def golden():
    """Return every array by name: the input, what the cases share, and each case's own.

    Large results are rounded to single precision, 6e-8, to keep the file small.
    """
    texts, vectors, scores, costs, order, closed, static = simulate()
    train, held = order[:TRAIN].tolist(), order[TRAIN:].tolist()
    features = [features_of(text) for text in texts]
    rows, means, scales, factor = represent(vectors, features, train)
    sizes = list(dict.fromkeys(min(k, max(1, TRAIN // 5)) for k in SIZES))
    made = {"texts": np.array(texts), "vectors": vectors.astype(np.float32), "scores": scores, "sizes": np.array(sizes)}
    made |= {"costs": costs.astype(np.float32), "train": order[:TRAIN], "held": order[TRAIN:]}
    made |= {
        "held_features": np.array([features[i] for i in held], dtype=np.float32),
        "feature_means": means,
        "feature_scales": scales,
    }
    made |= {"feature_limit": np.array(3 * factor), "temperatures": np.empty(len(sizes))}
    made["novelty_limit"] = np.array(novelty_limit(rows[train]))
    belonging, theirs = [], []
    for level, k in enumerate(sizes):
        centroids = some_centroids(rows[train], k)
        made[f"centroids_{k}"] = centroids
        exact = centroids.astype(np.float64)
        heat = made["temperatures"][level] = temperature(rows[train], exact)
        belonging.append([members(rows[i], exact, heat) for i in train])
        theirs.append([members(rows[i], exact, heat) for i in held])
    for case, deal in (("open", np.arange(N, dtype=np.int16)), ("closed", closed), ("static", static)):
        s, c = ([values[deal[i]].tolist() for i in train] for values in (scores, costs))
        found = expectations(s, c, belonging, theirs, sizes)
        found |= decisions(found, s, c) | {"deal": deal}
        for name, values in found.items():
            made[f"{case}_{name}"] = np.array(values, dtype=np.float32 if name in {"train", "held"} else None)
    return made


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden())
