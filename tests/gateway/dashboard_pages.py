"""What the tests of the dashboard share: a browser's cookies over plain HTTP, and decisions to look at."""

import asyncio
import html
import http.client
import re
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from ledger_stores import closing as closing_row
from ledger_stores import open_ledger, record
from ledger_stores import opening as opening_row
from live import FIRST, POOL

HOSTILE = '<script>alert("x")</script>"\'><img src=x onerror=alert(1)>{{7*7}}'
PAGES = (
    "/dashboard",
    "/dashboard/frontier",
    "/dashboard/clusters",
    "/dashboard/decisions",
    "/dashboard/playground",
    "/dashboard/models",
)


@dataclass
class Visitor:
    """A browser without scripts."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, form: dict[str, str] | bytes | None = None, **headers: str) -> "Page":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            named["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = urlencode(form).encode() if isinstance(form, dict) else form
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)) as connection:
            connection.request("GET" if body is None else "POST", path, body, named)
            response = connection.getresponse()
            page = Page(response.status, response.headers, response.read().decode())
        for line in response.headers.get_all("set-cookie", []):
            name, _, rest = line.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return page

    def log_in(self, secret: str) -> "Page":
        token = self.ask("/dashboard/login").csrf
        return self.ask("/dashboard/login", {"csrf": token, "key": secret})


@dataclass(frozen=True)
class Page:
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def csrf(self) -> str:
        found = re.search(r'(?:name="csrf" value|data-csrf)="([0-9a-f]+)"', self.text)
        assert found, self.text
        return found[1]

    @property
    def words(self) -> str:
        """What one reads, without markup."""
        bare = re.sub(r"<(script|style)\b.*?</\1>", " ", self.text, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def identity(number: int) -> str:
    return f"dec_{number:028x}"


def decided(number: int, *, ago_s: float = 60.0, **changes: Any) -> Any:
    """Return the opening of a request some seconds ago, on the tests' pool."""
    values = {
        "id": identity(number),
        "at": time.time() - ago_s,
        "key": None,
        "asked": "avengers-pro",
        "model": FIRST,
        "baseline_model": FIRST,
        "policy": '{"alpha":0.7}',
        "candidates": "["
        + ",".join(f'["{name}",0.{8 - place},0.0{3 - place},null]' for place, name in enumerate(POOL))
        + "]",
        "clusters": "[3,1,2]",
    }
    return opening_row(0, **values | changes)


def over(number: int, *, ago_s: float = 59.0, **changes: Any) -> Any:
    values = {"id": identity(number), "at": time.time() - ago_s, "served_by": FIRST, "attempts": "[]"}
    return closing_row(0, **values | changes)


def write(store: str, *pairs: Any) -> None:
    """Write requests into a ledger, as another process would."""

    async def work() -> None:
        async with await open_ledger(store) as ledger:
            await record(ledger, *pairs)

    asyncio.run(work())
