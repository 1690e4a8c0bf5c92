"""A gateway in front of the simulated provider, with the demo's pool."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avengers_pro.demo.pool import MODELS
from avengers_pro.demo.provider import Speed, create_provider, serving
from avengers_pro.gateway.app import create_app
from avengers_pro.gateway.settings import DashboardSettings, Settings, StoreSettings
from avengers_pro.routing import Policy
from avengers_pro.routing.pool import Endpoint, ModelCard

PRESETS = {"best": Policy(alpha=1.0), "cheap": Policy(alpha=0.2)}
_SPEED = Speed(first_token_s=0.25, tokens_per_s=200.0)
_FAULTS = {"*": [{"fault": "429", "share": 0.01}, {"fault": "500", "share": 0.01}]}
_CONTEXT = 200_000
_GRACE_S = 3.0


@contextmanager
def live_gateway(router: Path, ledger: Path, port: int = 0) -> Iterator[str]:
    """Serve a router on 127.0.0.1, its models simulated: nothing leaves this machine, nothing is spent.

    Of a hundred answers of the provider two are errors, so that there is something to fall back from.

    Args:
        router: Folder of a router of the sample pool.
        ledger: SQLite file; made if it is not there.
        port: To listen on; 0 = any free one.

    Yields:
        The base URL, without ``/v1``.

    Raises:
        SettingsError: If the port is taken, or the gateway does not start.
        MissingExtraError: If the extra ``serve`` is not installed.
    """
    with (
        serving(create_provider(speed=_SPEED, faults=_FAULTS)) as upstream,
        serving(create_app(router, _settings(upstream, ledger), {}), port, grace_s=_GRACE_S) as url,
    ):
        yield url


def _settings(upstream: str, ledger: Path) -> Settings:
    endpoint = Endpoint(base_url=f"{upstream}/v1")
    cards = tuple(
        ModelCard(
            name=model.name,
            input_price=model.input_price,
            output_price=model.output_price,
            context=_CONTEXT,
            capabilities=("tools", "json_schema"),
            endpoints=(endpoint,),
        )
        for model in MODELS
    )
    store = StoreSettings(url=f"sqlite:///{ledger.absolute().as_posix()}")
    note = DashboardSettings(note="Simulated data: models, answers, prices paid and clients")
    return Settings(models=cards, presets=PRESETS, store=store, dashboard=note)
