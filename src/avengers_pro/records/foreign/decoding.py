"""JSON as evaluation tools write it: with NaN where a number is missing."""

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import TypeVar

import msgspec

from avengers_pro.errors import RecordsError
from avengers_pro.records.assemble import shown

_STRING_OR_WORD = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|-?(?:NaN|Infinity)', re.DOTALL)
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
Decoded = TypeVar("Decoded")


def decode(data: "bytes | msgspec.Raw", decoder: "msgspec.json.Decoder[Decoded]") -> Decoded:
    """Decode JSON; NaN and Infinity, which Python writes and JSON does not know, become null.

    Raises:
        ValueError: If it is not JSON, or a field is of the wrong type; the message names the field.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        text = bytes(data)
        if b"NaN" not in text and b"Infinity" not in text:
            raise
        return decoder.decode(_STRING_OR_WORD.sub(_json_word, text))


def _json_word(match: re.Match[bytes]) -> bytes:
    return match[0] if match[0].startswith(b'"') else b"null"


UNREADABLE = (ValueError, RecursionError)
"""What ``decode`` raises; msgspec's errors are ValueErrors."""


def fault(error: Exception, data: "bytes | msgspec.Raw") -> tuple[str, str, str | None]:
    """Split a decoding error into the field, what is wrong with it, and the value there if it can be shown."""
    reason, _, place = str(error).partition(" - at `")
    if not isinstance(error, msgspec.ValidationError):
        return "sample", f"not valid JSON: {reason}", None
    place = place.rstrip("`").removeprefix("$").removeprefix(".")
    try:
        value = json.loads(bytes(data))
        for name, position in _STEP.findall(place):
            value = value[name or int(position)]
    except (LookupError, TypeError, *UNREADABLE):
        return place or "sample", reason, None
    return place or "sample", reason, in_short(value) if place else None


def read_whole(path: Path) -> bytes:
    """Return a file's bytes, decompressed if they are gzip.

    Raises:
        RecordsError: If it cannot be read.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error


def in_short(value: object) -> str:
    """Write a value for a message."""
    return shown(value) if isinstance(value, float) else repr(value)
