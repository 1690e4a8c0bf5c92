"""What a result was measured on."""

import os
import platform
from importlib.metadata import version

PACKAGES = ("numpy", "faiss-cpu", "wordllama", "msgspec")


def about() -> str:
    """Return cores, Python and the versions that matter."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}, shared machine), Python {platform.python_version()}, {packages}"
    )
