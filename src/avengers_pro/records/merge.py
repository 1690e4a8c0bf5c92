"""Several tables as one."""

from collections.abc import Sequence

import numpy as np

from avengers_pro.errors import RecordsError
from avengers_pro.records.assemble import shown
from avengers_pro.records.table import Floats, Records


def merge(tables: Sequence[Records]) -> Records:
    """Join tables by dataset and query text; the models are the union, in order of appearance.

    A cell that only one table observes is taken from it.

    Raises:
        RecordsError: If there is no table, or two give different values for one cell.
    """
    if not tables:
        raise RecordsError("there is no table to merge")
    if len(tables) == 1:
        return tables[0]
    models = list(dict.fromkeys(model for table in tables for model in table.models))
    rows: dict[tuple[str, str, int], int] = {}
    places = [_place(table, rows) for table in tables]
    arrays = {
        name: _join(name, tables, places, models, len(rows))
        for name in ("scores", "costs", "prompt_tokens", "completion_tokens", "latency_ms")
        if name in {"scores", "costs"} or any(getattr(table, name) is not None for table in tables)
    }
    listed = np.zeros((len(rows), len(models)), dtype=bool)
    ids: dict[int, str] = {}
    for table, place in zip(tables, places, strict=True):
        columns = [models.index(model) for model in table.models]
        listed[np.ix_(place, columns)] |= table.listed
        for row, name in zip(place, table.ids, strict=True):
            ids.setdefault(row, name)
    keys = list(rows)
    return Records(
        queries=tuple(key[1] for key in keys),
        models=tuple(models),
        datasets=tuple(key[0] for key in keys),
        ids=_unique_ids([key[0] for key in keys], [ids[row] for row in range(len(keys))]),
        listed=listed,
        **arrays,
    )


def _place(table: Records, rows: dict[tuple[str, str, int], int]) -> list[int]:
    """Say which row of the joined table each row becomes; repeats of a text stay apart."""
    repeats: dict[tuple[str, str], int] = {}
    place = []
    for dataset, query in zip(table.datasets, table.queries, strict=True):
        repeat = repeats.get((dataset, query), 0)
        repeats[dataset, query] = repeat + 1
        place.append(rows.setdefault((dataset, query, repeat), len(rows)))
    return place


def _join(name: str, tables: Sequence[Records], places: Sequence[list[int]], models: list[str], n: int) -> Floats:
    joined = np.full((n, len(models)), np.nan)
    for table, place in zip(tables, places, strict=True):
        values = getattr(table, name)
        if values is None:
            continue
        where = np.ix_(place, [models.index(model) for model in table.models])
        before = joined[where]
        clash = ~np.isnan(before) & ~np.isnan(values) & (before != values)
        if clash.any():
            row, column = np.argwhere(clash)[0]
            raise RecordsError(
                f"two files give different {name} for model {table.models[column]!r} on the query "
                f"{table.queries[row][:60]!r}: {shown(before[row, column])} and {shown(values[row, column])}; "
                "keep one of them"
            )
        joined[where] = np.where(np.isnan(values), before, values)
    return joined


def _unique_ids(datasets: list[str], ids: list[str]) -> tuple[str, ...]:
    """Keep the ids if they are still unique within each dataset, else number the rows."""
    if len(set(zip(datasets, ids, strict=True))) == len(ids):
        return tuple(ids)
    return tuple(map(str, range(len(ids))))
