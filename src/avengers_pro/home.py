"""Where this program keeps what it can make again: vectors, and copies of routers."""

import os
from pathlib import Path

from avengers_pro.errors import AvengersProError

HOME_VARIABLE = "AVENGERS_PRO_HOME"


def user_folder() -> Path:
    """Return the folder, which need not exist: $AVENGERS_PRO_HOME, or ~/.cache/avengers-pro.

    Raises:
        AvengersProError: If the variable is not set and this user has no home.
    """
    if chosen := os.environ.get(HOME_VARIABLE):
        return Path(chosen)
    try:
        return Path.home() / ".cache" / "avengers-pro"
    except RuntimeError as error:
        raise AvengersProError(
            f"this user has no home folder; set {HOME_VARIABLE} to one that can be written"
        ) from error
