"""``avengers-pro serve``: one OpenAI-compatible endpoint that routes every request."""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avengers_pro.cli.console import tell
from avengers_pro.cli.gateway_options import config_option, finish, need_serve, read_config
from avengers_pro.cli.ray_serving import RayServing, on_ray_options
from avengers_pro.errors import AvengersProError

if TYPE_CHECKING:
    from avengers_pro.gateway.app import App
    from avengers_pro.gateway.checking import Finding
    from avengers_pro.gateway.settings import Settings

_KEY = re.compile(r"([A-Za-z_][\w.\[\]-]*)(?: \([^)]*\))?: (.*)", re.DOTALL)


@click.command("serve")
@click.argument("router")
@config_option
@click.option("--check", is_flag=True, help="Say what is wrong with router, settings and environment; serve nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --check: print JSON.")
@click.option("--host", help="Address to listen on, instead of [server] host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of [server] port; 0 = any free one.")
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that share the port."
)
@on_ray_options
@click.option("--insecure", is_flag=True, help="Let whoever reaches it use it without a key.")
def command(
    router: str,
    config: Path,
    host: str | None,
    port: int | None,
    workers: int,
    engine: str,
    replicas: tuple[int, int] | None,
    busy: float | None,
    *,
    check: bool,
    as_json: bool,
    insecure: bool,
) -> None:
    """Serve ROUTER: an OpenAI-compatible endpoint that sends each request to the model the router picks.

    An application uses it by changing its base_url. A new router in the same folder is taken up while it runs; so is
    one that is published to a URL (avengers-pro publish). SIGHUP loads the router again; SIGTERM and Ctrl-C let
    requests under way finish.

    \b
    Examples:
      avengers-pro serve router/ --config gateway.toml --check
      avengers-pro serve router/ --config gateway.toml --port 8080
      avengers-pro serve router/ --config gateway.toml --workers 4
      avengers-pro serve s3://bucket/routers --config gateway.toml
      avengers-pro serve router/ --config gateway.toml --engine ray-serve --replicas 1:8
    """  # noqa: D301
    if as_json and not check:
        raise click.UsageError("--json belongs to --check")
    on_ray = RayServing.of(engine, replicas, busy, workers)
    need_serve("serving")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a decision's products are small: threads would only spin
    try:
        settings = _with_options(read_config(config), host, port, insecure=insecure)
        findings = [*(on_ray.findings(settings) if on_ray else ()), *_findings(router, settings)]
    except AvengersProError as error:
        if not check:
            raise
        settings, findings = None, [_finding(error, config)]
    if check:
        _report(findings, config, router, as_json=as_json)
        sys.exit(int(_errors(findings) > 0))
    for finding in findings:
        tell(_line(finding, config))
    if _errors(findings) or settings is None:
        raise AvengersProError(f"{config} cannot be served like this")
    if on_ray is not None:
        on_ray.serve(router, settings)
        return
    if workers > 1:
        from avengers_pro.gateway.workers import run_workers

        run_workers(router, settings, workers, started=lambda url: tell(f"Avengers-Pro on {url}/v1, {workers} workers"))
        return
    from avengers_pro.gateway.app import create_app
    from avengers_pro.gateway.server import run

    app = create_app(router, settings)
    run(app, settings, started=lambda url: _introduce(url, app, settings))


def _with_options(settings: "Settings", host: str | None, port: int | None, *, insecure: bool) -> "Settings":
    import msgspec

    given = {"host": host or None, "port": port, "insecure": insecure or None}
    changes = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, **changes))


def _findings(router: str, settings: "Settings") -> "list[Finding]":
    """Return all that is wrong or doubtful.

    Raises:
        AvengersProError: If the router cannot be loaded.
    """
    from avengers_pro.embedding import EmbeddingOptions
    from avengers_pro.gateway.checking import Finding, check
    from avengers_pro.gateway.loading import load_router
    from avengers_pro.gateway.shadowing import check_shadow
    from avengers_pro.routing.place import RouterPlace

    # Its models are asked for, its embedder is not, so the key for that one may be missing.
    base_url = settings.embedder.base_url
    options = None if base_url is None else EmbeddingOptions(base_url=base_url)
    loaded, _ = load_router(RouterPlace(router), options)
    keys, problem = 0, None
    try:
        keys = _keys(settings)
    except AvengersProError as error:
        problem = error
    found = [*check(settings, loaded, keys_exist=keys > 0), *check_shadow(settings, loaded)]
    found.sort(key=lambda finding: finding.level != "error")
    if problem is not None and not any(finding.key == "store.url" for finding in found):
        found.insert(0, Finding("error", "store.url", str(problem)))
    return found


