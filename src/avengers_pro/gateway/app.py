"""The gateway as an ASGI application: chat completions directly, everything else through starlette."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from avengers_pro.errors import AvengersProError
from avengers_pro.gateway.access.browsers import why_foreign
from avengers_pro.gateway.asgi import Contained, Receive, Scope, Send, refuse
from avengers_pro.gateway.chat import chat_completions
from avengers_pro.gateway.refused import RefusedError
from avengers_pro.gateway.routes import make_routes
from avengers_pro.gateway.settings import Settings
from avengers_pro.gateway.state import Gateway
from avengers_pro.gateway.upkeep import chores

_CHAT = "/v1/chat/completions"


def _foreign(why: str) -> RefusedError:
    return RefusedError(
        403,
        f"refused, because no key is needed here and {why}; make a key with 'avengers-pro keys create NAME', or, if "
        "something in front of the gateway checks who calls, say --insecure",
        kind="permission_error",
        code="cross_site",
    )


class App:
    """One gateway; starts and stops with the server's lifespan.

    Attributes:
        gateway: What outlives a request.
    """

    def __init__(self, gateway: Gateway) -> None:
        """Serve a gateway."""
        self.gateway = gateway
        self._routes = make_routes(gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or start and stop."""
        if scope["type"] == "http":
            if self.gateway.is_open_to_all and (why := why_foreign(scope["headers"])) is not None:
                await refuse(send, _foreign(why))
            elif scope["path"] == _CHAT and scope["method"] == "POST":
                await chat_completions(self.gateway, scope, receive, send)
            else:
                async with Contained(f"{scope['method']} {scope['path']}"):
                    await self._routes(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.gateway.start()
        except AvengersProError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        running = [asyncio.create_task(chore) for chore in chores(self.gateway)]
        await receive()
        for chore in running:
            chore.cancel()
        await self.gateway.stop()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(router: str | Path, settings: Settings, environ: Mapping[str, str] | None = None) -> App:
    """Return the application for a router; nothing is opened before its lifespan starts.

    Args:
        router: Folder or URL of a saved router, or of a place to which routers are published; it is followed.
        settings: As read from gateway.toml.
        environ: Where secrets are; the process's environment if None.
    """
    return App(Gateway(router, settings, os.environ if environ is None else environ))
