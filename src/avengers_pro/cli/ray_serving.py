"""``avengers-pro serve --engine ray-serve``: its options, and what it says."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import tell

if TYPE_CHECKING:
    from avengers_pro.gateway.checking import Finding
    from avengers_pro.gateway.settings import Settings
    from avengers_pro.scale.serving import Replicas

Decorated = Callable[..., Any]
_LOCAL, _HERE, _FAR = "local", "ray-serve", "ray-serve://"


def _counts(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read ``N`` or ``MIN:MAX``."""
    if value is None:
        return None
    least, _colon, most = value.partition(":")
    if not (least.isdecimal() and (most or least).isdecimal() and 1 <= int(least) <= int(most or least)):
        raise click.BadParameter(f"{value!r} is not a number of replicas N, or MIN:MAX with 1 <= MIN <= MAX")
    return int(least), int(most or least)


def on_ray_options(command: Decorated) -> Decorated:
    """Add ``--engine``, ``--replicas`` and ``--requests-per-replica``."""
    options = (
        click.option(
            "--engine",
            default=_LOCAL,
            show_default=True,
            metavar="local|ray-serve|ray-serve://HOST:PORT",
            help="Who runs the gateway: this process, Ray Serve started here, or Ray Serve on a cluster.",
        ),
        click.option(
            "--replicas",
            callback=_counts,
            metavar="N|MIN:MAX",
            help="With ray-serve: how many; between two numbers, as the traffic needs. Default: 1.",
        ),
        click.option(
            "--requests-per-replica",
            "busy",
            type=click.FloatRange(0, min_open=True),
            help="With MIN:MAX: requests under way above which replicas are added. Default: 100.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class RayServing:
    """Ray Serve as the engine of ``serve``.

    Attributes:
        address: ``ray://host:port`` of a cluster; None = a Ray started here.
        replicas: How many.
    """

    address: str | None
    replicas: "Replicas"

    @classmethod
    def of(cls, engine: str, counts: tuple[int, int] | None, busy: float | None, workers: int) -> "RayServing | None":
        """Return what the options ask for; None = a gateway without Ray.

        Raises:
            UsageError: If they do not belong together.
        """
        if engine == _LOCAL:
            if counts is not None or busy is not None:
                raise click.UsageError("--replicas and --requests-per-replica belong to --engine ray-serve")
            return None
        if engine != _HERE and not (engine.startswith(_FAR) and len(engine) > len(_FAR)):
            raise click.UsageError(f"there is no engine {engine!r}; use local, ray-serve, or ray-serve://host:port")
        if workers > 1:
            raise click.UsageError("--workers belongs to --engine local; with ray-serve, say --replicas")
        least, most = counts or (1, 1)
        if busy is not None and least == most:
            raise click.UsageError("--requests-per-replica belongs to --replicas MIN:MAX")
        from avengers_pro.cli.gateway_options import need_serve

        need_serve("serving")
        from avengers_pro.scale.serving import Replicas

        replicas = Replicas(least, most) if busy is None else Replicas(least, most, busy)
        return cls(None if engine == _HERE else f"ray://{engine.removeprefix(_FAR)}", replicas)

    def findings(self, settings: "Settings") -> "tuple[Finding, ...]":
        """Return what is wrong for Ray Serve alone."""
        from avengers_pro.scale.serving import check_deployment

        return check_deployment(settings, self.address)

    def serve(self, router: str, settings: "Settings") -> None:
        """Deploy; with a Ray of our own, stay until SIGTERM or SIGINT.

        Raises:
            AvengersProError: If it does not start, with the reason.
        """
        from avengers_pro.scale.serving import deployed

        least, most = self.replicas.least, self.replicas.most
        count = f"{least} to {most} replicas" if most > least else f"{least} replica{'s' if least > 1 else ''}"
        tell(f"starting {count} on Ray Serve{' here' if self.address is None else f' at {self.address}'} ...")
        with deployed(router, settings, self.replicas, self.address) as found:
            tell(f"Avengers-Pro on {found.url}/v1, {count} on Ray Serve")
            if settings.dashboard.enabled:
                tell(f"  pages   {found.url}/dashboard")
            tell(f"  router  {router}")
            if self.address is not None:
                tell("It goes on without this command; the same command again replaces it, 'serve shutdown' ends it.")
                return
            tell(f"  logs    {found.logs}")
            _until_told_to_stop()
            tell("stopping; requests under way may finish")


def _until_told_to_stop() -> None:
    stops = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stops.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # replicas see a new router by themselves
    stops.wait()
