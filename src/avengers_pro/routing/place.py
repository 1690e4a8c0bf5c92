"""Where a router is: a folder, a URL, or a place with several versions of which ``current`` names the one to use."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from avengers_pro.errors import ArtifactError, DamagedArtifactError
from avengers_pro.home import HOME_VARIABLE, user_folder
from avengers_pro.routing import artifact
from avengers_pro.routing.artifact import ARRAYS, HEADER
from avengers_pro.routing.remote import RemoteFolder, is_url

CURRENT = "current"
"""The file that names the version in use: its name, the end of the line, and whatever else is worth knowing."""
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KEPT = 4
"""Routers kept in the user's folder; the longest unused are removed."""


def is_version(name: str) -> bool:
    """Whether a version can have this name: it becomes the name of a folder."""
    return _VERSION.fullmatch(name) is not None and name.lower() != CURRENT  # some file systems see no capitals


def checked_version(name: str, where: str) -> str:
    """Return a version's name if it can be one.

    Raises:
        ArtifactError: If not.
    """
    if not is_version(name):
        raise ArtifactError(
            f"{where}: {name[:100]!r} is no name of a version; it may have up to 100 letters, digits and . _ -, "
            f"begins with a letter or digit, and is not {CURRENT!r}"
        )
    return name


def version_in(pointer: bytes, where: str) -> str:
    """Return the version that the content of ``current`` names.

    Raises:
        ArtifactError: If it names none, or its line has no end: then it was not written to its end.
    """
    name, end, _ = pointer.partition(b"\n")
    if not end:
        raise ArtifactError(f"{where}/{CURRENT}: its first line must be a version's name, and end")
    return checked_version(name.decode("utf-8", "replace").strip(), f"{where}/{CURRENT}")


def header_fingerprint(header: bytes) -> str:
    """Return the SHA-256 of a router's header, which holds that of its arrays; ledgers name routers by it."""
    return hashlib.sha256(header).hexdigest()


class RouterPlace:
    """Where a router is read from, now and again later.

    Attributes:
        shown: The path or URL, without user and password.
        is_remote: Whether it is a URL.
    """

    def __init__(self, where: str | Path) -> None:
        """Name the place; nothing is opened.

        Args:
            where: A folder or a URL, either a saved router's or one with versions.
        """
        self._remote = RemoteFolder(str(where)) if is_url(where) else None
        self._path = Path(where)
        self.is_remote = self._remote is not None
        self.shown = str(where) if self._remote is None else self._remote.shown

    def stamp(self) -> str | None:
        """Return what is different as soon as there is something else to load; None = nothing is there.

        Raises:
            UnreachableRouterError: If the place does not answer.
            ArtifactError: If ``current`` names no version.
        """
        if self._remote is None:
            folder, said = self._followed()
            with suppress(OSError):
                return f"{said!r} {(folder / HEADER).stat().st_mtime_ns}"
            return repr(said) if said else None  # a version is named that is not there: loading it says so
        pointer = self._remote.read(CURRENT)
        if pointer is not None:
            return repr(pointer)
        header = self._remote.read(HEADER)
        return None if header is None else header_fingerprint(header)

    def folder(self) -> Path:
        """Return a folder of this machine with the router's files: itself, or a copy in the user's folder.

        Raises:
            ArtifactError: If there is none, or it cannot be copied.
        """
        return self._followed()[0] if self._remote is None else self.copied()

    def copied(self) -> Path:
        """Return a checked copy in the user's folder, which is never written to again: its arrays can be mapped.

        Raises:
            DamagedArtifactError: If the router's files are missing, truncated or altered.
            ArtifactError: If it cannot be copied.
        """
        return self._copied_from_here() if self._remote is None else _copied_from(self._remote)

    def _copied_from_here(self) -> Path:
        folder, _ = self._followed()
        artifact.load(folder)  # even if there is a copy: a damaged router should not seem to be well
        return _copied(str(folder), artifact.read_file(folder / HEADER), lambda to: _copy(folder / ARRAYS, to))

    def _followed(self) -> tuple[Path, bytes]:
        """Return the folder of the router, and what ``current`` says if there is one."""
        try:
            pointer = (self._path / CURRENT).read_bytes()
        except OSError:
            return self._path, b""
        return self._path / version_in(pointer, self.shown), pointer


def _copied_from(remote: RemoteFolder) -> Path:
    pointer = remote.read(CURRENT)
    inside = "" if pointer is None else f"{version_in(pointer, remote.shown)}/"
    header = remote.read(inside + HEADER)
    if header is None:
        raise DamagedArtifactError(f"{remote.shown}: there is no {inside}{HEADER}, so no router")
    return _copied(f"{remote.shown}/{inside}".rstrip("/"), header, lambda to: remote.fetch(inside + ARRAYS, to))


def _copy(source: Path, to: Path) -> None:
    try:
        shutil.copyfile(source, to)
    except OSError as error:
        raise DamagedArtifactError(f"{source}: cannot be read: {error.strerror}") from error


def _copied(where: str, header: bytes, fetch_arrays: Callable[[Path], None]) -> Path:
    """Return the copy of a router in the user's folder; made, checked and put there if it is not."""
    routers = user_folder() / "routers"
    folder = routers / header_fingerprint(header)[:32]
    try:
        if not _is_whole(folder):
            routers.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".", dir=routers) as name:
                draft = Path(name) / "router"
                draft.mkdir()
                (draft / HEADER).write_bytes(header)
                fetch_arrays(draft / ARRAYS)
                _check(draft, where)
                _put(draft, folder)
        os.utime(folder)
        _forget_oldest(routers)
    except OSError as error:
        raise ArtifactError(
            f"{routers}: a router cannot be copied here: {error.strerror}; set {HOME_VARIABLE} to a folder that "
            "can be written"
        ) from error
    return folder


def _check(draft: Path, where: str) -> None:
    try:
        artifact.load(draft)
    except ArtifactError as error:
        raise type(error)(str(error).replace(str(draft), where)) from None


def _is_whole(folder: Path) -> bool:
    try:
        artifact.load(folder, mapped=True)
    except ArtifactError:
        return False
    return True


def _put(draft: Path, folder: Path) -> None:
    """Move a router to where it belongs, unless another process was first: all shall map the same file."""
    try:
        draft.rename(folder)
    except OSError:
        if not _is_whole(folder):  # damaged: whoever mapped it keeps what was there
            shutil.rmtree(folder)
            draft.rename(folder)


def _forget_oldest(routers: Path) -> None:
    """Remove the routers that were not used for longest; who has mapped one keeps it."""
    found = [folder for folder in routers.iterdir() if not folder.name.startswith(".")]
    for folder in sorted(found, key=lambda one: one.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
