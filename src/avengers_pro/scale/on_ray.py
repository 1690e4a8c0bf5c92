"""Ray as the engine: Ray Data maps the work over the parts, retries what a lost worker did, and spills to disk."""

import logging
import os
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeVar

from avengers_pro.errors import AvengersProError, EngineError, MissingExtraError

Item = TypeVar("Item")
Result = TypeVar("Result")

STORE_BYTES = 1 << 30
"""Shared memory of a Ray that we start; what does not fit is spilled to disk."""
_ERROR = re.compile(r"^(?:\w+\.)*\w+(?:Error|Exception): .+", re.MULTILINE)
_NEURAL = ("model2vec:", "sentence-transformers:")


class RayEngine:
    """Parts spread over Ray's workers, results in the order of the parts."""

    def __init__(self, *, far: bool = False) -> None:
        """Use the Ray that is connected; ``far`` through its client, which cannot run Ray Data by itself."""
        self._far = far

    def run(
        self, work: Callable[[Item], Result], items: Sequence[Item], *, embedder: str | None = None
    ) -> Iterator[Result]:
        """Yield ``work(item)`` for each item, in order; see ``Engine.run``."""
        from ray.exceptions import RayError

        if not items:
            return
        task = pickle.dumps(work, protocol=5), [pickle.dumps(item, protocol=5) for item in items], embedder
        try:
            for answer in _from_far(*task) if self._far else _mapped(*task):
                done, result = pickle.loads(answer)  # noqa: S301  (made by our own work)
                if not done:
                    raise result
                yield result
        except RayError as error:
            raise EngineError(f"Ray could not finish the work: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """Return what happened first: Ray puts its own errors, and advice, after the worker's."""
    told = str(error).strip()
    found = _ERROR.search(told)
    return found[0] if found else f"{type(error).__name__}: {told.splitlines()[-1]}"


def _mapped(work: bytes, items: Sequence[bytes], embedder: str | None) -> Iterator[bytes]:
    """Let Ray Data do the work; yield the pickled answers."""
    import ray.data

    _hush()
    data = ray.data.from_items([{"item": item} for item in items], override_num_blocks=len(items))
    mapped = data.map_batches(batch_size=1, fn_args=(work,), **_placement(embedder, len(items)))
    for row in mapped.iter_rows():
        yield row["result"]


def _from_far(work: bytes, items: Sequence[bytes], embedder: str | None) -> Iterator[bytes]:
    """Let an actor of the cluster use Ray Data, and fetch the answers one by one."""
    import ray

    actor = ray.remote(num_cpus=0)(_Overseer).remote(work, items, embedder)
    while (answer := ray.get(actor.take.remote())) is not None:
        yield answer


class _Overseer:
    """Runs Ray Data inside a cluster for a client outside."""

    def __init__(self, work: bytes, items: Sequence[bytes], embedder: str | None) -> None:
        self._answers = _mapped(work, items, embedder)

    def take(self) -> bytes | None:
        return next(self._answers, None)


class _Worker:
    """An actor: a process of its own, in which the embedder is loaded once and stays."""

    def __call__(self, batch: dict[str, Any], work: bytes) -> dict[str, list[bytes]]:
        return _answers(batch, work)


def _answers(batch: dict[str, Any], work: bytes) -> dict[str, list[bytes]]:
    """Do the parts of a batch; what the work refuses is a result too, so that it is not tried again."""
    results = []
    for item in batch["item"]:
        try:
            results.append(pickle.dumps((True, _work(work)(pickle.loads(item))), protocol=5))  # noqa: S301
        except AvengersProError as error:
            results.append(pickle.dumps((False, error)))
    return {"result": results}


@lru_cache(maxsize=1)
def _work(work: bytes) -> Callable[[Any], Any]:
    """Unpack the work once for each process."""
    made: Callable[[Any], Any] = pickle.loads(work)  # noqa: S301  (made by our own engine)
    return made


def _placement(embedder: str | None, items: int) -> dict[str, Any]:
    """Say what does the work: tasks, or actors for an embedder that is slow to load, on GPUs if there are any."""
    if embedder is None or embedder == "static":
        return {"fn": _answers, "num_cpus": 1}
    import ray
    from ray.data import ActorPoolStrategy

    resources = ray.cluster_resources()
    cores, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    on_gpu = embedder.startswith(_NEURAL) and gpus > 0
    size = max(1, min(gpus if on_gpu else cores, items))
    return {"fn": _Worker, "compute": ActorPoolStrategy(size=size), **({"num_gpus": 1} if on_gpu else {"num_cpus": 1})}


@contextmanager
def ray_engine(
    address: str | None = None, *, store_bytes: int = STORE_BYTES, spill_folder: str | None = None
) -> Iterator[RayEngine]:
    """Connect to a cluster, or start a quiet Ray on this machine, and leave it at the end.

    Args:
        address: ``ray://host:port`` of a cluster's client server; None = start one here.
        store_bytes: Shared memory for what workers pass on, of a Ray started here; the rest is spilled.
        spill_folder: Where to; None = Ray's folder of the session.

    Raises:
        MissingExtraError: If Ray is not installed.
        EngineError: If the cluster cannot be reached.
    """
    with connected(address, "ray.data", "--engine ray", store_bytes=store_bytes, spill_folder=spill_folder):
        yield RayEngine(far=address is not None)


@contextmanager
def connected(
    address: str | None,
    library: str,
    purpose: str,
    *,
    store_bytes: int,
    num_cpus: int | None = None,
    spill_folder: str | None = None,
) -> Iterator[str | None]:
    """Connect to a cluster, or start a quiet Ray on this machine, and leave it at the end.

    Args:
        address: ``ray://host:port`` of a cluster's client server; None = start one here.
        library: What of Ray is needed, such as ``ray.data``.
        purpose: What it is needed for, in words.
        store_bytes: Shared memory of a Ray started here.
        num_cpus: How many processes that ask for a core a Ray started here lets run; None = one for each core.
        spill_folder: Where what does not fit goes; None = Ray's folder of the session.

    Yields:
        Folder of the session of a Ray started here, with its logs; None = of a cluster, it is not known.

    Raises:
        MissingExtraError: If Ray, or this part of it, is not installed.
        EngineError: If the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray

        import_module(library)
    except ModuleNotFoundError as error:
        raise MissingExtraError("ray", "scale", purpose) from error
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    spill = {} if spill_folder is None else {"object_spilling_directory": spill_folder}
    here = {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": store_bytes,
        "num_cpus": num_cpus,
        **spill,
    }
    try:
        context = ray.init(**quiet, **(here if address is None else {"address": address}))
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(f"Ray at {address or 'this machine'} cannot be used: {error}") from error
    try:
        yield context.address_info["session_dir"] if address is None else None
    finally:
        ray.shutdown()


def _hush() -> None:
    """Leave the talk of Ray Data to its log files, and keep results in order."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.execution_options.verbose_progress = False
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
