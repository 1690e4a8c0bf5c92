"""Who looks at the dashboard: a signed cookie that stands for an API key, and tokens against forged requests."""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from avengers_pro.gateway.access import ANONYMOUS, Caller
from avengers_pro.gateway.refused import RefusedError

if TYPE_CHECKING:
    from avengers_pro.gateway.state import Gateway

COOKIE = "avengers_pro_session"
CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
SESSION_S = 12 * 3600
"""Seconds until one has to log in again."""
_PATH = "/dashboard"
_MOST_ENDED = 10_000


class _Claims(msgspec.Struct, frozen=True, array_like=True):
    """What the cookie says: a key's id, or None for a visitor without one; a random name; until when."""

    key: str | None
    name: str
    expires: int


@dataclass(frozen=True, slots=True)
class Visit:
    """One request to the dashboard.

    Attributes:
        caller: Who looks; None = nobody who may.
        csrf: Token that requests which change something must carry.
        cookie: To be set with the answer; None = the visitor has a good one.
    """

    caller: Caller | None
    csrf: str
    cookie: str | None

    @property
    def is_admin(self) -> bool:
        """Whether everything may be seen, and changed."""
        return self.caller is not None and self.caller.role == "admin"

    @property
    def key(self) -> str | None:
        """The key whose decisions may be seen; None = those of all."""
        return None if self.caller is None or self.is_admin else self.caller.key


class Door:
    """Lets visitors in: makes and checks session cookies.

    Cookies are signed with a secret that all gateways of a ledger share. That a session was ended is known only to the
    process that ended it: to others, a copy of its cookie is good until it expires.
    """

    def __init__(self, gateway: "Gateway") -> None:
        """Guard the dashboard of a gateway."""
        self._gateway = gateway
        self._ended: dict[str, int] = {}

    def visit(self, request: Request) -> Visit:
        """Say who looks. Where no key is needed, everybody may, as with the API."""
        claims = self._read(request.cookies.get(COOKIE, ""))
        cookie = None
        if claims is None:
            claims, cookie = self._new(None)
        return Visit(self._caller(claims), self._token(claims.name), cookie)

    def enter(self, secret: str) -> tuple[Caller, str]:
        """Log in with an API key.

        Returns:
            Who that is, and the cookie to set.

        Raises:
            AccessDenied: If there is no such key, or it was revoked.
        """
        caller = self._gateway.access.authenticate(None, secret)
        return caller, self._new(caller.key)[1]

    def leave(self, request: Request) -> None:
        """End a session, so that a copy of its cookie is worth nothing."""
        claims = self._read(request.cookies.get(COOKIE, ""))
        if claims is not None:
            now = time.time()
            if len(self._ended) >= _MOST_ENDED:
                self._ended = {name: expires for name, expires in self._ended.items() if expires > now}
            self._ended[claims.name] = claims.expires

    def check(self, request: Request, token: str | None) -> None:
        """Refuse a change that did not come from one of our own pages.

        Args:
            request: That wants to change something.
            token: From its form or header.

        Raises:
            RefusedError: With status 403.
        """
        origin, host = request.headers.get("origin"), request.headers.get("host", "")
        is_ours = origin is None or origin.partition("://")[2] == host
        claims = self._read(request.cookies.get(COOKIE, ""))
        if not is_ours or claims is None or not _equal(self._token(claims.name), token or ""):
            raise RefusedError(403, "this page is out of date or not ours; load it again and repeat", code="csrf")

    def _caller(self, claims: _Claims) -> Caller | None:
        gateway = self._gateway
        if claims.key is not None:
            info = gateway.keys.of(claims.key)
            if info is not None and info.revoked_at is None:
                return Caller(info.id, info.name, info.role, info.limits)
        return None if gateway.needs_keys() else ANONYMOUS

    def _new(self, key: str | None) -> tuple[_Claims, str]:
        claims = _Claims(key, secrets.token_urlsafe(12), int(time.time()) + SESSION_S)
        body = base64.urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=").decode()
        return claims, f"{body}.{self._sign('session', body)}"

    def _read(self, cookie: str) -> _Claims | None:
        body, _, signature = cookie.partition(".")
        if not _equal(self._sign("session", body), signature):
            return None
        try:
            claims = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=_Claims)
        except (msgspec.DecodeError, binascii.Error):
            return None
        return claims if claims.expires > time.time() and claims.name not in self._ended else None

    def _token(self, name: str) -> str:
        return self._sign("csrf", name)

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._gateway.session_secret, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def _equal(own: str, given: str) -> bool:
    """Compare in constant time; as bytes, because texts with other letters than ASCII cannot be compared so."""
    return hmac.compare_digest(own.encode(), given.encode("utf-8", "replace"))


def set_cookie(response: Response, request: Request, cookie: str) -> None:
    """Give the browser a session; scripts, other sites and other paths do not get it."""
    is_secure = "https" in {request.url.scheme, request.headers.get("x-forwarded-proto")}
    response.set_cookie(
        COOKIE, cookie, max_age=SESSION_S, path=_PATH, httponly=True, samesite="strict", secure=is_secure
    )


def drop_cookie(response: Response) -> None:
    """Take it away."""
    response.delete_cookie(COOKIE, path=_PATH, httponly=True, samesite="strict")
