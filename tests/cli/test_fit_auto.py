"""``fit --auto`` as the shell runs it: what it tried on stderr, the router on stdout, contradictions refused."""

import json

import numpy as np
import pytest

from avengers_pro.evaluation import choose_variant
from avengers_pro.records import Records, write_records


def params_of(folder):
    return json.loads((folder / "router.json").read_text())["params"]


def test_it_says_what_it_tried_and_fits_what_it_chose(shell, records, small, tmp_path):
    ran = shell("fit", records, "-o", "router", "--auto")
    assert ran.code == 0, ran.err
    assert ran.out == "router: avengers-pro, 13 models, 300 queries\n"
    found = choose_variant(small)
    assert f"auto: {found.reason}" in ran.err
    assert "Tried on 8 splits of 300 queries, 12 complete models" in ran.err
    for trial in found.tried:
        line = next(line for line in ran.err.splitlines() if line.startswith(trial.name))
        assert f"{100 * trial.area:.2f}" in line
        assert ("+" in line or "-" in line) == (trial.name != "defaults")
    assert params_of(tmp_path / "router") == dict(found.params)


def test_too_few_records_are_fitted_with_the_defaults_and_it_says_so(shell, small, tmp_path):
    write_records(small.take(np.arange(60)), tmp_path / "few.jsonl")
    ran = shell("fit", "few.jsonl", "-o", "router", "--auto", "--no-novelty")
    assert ran.code == 0, ran.err
    assert "auto: the defaults stay: 60 distinct queries are too few to choose on; bring 200" in ran.err
    assert "Tried" not in ran.err
    assert params_of(tmp_path / "router") == {
        "levels": [8, 16, 32, 64, 128], "features": "format", "objective": "micro", "novelty": False,
    }  # fmt: skip


def test_excluded_rows_play_no_part(shell, records, small, tmp_path):
    """Rows of an excluded dataset, however strange, change no number of the table."""
    n, m = small.scores.shape
    strange = Records.from_arrays(
        [f"strange {row}" for row in range(n)],
        small.models,
        np.tile(np.arange(m) % 2, (n, 1)),
        np.full((n, m), 9.0),
        datasets=["strange"] * n,
    )
    write_records(strange, tmp_path / "strange.jsonl")
    one = shell("fit", records, "-o", "router", "--auto")
    two = shell("fit", records, "strange.jsonl", "-o", "router", "--auto", "--excluded-datasets", "strange")
    assert (one.code, two.code) == (0, 0), two.err
    assert one.err == two.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--features", "none"), "--auto and --features contradict each other"),
        (("--levels", "8,16"), "--auto and --levels contradict each other"),
        (("--clusters", 8), "--auto and --clusters contradict each other"),
        (("--method", "knn"), "not --method knn"),
        (("--method", "avengers-pro-paper+format"), "not --method avengers-pro-paper+format"),
    ],
)
def test_contradictions_are_usage_errors(shell, records, tmp_path, given, said):
    ran = shell("fit", records, "-o", "router", "--auto", *given)
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "router").exists()


def test_a_config_file_can_ask_for_it_and_its_levels_contradict_too(shell, records, tmp_path):
    (tmp_path / "auto.toml").write_text("auto = true\nnovelty = false\n")
    assert "auto: " in shell("fit", records, "-o", "router", "--config", "auto.toml").err
    (tmp_path / "both.toml").write_text("auto = true\nlevels = [8, 16]\n")
    assert shell("fit", records, "-o", "router", "--config", "both.toml").code == 2
