"""Changing the router under a running gateway, and ending the gateway under running requests."""

import json
import shutil
import signal
import threading
import time

import pytest
from live import FIRST, POOL, SECOND, UVICORN, ask, call, eventually, hung_up, rows_of, text_of

from avengers_pro.demo.provider import Fault, Speed
from avengers_pro.routing import Router


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory, sample, sample_vectors):
    """A router that does not know FIRST."""
    folder = tmp_path_factory.mktemp("other") / "router"
    Router.fit(sample.select_models(POOL[1:]).take(range(0, 2000, 10)), vectors=sample_vectors[::10]).save(folder)
    return folder


@pytest.fixture
def folder(router_folder, tmp_path):
    return shutil.copytree(router_folder, tmp_path / "router")


def replace(folder, other):
    """Save another router into a folder, arrays first."""
    for name in ("router.safetensors", "router.json"):
        shutil.copy(other / name, folder / name)


def test_reload_takes_the_new_router(gateway, provider, folder, other_folder):
    live = gateway(provider, router=folder)
    before = live.ask()
    replace(folder, other_folder)
    answer = live.call("/admin/reload", method="POST")
    assert answer.status == 200
    after = live.ask()
    assert [one.headers["x-avengers-pro-model"] for one in (before, after)] == [FIRST, SECOND]
    first, second = (row["router"] for row in live.rows())
    assert first != second == answer.json["router"]


def test_a_change_of_the_file_is_noticed(gateway, provider, folder, other_folder):
    live = gateway(provider, {"server": {"reload_interval": 0.05}}, router=folder)
    assert live.ask().headers["x-avengers-pro-model"] == FIRST
    (folder / "router.json").unlink()
    live.ask()
    replace(folder, other_folder)
    eventually(lambda: live.ask().headers["x-avengers-pro-model"] == SECOND)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "router.json").unlink(),
        lambda folder: (folder / "router.json").write_bytes(b"{}"),
        lambda folder: (folder / "router.safetensors").write_bytes(b"no arrays"),
        shutil.rmtree,
    ],
    ids=["no-header", "empty-header", "no-arrays", "nothing"],
)
def test_a_damaged_router_is_refused_and_the_old_goes_on(gateway, provider, folder, other_folder, damage):
    live = gateway(provider, {"server": {"reload_interval": 0.05}}, router=folder)
    damage(folder)
    answer = live.call("/admin/reload", method="POST")
    assert (answer.status, answer.error["code"]) == (409, "reload_refused")
    assert live.ask().headers["x-avengers-pro-model"] == FIRST
    folder.mkdir(exist_ok=True)
    replace(folder, other_folder)
    eventually(lambda: live.ask().headers["x-avengers-pro-model"] == SECOND)


def test_requests_go_on_while_the_router_is_replaced(gateway, provider, folder, other_folder, router_folder):
    live = gateway(provider, router=folder)
    statuses, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            statuses.append(live.ask().status)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for other in (other_folder, router_folder, other_folder):
        replace(folder, other)
        assert live.call("/admin/reload", method="POST").status == 200
    eventually(lambda: len(statuses) > 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}


# The end


def test_what_is_running_is_finished_before_the_end(gateway, provide, stack):
    provider = provide(speed=Speed(tokens_per_s=40))
    live = gateway(provider, grace_s=5)
    answers = []
    threads = [
        threading.Thread(target=lambda streams=streams: answers.append(live.ask(stream=streams, max_tokens=16)))
        for streams in (False, True)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: live.metric("upstream_in_flight") == 2)
    stack.pop_all().close()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200, 200]
    assert any(answer.body.endswith(b"[DONE]\n\n") and text_of(answer.events) for answer in answers)
    assert {row["outcome"] for row in rows_of(live.store)} == {"ok"}


def test_what_takes_too_long_ends_with_an_error(separate_gateway, provide):
    """One stream that has begun, one request that has not, and one stream whose client does not read."""
    provider = provide(faults={FIRST: [Fault(fault="hang-mid-stream")], SECOND: [Fault(fault="hang")]})
    gateway = separate_gateway(provider, script=UVICORN)
    live = gateway.live
    eventually(lambda: is_up(live))
    answers = {}

    def run(model, streams):
        answers[model] = call(live.url, body=ask(model=model, stream=streams))

    threads = [threading.Thread(target=run, args=given) for given in ((FIRST, True), (SECOND, False))]
    for thread in threads:
        thread.start()
    eventually(lambda: len(call(provider, "/requests").json) == 2)
    call(provider, "/faults", {FIRST: [{"fault": "huge-chunks", "chunks": 64}]}, method="PUT")
    with hung_up(live.url, ask(stream=True)) as client:
        assert client.recv(100)
        begin = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(10)
        assert 0.9 < time.monotonic() - begin < 5
    for thread in threads:
        thread.join()
    assert json.loads(answers[FIRST].events[-1])["error"]["code"] == "shutdown"
    assert (answers[SECOND].status, answers[SECOND].error["code"]) == (503, "shutdown")
    rows = rows_of(live.store, open_ones=True)
    assert {row["outcome"] for row in rows} == {"shutdown"}
    assert sorted(row["status"] for row in rows) == [200, 200, 503]


def is_up(live):
    try:
        return live.call("/readyz").status == 200
    except OSError:
        return False
