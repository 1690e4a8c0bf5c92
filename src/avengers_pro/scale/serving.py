"""The gateway on Ray Serve: as many replicas as the traffic needs, behind Ray's HTTP proxies."""

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from avengers_pro.errors import EngineError, SettingsError
from avengers_pro.gateway.checking import Finding
from avengers_pro.gateway.server import bound, url_of
from avengers_pro.gateway.settings import ServerSettings, Settings
from avengers_pro.gateway.telemetry import METRICS_FOLDER
from avengers_pro.scale.on_ray import connected

APPLICATION = "avengers-pro"
"""Name of the application in Ray Serve."""
MOST_AT_ONCE = 1000
"""Requests under way at one replica; more wait in Ray's proxy."""
_STORE_BYTES = 256 << 20
_KEEP_ALIVE_S = 75
_FAREWELL_S = 5.0
"""For what a replica does after its last request: writing rows, giving leases back."""
_LOOK_S = 0.1
_PURPOSE = "--engine ray-serve"
_DEREGISTER_S = 3
_OF_REPLICAS = {
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",  # the gateway does not block: crossing threads only costs
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(_DEREGISTER_S),  # with HAProxy; Ray's 30 s hold every stop up
}
"""Environment of replicas; Ray reads its part where a process starts."""
_HAPROXY = "RAY_SERVE_ENABLE_HA_PROXY"
_QUIET = {"enable_access_log": False, "log_level": "WARNING"}
_REASON = re.compile(r"avengers_pro\.errors\.\w+: (.+)")


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas there are.

    Attributes:
        least: Always there; at least 1.
        most: At least ``least``; the same = always so many.
        busy: Requests under way at a replica, on average, above which more replicas are started and below which some
            are stopped.
    """

    least: int = 1
    most: int = 1
    busy: float = 100.0

    @property
    def options(self) -> dict[str, Any]:
        """What Ray Serve is told."""
        if self.least == self.most:
            return {"num_replicas": self.least}
        scaling = {"min_replicas": self.least, "max_replicas": self.most, "target_ongoing_requests": self.busy}
        return {"autoscaling_config": scaling}


def check_deployment(settings: Settings, address: str | None) -> tuple[Finding, ...]:
    """Return what a single gateway may have, but not replicas on a cluster.

    Args:
        settings: As read.
        address: Of the cluster; None = a Ray started here, where everything is on this machine.
    """
    if address is None:
        return ()
    found = []
    url = settings.store.url
    with suppress(SettingsError):  # what is wrong with it is found elsewhere
        url = settings.store.database_url(os.environ)
    if url.startswith("sqlite"):
        message = "replicas on a cluster cannot share a SQLite file; name a PostgreSQL database"
        found.append(Finding("error", "store.url", message))
    if settings.server.port == 0:
        found.append(Finding("error", "server.port", "on a cluster, every machine listens on the same port; name it"))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Deployed:
    """A gateway that answers.

    Attributes:
        url: Without a slash at the end.
        logs: Folder of Ray's logs, replicas' included; None = they are on the cluster.
    """

    url: str
    logs: Path | None


@contextmanager
def deployed(router: str, settings: Settings, replicas: Replicas, address: str | None = None) -> Iterator[Deployed]:
    """Have Ray Serve answer with the gateway.

    Args:
        router: Folder, or whatever else ``create_app`` takes; a relative one is relative to the current folder.
        settings: As read; the variables that they name must be in the environment of Ray's processes.
        replicas: How many.
        address: ``ray://host:port`` of a cluster's client server, where the deployment stays and replaces, replica by
            replica, the one before; None = a Ray started here, which ends with the context.

    Raises:
        MissingExtraError: If Ray Serve is not installed.
        SettingsError: If the address cannot be listened on.
        EngineError: If Ray cannot be used, or a replica does not start; with its reason.
    """
    router = router if "://" in router else str(Path(router).absolute())
    server = settings.server
    if address is not None:
        with connected(address, "ray.serve", _PURPOSE, store_bytes=_STORE_BYTES):
            _start(router, settings, replicas, None, {})
            yield Deployed(url_of(server.host, server.port, seen_from=urlsplit(address).hostname), None)
        return
    server = msgspec.structs.replace(server, port=_free_port(server))
    settings = msgspec.structs.replace(settings, server=server)
    cores = max(replicas.most, os.cpu_count() or 1)  # more replicas than cores are allowed, as with workers
    with (
        tempfile.TemporaryDirectory(prefix="avengers-pro-metrics-") as metrics,
        connected(None, "ray.serve", _PURPOSE, store_bytes=_STORE_BYTES, num_cpus=cores) as session,
    ):
        try:
            _start(router, settings, replicas, str(Path.cwd()), {METRICS_FOLDER: metrics})
            yield Deployed(url_of(server.host, server.port), Path(session or "", "logs"))
        finally:
            _stop(server.drain_timeout + _DEREGISTER_S + 2 * _FAREWELL_S)


def _free_port(server: ServerSettings) -> int:
    """Return the port, which Ray's proxy will take; 0 becomes one that is free."""
    places = bound(server.host, server.port)
    port: int = places[0].getsockname()[1]
    for place in places:
        place.close()
    return port


