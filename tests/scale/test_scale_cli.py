"""``fit`` and ``route`` on datasets, as the shell calls them."""

import sys

import pytest
from click.testing import CliRunner
from datasets import in_parts

from avengers_pro.cli.main import main, program
from avengers_pro.records import write_records
from avengers_pro.routing import Router


@pytest.fixture(scope="module")
def some(sample):
    return sample.take(range(0, 2000, 5))


def run(*args):
    return CliRunner().invoke(program, [str(arg) for arg in args])


def test_a_folder_is_fitted_and_routed_in_parts(some, tmp_path):
    source = in_parts(some, tmp_path / "logs", 100)
    fitted = run("fit", source, "-o", tmp_path / "router")
    assert fitted.exit_code == 0, fitted.output
    assert "avengers-pro, 13 models, 400 queries" in fitted.stdout
    assert Router.load(tmp_path / "router").fingerprint == some.fingerprint
    routed = run("route", tmp_path / "router", "--input", source, "--output", tmp_path / "decisions")
    assert routed.exit_code == 0, routed.output
    assert "400 queries routed into 4 files" in routed.stderr
    again = run("route", tmp_path / "router", "--input", source, "--output", tmp_path / "decisions")
    assert "4 of them by an earlier run" in again.stderr


def test_repeats_and_bad_lines_are_told(some, tmp_path):
    source = in_parts(some, tmp_path / "logs", 200)
    write_records(some.take(range(30)), tmp_path / "logs" / "z.jsonl")
    with (tmp_path / "logs" / "z.jsonl").open("a") as file:
        file.write("{}\n")
    fitted = run("fit", source, "-o", tmp_path / "router", "--skip-bad-lines")
    assert "30 of 430 rows repeat an earlier query and do not count" in fitted.stderr
    assert "1 bad lines left out" in fitted.stderr
    assert "z.jsonl:31: records" in fitted.stderr


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["fit", "{source}", "-o", "{out}", "--auto"], 2, "--auto compares on one table in memory"),
        (["fit", "{source}", "-o", "{out}", "--method", "knn"], 1, "knn is fitted on one table in memory"),
        (["fit", "{source}", "-o", "{out}", "--engine", "spark"], 1, "there is no engine 'spark'"),
        (["fit", "{source}/nothing*", "-o", "{out}"], 1, "no such file"),
        (["route", "{router}", "--input", "{source}"], 2, "name it with --output"),
        (["evaluate", "{source}/part-0000.jsonl", "--engine", "spark"], 1, "there is no engine 'spark'"),
        (["evaluate", "{source}/part-0000.jsonl", "--engine", "ray://"], 1, "there is no engine 'ray://'"),
        (["evaluate", "{source}/part-0000.jsonl", "--engine", "ray://host"], 1, "use local, ray, or ray://host:port"),
        (["route", "{router}", "a text", "--engine", "ray"], 2, "--engine goes with --input"),
    ],
)
def test_what_has_no_meaning_is_refused(some, tmp_path, monkeypatch, capsys, args, status, said):
    source = in_parts(some.take(range(50)), tmp_path / "logs", 50)
    Router.fit(some.take(range(50))).save(tmp_path / "router")
    names = {"source": source, "out": tmp_path / "out", "router": tmp_path / "router"}
    monkeypatch.setattr(sys, "argv", ["avengers-pro", *(arg.format(**names) for arg in args)])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == status
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(some, tmp_path, monkeypatch, capsys):
    source = in_parts(some.take(range(50)), tmp_path / "logs", 50)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(sys, "argv", ["avengers-pro", "fit", source, "-o", str(tmp_path / "out"), "--engine", "ray"])
    with pytest.raises(SystemExit):
        main()
    assert "--engine ray needs ray: pip install 'avengers-pro[scale]'" in capsys.readouterr().err
