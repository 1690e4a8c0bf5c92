"""Data in: the records table and the files it comes from."""

from typing import TYPE_CHECKING, Any

from avengers_pro.records.files import Reading, read_records, write_records
from avengers_pro.records.merge import merge
from avengers_pro.records.split import seeds, stratified_split
from avengers_pro.records.summary import Summary, summarize
from avengers_pro.records.table import Records

if TYPE_CHECKING:
    from avengers_pro.records.foreign import Conversion, convert

__all__ = [
    "Conversion",
    "Reading",
    "Records",
    "Summary",
    "convert",
    "merge",
    "read_records",
    "seeds",
    "stratified_split",
    "summarize",
    "write_records",
]


def __getattr__(name: str) -> Any:
    """Import the reading of other tools' results when it is first used: it takes half as long as all the rest."""
    if name in {"Conversion", "convert"}:
        from avengers_pro.records import foreign

        return getattr(foreign, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
