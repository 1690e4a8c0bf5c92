"""Arrays as views of a safetensors file's bytes, which may be a mapped file: nothing is copied.

The safetensors package copies every array out of a file that it maps (as of 0.8, ``safe_open`` as well as
``deserialize``). Its layout, https://huggingface.co/docs/safetensors, is a header's length in 8 bytes,
little-endian; that header, JSON; and the arrays, one after the other without gaps.
"""

import math
import mmap
import sys
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
}
_Whole = Annotated[int, msgspec.Meta(ge=0, le=sys.maxsize)]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[_Whole, ...]
    data_offsets: tuple[_Whole, _Whole]


_header = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entry = msgspec.json.Decoder(_Entry)


def arrays_of(content: bytes | mmap.mmap) -> dict[str, NDArray[Any]]:
    """Return a file's arrays by name, read-only; they keep ``content`` alive.

    Raises:
        ValueError: If it is no such file, or holds arrays of other than numbers; says which.
    """
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or start > len(content):
        raise ValueError("it ends within its header")
    raw = _header.decode(content[_LENGTH_BYTES:start])
    entries = {name: _entry.decode(entry) for name, entry in raw.items() if name != _METADATA}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        if entry.dtype not in _TYPES:
            raise ValueError(f"array {name!r} is of type {entry.dtype!r}; there may be {', '.join(_TYPES)}")
        size = math.prod(entry.shape) * np.dtype(_TYPES[entry.dtype]).itemsize
        if entry.data_offsets != (end, end + size):
            raise ValueError(
                f"array {name!r} lies at {entry.data_offsets}; by what is before it and its shape, it "
                f"should at {(end, end + size)}"
            )
        end += size
    if start + end != len(content):
        raise ValueError(f"it has {len(content)} bytes; its header tells of {start + end}")
    return {name: _view(content, start, entry) for name, entry in entries.items()}


def _view(content: bytes | mmap.mmap, start: int, entry: _Entry) -> NDArray[Any]:
    kind = _TYPES[entry.dtype]
    flat = np.frombuffer(content, kind, math.prod(entry.shape), start + entry.data_offsets[0])
    array = flat.reshape(entry.shape)
    return array if array.flags.aligned else array.copy()
