"""Files by path or URL: plain paths by the operating system, URLs by fsspec."""

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from avengers_pro.errors import MissingExtraError, RecordsError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
"""What a folder is searched for; long-form CSV has to be converted first."""
_WILD = frozenset("*?[")


def is_url(path: str) -> bool:
    """Whether a path names its file system, as ``s3://bucket/folder``."""
    return "://" in path


def expanded(paths: Sequence[str]) -> list[str]:
    """Return the files that paths, folders, globs and URLs name: in the order given, each folder's sorted by name.

    Raises:
        RecordsError: If something is not there, holds no such file, or is of an unknown kind.
        MissingExtraError: If a URL needs fsspec.
    """
    found: list[str] = []
    for path in paths:
        files = _by_fsspec(path) if is_url(path) else _by_system(path)
        if not files:
            raise RecordsError(f"{path}: no such file, or a folder without {', '.join(SUFFIXES)}")
        found += files
    for file in found:
        if not file.endswith(SUFFIXES):
            raise RecordsError(f"{file}: unknown kind of file; a dataset is made of {', '.join(SUFFIXES)}")
    return found


def _by_system(path: str) -> list[str]:
    if Path(path).is_dir():
        return sorted(str(file) for file in Path(path).rglob("*") if _is_data(file.name) and file.is_file())
    if Path(path).is_file():
        return [path]
    return sorted(file for file in glob.glob(path, recursive=True) if Path(file).is_file())  # noqa: PTH207


def _is_data(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith((".", "_"))


def _by_fsspec(path: str) -> list[str]:
    system, inside = _system(path)
    try:
        if _WILD & set(inside):
            names = [name for name in system.glob(inside) if system.isfile(name)]
        elif system.isdir(inside):
            names = [name for name in system.find(inside) if _is_data(name.rpartition("/")[2])]
        else:
            names = [inside] if system.exists(inside) else []
    except OSError as error:
        raise RecordsError(f"{path}: cannot be listed: {error}") from error
    return sorted(system.unstrip_protocol(name) for name in names)


def _system(path: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise MissingExtraError("fsspec", "scale", f"reading {path}") from error
    try:
        return cast("tuple[Any, str]", url_to_fs(path))
    except (ImportError, ValueError) as error:
        raise RecordsError(f"{path}: no file system for this URL: {error}") from error


@contextmanager
def opened_file(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, seekable.

    Raises:
        RecordsError: If it cannot be opened or read.
    """
    try:
        if is_url(path):
            system, inside = _system(path)
            with system.open(inside, "rb") as stream:
                yield stream
        else:
            with Path(path).open("rb") as stream:
                yield stream
    except OSError as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error


def size_of(path: str) -> int:
    """Return the size of a file in bytes."""
    if is_url(path):
        system, inside = _system(path)
        return int(system.size(inside))
    return Path(path).stat().st_size
