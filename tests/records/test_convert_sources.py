"""Finding files, telling formats apart, joining, renaming and pricing."""

import contextlib
import gzip
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from foreign_files import (
    eval_log,
    inspect_header,
    inspect_sample,
    json_log,
    llmrouterbench_file,
    llmrouterbench_record,
    lm_eval_line,
    lm_eval_log,
    write_routerbench,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from records_tables import assert_same, patient

from avengers_pro import records as package
from avengers_pro.errors import RecordsError
from avengers_pro.records import Records, write_records
from avengers_pro.records.foreign import FORMATS, Options, Price, convert, fill_costs, unpriced
from avengers_pro.records.foreign.sniff import find


def table(scores, queries=("q", "r"), models=("a", "b"), **fields):
    return replace(Records.from_arrays(queries, models, np.array(scores, dtype=float)), **fields)


def every_format(folder):
    """Write one file of each format and return them by format."""
    own = table([[1, 0], [0, 1]])
    files = {"records": folder / "own.jsonl", "table": folder / "own.csv", "routerbench": folder / "wide.csv"}
    write_records(own, files["records"])
    write_records(own, files["table"])
    write_routerbench(own, files["routerbench"])
    files["inspect"] = json_log(folder / "log.json", inspect_header("t", "a"), inspect_sample(1, "q", "C"))
    files["lm-eval"] = lm_eval_log(folder / "lm", "a", "t", lm_eval_line(0, "q", "acc", 1.0))
    files["llmrouterbench"] = llmrouterbench_file(folder / "bench", "t", "a", llmrouterbench_record(1, "q", 1.0))
    return files


def test_every_format_is_told_by_its_content(tmp_path):
    files = every_format(tmp_path)
    assert set(files) == set(FORMATS)
    for kind, path in files.items():
        assert find([path], None).files == [(path, kind)]
        compact = path.read_bytes() if kind in {"records", "table", "routerbench", "lm-eval"} else None
        if compact is None:
            path.write_text(json.dumps(json.loads(path.read_text())))
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert find([packed], None).files == [(packed, kind)], kind
        assert convert(packed).records.queries[0] == "q"


def test_keys_inside_texts_do_not_mislead(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"query": 'a "doc_id": 1, "arguments": \\" {', "records": {"m": 1}}) + "\n")
    assert find([path], None).files == [(path, "records")]


def test_a_long_first_line_is_still_told(tmp_path):
    path = lm_eval_log(tmp_path, "a", "t", lm_eval_line(0, "long " * 200_000, "acc", 1.0))
    assert find([path], None).files == [(path, "lm-eval")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"results": {}, "config": {}}', "JSON of no known format; its first keys are results, config"),
        ("a.json", "[1, 2]", "is a JSON array; none of the formats is"),
        ("a.csv", "x,y\n1,2\n", "columns of no known table; .* found x, y"),
        ("a.jsonl", "  \n", "is empty"),
        ("a.eval", "PK but no zip", "not a whole zip file"),
    ],
)
def test_a_named_file_of_no_format_says_what_it_is(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RecordsError, match=message):
        convert(path)
    with pytest.raises(RecordsError):
        convert(tmp_path)


def test_a_folder_takes_what_is_known_and_counts_the_rest(tmp_path):
    files = every_format(tmp_path)
    (tmp_path / "notes.json").write_text('{"a": 1}')
    (tmp_path / "readme.md").write_text("x")
    found = find([tmp_path], None, besides=files["table"])
    assert {kind for _, kind in found.files} == set(FORMATS) - {"table"}
    assert {path.name for path, _ in found.left_out} >= {"notes.json"}
    only = find([tmp_path], "inspect")
    assert [path for path, _ in only.files] == [files["inspect"]]
    assert (files["table"], "is table, not inspect") in only.left_out


def test_a_packed_file_that_was_cut_off_is_named(tmp_path):
    write_records(table([[1, 0], [0, 1]], queries=("q" * 999, "r")), tmp_path / "own.jsonl.gz")
    whole = (tmp_path / "own.jsonl.gz").read_bytes()
    (tmp_path / "own.jsonl.gz").write_bytes(whole[:40])
    with pytest.raises(RecordsError, match=r"own\.jsonl\.gz: cannot be read"):
        convert(tmp_path / "own.jsonl.gz")


def test_ids_of_separate_rows_stay_unique(tmp_path):
    for model, pairs in (("a", [("1", "q"), ("1#2", "r")]), ("b", [("1", "other"), ("1#2", "r")])):
        samples = [inspect_sample(name, query, "C") for name, query in pairs]
        eval_log(tmp_path / f"{model}.eval", inspect_header("t", model), *samples)
    records = convert(tmp_path).records
    assert (records.ids, records.queries) == (("1", "1#2", "1#3"), ("q", "r", "other"))


def test_sources_that_are_missing_twice_or_empty(tmp_path):
    with pytest.raises(RecordsError, match="no source was named"):
        convert()
    with pytest.raises(RecordsError, match="no such file or folder"):
        convert(tmp_path / "none.eval")
    with pytest.raises(RecordsError, match="holds no file of a known format"):
        convert(tmp_path)
    path = eval_log(tmp_path / "a.eval", inspect_header("t", "m"), inspect_sample(1, "q", "C"))
    with pytest.raises(RecordsError, match="is named twice"):
        convert(path, tmp_path)
    with pytest.raises(RecordsError, match="unknown format 'excel'"):
        convert(path, source_format="excel")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_scale": 0.0}, "the score scale must be a positive number, got 0"),
        ({"renames": {"a": " "}}, "the new name of 'a' is empty"),
    ],
)
def test_choices_without_a_meaning_are_refused(tmp_path, options, message):
    write_records(table([[1, 0], [0, 1]]), tmp_path / "own.jsonl")
    with pytest.raises(RecordsError, match=message):
        convert(tmp_path / "own.jsonl", options=Options(**options))