def _start(
    router: str, settings: Settings, replicas: Replicas, folder: str | None, environment: dict[str, str]
) -> None:
    """Start what listens, and the replicas, and wait until they answer."""
    from ray import serve
    from ray.exceptions import RayError

    from avengers_pro.scale.replica import Replica

    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    server = settings.server
    http = {"host": server.host.strip("[]"), "port": server.port, "keep_alive_timeout_s": _KEEP_ALIVE_S}
    deployment = serve.deployment(
        name="gateway",
        max_ongoing_requests=MOST_AT_ONCE,
        graceful_shutdown_timeout_s=server.drain_timeout + _DEREGISTER_S + _FAREWELL_S,
        graceful_shutdown_wait_loop_s=_LOOK_S,
        ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": {**_OF_REPLICAS, **environment}}},
        **replicas.options,
    )(serve.ingress()(Replica))
    try:
        serve.start(proxy_location="EveryNode", http_options=http, logging_config=_QUIET)
        _check_listening(server)
        serve.run(deployment.bind(router, settings, folder), name=APPLICATION, logging_config=_QUIET)
    except (RayError, RuntimeError, TimeoutError, ValueError) as error:
        raise EngineError(_why_not() or f"Ray Serve did not start the gateway: {error}") from error


def _why_not() -> str | None:
    """Return why replicas did not start, if they could say so."""
    from ray import serve

    application = serve.status().applications.get(APPLICATION)
    told = [] if application is None else [found.message for found in application.deployments.values()]
    return next((found[-1] for message in told if (found := _REASON.findall(message))), None)


def _check_listening(server: ServerSettings) -> None:
    """Refuse another address than asked for: whether keys are needed depends on who can reach it.

    Raises:
        EngineError: If Ray Serve listens elsewhere already, which cannot be changed while it runs.
    """
    from ray.serve.context import _get_global_client  # nothing public says it

    found = _get_global_client().http_config
    if (found.host, found.port) != (server.host.strip("[]"), server.port):
        raise EngineError(
            f"Ray Serve on this cluster listens on {found.host}:{found.port} already, not on {server.host}:"
            f"{server.port}; say --host {found.host} --port {found.port}, or stop it with 'serve shutdown'"
        )


def _stop(most_s: float) -> None:
    """Take the deployment away; its replicas finish what they are at."""
    from ray import serve
    from ray.exceptions import RayError

    with suppress(RayError, RuntimeError, TimeoutError):  # there may be nothing left to stop
        serve.delete(APPLICATION, _blocking=False)
        end = time.monotonic() + most_s
        while APPLICATION in serve.status().applications and time.monotonic() < end:
            time.sleep(_LOOK_S)
        if os.environ.get(_HAPROXY) == "1":
            serve.shutdown()  # HAProxy would outlive Ray
