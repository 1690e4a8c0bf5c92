"""Prompts are checked before the first is asked."""

import json
from pathlib import Path

import pytest

from avengers_pro.collection import read_prompts
from avengers_pro.collection.graders import name_of
from avengers_pro.errors import RecordsError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_examples_are_sound():
    prompts = read_prompts(EXAMPLES / "prompts.jsonl")
    assert len(prompts) >= 60
    assert len({name_of(prompt.grader) for prompt in prompts}) == 6
    assert len({(prompt.dataset, prompt.id) for prompt in prompts}) == len(prompts)
    assert {name_of(prompt.grader) for prompt in read_prompts(EXAMPLES / "prompts_code.jsonl")} == {"python-tests"}


def test_rows_keep_their_key_when_others_come_and_go(tmp_path):
    row = {"query": "Six?", "target": "6", "grader": "exact"}
    alone = read_prompts(write(tmp_path / "a.jsonl", row))
    among = read_prompts(write(tmp_path / "b.jsonl", {**row, "query": "Five?"}, row, row, {**row, "id": 7}))
    assert among[1].key == alone[0].key
    assert [prompt.id for prompt in among] == ["0", "1", "2", "7"]
    assert len({prompt.key for prompt in among}) == 4
    assert among[3].key == "default/7"


def test_the_query_of_a_chat_is_its_last_user_turn(tmp_path):
    parts = [{"type": "text", "text": "And"}, {"type": "text", "text": "7?"}]
    turns = [
        {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "6?"},
        {"role": "assistant", "content": "six"}, {"role": "user", "content": parts},
    ]  # fmt: skip
    (prompt,) = read_prompts(write(tmp_path / "p.jsonl", {"messages": turns, "target": "seven"}), grader="exact")
    assert prompt.query == "And\n7?"
    assert prompt.messages[0] == ("system", "Be brief.")
    assert prompt.messages[3] == ("user", "And\n7?")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "x", "messages": []}, "'query' or 'messages', and only one"),
        ({"target": "x"}, "'query' or 'messages'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "images, audio and tools cannot"),
        ({"query": 7}, "Expected `str"),
        ({"query": "x", "grader": "numeric", "target": "y"}, "the target must be a number"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    path = write(tmp_path / "p.jsonl", {"query": "fine", "target": "x"}, row)
    with pytest.raises(RecordsError) as raised:
        read_prompts(path, grader="exact")
    assert str(raised.value).startswith(f"{path}:2: ")
    assert message in str(raised.value)


def test_an_id_comes_once_in_a_dataset(tmp_path):
    row = {"query": "x", "target": "x", "id": "a"}
    with pytest.raises(RecordsError, match="the id 'a' comes twice"):
        read_prompts(write(tmp_path / "p.jsonl", row, {**row, "query": "y"}), grader="exact")
    assert len(read_prompts(write(tmp_path / "p.jsonl", row, {**row, "dataset": "other"}), grader="exact")) == 2
