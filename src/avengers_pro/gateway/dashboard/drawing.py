"""Charts in the browser: made once in a process of its own, then served from memory; tables where that cannot be."""

import asyncio
import gzip
import logging
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import ClassVar

import msgspec

NEEDED = {"altair": "altair", "vl_convert": "vl-convert-python"}
"""Modules and their packages, which the extra ``report`` brings."""
_LONGEST_S = 60.0
_log = logging.getLogger(__name__)


class Drawing(msgspec.Struct, frozen=True):
    """What the browser needs to draw, compressed with gzip.

    Attributes:
        script: The Vega runtime.
        charts: JSON of the specifications by name.
    """

    script: bytes
    charts: bytes


class _Made(msgspec.Struct):
    script: str
    charts: msgspec.Raw


class Drawings:
    """Makes the drawing when it is first asked for, once in a process: it is the same for all gateways."""

    _ready: ClassVar[Drawing | None] = None

    def __init__(self) -> None:
        """Make nothing yet."""
        self._making: asyncio.Task[Drawing | None] | None = None
        self.is_possible = all(find_spec(module) is not None for module in NEEDED)

    @property
    def version(self) -> str:
        """What tells this drawing from those of other versions."""
        try:
            return "-".join(version(package) for package in ("avengers-pro", *NEEDED.values()))
        except PackageNotFoundError:
            return "0"

    async def get(self) -> Drawing | None:
        """Return it; None if what draws is not installed, or failed, which the log says."""
        if not self.is_possible:
            return None
        if Drawings._ready is None:
            if self._making is None:
                self._making = asyncio.create_task(_make(), name="dashboard charts")
            Drawings._ready = await asyncio.shield(self._making)
        return Drawings._ready

    async def close(self) -> None:
        """Make it no longer, if it is being made."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])


async def _make() -> Drawing | None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "avengers_pro.gateway.dashboard.bundle"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    complaint = b"it took too long"
    try:
        async with asyncio.timeout(_LONGEST_S):
            output, complaint = await process.communicate()
        made = msgspec.json.decode(output, type=_Made)
    except (TimeoutError, msgspec.DecodeError):
        _log.error("dashboard: no charts: %s", complaint.decode(errors="replace").strip().rpartition("\n")[2])
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return await asyncio.to_thread(_compressed, made)


def _compressed(made: _Made) -> Drawing:
    return Drawing(gzip.compress(made.script.encode(), 9, mtime=0), gzip.compress(bytes(made.charts), 9, mtime=0))
