"""The ledger's rows: written, read, said something about."""

import asyncio
from itertools import chain

import msgspec
import pytest
from ledger_stores import (
    HOUR,
    STORES,
    closing,
    execute,
    identity,
    needs_postgresql,
    open_ledger,
    opening,
    postgresql_url,
    record,
    store_url,
)

from avengers_pro.errors import SettingsError, StoreError
from avengers_pro.gateway.ledger import Filter, Ledger

url = pytest.fixture(params=STORES)(store_url)


def test_a_request_comes_back_as_it_was_written(url):
    begun, over = opening(1, session="chat", text="What is 2+2?"), closing(1, answer="4", cached_tokens=64)

    async def scenario():
        async with await open_ledger(url) as ledger:
            await ledger.begin(begun)
            open_row = await ledger.decision(begun.id)
            ledger.finish(over)
            await ledger.flush()
            return open_row, await ledger.decision(begun.id)

    open_row, row = asyncio.run(scenario())
    assert open_row["outcome"] is None
    assert open_row["answer"] is None
    assert msgspec.structs.asdict(begun).items() <= open_row.items()
    expected = (
        msgspec.structs.asdict(begun)
        | msgspec.structs.asdict(over)
        | {"at": begun.at, "closed_at": over.at, "feedback": []}
    )
    assert expected.items() <= row.items()
    assert row["novel"] is False


def test_unknown_is_none(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(
                ledger,
                (opening(1, baseline_cost_usd=float("nan")), closing(1, cost_usd=float("nan"), first_byte_ms=None)),
            )
            return await ledger.decision(identity(1)), await ledger.decision("nothing")

    row, nothing = asyncio.run(scenario())
    assert row["baseline_cost_usd"] is None
    assert row["cost_usd"] is None
    assert row["first_byte_ms"] is None
    assert nothing is None


def test_texts_are_kept_only_if_given(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, (opening(1), closing(1)))
            before = await execute(url, "SELECT * FROM texts")
            await record(ledger, (opening(2, text="a"), closing(2)), (opening(3), closing(3, answer="b")))
            return before, await execute(url, "SELECT id, part, text FROM texts ORDER BY id")

    before, after = asyncio.run(scenario())
    assert before == []
    assert after == [(identity(2), "text", "a"), (identity(3), "answer", "b")]


def test_what_a_database_cannot_store_is_replaced(url):
    """NUL is no character for PostgreSQL, and half a surrogate pair is none in UTF-8."""

    async def scenario():
        async with await open_ledger(url) as ledger:
            await ledger.begin(opening(1, session="a\0b", asked="näher \ud800", text="\0"))
            ledger.finish(closing(1, finish_reason="\0"))
            await ledger.feedback(identity(1), score=None, comment="x\0", key=None, at=HOUR)
            await ledger.flush()
            return await ledger.decision(identity(1))

    row = asyncio.run(scenario())
    assert (row["session"], row["asked"], row["text"]) == ("a\ufffdb", "näher ?", "\ufffd")
    assert row["finish_reason"] == "\ufffd"
    assert row["feedback_comment"] == "x\ufffd"


def test_pages_are_newest_first_and_do_not_overlap(url):
    """Rows of the same instant are told apart by their ids."""
    instants = [HOUR + number // 3 for number in range(20)]

    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, *((opening(number, at=at), closing(number)) for number, at in enumerate(instants)))
            pages, before = [], None
            while page := await ledger.decisions(limit=6, before=before):
                pages.append([row["id"] for row in page])
                before = page[-1]["id"]
            return pages, await ledger.decisions(limit=6, before="not there any more")

    pages, beyond = asyncio.run(scenario())
    assert [len(page) for page in pages] == [6, 6, 6, 2]
    assert list(chain.from_iterable(pages)) == [identity(number) for number in reversed(range(20))]
    assert beyond == []


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (Filter(), [5, 4, 3, 2, 1]),
        (Filter(model="small"), [2]),
        (Filter(key="other"), [3]),
        (Filter(outcome="upstream-error"), [4]),
        (Filter(outcome="ok"), [3, 2, 1]),
        (Filter(session="chat"), [2, 1]),
        (Filter(session="chat", model="small"), [2]),
        (Filter(novel=True), [3]),
        (Filter(novel=False, outcome="ok"), [2, 1]),
        (Filter(since=HOUR + 2, until=HOUR + 4), [3, 2]),
    ],
)
def test_filters_narrow(url, which, expected):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(
                ledger,
                (opening(1, session="chat"), closing(1)),
                (opening(2, session="chat"), closing(2, served_by="small")),
                (opening(3, key="other", novel=True), closing(3)),
                (opening(4), closing(4, outcome="upstream-error", served_by=None, status=502)),
                (opening(5), None),
            )
            page = await ledger.decisions(which)
            return page, [row["id"] async for row in ledger.export(which)]

    page, exported = asyncio.run(scenario())
    assert [row["id"] for row in page] == [identity(number) for number in expected]
    assert exported == [identity(number) for number in reversed(expected)]


