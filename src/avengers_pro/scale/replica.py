"""One replica of the gateway in Ray Serve: a process of its own, behind Ray's HTTP proxy."""

import os
from typing import Self

import uvicorn

from avengers_pro.errors import EngineError
from avengers_pro.gateway.app import App, create_app
from avengers_pro.gateway.asgi import Receive, Scope, Send
from avengers_pro.gateway.logs import set_up_logging
from avengers_pro.gateway.server import Lifespan, spare_collections
from avengers_pro.gateway.settings import Settings


class Replica:
    """The gateway, made and started where it answers: only its address and its settings travel.

    Keys and passwords come from the environment of this process, by the names that the settings give.
    """

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, router: str, settings: Settings, folder: str | None
    ) -> None:
        """Start.

        Args:
            router: Where the router is, as for ``create_app``.
            settings: As read.
            folder: What relative paths in the settings are relative to; None = the folder Ray starts processes in.

        Raises:
            EngineError: If the gateway does not start, with its reason. (Ray passes it on as text.)
        """
        if folder is not None:
            os.chdir(folder)
        set_up_logging(settings.logging)
        app = create_app(router, settings)
        app.gateway.cancelled_by = "client-gone"  # Ray cancels requests for no other reason
        self._started = await _Started.of(app)
        spare_collections()

    def __serve_build_asgi_app__(self) -> "_Started":
        """Return what Ray Serve calls for each request, and once at the end."""
        return self._started


class _Started:
    """An application that runs already: were it left to Ray Serve to start it, nobody would learn why it does not."""

    def __init__(self, app: App, lifespan: Lifespan) -> None:
        self._app, self._lifespan = app, lifespan

    @classmethod
    async def of(cls, app: App) -> Self:
        config = uvicorn.Config(app, lifespan="on", interface="asgi3", log_config=None)
        config.load()
        lifespan = Lifespan(config)
        await lifespan.startup()
        if lifespan.should_exit:
            raise EngineError(lifespan.failure or "the gateway did not start; the replica's log says why")
        return cls(app, lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._lifespan.shutdown()
        await send({"type": "lifespan.shutdown.complete"})
