"""Small datasets in parts for the tests of scale."""

import numpy as np

from avengers_pro.records import write_records
from avengers_pro.routing import Router

CLOSE = 1e-6


def in_parts(records, folder, rows):
    """Write records as JSON lines files of so many rows each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(records), rows)):
        part = records.take(range(start, min(start + rows, len(records))))
        write_records(part, folder / f"part-{number:04}.jsonl")
    return str(folder)


def write_wide(records, vectors, path, row_group=1000):
    """Write Parquet with a row a query and a column of vectors."""
    pa = __import__("pyarrow")
    from pyarrow import parquet

    def struct(columns):
        return pa.StructArray.from_arrays(columns, list(records.models))

    costs = [pa.StructArray.from_arrays([pa.array(c, mask=np.isnan(c))], ["cost"]) for c in records.costs.T]
    table = pa.table(
        {
            "query": list(records.queries),
            "dataset": list(records.datasets),
            "records": struct([pa.array(column, mask=np.isnan(column)) for column in records.scores.T]),
            "usages": struct(costs),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
    )
    parquet.write_table(table, path, row_group_size=row_group)
    return str(path)


def assert_same_router(found: Router, expected: Router) -> None:
    """Compare everything that is saved: sums to 1e-6, the rest exactly."""
    mine, theirs = found.fitted.arrays(), expected.fitted.arrays()
    assert mine.keys() == theirs.keys()
    for name in ("centroids", "temperatures", "level_sizes", "sample_keys", "sample_vectors"):
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    for name, values in mine.items():
        np.testing.assert_allclose(values, theirs[name], rtol=CLOSE, atol=1e-12, err_msg=name)
    assert found.models == expected.models
    assert found.fingerprint == expected.fingerprint
    assert found.lineage == expected.lineage
    assert found.examples == expected.examples
    assert (found.embedding, found.seed, found.method.params()) == (
        expected.embedding, expected.seed, expected.method.params(),
    )  # fmt: skip
    for one, other in zip(found.facts, expected.facts, strict=True):
        assert (one.name, one.observations) == (other.name, other.observations)
        np.testing.assert_allclose(one.mean_score, other.mean_score, rtol=CLOSE)
        np.testing.assert_allclose(one.mean_cost or 0, other.mean_cost or 0, rtol=CLOSE)