def test_export_goes_through_everything_once(url):
    """More than fits into one chunk, with rows added meanwhile."""
    count = 1_203

    async def scenario():
        async with await open_ledger(url) as ledger:
            pairs = ((opening(number, at=HOUR + number // 7, text="q"), closing(number)) for number in range(count))
            await record(ledger, *pairs)
            await ledger.feedback(identity(700), score=1.0, comment=None, key=None, at=HOUR)
            rows = []
            async for row in ledger.export():
                rows.append(row)
                if len(rows) == 100:
                    await record(ledger, (opening(count, text="q"), closing(count)))
            return rows

    rows = asyncio.run(scenario())
    assert [row["id"] for row in rows] == [identity(number) for number in range(count + 1)]
    assert {row["text"] for row in rows} == {"q"}
    assert [row["feedback"] for row in rows if row["feedback"]] == [
        [{"at": HOUR, "score": 1.0, "comment": None, "key": None}]
    ]


def test_the_latest_feedback_counts_and_all_is_kept(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, (opening(1), closing(1)))
            known = [
                await ledger.feedback(identity(1), score=0.2, comment="poor", key="team", at=HOUR + 10),
                await ledger.feedback(identity(1), score=1.0, comment=None, key="team", at=HOUR + 20),
                await ledger.feedback(identity(1), score=None, comment="now I see", key=None, at=HOUR + 30),
                await ledger.feedback("nobody", score=1.0, comment=None, key=None, at=HOUR),
            ]
            return known, await ledger.decision(identity(1)), (await ledger.stats(0)).total

    known, row, total = asyncio.run(scenario())
    assert known == [True, True, True, False]
    assert (row["feedback_score"], row["feedback_comment"]) == (1.0, "now I see")
    assert [(one["score"], one["comment"], one["key"]) for one in row["feedback"]] == [
        (0.2, "poor", "team"),
        (1.0, None, "team"),
        (None, "now I see", None),
    ]
    assert (total.feedback, total.feedback_score_sum) == (1, pytest.approx(1.0))


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_out_of_range_is_refused(tmp_path, score):
    async def scenario():
        async with await open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
            await record(ledger, (opening(1), closing(1)))
            with pytest.raises(StoreError, match=r"must be in \[0, 1\]"):
                await ledger.feedback(identity(1), score=score, comment=None, key=None, at=HOUR)
            return await ledger.decision(identity(1))

    assert asyncio.run(scenario())["feedback"] == []


def test_a_closing_may_come_right_before_its_opening(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            ledger.finish(closing(1))
            await ledger.begin(opening(1))
            await ledger.flush()
            return await ledger.decision(identity(1)), (await ledger.stats(0)).total.requests, ledger.lost_closings

    row, requests, lost = asyncio.run(scenario())
    assert row["outcome"] == "ok"
    assert (requests, lost) == (1, 0)


def test_only_the_first_closing_counts(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, (opening(1), closing(1)))
            ledger.finish(closing(1, outcome="upstream-error", cost_usd=99.0))
            ledger.finish(closing(2))
            await ledger.flush()
            return await ledger.decision(identity(1)), (await ledger.stats(0)).total, ledger.lost_closings

    row, total, lost = asyncio.run(scenario())
    assert row["outcome"] == "ok"
    assert (total.requests, total.cost_usd) == (1, pytest.approx(0.012))
    assert lost == 2


def test_closing_the_ledger_writes_what_waits(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            futures = [ledger.begin(opening(number)) for number in range(50)]
            for number in range(50):
                ledger.finish(closing(number))
        with pytest.raises(StoreError, match="is closed"):
            await ledger.begin(opening(99))
        assert all(future.done() and future.exception() is None for future in futures)
        async with await Ledger.open(url, recording=False) as reader:
            return await reader.decisions(Filter(outcome="ok"), limit=100)

    assert len(asyncio.run(scenario())) == 50


def test_a_reader_changes_nothing_and_records_nothing(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await ledger.begin(opening(1))
            await execute(url, "UPDATE processes SET beat_at = 0")
            async with await Ledger.open(url, recording=False) as reader:
                with pytest.raises(StoreError, match="for reading"):
                    await reader.begin(opening(2))
                return await reader.decision(identity(1))

    assert asyncio.run(scenario())["outcome"] is None


def test_a_reader_does_not_make_a_database(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        asyncio.run(Ledger.open(f"sqlite:///{tmp_path}/missing.db", recording=False))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["ledger.db", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_a_wrong_url_is_refused(wrong):
    with pytest.raises(SettingsError, match="URL"):
        asyncio.run(Ledger.open(wrong))


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreError, match="not a database"):
        asyncio.run(Ledger.open(f"sqlite:///{tmp_path}/ledger.db"))


@needs_postgresql
def test_a_password_is_not_shown():
    with pytest.raises(StoreError, match="ledger postgresql") as caught:
        asyncio.run(Ledger.open("postgresql://me:s3cret@127.0.0.1:1/nothing", deadline_s=0.1))
    assert "s3cret" not in str(caught.value)


@needs_postgresql
def test_the_usual_way_to_ask_for_encryption_is_understood():
    async def scenario(url):
        async with await open_ledger(url) as ledger:
            await ledger.begin(opening(1))

    for plain in postgresql_url():
        asyncio.run(scenario(f"{plain}&sslmode=disable"))
