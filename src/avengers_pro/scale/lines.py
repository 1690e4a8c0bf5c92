"""The lines of a part of a JSON-lines file."""

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from avengers_pro.errors import RecordsError
from avengers_pro.scale.files import opened_file
from avengers_pro.scale.parts import Part

_BOM = b"\xef\xbb\xbf"
_STRIDE = 1 << 20


def lines_of_part(part: Part, first_line: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, line) of the non-blank lines that start in the part.

    Args:
        part: Of kind ``lines``.
        first_line: Lines of the file before the part.

    Raises:
        RecordsError: If the file cannot be read.
    """
    with opened_file(part.path) as raw:
        stream = raw if part.end >= 0 else _decompressed(raw)
        if part.start:
            raw.seek(part.start - 1)
            raw.readline()  # the rest of a line that starts before
        here, number = raw.tell(), first_line
        try:
            while part.end < 0 or here < part.end:
                line = stream.readline()
                if not line:
                    return
                here, number = here + len(line), number + 1
                if number == 1:
                    line = line.removeprefix(_BOM)
                if not line.isspace():
                    yield number, line
        except (EOFError, zlib.error) as error:
            raise RecordsError(f"{part.path}: cannot be read: {error}") from error


def _decompressed(raw: BinaryIO) -> BinaryIO:
    compressed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=raw, mode="rb")) if compressed else raw


def lines_before(part: Part) -> int:
    """Count the lines of the file that start before the part."""
    count, place, last = 0, 0, b"\n"
    with opened_file(part.path) as stream:
        while place < part.start and (chunk := stream.read(min(_STRIDE, part.start - place))):
            count += chunk.count(b"\n")
            place, last = place + len(chunk), chunk[-1:]
    return count + (last != b"\n")
