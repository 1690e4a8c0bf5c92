"""Routers put side by side at a URL, and the file that says which of them gateways use."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from avengers_pro.errors import ArtifactError
from avengers_pro.routing import artifact
from avengers_pro.routing.artifact import ARRAYS, HEADER
from avengers_pro.routing.place import CURRENT, checked_version, header_fingerprint, is_version, version_in
from avengers_pro.routing.remote import RemoteFolder, is_url


@dataclass(frozen=True, slots=True)
class Version:
    """A published router.

    Attributes:
        name: Of its folder.
        fingerprint: As ledgers name the router.
        is_current: Whether it is the one in use.
    """

    name: str
    fingerprint: str
    is_current: bool


def publish(router: Path, url: str, name: str | None = None) -> str:
    """Copy a saved router to a version's folder, and have it used.

    Args:
        router: Its folder, which is checked first.
        url: Where to; a path is a URL without its scheme.
        name: Of the version; the first 12 digits of the router's fingerprint if None.

    Returns:
        Name of the version.

    Raises:
        ArtifactError: If the router is damaged, another one has this name, or ``url`` is itself a router.
        UnreachableRouterError: If it cannot be written there.
    """
    place = _opened(url)
    artifact.load(router)
    header = artifact.read_file(router / HEADER)
    version = checked_version(header_fingerprint(header)[:12] if name is None else name, place.shown)
    if place.read(HEADER) is not None:
        raise ArtifactError(f"{place.shown}: this is a saved router, not a place for versions; name another folder")
    there = place.read(f"{version}/{HEADER}")
    if there is not None and there != header:
        raise ArtifactError(
            f"{place.shown}: another router is version {version!r}; publish this one under another name"
        )
    place.store(f"{version}/{ARRAYS}", router / ARRAYS)
    place.store(f"{version}/{HEADER}", router / HEADER)
    _point(place, version)
    return version


def use(version: str, url: str) -> None:
    """Have a published version used, an earlier one for instance.

    Raises:
        ArtifactError: If there is none of this name.
        UnreachableRouterError: If the place does not answer or cannot be written to.
    """
    place = _opened(url)
    if place.read(f"{checked_version(version, place.shown)}/{HEADER}") is None:
        known = ", ".join(one.name for one in versions(url)) or "none"
        raise ArtifactError(f"{place.shown}: there is no version {version!r}; there are: {known}")
    _point(place, version)


def versions(url: str) -> tuple[Version, ...]:
    """Return the published versions by name.

    Raises:
        UnreachableRouterError: If the place does not answer.
        ArtifactError: If what says which is in use says nothing.
    """
    place = _opened(url)
    pointer = place.read(CURRENT)
    current = None if pointer is None else version_in(pointer, place.shown)
    headers = {name: place.read(f"{name}/{HEADER}") for name in place.folders() if is_version(name)}
    return tuple(
        Version(name, header_fingerprint(header), name == current)
        for name, header in headers.items()
        if header is not None
    )


def _opened(url: str) -> RemoteFolder:
    # not as_uri(): fsspec takes %20 for a part of the name
    return RemoteFolder(url if is_url(url) else f"file://{Path(url).absolute().as_posix()}")


def _point(place: RemoteFolder, version: str) -> None:
    """Write ``current``, with the time, so that the same version is looked at again."""
    place.replace(CURRENT, f"{version}\nsince {datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}\n".encode())
