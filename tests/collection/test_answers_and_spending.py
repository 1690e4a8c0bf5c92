"""Paid answers stay, and the cap holds."""

import math
import subprocess
import sys

import pytest

from avengers_pro.collection.answers import FILE_NAME, Answer, Answers, Question
from avengers_pro.collection.spending import CostCapError, Spending
from avengers_pro.errors import StoreError

ASKED = Question("a/one", "model", "d/1", 1, "asked", "request", 0)
PAID = Answer('{"model": "x"}', 0.5, 0.25, 7.0)


def test_an_answer_is_there_after_the_process_was_killed(tmp_path):
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from avengers_pro.collection.answers import *\n"
        f"answers = Answers(Path({str(tmp_path)!r}))\n"
        f"answers.keep(Question{(*(getattr(ASKED, name) for name in ASKED.__slots__),)!r},"
        f" Answer{(*(getattr(PAID, name) for name in PAID.__slots__),)!r})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    answers = Answers(tmp_path)
    assert answers.find(ASKED) == PAID
    assert answers.find(Question("a/one", "model", "d/1", 2, "asked", "request", 0)) is None
    assert answers.known("a/one") == {("d/1", 1, "asked")}
    assert (answers.spent_usd(), answers.spent_usd("judge")) == (0.25, 0.0)
    assert answers.mean_completion_tokens("a/one") == 7.0
    assert answers.mean_completion_tokens("b/two") is None
    answers.close()


def test_one_process_at_a_time(tmp_path):
    first = Answers(tmp_path)
    with pytest.raises(StoreError, match="another collect writes to it"):
        Answers(tmp_path)
    first.close()
    Answers(tmp_path).close()


def test_a_file_that_is_no_store_is_left_alone(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"something else" * 100)
    with pytest.raises(StoreError, match="is no store of answers"):
        Answers(tmp_path)


def test_calls_on_their_way_count_towards_the_cap():
    spending = Spending(1.0, cap_usd=2.0)
    with spending.reserved(0.6):
        with pytest.raises(CostCapError), spending.reserved(0.6):
            pass
        assert spending.capped
    spending.pay(0.1, 0.6)
    with spending.reserved(0.6):
        pass
    assert spending.spent_usd == pytest.approx(1.1)


def test_an_unknown_cost_is_counted_and_weighs_as_expected():
    spending = Spending(cap_usd=1.0)
    spending.pay(None, 0.9)
    assert (spending.unknown, spending.spent_usd) == (1, 0.9)
    with pytest.raises(CostCapError), spending.reserved(0.2):
        pass
    free = Spending()
    free.pay(None, math.nan)
    assert free.spent_usd == 0.0


def test_after_an_answer_was_lost_nothing_is_paid():
    spending = Spending()
    spending.closed = "the disk is full"
    with pytest.raises(StoreError, match="the disk is full"), spending.reserved(0.1):
        pass
