"""The ledger while the gateway is killed, its database is locked or broken, and texts are kept or not."""

import http.client
import json
import signal
import sqlite3
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from live import CHAT, FIRST, QUESTION, Live, ask, call, eventually, hung_up, rows_of

from avengers_pro.demo.provider import Fault, Speed


def test_after_a_kill_every_answer_has_its_row_and_the_unfinished_are_marked(separate_gateway, gateway, provide):
    hangs = {"*": [Fault(fault="hang", share=0.02), Fault(fault="hang-mid-stream", share=0.02)]}
    provider = provide(faults=hangs, speed=Speed(first_token_s=0.005))
    killed = separate_gateway(provider)
    begun, whole = set(), set()
    stop = threading.Event()

    def load(number):
        while not stop.is_set():
            with closing(http.client.HTTPConnection(urlsplit(killed.live.url).netloc, timeout=5)) as connection:
                try:
                    connection.request("POST", CHAT, json.dumps(ask(f"{QUESTION} {number}", stream=number % 2 == 0)))
                    response = connection.getresponse()
                    begun.add(response.headers["x-avengers-pro-decision"])
                    response.read()
                    whole.add(response.headers["x-avengers-pro-decision"])
                except (OSError, http.client.HTTPException):
                    stop.wait(0.01)

    threads = [threading.Thread(target=load, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(whole) >= 150)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    stop.set()
    for thread in threads:
        thread.join()
    assert begun <= {row["id"] for row in rows_of(killed.live.store, open_ones=True)}
    call(provider, "/faults", {}, method="PUT")
    rows = {row["id"]: row for row in gateway(provider).rows()}
    outcomes = [row["outcome"] for row in rows.values()]
    assert set(outcomes) == {"ok", "interrupted"}
    assert outcomes.count("interrupted") >= 1
    assert outcomes.count("ok") >= 100
    assert begun - whole <= {name for name, row in rows.items() if row["outcome"] == "interrupted"}


def locked(live: Live) -> sqlite3.Connection:
    connection = sqlite3.connect(live.database, isolation_level=None, timeout=5)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_an_answer_waits_for_its_row(gateway, provider):
    live = gateway(provider)
    with closing(locked(live)) as lock, hung_up(live.url, ask()) as client:
        eventually(lambda: any(arrival["done"] for arrival in call(provider, "/requests").json))
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        lock.rollback()
        client.settimeout(5)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert live.row()["outcome"] == "ok"


def test_a_client_that_leaves_while_its_row_is_written(gateway, provider):
    live = gateway(provider)
    with closing(locked(live)) as lock:
        with hung_up(live.url, ask()):
            eventually(lambda: any(arrival["done"] for arrival in call(provider, "/requests").json))
        eventually(lambda: live.metric("in_flight") == 0)
        lock.rollback()
    (row,) = eventually(live.rows)  # written once the lock is gone
    assert (row["outcome"], row["status"]) == ("client-gone", 0)
    assert live.metric("upstream_in_flight") == 0


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("required", [True, False])
def test_a_broken_ledger_stops_answers_if_it_is_required(gateway, provider, caplog, required, streams):
    live = gateway(provider, {"store": {"required": required}})
    with closing(sqlite3.connect(live.database)) as connection:
        connection.execute("ALTER TABLE decisions RENAME TO elsewhere")
    answer = live.ask(stream=streams)
    if required:
        assert (answer.status, answer.error["code"], answer.error["type"]) == (503, "ledger", "server_error")
        assert live.metric("requests_total", outcome="unavailable", status="503") == 1
    else:
        assert answer.status == 200
        assert live.metric("requests_total", outcome="ok") == 1
    assert live.metric("upstream_in_flight") == 0
    for path, body in (("/v1/decisions/x", None), ("/v1/feedback", {"decision": "x", "score": 1})):
        answer = live.call(path, body)
        assert (answer.status, answer.error["code"]) == (503, "ledger")
    assert QUESTION not in caplog.text


def test_an_error_does_not_need_the_ledger(gateway, provide):
    live = gateway(provide(faults={"*": [Fault(fault="500")]}))
    with closing(sqlite3.connect(live.database)) as connection:
        connection.execute("ALTER TABLE decisions RENAME TO elsewhere")
    answer = live.ask()
    assert (answer.status, answer.error["code"]) == (500, "upstream_failed")


CARD_NUMBER = "card 4242-4242-4242"


@pytest.mark.parametrize("streams", [False, True])
def test_texts_are_not_kept_unless_asked_for(gateway, provider, tmp_path, streams):
    live = gateway(provider)
    live.ask(f"{QUESTION} {CARD_NUMBER}", stream=streams)
    row = live.row()
    assert (row["text"], row["answer"]) == (None, None)
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.db*"))
    assert b"4242" not in stored
    assert b"simulated answer" not in stored


@pytest.mark.parametrize("streams", [False, True])
def test_texts_are_kept_cut_and_redacted(gateway, provider, streams):
    store = {"log_text": True, "text_bytes": 60, "redact": [r"\d{4}(-\d{4})+", "simulated"]}
    live = gateway(provider, {"store": store})
    answer = live.ask(f"{CARD_NUMBER} {'ü' * 100}", stream=streams)
    assert answer.status == 200
    row = live.row()
    assert row["text"] == f"card [redacted] {'ü' * 22}"
    assert row["answer"].startswith(f"[[redacted] answer of {FIRST}]")
    assert len(row["answer"].encode()) <= 60
    listed = live.call(f"/v1/decisions/{row['id']}").json
    assert "4242" not in json.dumps(listed)


def test_requests_that_were_turned_away_are_counted_but_are_no_decisions(gateway, provider):
    live = gateway(provider)
    for fields in ({"model": "nobody"}, {"avengers_pro": {"alpha": 2}}, {"avengers_pro": {"max_cost": 1e-9}}):
        assert live.ask(**fields).status in {400, 404, 422}
    assert live.rows() == []
    assert live.metric("requests_total", outcome="refused") == 3


def test_two_gateways_share_a_ledger(gateway, provider):
    one, two = gateway(provider), gateway(provider)
    begin = time.time()
    decisions = [live.ask().decision for live in (one, two, one, two)]
    rows = one.rows()
    assert {row["id"] for row in rows} == set(decisions)
    assert two.call(f"/v1/decisions/{decisions[0]}").json["id"] == decisions[0]
    assert all(begin - 1 <= row["at"] <= row["closed_at"] for row in rows)
