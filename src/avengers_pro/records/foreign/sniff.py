"""Which files there are, and which format each has, by looking into them."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avengers_pro.errors import RecordsError
from avengers_pro.records.foreign.routerbench import models_of

FORMATS = ("records", "table", "inspect", "lm-eval", "routerbench", "llmrouterbench")
"""Names of the formats that ``convert`` reads: our JSON lines, our long form, and other tools'."""

_SUFFIXES = (".jsonl", ".json", ".csv", ".jsonl.gz", ".json.gz", ".csv.gz", ".parquet", ".eval", ".pkl", ".pickle")
_HEAD_BYTES = 1 << 18
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True, slots=True)
class Found:
    """What the sources hold.

    Attributes:
        files: (file, format), in the order in which they are read: as given, those of a folder by path.
        left_out: (file, why) of files in folders that are none of the formats.
    """

    files: list[tuple[Path, str]] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)


def find(sources: Sequence[Path], wanted: str | None, besides: Path | None = None) -> Found:
    """List the files of the sources with their formats.

    Args:
        sources: Files and folders; a folder is searched to its bottom.
        wanted: The format of all of them; None = look into each.
        besides: A file that is no source even if it lies in a folder: the output.

    Raises:
        RecordsError: If a source is not there, a named file is none of the formats, or a folder holds no file of
            any.
    """
    if wanted is not None and wanted not in FORMATS:
        raise RecordsError(f"unknown format {wanted!r}; known: {', '.join(FORMATS)}")
    found = Found()
    for source in sources:
        if source.is_dir():
            _search(source, wanted, besides, found)
        elif source.is_file():
            _refuse_pickle(source)
            found.files.append((source, wanted or _format_of(source)))
        else:
            raise RecordsError(f"{source}: no such file or folder")
    known: set[Path] = set()
    for path, _ in found.files:
        real = path.resolve()
        if real in known:
            raise RecordsError(f"{path}: is named twice; name it once")
        known.add(real)
    return found


def _search(folder: Path, wanted: str | None, besides: Path | None, found: Found) -> None:
    before = len(found.files)
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or not path.name.endswith(_SUFFIXES) or path.name.startswith("."):
            continue
        if besides is not None and path.resolve() == besides.resolve():
            continue
        try:
            _refuse_pickle(path)
            kind = _format_of(path)
        except RecordsError as error:
            found.left_out.append((path, str(error).removeprefix(f"{path}: ")))
            continue
        if wanted is None or kind == wanted:
            found.files.append((path, kind))
        else:
            found.left_out.append((path, f"is {kind}, not {wanted}"))
    if len(found.files) == before:
        reasons = "".join(f"; {path.name}: {reason}" for path, reason in found.left_out[:3])
        raise RecordsError(f"{folder}: holds no file of a known format ({', '.join(FORMATS)}){reasons}")


def _refuse_pickle(path: Path) -> None:
    if path.suffix in {".pkl", ".pickle"} or _head(path)[:2] in _PICKLE:
        parquet = path.with_suffix(".parquet").name
        raise RecordsError(
            f"{path}: is a pickle, which is not read: loading one runs whatever code is in it. Turn it into Parquet "
            "in a throw-away environment without keys or data, and convert that:\n"
            f"  python -c \"import pandas; t = pandas.read_pickle('{path.name}'); "
            f"t[[c for c in t if not c.endswith('|model_response')]].to_parquet('{parquet}')\""
        )


def _head(path: Path) -> bytes:
    """Return the first bytes, decompressed."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path) as stream:
                head = stream.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error
    return head


def _format_of(path: Path) -> str:
    head = _head(path)
    if head[:2] == b"PK":
        return "inspect" if path.suffix == ".eval" else _of_archive(path)
    if head[:4] == b"PAR1":
        return _of_columns(_parquet_columns(path), path)
    text = head.decode(errors="replace").removeprefix("\ufeff").lstrip()
    if not text:
        raise RecordsError(f"{path}: is empty")
    if text[0] == "{":
        return _of_object(text, path)
    if text[0] == "[":
        raise RecordsError(f"{path}: is a JSON array; none of the formats is ({', '.join(FORMATS)})")
    return _of_columns(next(csv.reader([text.splitlines()[0]])), path)


def _of_archive(path: Path) -> str:
    from avengers_pro.records.foreign.eval_archive import EvalArchive
    from avengers_pro.records.foreign.inspect_log import HEADER, START

    with EvalArchive(path) as archive:
        if not {HEADER, START} & archive.members.keys():
            raise RecordsError(f"{path}: a zip file without {HEADER}; this is no Inspect log")
    return "inspect"


def _parquet_columns(path: Path) -> list[str]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        from avengers_pro.errors import MissingExtraError

        raise MissingExtraError("pyarrow", "parquet", "reading Parquet") from error
    try:
        return list(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError, ValueError) as error:  # bad UTF-8 in a name is a ValueError
        raise RecordsError(f"{path}: cannot be read: {error}") from error


def _of_columns(columns: list[str], path: Path) -> str:
    if models_of(columns):
        return "routerbench"
    if {"query", "model", "score"} <= set(columns):
        return "table"
    listed = ", ".join(column[:40] for column in columns[:10])
    raise RecordsError(
        f"{path}: columns of no known table; the long form has query, model and score, RouterBench has "
        f"<model> with <model>|total_cost; found {listed}"
    )


def _of_object(text: str, path: Path) -> str:
    """Tell formats of JSON objects apart by their first keys."""
    seen: dict[str, str] = {}
    for key, first in _keys(text):
        seen[key] = first
        if key == "records" and first == "[":
            return "llmrouterbench"
        if key == "records" and first == "{":
            return "records"
        if "doc_id" in seen and seen.keys() & {"doc", "arguments", "resps", "filtered_resps"}:
            return "lm-eval"
        if key == "eval" and first == "{" and seen.keys() & {"version", "status"}:
            return "inspect"
    if seen.keys() & {"query", "messages"}:
        return "records"  # the reader says what is wrong with it
    raise RecordsError(f"{path}: JSON of no known format; its first keys are {', '.join(list(seen)[:8]) or 'none'}")


def _keys(text: str) -> Iterator[tuple[str, str]]:
    """Yield (key, first character of its value) of the object that a text begins with, as far as it goes."""
    depth = position = 0
    while position < len(text):
        character = text[position]
        if character == '"':
            end = _closing_quote(text, position)
            after = end + 1
            while text[after : after + 1].isspace():
                after += 1
            if depth == 1 and text[after : after + 1] == ":":
                value = text[after + 1 : after + 200].lstrip()
                if not value:
                    return
                yield text[position + 1 : end], value[0]
                position = after + 1
                continue
            position = end
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return
        position += 1


def _closing_quote(text: str, opening: int) -> int:
    """Return where a string ends; past the text if it does not."""
    position = opening + 1
    while (position := text.find('"', position)) >= 0:
        backslashes = 0
        while text[position - 1 - backslashes] == "\\":
            backslashes += 1
        if backslashes % 2 == 0:
            return position
        position += 1
    return len(text)