@pytest.mark.parametrize(
    "options", [{"scorers": ("x",)}, {"metrics": ("x",)}, {"filters": ("x",)}, {"query_field": "x"}]
)
def test_a_choice_that_means_nothing_here_is_refused(tmp_path, options):
    write_records(table([[1, 0], [0, 1]]), tmp_path / "own.jsonl")
    with pytest.raises(RecordsError, match=r"means something to .* alone; found records"):
        convert(tmp_path / "own.jsonl", options=Options(**options))


def test_formats_are_merged_by_dataset_and_text(tmp_path):
    own = table([[0.5], [0.25]], models=("own",), datasets=("t", "t"))
    write_records(own, tmp_path / "own.jsonl")
    eval_log(tmp_path / "a.eval", inspect_header("t", "m"), inspect_sample("x", "r", "C"))
    done = convert(tmp_path)
    assert done.files == {"inspect": 1, "records": 1}
    asked = dict(zip(done.records.queries, done.records.scores.tolist(), strict=True))
    np.testing.assert_array_equal([asked["q"], asked["r"]], [[np.nan, 0.5], [1, 0.25]])
    assert any(note.what.startswith("rows have the dataset and text of a row of another file") for note in done.notes)


def test_two_names_of_one_model_become_one(tmp_path):
    for name, sample in (("m-v1", 1), ("m-v2", 2)):
        eval_log(tmp_path / f"{name}.eval", inspect_header("t", name), inspect_sample(sample, f"q{sample}", "C"))
    done = convert(tmp_path, options=Options(renames={"m-v1": "m", "m-v2": "m"}))
    assert (done.records.models, done.records.scores.tolist()) == (("m",), [[1], [1]])
    with pytest.raises(RecordsError, match=r"--rename m-v3=\.\.\.: no model has this name; did you mean 'm-v"):
        convert(tmp_path, options=Options(renames={"m-v3": "m"}))


def test_our_own_files_keep_their_rules(tmp_path):
    own = table([[1, 0], [0, 1]])
    write_records(own, tmp_path / "own.jsonl")
    renamed = convert(tmp_path / "own.jsonl", options=Options(renames={"a": "lab/a"})).records
    assert_same(renamed, replace(own, models=("lab/a", "b")))
    with pytest.raises(RecordsError, match="gives several of its models the name 'b'"):
        convert(tmp_path / "own.jsonl", options=Options(renames={"a": "b"}))
    with (tmp_path / "own.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(RecordsError, match=r"own\.jsonl:3: records"):
        convert(tmp_path / "own.jsonl")
    done = convert(tmp_path / "own.jsonl", options=Options(skip_bad_lines=True))
    assert (done.skipped, len(done.problems), done.samples) == (1, 1, 4)


def test_a_log_read_twice_changes_nothing(tmp_path):
    for name in ("a", "b"):
        eval_log(tmp_path / f"{name}.eval", inspect_header("t", "m"), inspect_sample(1, "q", "C"))
    done = convert(tmp_path)
    assert done.records.scores.tolist() == [[1]]
    (note,) = done.notes
    assert note.what.startswith("outcomes repeat a (query, model) pair")
    assert (note.count, note.examples) == (1, ("m on t 1",))


@pytest.mark.parametrize("kind", FORMATS)
@given(data=st.data())
@settings(patient, max_examples=40)
def test_damaged_files_are_read_or_refused_with_a_reason(kind, data):
    with tempfile.TemporaryDirectory() as name:
        path = every_format(Path(name))[kind]
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=3))
        path.write_bytes(content)
        for skip in (False, True):
            with contextlib.suppress(RecordsError):
                done = convert(path, options=Options(skip_bad_lines=skip))
                assert ((done.records.scores >= 0) | np.isnan(done.records.scores)).all()


def test_progress_reaches_the_end(tmp_path):
    every_format(tmp_path)
    seen = []
    convert(tmp_path / "lm", tmp_path / "log.json", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)


def test_prices_fill_what_has_tokens_and_no_cost():
    tokens = np.array([[1e6, 1e6], [1e6, np.nan]])
    records = table(
        [[1, 0], [0, 1]],
        prompt_tokens=tokens,
        completion_tokens=tokens / 2,
        costs=np.array([[9.0, np.nan], [np.nan, np.nan]]),
    )
    before = {each.model: (each.cells, each.scored, each.with_tokens) for each in unpriced(records)}
    assert before == {"a": (1, 2, 1), "b": (2, 2, 1)}
    filled, counts = fill_costs(records, {"a": Price(2.0, 10.0), "b": Price(1.0, 0.0), "c": Price(1.0, 1.0)})
    np.testing.assert_array_equal(filled.costs, [[9.0, 1.0], [7.0, np.nan]])
    assert counts == {"a": 1, "b": 1}
    assert [(each.model, each.cells) for each in unpriced(filled)] == [("b", 1)]
    alone = table([[1, 0], [0, 1]])
    assert fill_costs(alone, {"a": Price(1.0, 1.0)}) == (alone, {})
    assert [(each.cells, each.with_tokens) for each in unpriced(alone)] == [(2, 0), (2, 0)]


def test_the_package_of_records_passes_on_how_to_convert():
    assert package.convert is convert
    assert package.Conversion.__name__ in package.__all__
    with pytest.raises(AttributeError, match="no attribute 'konvert'"):
        package.konvert  # noqa: B018
