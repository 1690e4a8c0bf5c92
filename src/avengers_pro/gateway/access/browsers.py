"""Web pages that are not the gateway's own, and must not use one that asks for no key.

A gateway on 127.0.0.1 without keys answers whoever is on the machine. So is every page that its browser shows: a page
may send a form to any address (and spend money without seeing the answer), or give its own name that address ("DNS
rebinding") and see it. Programs send neither of the headers looked at here; the gateway's own pages send harmless ones.
"""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from avengers_pro.gateway.access.binding import is_loopback


def why_foreign(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Say why a request cannot come from a program or a page of this machine; None = it can.

    Args:
        headers: Of the request, names in lower case.
    """
    host = origin = b""
    for name, value in headers:
        if name == b"host":
            host = value
        elif name == b"origin":
            origin = value
        elif name == b"sec-fetch-site" and value == b"cross-site":
            return "a page of another site sent it"
    if host and not _is_local(b"//" + host):
        return f"it is for the host {host.decode('latin-1')!r}, not for this machine"
    if origin and not _is_local(origin):
        return f"the page {origin.decode('latin-1')!r} sent it"
    return None


@lru_cache(maxsize=64)
def _is_local(address: bytes) -> bool:
    try:
        return is_loopback(urlsplit(address.decode("latin-1")).hostname or "")
    except ValueError:
        return False
