"""Records written the way other tools write their results: the shapes are theirs, the content is simulated."""

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from avengers_pro.records import Records

Members = dict[str, bytes]


def known(value: float | None) -> float | None:
    """Return a number as JSON has it; None = not known."""
    return None if value is None or np.isnan(value) else float(value)


def cell(records: Records, name: str, row: int, column: int) -> float | None:
    values = getattr(records, name)
    return None if values is None else known(values[row, column])


def zstd_zip(path: Path, members: Members) -> Path:
    """Write a zip file whose members are compressed by zstd, which Python cannot write before 3.14."""
    packed = {name: pa.Codec("zstd").compress(data, asbytes=True) for name, data in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in packed.items():
            archive.writestr(name, data)
    raw = bytearray(path.read_bytes())
    position = archive.start_dir
    for data in members.values():
        size = struct.pack("<L", len(data))
        crc = struct.pack("<L", zlib.crc32(data))
        local = struct.unpack_from("<L", raw, position + 42)[0]
        for start, shift in ((position, 2), (local, 0)):
            raw[start + 8 + shift : start + 10 + shift] = struct.pack("<H", 93)
            raw[start + 14 + shift : start + 18 + shift] = crc
            raw[start + 22 + shift : start + 26 + shift] = size
        position += 46 + sum(struct.unpack_from("<HHH", raw, position + 28))
    path.write_bytes(raw)
    return path


def inspect_header(task: str, model: str, **fields: Any) -> dict[str, Any]:
    about = {
        "eval_id": "VjqJdq852D93LpvURzvHtr",
        "created": "2026-01-01T00:00:00+00:00",
        "task": task,
        "dataset": {"samples": 1, "shuffled": False},
        "model": model,
        "model_args": {},
        "config": {"epochs": 1},
        "packages": {"inspect_ai": "0.3.285"},
        "scorers": [{"name": "match", "options": {}, "metrics": []}],
    }
    return {"version": 2, "status": "success", "eval": about | fields, "plan": {"name": "plan"}, "results": {}}


def inspect_sample(sample_id: int | str, query: Any, value: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": sample_id,
        "epoch": 1,
        "input": query,
        "target": "4",
        "messages": [
            {"role": "user", "content": query, "source": "input"},
            {"role": "assistant", "content": "4", "source": "generate"},
        ],
        "output": {"model": "x", "choices": [], "completion": "4"},
        "scores": {} if value is None else {"match": {"value": value, "answer": "4", "history": []}},
        "metadata": {},
        "store": {},
        "events": [],
        "model_usage": {},
        "attachments": {},
    } | fields


def inspect_members(header: dict[str, Any], *samples: dict[str, Any]) -> Members:
    """Return what an .eval file holds; NaN is written as Inspect does."""
    named = {f"samples/{quote(str(sample['id']))}_epoch_{sample['epoch']}.json": sample for sample in samples}
    return {
        "_journal/start.json": json.dumps(header).encode(),
        **{name: json.dumps(sample).encode() for name, sample in named.items()},
        "summaries.json": b"[]",
        "header.json": json.dumps(header).encode(),
    }


def eval_log(path: Path, header: dict[str, Any], *samples: dict[str, Any]) -> Path:
    """Write an .eval file compressed by deflate."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in inspect_members(header, *samples).items():
            archive.writestr(name, data)
    return path


def json_log(path: Path, header: dict[str, Any], *samples: dict[str, Any]) -> Path:
    path.write_text(json.dumps(header | {"samples": samples}, indent=2))
    return path


def usage_of(records: Records, row: int, column: int) -> dict[str, Any]:
    """Return an Inspect usage; a third of the prompt is said to come from the provider's cache."""
    prompt, completion = (cell(records, name, row, column) for name in ("prompt_tokens", "completion_tokens"))
    if prompt is None or completion is None:
        return {}
    cached = prompt // 3
    usage = {"input_tokens": prompt - cached, "output_tokens": completion, "total_tokens": prompt + completion}
    usage |= {"input_tokens_cache_read": cached}
    cost = cell(records, "costs", row, column)
    return usage | ({} if cost is None else {"total_cost": cost})


def write_inspect(records: Records, folder: Path, *, kind: str = "eval", extra: int = 0) -> None:
    """Write a log for each dataset and model; ``extra`` bytes of events beside each sample."""
    folder.mkdir(exist_ok=True)
    for position, dataset in enumerate(records.dataset_names):
        for column, model in enumerate(records.models):
            samples = []
            for row in records.rows_of([dataset]).tolist():
                score = cell(records, "scores", row, column)
                query = records.queries[row]
                fields: dict[str, Any] = {"events": [query] * (extra // len(query))}
                if usage := usage_of(records, row, column):
                    fields["model_usage"] = {model: usage, "judge/other": {"input_tokens": 9, "output_tokens": 9}}
                if (latency := cell(records, "latency_ms", row, column)) is not None:
                    fields["output"] = {"model": model, "choices": [], "time": latency / 1000}
                samples.append(inspect_sample(records.ids[row], query, score, **fields))
            path = folder / f"2026-01-01T00-00-{position:02d}_{column:03d}_log.{'json' if kind == 'json' else 'eval'}"
            header = inspect_header(dataset, model)
            if kind == "zstd":
                zstd_zip(path, inspect_members(header, *samples))
            else:
                (json_log if kind == "json" else eval_log)(path, header, *samples)


def lm_eval_line(doc_id: int | str, query: str, metric: str, value: Any, **fields: Any) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "doc": {"question": query, "answer": "4"},
        "target": "4",
        "arguments": {"gen_args_0": {"arg_0": query, "arg_1": {"until": ["\n"], "do_sample": False}}},
        "resps": [["4"]],
        "filtered_resps": ["4"],
        "filter": "none",
        "metrics": [metric],
        "doc_hash": f"{zlib.crc32(query.encode()):064d}",
        "prompt_hash": "p" * 64,
        "target_hash": "t" * 64,
        metric: value,
    } | fields


def lm_eval_log(folder: Path, model: str, task: str, *lines: dict[str, Any], date: str = "2026-01-01T00-00-00.000001"):
    """Write one task of one model, as the tool lays them out; NaN is written as Python does."""
    folder = folder / model.replace("/", "__")
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"results_{date}.json").write_text(json.dumps({"results": {}, "model_name": model}))
    path = folder / f"samples_{task}_{date}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_lm_eval(records: Records, folder: Path) -> None:
    """Write scores alone: the tool keeps nothing else."""
    for dataset in records.dataset_names:
        for column, model in enumerate(records.models):
            lm_eval_log(
                folder,
                model,
                dataset,
                *(
                    lm_eval_line(
                        records.ids[row], records.queries[row], "exact_match", float(records.scores[row, column])
                    )
                    for row in records.rows_of([dataset]).tolist()
                ),
            )


def routerbench_table(records: Records, *, listed_prompts: bool = True) -> Any:
    """Return the wide table; prompts are Python lists as text, as in the published files."""
    columns: dict[str, Any] = {
        "sample_id": list(records.ids),
        "prompt": [str([query]) if listed_prompts else query for query in records.queries],
        "eval_name": list(records.datasets),
    }
    for column, model in enumerate(records.models):
        columns[model] = pa.array(records.scores[:, column], from_pandas=True)
    for model in records.models:
        columns[f"{model}|model_response"] = ["['4']"] * len(records)
    for column, model in enumerate(records.models):
        columns[f"{model}|total_cost"] = pa.array(records.costs[:, column], from_pandas=True)
    return pa.table(columns | {"oracle_model_to_route_to": [records.models[0]] * len(records)})


def write_routerbench(records: Records, path: Path) -> None:
    table = routerbench_table(records)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        csv.write_csv(table, path)


def llmrouterbench_record(index: int | str, query: str, score: float | None, **fields: Any) -> dict[str, Any]:
    return {
        "index": index,
        "origin_query": query,
        "prompt": f"Answer briefly.\n{query}",
        "prompt_tokens": 15,
        "completion_tokens": 5,
        "cost": 0.0001,
        "score": score,
        "prediction": "4",
        "ground_truth": "4",
        "raw_output": "4",
        "extra_fields": {},
    } | fields


def llmrouterbench_file(
    folder: Path, dataset: str, model: str, *records: dict[str, Any], stamp: str = "20260101_000000", **fields: Any
) -> Path:
    """Write a result file where the tool puts it."""
    folder = folder / dataset.replace("/", "_") / "test" / model.replace("/", "_")
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{dataset.replace('/', '_')}-test-{model.replace('/', '_')}-{stamp}.json"
    whole = {
        "performance": 0.5,
        "time_taken": 1.0,
        "counts": len(records),
        "model_name": model,
        "dataset_name": dataset,
        "split": "test",
        "demo": False,
        "extra_metrics": {},
        "data_fingerprint": "f",
        "records": records,
    }
    path.write_text(json.dumps(whole | fields, indent=2, ensure_ascii=False))
    return path


def write_llmrouterbench(records: Records, folder: Path) -> None:
    for dataset in records.dataset_names:
        for column, model in enumerate(records.models):
            rows = []
            for row in records.rows_of([dataset]).tolist():
                usage = {name: cell(records, name, row, column) for name in ("prompt_tokens", "completion_tokens")}
                usage["cost"] = cell(records, "costs", row, column)
                score = cell(records, "scores", row, column)
                rows.append(llmrouterbench_record(records.ids[row], records.queries[row], score, **usage))
            llmrouterbench_file(folder, dataset, model, *rows)
