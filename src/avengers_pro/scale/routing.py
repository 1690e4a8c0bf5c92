"""Route a dataset of any size: a Parquet file of decisions for each part of it, whole or not at all."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from avengers_pro.embedding import EmbeddingOptions
from avengers_pro.embedding.format import with_format
from avengers_pro.errors import ArtifactError, AvengersProError
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.artifact import ARRAYS, HEADER, Header
from avengers_pro.routing.bulk import Decisions, decide
from avengers_pro.routing.pool import ModelCard
from avengers_pro.scale.engine import Engine, LocalEngine, Progress
from avengers_pro.scale.files import size_of
from avengers_pro.scale.lines import lines_of_part
from avengers_pro.scale.parts import Part, arrow, parts_of
from avengers_pro.scale.queries import QueryBlock, query_blocks
from avengers_pro.scale.work import embedder_of

MANIFEST = "_route.json"
"""Says what the folder holds: router, policy, input and its parts. Readers of Parquet folders skip such names."""
_DRAFT = ".draft"
_PLAIN = EmbeddingOptions()


@dataclass(frozen=True, slots=True)
class SavedRouter:
    """A saved router that can be sent to a worker: the files, and how to reach its embedder.

    Attributes:
        header: Of ``router.json``. arrays: Of ``router.safetensors``.
        embedder: Spec of a local model; None = the one that the router names.
        options: How to reach it.
        pool: Prices and capabilities of today.
    """

    header: bytes
    arrays: bytes
    embedder: str | None = None
    options: EmbeddingOptions = _PLAIN
    pool: tuple[ModelCard, ...] = ()

    @classmethod
    def read(
        cls,
        folder: Path,
        embedder: str | None = None,
        options: EmbeddingOptions = _PLAIN,
        pool: Sequence[ModelCard] = (),
    ) -> "SavedRouter":
        """Read a router's folder.

        Raises:
            ArtifactError: If it is none.
        """
        try:
            return cls((folder / HEADER).read_bytes(), (folder / ARRAYS).read_bytes(), embedder, options, tuple(pool))
        except OSError as error:
            raise ArtifactError(f"{folder}: is no router: {error}") from error

    @property
    def sha256(self) -> str:
        """Identity of the router, without the pool."""
        return msgspec.json.decode(self.header, type=Header).sha256

    @property
    def spec(self) -> str:
        """Which embedder it needs."""
        return self.embedder or msgspec.json.decode(self.header, type=Header).embedder.spec

    def load(self) -> Router:
        """Load the router."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / HEADER).write_bytes(self.header)
            (folder / ARRAYS).write_bytes(self.arrays)
            named = None if self.embedder is None else embedder_of(self.embedder, self.options)
            router = Router.load(folder, embedder=named, options=self.options)
        return router.with_pool(self.pool) if self.pool else router


@lru_cache(maxsize=1)
def _loaded(saved: SavedRouter) -> Router:
    return saved.load()


@dataclass(frozen=True, slots=True)
class Routed:
    """What a run did.

    Attributes:
        queries: Decided in all, earlier runs included.
        infeasible: Of them without a model.
        parts: Files of decisions. done_before: Of them found whole.
    """

    queries: int
    infeasible: int
    parts: int
    done_before: int


@dataclass(frozen=True, slots=True)
class _Target:
    """A part and the file its decisions go to."""

    part: Part
    first_line: int
    path: str


@dataclass(frozen=True, slots=True)
class CountLines:
    """Count the lines of a part, so that later ones know where they stand."""

    def __call__(self, part: Part) -> int:
        """Count; 0 for Parquet, which knows."""
        last = 0
        for number, _ in lines_of_part(part) if part.kind == "lines" else ():
            last = number
        return last


@dataclass(frozen=True, slots=True)
class Route:
    """Decide for the queries of a part and write a file."""

    saved: SavedRouter
    policy: Policy

    def __call__(self, target: _Target) -> tuple[int, int]:
        """Write the part's file; return how many queries it has, and how many of them are infeasible."""
        pa = arrow()
        from pyarrow import parquet

        router = _loaded(self.saved)
        final = Path(target.path)
        draft = final.with_name(f".{final.name}.{secrets.token_hex(8)}{_DRAFT}")
        schema = _schema()
        queries = infeasible = 0
        try:
            with parquet.ParquetWriter(draft, schema) as writer:
                for block in query_blocks(target.part, target.first_line, _plain_dimension(router)):
                    vectors = _vectors(router, block)
                    start = 0
                    for decided in decide(router, vectors, self.policy):
                        names = block.indexes[start : start + len(decided.chosen)]
                        writer.write_batch(_batch(pa, schema, router.models, names, decided))
                        start += len(names)
                        infeasible += int((decided.chosen < 0).sum())
                    queries += len(block.texts)
                writer.add_key_value_metadata({"infeasible": str(infeasible)})
            draft.replace(final)
        except (OSError, pa.ArrowException) as error:
            raise AvengersProError(f"{target.path}: cannot be written: {error}") from error
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        return queries, infeasible


def _plain_dimension(router: Router) -> int:
    from avengers_pro.embedding.format import FORMAT_DIMENSION

    return router.embedding.dimension - (FORMAT_DIMENSION if router.method.features == "format" else 0)


def _vectors(router: Router, block: QueryBlock) -> Any:
    if block.vectors is None:
        return router.embed(block.texts)
    return with_format(block.vectors, block.texts) if router.method.features == "format" else block.vectors


def _schema() -> Any:
    pa = arrow()
    return pa.schema(
        [
            ("index", pa.string()),
            ("model", pa.dictionary(pa.int32(), pa.string())),
            ("expected_score", pa.float64()),
            ("expected_cost", pa.float64()),
            ("clusters", pa.list_(pa.int32())),
        ]
    )


