"""What a gateway's ledger holds of its finished requests, as columns."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.gateway.settings import OWN_MODEL_NAME
from avengers_pro.records.table import Floats, Rows

if TYPE_CHECKING:
    from avengers_pro.routing import Router

_CHUNK = 2000
_clusters = msgspec.json.Decoder(tuple[int, ...])
Row = Mapping[str, Any]


class _Candidate(msgspec.Struct, array_like=True, gc=False):
    """What the ledger says of a model that could have been chosen; there are many, so they are no work for the gc."""

    name: str
    score: float | None
    cost: float | None
    removed: str | None


_candidates = msgspec.json.Decoder(list[_Candidate])


@dataclass(frozen=True, eq=False)
class Traffic:
    """n finished requests of a gateway, oldest first, and the m models met in them; columns.

    Attributes:
        ids: n decision ids.
        at: (n,) when each request came, Unix seconds.
        models: m names: the router's first, then others in the order met.
        vectors: (n, d) float32 rows as ``Router.embed`` gives them; a row of NaN where neither vector nor text was
            kept, or where the vector has another length than the router's; None = kept nowhere.
        chosen: (n,) column in ``models`` of the first choice; -1 = none.
        served: (n,) column of the model that answered; -1 = none.
        propensity: (n,) probability in (0, 1] with which the first choice was chosen; NaN = not said.
        routed: (n,) True where the router chose; False where the client named the model.
        expected_scores: (n, m) in [0, 1] of the candidates at the time of decision; NaN = no candidate, or unknown.
        expected_costs: (n, m) US dollars, likewise.
        scores: (n,) latest feedback in [0, 1]; NaN = none was given.
        costs: (n,) US dollars spent; NaN = unknown.
        prompt_tokens: (n,) as the upstream counted; NaN = unknown.
        completion_tokens: (n,) likewise.
        latency_ms: (n,) milliseconds from request to end; NaN = unknown.
        outcomes: n words of the ledger; ``ok`` = answered.
        novel: (n,) True where the query was unlike all records.
        clusters: For each, the nearest clusters at the time of decision; empty = not decided by clusters.
        policies: n JSON texts as in the ledger.
        routers: n fingerprints of the routers that decided.
        shadow: (n,) column of the shadow router's choice; -1 = none.
        shadow_routers: n fingerprints of the shadow router; None = there was none.
        reported_models: n model ids that the upstream named in its answer; None = it did not.
        scored_at: (n,) when the first feedback with a score came, Unix seconds; NaN = none was given.
    """

    ids: tuple[str, ...]
    at: Floats
    models: tuple[str, ...]
    vectors: Vectors | None
    chosen: NDArray[np.intp]
    served: NDArray[np.intp]
    propensity: Floats
    routed: NDArray[np.bool_]
    expected_scores: Floats
    expected_costs: Floats
    scores: Floats
    costs: Floats
    prompt_tokens: Floats
    completion_tokens: Floats
    latency_ms: Floats
    outcomes: tuple[str, ...]
    novel: NDArray[np.bool_]
    clusters: tuple[tuple[int, ...], ...]
    policies: tuple[str, ...]
    routers: tuple[str, ...]
    shadow: NDArray[np.intp]
    shadow_routers: tuple[str | None, ...]
    reported_models: tuple[str | None, ...]
    scored_at: Floats

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Sizes, not contents: asyncio writes what a task returned, all of it."""
        return f"Traffic({len(self)} requests, {len(self.models)} models)"

    def take(self, rows: Rows | Sequence[int] | NDArray[np.bool_]) -> "Traffic":
        """Keep these rows, in this order; a mask keeps the rows where it is True."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == np.bool_ else index.astype(np.intp)
        kept: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                kept[field.name] = value[index]
            elif isinstance(value, tuple) and field.name != "models":
                kept[field.name] = tuple(value[row] for row in index)
        return replace(self, **kept)


async def read_traffic(
    url: str,
    *,
    router: "Router | None" = None,
    since: float | None = None,
    until: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Traffic:
    """Read the finished requests of a ledger.

    Args:
        url: Of the ledger, as ``Ledger.open`` takes it; opened for reading only.
        router: Gives the first models, and embeds kept texts where no vector was kept; None = vectors alone count.
        since: Begun at or after this, in Unix seconds.
        until: Begun before this.
        progress: Called now and then with the number of rows read.

    Raises:
        StoreError: If the ledger cannot be read.
        EmbeddingError: If a kept text cannot be embedded.
    """
    from avengers_pro.gateway.ledger import Filter, Ledger

    gathering = _Gathering(router)
    async with await Ledger.open(url, recording=False) as ledger:
        waiting: list[Row] = []
        async for row in ledger.export(Filter(since=since, until=until)):
            if row["outcome"] is None:
                continue
            waiting.append(row)
            if len(waiting) >= _CHUNK:
                gathering.add(waiting)
                waiting = []
                if progress is not None:
                    progress(len(gathering))
        gathering.add(waiting)
    return gathering.traffic()


class _Gathering:
    """Turns rows into columns chunk by chunk, so that a long ledger is never held as rows."""

    def __init__(self, router: "Router | None") -> None:
        self._router = router
        self._columns: dict[str, int] = {} if router is None else {name: i for i, name in enumerate(router.models)}
        self._dimension = None if router is None else router.embedding.dimension
        self._parts: list[Traffic] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, rows: Sequence[Row]) -> None:
        """Take in rows that follow those taken in before."""
        listed = [_candidates.decode(row["candidates"]) for row in rows]
        chosen, served, shadow = (self._places(rows, name) for name in ("model", "served_by", "shadow_model"))
        expected = self._expected(listed)
        vectors = self._vectors(rows)
        self._rows += len(rows)
        self._parts.append(
            Traffic(
                ids=tuple(row["id"] for row in rows),
                at=_numbers(rows, "at"),
                models=(),
                vectors=vectors,
                chosen=chosen,
                served=served,
                propensity=_numbers(rows, "propensity"),
                routed=np.array([_is_routed(row["asked"]) for row in rows], dtype=np.bool_),
                expected_scores=expected[0],
                expected_costs=expected[1],
                scores=_numbers(rows, "feedback_score"),
                costs=_numbers(rows, "cost_usd"),
                prompt_tokens=_numbers(rows, "prompt_tokens"),
                completion_tokens=_numbers(rows, "completion_tokens"),
                latency_ms=_numbers(rows, "total_ms"),
                outcomes=tuple(row["outcome"] for row in rows),
                novel=np.array([row["novel"] for row in rows], dtype=np.bool_),
                clusters=tuple(_clusters.decode(row["clusters"]) for row in rows),
                policies=tuple(row["policy"] for row in rows),
                routers=tuple(row["router"] for row in rows),
                shadow=shadow,
                shadow_routers=tuple(row.get("shadow_router") for row in rows),
                reported_models=tuple(row.get("reported_model") for row in rows),
                scored_at=np.array([_first_scored(row) for row in rows], dtype=np.float64),
            )
        )

    def traffic(self) -> Traffic:
        """Return all that was taken in."""
        joined: dict[str, Any] = {}
        for field in fields(Traffic):
            values = [getattr(part, field.name) for part in self._parts]
            if field.name in {"expected_scores", "expected_costs"}:
                joined[field.name] = np.concatenate([_widened(value, len(self._columns)) for value in values])
            elif field.name == "vectors":
                joined[field.name] = _joined_vectors(self._parts)
            elif isinstance(values[0], np.ndarray):
                joined[field.name] = np.concatenate(values)
            else:
                joined[field.name] = tuple(one for value in values for one in value)
        return Traffic(**{**joined, "models": tuple(self._columns)})

    def _expected(self, listed: Sequence[Sequence[_Candidate]]) -> Floats:
        """Return (2, n, m) expected scores and costs of the candidates that were not removed."""
        flat = [one for candidates in listed for one in candidates]
        for name in dict.fromkeys(one.name for one in flat):
            self._columns.setdefault(name, len(self._columns))
        kept = np.array([one.removed is None for one in flat], dtype=np.bool_)
        places = np.repeat(np.arange(len(listed)), [len(candidates) for candidates in listed])[kept]
        models = np.array([self._columns[one.name] for one in flat], dtype=np.intp)[kept]
        expected = np.full((2, len(listed), len(self._columns)), np.nan)
        for values, of in zip(expected, ("score", "cost"), strict=True):
            values[places, models] = _floats(getattr(one, of) for one in flat)[kept]
        return expected

    def _places(self, rows: Sequence[Row], name: str) -> NDArray[np.intp]:
        """Return (n,) columns of the models named in a column of the ledger; -1 = none."""
        names = [row.get(name) for row in rows]
        return np.array(
            [-1 if one is None else self._columns.setdefault(one, len(self._columns)) for one in names], dtype=np.intp
        )

    def _vectors(self, rows: Sequence[Row]) -> Vectors | None:
        """Return (n, d) kept or embedded rows, NaN where there is none; None = there is none at all."""
        kept = {
            place: np.frombuffer(blob, dtype="<f2") for place, row in enumerate(rows) if (blob := row.get("vector"))
        }
        if self._dimension is None and kept:
            self._dimension = len(next(iter(kept.values())))
        found = {place: vector for place, vector in kept.items() if len(vector) == self._dimension}
        if self._router is not None:
            texts = {
                place: text
                for place, row in enumerate(rows)
                if place not in found and (text := row.get("text")) and not text.isspace()
            }
            if texts:
                found |= dict(zip(texts, self._router.embed(list(texts.values())), strict=True))
        if not found or self._dimension is None:
            return None
        vectors = np.full((len(rows), self._dimension), np.nan, dtype=np.float32)
        for place, vector in found.items():
            vectors[place] = vector
        return vectors


def _is_routed(asked: str) -> bool:
    """Whether a client asked for no model of the pool, but for the router: none may have such a name."""
    return asked == OWN_MODEL_NAME or asked.startswith((f"{OWN_MODEL_NAME}/", f"{OWN_MODEL_NAME}@"))


def _numbers(rows: Sequence[Row], name: str) -> Floats:
    return _floats(row[name] for row in rows)


def _floats(values: Iterable[float | None]) -> Floats:
    """Return (n,) numbers, NaN for None."""
    return np.array(list(values), dtype=np.float64)


def _first_scored(row: Row) -> float:
    return min((said["at"] for said in row["feedback"] if said["score"] is not None), default=math.nan)


def _widened(values: Floats, columns: int) -> Floats:
    wide = np.full((len(values), columns), np.nan)
    wide[:, : values.shape[1]] = values
    return wide


def _joined_vectors(parts: Sequence[Traffic]) -> Vectors | None:
    found = [part.vectors for part in parts if part.vectors is not None]
    if not found:
        return None
    nothing = np.float32(np.nan)
    return np.concatenate(
        [np.full((len(part), found[0].shape[1]), nothing) if part.vectors is None else part.vectors for part in parts]
    )
