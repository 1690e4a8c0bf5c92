"""Published facts of one pool: 13 models on 10 datasets, with prices.

Source: LLMRouterBench, arXiv 2601.07206, Tables 9 (accuracy) and 10 (cost). The caption of Table 10 says
"$/1M tokens"; the values are total US dollars for all queries of the dataset. Datasets carry the prefix
``sim-`` because only these averages are real: the queries drawn for them are generated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDataset:
    """A dataset of the publication.

    Attributes:
        name: Label of the rows simulated for it.
        queries: Number of queries in the publication.
    """

    name: str
    queries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the publication says of one model on one dataset.

    Attributes:
        score: Mean score in [0, 1].
        cost_usd: Mean cost of one query, in US dollars.
    """

    score: float
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolModel:
    """A model of the publication.

    Attributes:
        name: As in the records, ``provider/name``.
        input_price: US dollars per million prompt tokens.
        output_price: US dollars per million completion tokens.
        published: Means by dataset name; None = not measured.
    """

    name: str
    input_price: float
    output_price: float
    published: Mapping[str, Published | None]

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of one call in US dollars, exact to 1e-8 (prices have at most two decimals)."""
        cents = prompt_tokens * round(100 * self.input_price) + completion_tokens * round(100 * self.output_price)
        return cents / 1e8


DATASETS = (
    PoolDataset(name="sim-aime", queries=60),
    PoolDataset(name="sim-livemathbench", queries=121),
    PoolDataset(name="sim-livecodebench", queries=1055),
    PoolDataset(name="sim-swe", queries=500),
    PoolDataset(name="sim-gpqa", queries=198),
    PoolDataset(name="sim-hle", queries=2158),
    PoolDataset(name="sim-mmlu-pro", queries=3000),
    PoolDataset(name="sim-simpleqa", queries=4326),
    PoolDataset(name="sim-arena-hard", queries=750),
    PoolDataset(name="sim-tau2", queries=278),
)
"""In the order of the columns of the two tables."""


def _published(cell: str, dataset: PoolDataset) -> Published | None:
    """Read ``accuracy in percent/total US dollars``, or ``-`` for what was not measured."""
    if cell == "-":
        return None
    percent, total_usd = map(float, cell.split("/"))
    return Published(score=percent / 100, cost_usd=total_usd / dataset.queries)


def _model(name: str, input_price: float, output_price: float, cells: str) -> PoolModel:
    """Build a model from its row, one cell per dataset."""
    published = {dataset.name: _published(cell, dataset) for dataset, cell in zip(DATASETS, cells.split(), strict=True)}
    return PoolModel(
        name=name, input_price=input_price, output_price=output_price, published=MappingProxyType(published)
    )


MODELS = (
    _model(
        "anthropic/claude-4-sonnet",
        3.0,
        15.0,
        "36.67/1.26 61.16/1.91 58.10/14.20 34.60/35.72 68.69/2.65 "
        "4.82/23.71 83.17/23.40 15.14/7.33 54.67/15.94 49.28/103.72",
    ),
    _model(
        "deepseek/deepseek-r1",
        0.5,
        2.15,
        "85.00/2.09 77.69/2.70 80.09/30.46 28.60/10.03 79.80/3.25 "
        "15.99/72.03 84.23/24.62 27.12/6.19 63.53/8.52 37.77/37.08",
    ),
    _model(
        "deepseek/deepseek-v3",
        0.25,
        0.88,
        "43.33/.15 61.98/.17 66.64/1.53 25.00/2.31 59.60/.18 3.61/1.93 78.00/1.76 27.76/.48 60.13/.80 7.19/6.92",
    ),
    _model(
        "deepseek/deepseek-v3.1-terminus",
        0.27,
        1.0,
        "55.00/.17 73.55/.19 67.30/1.19 25.40/2.30 76.26/.25 8.94/4.35 84.03/1.67 24.46/.80 66.27/1.08 46.76/17.38",
    ),
    _model(
        "google/gemini-2.5-flash",
        0.3,
        2.5,
        "63.33/2.25 73.55/1.90 60.00/6.16 18.20/3.94 66.16/2.65 7.78/71.07 80.93/10.96 29.82/.63 55.53/5.49 32.37/5.80",
    ),
    _model(
        "google/gemini-2.5-pro",
        1.25,
        10.0,
        "85.00/9.18 50.41/10.96 79.15/142.59 34.60/80.32 84.85/16.59 "
        "21.69/277.72 85.67/117.18 53.77/41.12 77.00/34.63 43.17/38.25",
    ),
    _model(
        "zhipu/glm-4.6",
        0.6,
        2.2,
        "81.67/2.79 63.64/4.02 63.13/2.32 21.80/5.10 75.25/5.35 "
        "15.52/100.59 80.33/30.60 25.68/26.54 66.40/2.51 53.96/27.61",
    ),
    _model(
        "openai/gpt-5",
        1.25,
        10.0,
        "88.33/4.57 79.34/4.09 86.45/54.92 15.80/24.27 84.85/7.94 "
        "26.32/137.59 87.37/36.17 47.90/57.25 69.73/27.85 70.14/61.67",
    ),
    _model(
        "openai/gpt-5-chat",
        1.25,
        10.0,
        "71.67/.08 57.85/1.57 62.18/4.02 8.80/11.52 73.74/1.85 5.70/18.41 81.40/13.44 40.50/2.37 68.87/6.97 -",
    ),
    _model(
        "intern/intern-s1",
        0.18,
        0.54,
        "48.33/.46 68.60/.50 49.19/7.10 7.80/2.86 65.66/.81 8.85/11.09 81.97/5.59 14.77/3.78 67.07/1.99 32.73/13.28",
    ),
    _model(
        "moonshot/kimi-k2",
        0.5,
        2.0,
        "65.00/.57 71.90/.60 67.30/3.88 23.40/4.79 73.23/.63 6.12/2.35 80.30/3.86 29.03/.46 71.07/1.70 48.92/27.90",
    ),
    _model(
        "qwen/qwen3-235b",
        0.09,
        0.6,
        "76.67/.31 76.03/.23 64.17/1.04 16.20/1.36 58.59/.07 9.22/4.51 82.77/1.80 53.77/.20 73.07/.74 40.29/11.67",
    ),
    _model(
        "qwen/qwen3-235b-thinking",
        0.3,
        2.9,
        "86.67/1.13 52.89/1.04 78.39/14.74 21.40/8.88 80.30/2.42 "
        "7.78/17.61 79.47/25.64 48.27/12.04 73.93/8.02 53.60/28.44",
    ),
)
"""The pool, in the order of the published rows."""
