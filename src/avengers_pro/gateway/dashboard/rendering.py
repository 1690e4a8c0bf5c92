"""Pages from templates, and the files beside them."""

import gzip
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from avengers_pro.gateway.dashboard.wording import FILTERS

SHUT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing but our own files: a script or style that comes inside a page is not run."""
HEADERS = {
    "content-security-policy": SHUT,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer browsers would not say where our own forms come from
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("avengers_pro.gateway.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= FILTERS | {"data": data}
    made.globals["asset"] = asset
    return made


def data(value: Any) -> Markup:
    """Return a value as JSON for an attribute, which a script reads; no text in it can end the attribute."""
    return escape(json.dumps(value, ensure_ascii=False, allow_nan=False))


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a page; nothing of it is kept by caches."""
    text = _environment().get_template(template).render(path=request.url.path, **values)
    return compressed(request, text.encode(), "text/html; charset=utf-8", status, {"cache-control": "no-store"})


def compressed(
    request: Request, body: bytes, media_type: str, status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """Answer with a body, compressed if it is long and the browser takes that."""
    more = {**HEADERS, "vary": "accept-encoding", **(headers or {})}
    if len(body) > 1000 and takes_gzip(request):  # noqa: PLR2004 - a packet
        body, more["content-encoding"] = gzip.compress(body, 5), "gzip"
    return HTMLResponse(body, status, more, media_type)


def takes_gzip(request: Request) -> bool:
    """Whether the browser takes gzip."""
    return "gzip" in request.headers.get("accept-encoding", "")


@cache
def _files() -> dict[str, tuple[str, bytes]]:
    """Return type and content of every static file by name."""
    folder = files("avengers_pro.gateway.dashboard") / "static"
    found = sorted(folder.iterdir(), key=lambda file: file.name)
    return {file.name: (_TYPES[file.name[file.name.rindex(".") :]], file.read_bytes()) for file in found}


def asset(name: str) -> str:
    """Return the address of a static file; it changes with the content, so browsers may keep it for ever."""
    return f"/dashboard/static/{name}?v={hashlib.sha256(_files()[name][1]).hexdigest()[:12]}"


def static(request: Request, name: str) -> Response | None:
    """Answer with a static file; None = there is none of this name."""
    if name not in _files():
        return None
    media_type, body = _files()[name]
    kept = _FOREVER if "v" in request.query_params else "no-cache"
    return compressed(request, body, media_type, headers={"cache-control": kept})


def ready_made(request: Request, body: bytes, media_type: str) -> Response:
    """Answer with a body that is compressed already."""
    more = {**HEADERS, "vary": "accept-encoding", "cache-control": _FOREVER}
    if takes_gzip(request):
        return Response(body, 200, {**more, "content-encoding": "gzip"}, media_type)
    return Response(gzip.decompress(body), 200, more, media_type)
