"""Running an ASGI application while a block of code uses it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from avengers_pro.demo.provider.exchange import Application
from avengers_pro.errors import AvengersProError, MissingExtraError, SettingsError

_LONGEST_START_S = 30.0
_LONGEST_STOP_S = 30.0
_BACKLOG = 2048


@contextmanager
def serving(app: Application, port: int = 0, *, host: str = "127.0.0.1", grace_s: float = 0.0) -> Iterator[str]:
    """Serve an ASGI application with uvicorn, on a background thread with its own event loop.

    When the block is entered, requests are answered; when it is left, the port is free again, the application's
    lifespan has ended, and requests that still hung were cut off.

    Args:
        app: Any ASGI application; its lifespan events are sent if it knows them.
        port: To listen on; 0 = the system chooses a free one.
        host: IPv4 address or name to listen on.
        grace_s: Seconds that requests in flight get to finish when the block is left.

    Yields:
        The base URL, such as ``http://127.0.0.1:49152``, without a slash at the end.

    Raises:
        SettingsError: If the port cannot be listened on, or the application does not start.
        MissingExtraError: If uvicorn is not installed.
        AvengersProError: If the application does not stop.
    """
    if find_spec("uvicorn") is None:
        raise MissingExtraError("uvicorn", "serve", "serving HTTP")
    from avengers_pro.demo.provider.server import ThreadServer

    listener = _listen(host, port)
    url = f"http://{host}:{listener.getsockname()[1]}"
    server = ThreadServer(app, grace_s=grace_s)
    thread = threading.Thread(target=server.run_until_left, args=(listener,), name=f"serving {url}", daemon=True)
    thread.start()
    try:
        server.settled.wait(_LONGEST_START_S)
        if not server.started:
            reason = server.failure or f"it neither said why nor was ready after {_LONGEST_START_S:g} seconds"
            raise SettingsError(f"the application at {url} did not start: {reason}")
        yield url
    finally:
        server.leave()
        thread.join(_LONGEST_STOP_S)
        listener.close()
    if thread.is_alive():
        raise AvengersProError(f"the application at {url} did not stop within {_LONGEST_STOP_S:g} seconds")


def _listen(host: str, port: int) -> socket.socket:
    """Open the port in the caller's thread, where a failure can be raised; connections wait until it is served."""
    # asyncio sends small parts at once only on sockets that say they are TCP, which socket.create_server's do not.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"{host}:{port}: cannot be listened on: {error.strerror}; 0 lets the system choose a port"
        ) from error
    return listener
