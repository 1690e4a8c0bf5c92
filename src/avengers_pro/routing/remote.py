"""A folder behind a URL, by fsspec; whatever a file system raises, and however long it takes, is contained."""

import re
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, TypeVar, cast
from urllib.parse import unquote

from avengers_pro.errors import ArtifactError, MissingExtraError, UnreachableRouterError

LOOK_S = 8.0
"""How long a small file may take."""
_TRANSFER_S = 300.0
_USER = re.compile(r"(?<=//)(?:[^/@\s]*|[^@\s]*:[^@\s]*)@")
"""User and password; a slash in a password should be %2F, but shows none of it either."""
Result = TypeVar("Result")


def is_url(path: str | Path) -> bool:
    """Whether a path names its file system, as ``s3://bucket/folder``."""
    return isinstance(path, str) and "://" in path


def without_user(text: str) -> str:
    """Return a text without the user and password of any URL in it."""
    return _USER.sub("", text)


class RemoteFolder:
    """A folder on any file system that fsspec knows; credentials are where that file system looks for them.

    Attributes:
        shown: Its URL without user and password.
    """

    def __init__(self, url: str) -> None:
        """Name the folder; nothing is opened.

        Raises:
            ArtifactError: If the URL has a query or a fragment: names of files could not be added to it.
        """
        self.shown = without_user(re.split("[?#]", url)[0])
        if self.shown != without_user(url):
            raise ArtifactError(
                f"{self.shown}: a URL of a folder has no ? and no #; keep credentials in the environment"
            )
        self._url = url.rstrip("/")
        self._secrets = _secrets(url)
        self._last: Future[Any] | None = None

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None = it is not there."""
        return self._done(f"reading {name}", lambda system, root: _content(system, f"{root}/{name}"), LOOK_S)

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a local path."""
        self._done(f"fetching {name}", lambda system, root: system.get_file(f"{root}/{name}", str(path)), _TRANSFER_S)

    def store(self, name: str, path: Path) -> None:
        """Copy a local file here, folders included; an interrupted copy leaves what was there."""

        def put(system: Any, root: str) -> None:
            system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            _write_whole(system, f"{root}/{name}", lambda to: system.put_file(str(path), to))

        self._done(f"storing {name}", put, _TRANSFER_S)

    def replace(self, name: str, content: bytes) -> None:
        """Write a small file as a whole: whoever reads it sees the old content or the new."""

        def write(system: Any, root: str) -> None:
            system.makedirs(root, exist_ok=True)
            _write_whole(system, f"{root}/{name}", lambda to: system.pipe_file(to, content))

        self._done(f"writing {name}", write, LOOK_S)

    def folders(self) -> list[str]:
        """Return the names of the folders in it, sorted."""

        def names(system: Any, root: str) -> list[str]:
            system.invalidate_cache()
            try:
                found = system.ls(root, detail=True)
            except FileNotFoundError:
                return []
            return sorted(one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory")

        return self._done("listing it", names, LOOK_S)

    def _done(self, doing: str, work: Callable[[Any, str], Result], most_s: float) -> Result:
        """Do something with the file system, in a thread that is left behind if it takes too long.

        While one is left behind there is no other: what hangs would only hang again.

        Raises:
            UnreachableRouterError: If it fails, or takes too long.
            MissingExtraError: If fsspec is not installed.
            ArtifactError: If there is no file system for the URL.
        """
        self._wait(doing, self._last, most_s)
        self._last = future = Future[Result]()
        Thread(target=_keep, args=(future, lambda: work(*self._system())), daemon=True).start()
        self._wait(doing, future, most_s)
        error = future.exception()
        if isinstance(error, ArtifactError | MissingExtraError):
            raise error
        if error is not None:
            why = self._safe(error) or type(error).__name__
            raise UnreachableRouterError(f"{self.shown}: {doing} failed: {why}") from None
        return future.result()

    def _safe(self, error: BaseException) -> str:
        """Return what an error says, which may quote the URL or its parts."""
        text = without_user(str(error))
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return text

    def _wait(self, doing: str, future: Future[Any] | None, most_s: float) -> None:
        try:
            if future is not None:
                future.exception(most_s)
        except TimeoutError:
            raise UnreachableRouterError(f"{self.shown}: {doing} takes longer than {most_s:g} s") from None

    def _system(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError as error:
            raise MissingExtraError("fsspec", "serve", f"a router at {self.shown}") from error
        try:
            system, root = cast("tuple[Any, str]", url_to_fs(self._url))
        except (ImportError, ValueError) as error:
            raise ArtifactError(f"{self.shown}: no file system for this URL: {self._safe(error)}") from None
        return system, root.rstrip("/")


def _secrets(url: str) -> tuple[str, ...]:
    """Return user and password of a URL, and the password alone, as they are and decoded; longest first."""
    if (found := _USER.search(url)) is None:
        return ()
    user = found[0].removesuffix("@")
    parts = {user, user.partition(":")[2]} - {""}
    return tuple(sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True))


class _Kept:
    """Keeps whatever a block raises in a future: file systems raise what they like."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            self._future.set_exception(error)
        return True


def _keep(future: Future[Result], work: Callable[[], Result]) -> None:
    with _Kept(future):
        future.set_result(work())


def _content(system: Any, path: str) -> bytes | None:
    try:
        return bytes(system.cat_file(path))
    except FileNotFoundError:
        return None


def _write_whole(system: Any, path: str, write: Callable[[str], object]) -> None:
    """Write a file; where that does not replace it as a whole, by renaming another one, which is nobody else's."""
    if not _is_local(system):
        write(path)
        return
    folder, _, name = path.rpartition("/")
    part = f"{folder}/.{name}.{secrets.token_hex(8)}.part"
    try:
        write(part)
        system.mv(part, path)
    finally:
        with suppress(FileNotFoundError):
            system.rm_file(part)


def _is_local(system: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(system, LocalFileSystem)
