"""``avengers-pro convert`` as the shell runs it."""

import gzip
import json
import zipfile

import numpy as np
import pytest

from avengers_pro.cli.convert import command
from avengers_pro.records import read_records
from avengers_pro.records.foreign import FORMATS


def log(folder, model, *values, usage=None):
    """Write an Inspect log with one sample a value."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{model.replace('/', '-')}.eval"
    header = {"version": 2, "status": "success", "eval": {"task": "sums", "model": model}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        for position, value in enumerate(values):
            sample = {
                "id": position,
                "epoch": 1,
                "input": f"What is {position} + 1?",
                "scores": {"match": {"value": value}},
            }
            sample["model_usage"] = {model: usage or {"input_tokens": 1000, "output_tokens": 100}}
            archive.writestr(f"samples/{position}_epoch_1.json", json.dumps(sample))
    return path


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    log(folder, "lab/a", "C", "I")
    log(folder, "lab/b", "C")
    return folder


def test_a_folder_of_logs_becomes_records_and_says_what_is_missing(shell, logs):
    ran = shell("convert", logs, "-o", "records.jsonl")
    assert (ran.code, ran.out) == (0, "records.jsonl: 2 queries, 2 models, 1 datasets\n")
    assert ran.err.startswith("read 2 inspect files: 3 outcomes; 1 of 2 queries lack a model\n")  # no bar, no gap
    assert "  sums: scorer match" in ran.err
    assert "No cost is known for" in ran.err
    assert "2 of 2" in ran.err
    assert "--price genai" in ran.err
    assert ran.err.rstrip().endswith(
        "Next: avengers-pro inspect records.jsonl, then avengers-pro evaluate records.jsonl"
    )
    assert shell("inspect", "records.jsonl").code == 0
    assert shell("convert", ".", "-o", "records.jsonl").out == ran.out  # the output in the folder is no source


def test_the_account_as_json(shell, logs):
    ran = shell("convert", logs, "-o", "r.jsonl", "--json")
    account = json.loads(ran.out)
    assert account["unpriced"] == [
        {"model": "lab/a", "cells": 2, "scored": 2, "with_tokens": 2},
        {"model": "lab/b", "cells": 1, "scored": 1, "with_tokens": 1},
    ]
    assert (account["files"], account["outcomes"], account["skipped"]) == ({"inspect": 2}, 3, 0)
    assert account["scored_by"] == [{"dataset": "sums", "by": "scorer match"}]
    assert account["fingerprint"] == read_records(shell.folder / "r.jsonl").records.fingerprint


def test_prices_of_a_pool_table(shell, logs):
    rows = ('name = "lab/a"\ninput_price = 2\noutput_price = 10', 'name = "lab/b"\nprice = "unknown"')
    (shell.folder / "pool.toml").write_text("".join(f"[[models]]\n{row}\n" for row in rows))
    ran = shell("convert", logs, "-o", "r.jsonl.gz", "--price", "pool.toml")
    assert ran.code == 0
    assert "lab/a: 2 costs filled in" in ran.err
    records = read_records(shell.folder / "r.jsonl.gz").records
    np.testing.assert_array_equal(records.costs, [[0.003, np.nan], [0.003, np.nan]])
    with gzip.open(shell.folder / "r.jsonl.gz") as stream:
        assert len(stream.readlines()) == 2


def test_list_prices_of_known_models(shell, logs):
    ran = shell("convert", logs, "-o", "r.jsonl", "--price", "genai", "--rename", "lab/a=openai/gpt-4o")
    assert ran.code == 0
    assert "openai/gpt-4o: $2.5 and $10 per million tokens, the list price of openai: gpt-4o (genai-prices" in ran.err
    assert "lab/b: genai-prices" in ran.err
    assert read_records(shell.folder / "r.jsonl").records.costs[0, 0] == pytest.approx(0.0035)


def test_a_failure_leaves_the_old_file_and_nothing_else(shell, logs):
    (shell.folder / "r.jsonl").write_text("old")
    log(logs, "lab/c", "perhaps")
    ran = shell("convert", logs, "-o", "r.jsonl")
    assert ran.code == 1
    assert "lab-c.eval: sample 0 epoch 1: scores[match]: a score must be a number" in ran.err
    assert (shell.folder / "r.jsonl").read_text() == "old"
    assert sorted(path.name for path in shell.folder.iterdir() if path.is_file()) == ["r.jsonl"]
    ran = shell("convert", logs, "-o", "r.jsonl", "--skip-bad-lines")
    assert ran.code == 0
    assert "1 bad samples left out; the first of them:\n  lab-c.eval: sample 0" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "r.jsonl", "--rename", "lab/a"], 2, "'lab/a' is not OLD=NEW"),
        (["-o", "r.jsonl", "--rename", "lab/a=x", "--rename", "lab/a=y"], 2, "'lab/a' is renamed twice"),
        (["-o", "r.jsonl", "--rename", "lab/z=x"], 1, "no model has this name; did you mean 'lab/"),
        (["-o", "r.jsonl", "--metric", "acc"], 1, "--metric means something to lm-eval alone; found inspect"),
        (["-o", "r.jsonl", "--price", "none.toml"], 1, "none.toml: cannot be read"),
        (["-o", "r.txt"], 1, "unknown kind of file"),
        (["-o", "no/r.jsonl"], 1, "make it first"),
        (["-o", "logs"], 1, "is a folder; name a file, for example logs/records.jsonl"),
        (["-o", "r.jsonl", "--format", "lm-eval"], 1, "holds no file of a known format"),
        ([], 2, "Missing option '-o'"),
    ],
)
@pytest.mark.usefixtures("logs")
def test_what_cannot_be_done_is_refused(shell, arguments, code, message):
    ran = shell("convert", "logs", *arguments)
    assert ran.code == code
    assert message in ran.err
    assert not (shell.folder / "r.jsonl").exists()


def test_a_source_is_not_overwritten(shell, records):
    before = records.read_bytes()
    ran = shell("convert", records.name, "-o", records.name)
    assert (ran.code, records.read_bytes()) == (1, before)
    assert "is a source; write to another file" in ran.err


def test_the_formats_offered_are_those_there_are():
    (option,) = (parameter for parameter in command.params if parameter.name == "source_format")
    assert tuple(option.type.choices) == FORMATS
