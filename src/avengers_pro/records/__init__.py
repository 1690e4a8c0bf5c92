"""Data in: the records table and the files it comes from."""

from avengers_pro.records.files import Reading, read_records, write_records
from avengers_pro.records.merge import merge
from avengers_pro.records.split import seeds, stratified_split
from avengers_pro.records.summary import Summary, summarize
from avengers_pro.records.table import Records

__all__ = [
    "Reading",
    "Records",
    "Summary",
    "merge",
    "read_records",
    "seeds",
    "stratified_split",
    "summarize",
    "write_records",
]
