"""Where the parts of a dataset are worked on: in this process, or on Ray. Both call the same work on the same parts."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from avengers_pro.errors import AvengersProError

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Called with (what, parts done, parts in all)."""
_CLUSTER = re.compile(r"ray://\S+:\d{1,5}")


class Engine(Protocol):
    """Something that works through parts."""

    def run(
        self, work: Callable[[Item], Result], items: Sequence[Item], *, embedder: str | None = None
    ) -> Iterator[Result]:
        """Yield ``work(item)`` for each item, in order.

        Args:
            work: Can be pickled, and depends on nothing but itself and the item: it may run anywhere, and again
                after a worker was lost.
            items: Small.
            embedder: Spec of an embedder that the work loads; None = none.

        Raises:
            AvengersProError: What the work refuses.
            EngineError: If the work could not be finished.
        """
        ...


class LocalEngine:
    """One part after the other, in this process."""

    def run(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        embedder: str | None = None,  # noqa: ARG002
    ) -> Iterator[Result]:
        """Yield ``work(item)`` for each item."""
        return map(work, items)


@contextmanager
def opened(engine: str) -> Iterator[Engine]:
    """Open an engine by its name: ``local``, ``ray`` (started on this machine) or ``ray://host:port`` (a cluster).

    Raises:
        AvengersProError: If there is no such engine.
        MissingExtraError: If Ray is not installed.
        EngineError: If the cluster cannot be reached.
    """
    if engine == "local":
        yield LocalEngine()
    elif engine == "ray" or _CLUSTER.fullmatch(engine):
        from avengers_pro.scale.on_ray import ray_engine

        with ray_engine(None if engine == "ray" else engine) as found:
            yield found
    else:
        raise AvengersProError(f"there is no engine {engine!r}; use local, ray, or ray://host:port")
