"""A router on disk: ``router.json`` says what it is, ``router.safetensors`` holds the arrays. Nothing is executed."""

import hashlib
import mmap
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from avengers_pro.errors import ArtifactError, ArtifactVersionError, DamagedArtifactError
from avengers_pro.routing.method import Arrays
from avengers_pro.tensors import arrays_of

FORMAT_VERSION = 1
HEADER = "router.json"
ARRAYS = "router.safetensors"


class EmbedderEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which embedder made the vectors.

    Attributes:
        spec: Loads it. id: Must match. dimension: Length of the vectors.
        dimensions: Asked of the server, if any. max_tokens: Where texts were cut, if anywhere.
    """

    spec: str
    id: str
    dimension: int
    dimensions: int | None = None
    max_tokens: int | None = None


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's record over all training rows, and what is known of it beside.

    Attributes:
        name: As in the records.
        observations: Scores.
        mean_score: In [0, 1]; None = nothing was observed.
        mean_cost: US dollars a query; None = not known.
        input_price: US dollars per million prompt tokens, if costs were made from prices; None = not stated.
        output_price: US dollars per million completion tokens; None likewise.
        cached_input_price: US dollars per million prompt tokens that its provider has cached; None = input_price.
        capabilities: What it can do beside text; None = not stated.
    """

    name: str
    observations: int
    mean_score: float | None
    mean_cost: float | None
    input_price: float | None = None
    output_price: float | None = None
    cached_input_price: float | None = None
    capabilities: tuple[str, ...] | None = None


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a router's making: ``fit``, ``add_model``, ``remove_model``, ``reprice``, ``update``, ..."""

    action: str
    detail: dict[str, str | int | float]


class Header(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What ``router.json`` holds.

    Attributes:
        format_version: Of this layout.
        method: Name of the method.
        params: Its parameters.
        embedder: Of the vectors.
        models: The pool, in the order of the arrays.
        fingerprint: SHA-256 of the training records.
        seed: Of the fit.
        lineage: How it came to be, first step first.
        examples: A few training queries of each cluster.
        sha256: Over this header, with an empty ``sha256``, and the arrays.
    """

    format_version: int = FORMAT_VERSION
    method: str
    params: dict[str, Any]
    embedder: EmbedderEntry
    models: list[ModelEntry]
    fingerprint: str
    seed: int
    lineage: list[Step]
    examples: list[list[str]]
    sha256: str = ""


class _Version(msgspec.Struct):
    format_version: int


def save(folder: Path, header: Header, arrays: Arrays) -> None:
    """Write both files, each whole or not at all.

    Raises:
        ArtifactError: If the folder cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    body = to_bytes({name: np.ascontiguousarray(values) for name, values in arrays.items()})
    header.sha256 = _digest(header, body)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / ARRAYS, body)
        _replace(folder / HEADER, msgspec.json.format(msgspec.json.encode(header)) + b"\n")
    except OSError as error:
        raise ArtifactError(f"{folder}: the router cannot be written: {error}") from error


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    os.replace(draft, path)  # noqa: PTH105


def load(folder: Path, *, mapped: bool = False) -> tuple[Header, Arrays]:
    """Read both files, checking version, hash and every number. The arrays are read-only.

    Args:
        folder: As given to ``save``.
        mapped: Map the arrays' file instead of reading it: processes that do share its memory. For files that are
            replaced but never written to, since what is written to a mapped file changes the arrays.

    Raises:
        DamagedArtifactError: If a file is missing, truncated or altered.
        ArtifactVersionError: If another format version wrote them.
    """
    text, body = read_file(folder / HEADER), read_file(folder / ARRAYS, mapped=mapped)
    header = _decode(text, folder / HEADER)
    if _digest(header, body) != header.sha256:
        raise DamagedArtifactError(
            f"{folder}: {HEADER} and {ARRAYS} do not match their SHA-256: a file was altered, truncated, or "
            "comes from another save. Restore both, or fit again"
        )
    try:
        arrays = arrays_of(body)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedArtifactError(f"{folder / ARRAYS}: not a safetensors file we can read: {error}") from error
    for name, values in arrays.items():
        if np.isinf(values).any():
            raise DamagedArtifactError(f"{folder / ARRAYS}: array {name!r} holds an infinite number")
    names = [entry.name for entry in header.models]
    if not names or len(set(names)) < len(names):
        raise DamagedArtifactError(f"{folder / HEADER}: models must be named, each once")
    return header, arrays


def read_file(path: Path, *, mapped: bool = False) -> Any:
    """Read or map one of a router's files.

    Raises:
        DamagedArtifactError: If it cannot be read.
    """
    try:
        if not mapped or not path.stat().st_size:  # nothing cannot be mapped
            return path.read_bytes()
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DamagedArtifactError(
            f"{path}: cannot be read: {error}. A router is a folder with {HEADER} and {ARRAYS}"
        ) from error


def _decode(text: bytes, path: Path) -> Header:
    try:
        version = msgspec.json.decode(text, type=_Version).format_version
        if version != FORMAT_VERSION:
            advice = "update avengers-pro" if version > FORMAT_VERSION else "fit the router again"
            raise ArtifactVersionError(
                f"{path}: format version {version}, this program reads {FORMAT_VERSION}; {advice}"
            )
        return msgspec.json.decode(text, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedArtifactError(f"{path}: not a router header: {error}") from error


def _digest(header: Header, body: bytes | mmap.mmap) -> str:
    digest = hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(header, sha256="")))
    digest.update(body)
    return digest.hexdigest()
