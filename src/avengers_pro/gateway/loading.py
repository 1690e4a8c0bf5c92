"""Routers as a gateway loads them: the gateways of one machine map the same arrays."""

import logging
from pathlib import Path

from avengers_pro.embedding import EmbeddingOptions
from avengers_pro.errors import ArtifactError, AvengersProError
from avengers_pro.routing import Router
from avengers_pro.routing.place import RouterPlace

_log = logging.getLogger(__name__)


def load_router(place: RouterPlace, options: EmbeddingOptions | None = None) -> tuple[Router, Path]:
    """Load a router from a copy in the user's folder, whose arrays every process here maps.

    The router's own folder is not mapped: whoever copies a new router over it would change arrays in use. Where the
    user's folder cannot be written, the arrays of a local router are read into this process's memory.

    Args:
        place: Where it is.
        options: As for ``Router.load``.

    Returns:
        The router and the folder it was loaded from.

    Raises:
        AvengersProError: If it cannot be loaded.
    """
    try:
        folder, why = place.copied(), ""
    except AvengersProError as error:
        if place.is_remote:
            raise
        folder, why = place.folder(), str(error)
    try:
        router = Router.load(folder, options=options, mapped=not why)
    except ArtifactError as error:  # of the place, not of the copy, which nobody knows
        raise type(error)(str(error).replace(str(folder), place.shown)) from error
    if why:
        _log.info("this process has the router's arrays for itself: %s", why)
    return router, folder
