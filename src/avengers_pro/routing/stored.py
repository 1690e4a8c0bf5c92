"""A router to and from its folder."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avengers_pro.embedding import Embedder, EmbeddingOptions, load_embedder
from avengers_pro.embedding.format import WithFormat
from avengers_pro.errors import DamagedArtifactError, EmbedderMismatchError, MethodError
from avengers_pro.routing import artifact
from avengers_pro.routing.method import Arrays, FittedMethod, Method
from avengers_pro.routing.methods import build_method

if TYPE_CHECKING:
    from avengers_pro.routing.router import Router


def save_router(router: "Router", folder: Path) -> None:
    """Write ``router.json`` and ``router.safetensors``; equal routers give equal bytes."""
    artifact.save(
        folder,
        artifact.Header(
            method=router.method.name,
            params=dict(router.method.params()),
            embedder=router.embedding,
            models=list(router.facts),
            fingerprint=router.fingerprint,
            seed=router.seed,
            lineage=list(router.lineage),
            examples=[list(texts) for texts in router.examples],
        ),
        router.fitted.arrays(),
    )


def read_parts(
    folder: Path, embedder: Embedder | None, options: EmbeddingOptions | None, *, mapped: bool = False
) -> tuple[artifact.Header, Method, FittedMethod, Embedder | None]:
    """Read a folder and check that everything in it fits together.

    Raises:
        DamagedArtifactError: If files are missing, truncated or altered.
        ArtifactVersionError: If another version wrote them.
        EmbedderMismatchError: If the given embedder is not the one of the fit.
    """
    header, arrays = artifact.load(folder, mapped=mapped)
    method, fitted = _restored(folder, header, arrays)
    embedder = None if embedder is None else suited(embedder, method)
    if embedder is not None and embedder.id != header.embedder.id:
        raise EmbedderMismatchError(
            f"{folder}: fitted with embedder {header.embedder.id!r}, but {embedder.id!r} was given; "
            "use the same one, or fit again"
        )
    if embedder is None and options is not None:
        embedder = suited(load_named(header.embedder, options), method)
    return header, method, fitted, embedder


def _restored(folder: Path, header: artifact.Header, arrays: Arrays) -> tuple[Method, FittedMethod]:
    """Rebuild the method of an artifact; whatever does not fit together is damage."""
    try:
        method = build_method(header.method, header.params)
        fitted = method.restore(tuple(entry.name for entry in header.models), arrays)
    except (MethodError, TypeError, ValueError, KeyError, DamagedArtifactError) as error:
        raise DamagedArtifactError(f"{folder}: {error}") from error
    for name in ("centroids", "vectors", "sample_vectors"):
        if name in arrays and arrays[name].shape[1:] != (header.embedder.dimension,):
            raise DamagedArtifactError(
                f"{folder}: array {name!r} has shape {arrays[name].shape}; the embedder's dimension is "
                f"{header.embedder.dimension}"
            )
    profile = fitted.cluster_profile
    if header.examples and (profile is None or len(header.examples) != len(profile.sizes)):
        raise DamagedArtifactError(f"{folder}: examples of {len(header.examples)} clusters, which the router has not")
    return method, fitted


def load_named(entry: artifact.EmbedderEntry, options: EmbeddingOptions) -> Embedder:
    """Load the embedder that an artifact names, if that runs nothing the artifact brings.

    Raises:
        EmbedderMismatchError: For local models, whose folder may hold code: they have to be named by the caller.
    """
    if entry.spec != "static" and not entry.spec.startswith("openai:"):
        raise EmbedderMismatchError(
            f"the router was fitted with {entry.spec!r}; loading a local model may run code, so a router does not do "
            "it by itself: name it (--embedder, or Router.load(..., embedder=...))"
        )
    options = replace(options, dimensions=entry.dimensions, max_tokens=entry.max_tokens)
    return load_embedder(entry.spec, options)


def suited(embedder: Embedder, method: Method) -> Embedder:
    """Add the format features if the method asks for them and they are not there."""
    if method.features == "format" and not isinstance(embedder, WithFormat):
        return WithFormat(embedder)
    return embedder