def _keys(settings: "Settings") -> int:
    """Return how many API keys may be used; a SQLite file that is not there yet holds none, and is not made."""
    url = settings.store.database_url(os.environ)
    if url.startswith("sqlite") and not Path(url.partition(":///")[2].partition("?")[0]).exists():
        return 0
    return finish(_active(url))


async def _active(url: str) -> int:
    from avengers_pro.gateway.access import Keys
    from avengers_pro.gateway.ledger import Ledger

    async with (
        await Ledger.open(url, recording=False) as ledger,
        await Keys.open(ledger.engine, refresh_s=None) as keys,
    ):
        return keys.active


def _finding(error: AvengersProError, config: Path) -> "Finding":
    """Turn what stopped the reading into a finding, with the key it names."""
    from avengers_pro.gateway.checking import Finding

    message = str(error)
    named = _KEY.fullmatch(message.removeprefix(f"{config}: ")) if message.startswith(f"{config}: ") else None
    if named is None:
        return Finding("error", "", message)
    return Finding("error", named[1], named[2])


def _errors(findings: "Sequence[Finding]") -> int:
    return sum(finding.level == "error" for finding in findings)


def _report(findings: "Sequence[Finding]", config: Path, router: str, *, as_json: bool) -> None:
    errors = _errors(findings)
    if as_json:
        from avengers_pro.routing.remote import without_user

        rows = [
            {
                "level": found.level,
                "file": str(config if found.key or found.message.startswith(str(config)) else without_user(router)),
                "key": found.key or None,
                "message": found.message,
            }
            for found in findings
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for finding in findings:
        click.echo(_line(finding, config))
    click.echo(f"{config}: {errors} errors, {len(findings) - errors} warnings")


def _line(finding: "Finding", config: Path) -> str:
    where = f"{config}: {finding.key}: " if finding.key else ""
    return f"{finding.level:8} {where}{finding.message}"


def _introduce(url: str, app: "App", settings: "Settings") -> None:
    """Say what is served, and what to do next."""
    from avengers_pro.gateway.prices import price_sources
    from avengers_pro.routing.remote import without_user

    gateway = app.gateway
    router, required = gateway.decider.router, gateway.access.required
    tell(f"Avengers-Pro on {url}/v1 (listening on {settings.server.host})")
    if settings.dashboard.enabled:
        tell(f"  pages   {url}/dashboard")
    tell(f"  router  {gateway.place.shown}: {router!r}")
    if gateway.shadowing is not None:
        tell(f"  shadow  {without_user(settings.shadow.router or '')}: {gateway.shadowing.shadow.router!r}")
    if settings.explore.rate:
        tell(f"  explore {settings.explore.rate:.2%} of the first choices")
    tell(f"  ledger  {gateway.ledger.engine.url.render_as_string(hide_password=True)}")
    tell(f"  keys    {f'needed; {gateway.keys.active} in use' if required else 'none needed'}")
    tell("  models, US dollars per million tokens in/out")
    for source in price_sources(settings.models):
        card = source.card
        price = "price unknown" if source.origin == "unknown" else f"{card.input_price:g}/{card.output_price:g}"
        matched = f", {source.matched}" if source.matched else ""
        tell(f"    {card.name}  {price}  ({source.origin}{matched})")
    bearer = " -H 'authorization: Bearer ap-...'" if required else ""
    body = '{"model": "avengers-pro", "messages": [{"role": "user", "content": "Hello"}]}'
    tell(f"Next: curl {url}/v1/chat/completions{bearer} -H 'content-type: application/json' -d '{body}'")