def _batch(pa: Any, schema: Any, models: tuple[str, ...], indexes: list[int | str], decided: Decisions) -> Any:
    n, chosen = len(indexes), decided.chosen
    near = decided.clusters
    width = 0 if near is None else near.shape[1]
    flat = np.empty(0, dtype=np.int32) if near is None else near.ravel().astype(np.int32)
    columns = [
        pa.array([str(index) for index in indexes], pa.string()),
        pa.DictionaryArray.from_arrays(pa.array(chosen.astype(np.int32), mask=chosen < 0), pa.array(models)),
        pa.array(decided.expected_score, mask=np.isnan(decided.expected_score)),
        pa.array(decided.expected_cost, mask=np.isnan(decided.expected_cost)),
        pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * width), pa.array(flat)),
    ]
    return pa.record_batch(columns, schema=schema)


def route_dataset(
    saved: SavedRouter,
    paths: Sequence[str],
    output: Path,
    policy: Policy | None = None,
    engine: Engine | None = None,
    *,
    parts: Sequence[Part] | None = None,
    progress: Progress | None = None,
) -> Routed:
    """Decide for every query of a dataset and write ``part-<number>.parquet`` files, in the order of the input.

    A file appears under its name when it is whole; a run that was interrupted goes on with the parts that are
    missing. Columns: ``index`` (text), ``model`` (null = infeasible), ``expected_score``, ``expected_cost``
    (US dollars), ``clusters``.

    Args:
        saved: The router.
        paths: Files, folders, globs or URLs of JSON lines or Parquet with ``query`` or ``messages``.
        output: Folder, which every worker must be able to write to; made if it is not there.
        policy: What is wanted.
        engine: Where the parts are worked on; None = in this process.
        parts: The dataset cut otherwise than ``parts_of(paths)`` does.
        progress: Told what is done.

    Raises:
        AvengersProError: If the folder holds the decisions of another run, or cannot be written.
        RecordsError: If a row has no query; the message names file and line.
        PolicyError: If the policy names an unknown model.
        EngineError: If the engine fails.
    """
    policy, engine = policy or Policy(), engine or LocalEngine()
    router = _loaded(saved)
    list(
        decide(router, np.empty((0, router.embedding.dimension), dtype=np.float32), policy)
    )  # refuses what is impossible
    parts = parts_of(paths) if parts is None else parts
    output.mkdir(parents=True, exist_ok=True)
    lines = _begun(output, _manifest(saved, policy, parts), parts, engine, progress)
    for draft in output.glob(f".part-*{_DRAFT}"):
        draft.unlink(missing_ok=True)
    targets = [
        _Target(part, line, str((output / f"part-{part.number:06}.parquet").absolute()))
        for part, line in zip(parts, lines, strict=True)
    ]
    missing = [target for target in targets if not Path(target.path).exists()]
    done = len(targets) - len(missing)
    for finished, _ in enumerate(engine.run(Route(saved, policy), missing, embedder=saved.spec), start=1):
        if progress is not None:
            progress("routing", done + finished, len(targets))
    counts = [_counted(target.path) for target in targets]
    return Routed(sum(queries for queries, _ in counts), sum(none for _, none in counts), len(targets), done)


def _counted(path: str) -> tuple[int, int]:
    from pyarrow import parquet

    metadata = parquet.read_metadata(path)
    return metadata.num_rows, int((metadata.metadata or {}).get(b"infeasible", b"0"))


def _manifest(saved: SavedRouter, policy: Policy, parts: Sequence[Part]) -> dict[str, Any]:
    asked = {field.name: getattr(policy, field.name) for field in fields(policy)}
    files = {part.path: size_of(part.path) for part in parts}
    return {
        "format_version": 1,
        "router": saved.sha256,
        "pool": [msgspec.to_builtins(card) for card in saved.pool],
        "policy": {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()},
        "files": files,
        "parts": [asdict(part) for part in parts],
    }


def _begun(
    output: Path, manifest: dict[str, Any], parts: Sequence[Part], engine: Engine, progress: Progress | None
) -> list[int]:
    """Write the manifest, or check that it is the same; return the lines of its file before each part."""
    path = output / MANIFEST
    plain = msgspec.json.decode(msgspec.json.encode(manifest))
    if path.exists():
        try:
            known = msgspec.json.decode(path.read_bytes())
            lines: list[int] = known.pop("first_lines")
        except (msgspec.DecodeError, KeyError, AttributeError) as error:
            raise AvengersProError(f"{path}: cannot be read; delete the folder and route again") from error
        different = [name for name in plain if known.get(name) != plain[name]]
        if different:
            raise AvengersProError(
                f"{output}: holds decisions of another run: {', '.join(different)} differ; "
                "give another --output, or delete the folder"
            )
        return lines
    if any(output.glob("part-*.parquet")):
        raise AvengersProError(f"{output}: holds part files but no {MANIFEST}; give another --output")
    lines = _first_lines(parts, engine, progress)
    draft = path.with_name(path.name + _DRAFT)
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(plain | {"first_lines": lines})))
    draft.replace(path)
    return lines


def _first_lines(parts: Sequence[Part], engine: Engine, progress: Progress | None) -> list[int]:
    """Return the lines of its file before each part; only parts that others of the same file follow are read."""
    followed = [part for part, after in pairwise(parts) if part.path == after.path and part.kind == "lines"]
    counts: dict[int, int] = {}
    for part, count in zip(followed, engine.run(CountLines(), followed), strict=True):
        counts[part.number] = count
        if progress is not None:
            progress("counting lines", len(counts), len(followed))
    lines, before = [], 0
    for part in parts:
        before = 0 if part.start == 0 else before
        lines.append(before)
        before += counts.get(part.number, 0)
    return lines
