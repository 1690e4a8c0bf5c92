"""The zip file of an Inspect log, whose members may be compressed with zstd."""

import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from avengers_pro.errors import MissingExtraError, RecordsError

_ZSTD = 93
"""Compression method of the zip format; Python reads it from 3.14 on."""
_LOCAL_HEADER = 30
_BROKEN = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error)
"""What zipfile raises on damaged files; NotImplementedError is a RuntimeError."""


class EvalArchive:
    """Reads members by name; of several with one name the last counts, as Inspect has it.

    Args:
        path: The file.

    Raises:
        RecordsError: If it is not a whole zip file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zstd: Any = None
        try:
            self._zip = zipfile.ZipFile(path)
        except _BROKEN as error:
            raise RecordsError(
                f"{path}: not a whole zip file ({error}); the run that wrote it may have been cut off"
            ) from error
        self.members = dict(self._zip.NameToInfo)

    def __enter__(self) -> Self:
        """Return the archive itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._zip.close()

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises:
            RecordsError: If they are damaged or compressed in an unknown way.
            MissingExtraError: If they need zstd and pyarrow is not installed.
        """
        info = self.members[name]
        try:
            if info.compress_type != _ZSTD:
                return self._zip.read(info)
            data: bytes = self._codec().decompress(self._raw(info), info.file_size, asbytes=True)
        except _BROKEN as error:
            raise RecordsError(f"{self._path}: {name}: cannot be read: {error}") from error
        if zlib.crc32(data) != info.CRC:
            raise RecordsError(f"{self._path}: {name}: cannot be read: its checksum is wrong")
        return data

    def _codec(self) -> Any:
        if self._zstd is None:
            try:
                import pyarrow as pa
            except ModuleNotFoundError as error:
                raise MissingExtraError("pyarrow", "parquet", "reading .eval logs compressed with zstd") from error
            self._zstd = pa.Codec("zstd")
        return self._zstd

    def _raw(self, info: zipfile.ZipInfo) -> bytes:
        """Return the compressed bytes; the lengths of name and extra field stand in the local header."""
        stream: Any = self._zip.fp
        stream.seek(info.header_offset)
        header = stream.read(_LOCAL_HEADER)
        stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
        data: bytes = stream.read(info.compress_size)
        return data
