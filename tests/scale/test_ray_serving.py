"""``avengers-pro serve --engine ray-serve``: real Ray Serve on loopback, as a client sees it.

One Ray is started for all tests here and stopped by the last one; they run in their order.
"""

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from avengers_pro.cli.main import program
from avengers_pro.demo.provider import Speed, create_provider, serving
from avengers_pro.errors import EngineError
from avengers_pro.gateway.ledger import Ledger
from avengers_pro.routing import Router
from avengers_pro.routing.publishing import publish, use, versions
from cli.served import CHAT, post, wait_for, write_config
from gateway.ledger_stores import execute, needs_postgresql, open_ledger, postgresql_url

pytest.importorskip("ray", reason="ray is not installed: pip install 'avengers-pro[scale]'")
pytestmark = [
    needs_postgresql,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the replicas are found in /proc"),
]
WORDS = 100


class Served:
    """A running ``avengers-pro serve``, its ledger, and the simulated provider behind it."""

    def __init__(self, process, said, store) -> None:
        self.process, self._said, self.store = process, said, store

    @property
    def said(self):
        return self._said.read_text(encoding="utf-8")

    def url(self):
        assert self.process.poll() is None, self.said
        found = re.search(r"Avengers-Pro on (http://\S+)/v1, 2 replicas", self.said)
        return found and found[1]

    def ask(self, **more):
        """Return the id of the decision of an answer that came whole."""
        with post(f"{self.url()}/v1/chat/completions", {**CHAT, **more}) as answer:
            assert json.loads(answer.read())["choices"]
            return answer.headers["x-avengers-pro-decision"]

    def rows(self):
        async def read():
            async with await Ledger.open(self.store, recording=False) as ledger:
                return {row["id"]: row async for row in ledger.export()}

        return asyncio.run(read())

    def processes(self):
        """Return which processes wrote the ledger's rows."""
        return {row[0] for row in asyncio.run(execute(self.store, "SELECT DISTINCT process FROM decisions"))}

    def routers(self):
        """Return the router of the latest row of each process."""
        latest = "SELECT DISTINCT ON (process) process, router FROM decisions ORDER BY process, at DESC"
        return dict(asyncio.run(execute(self.store, latest)))

    def present(self):
        """Return how many processes have not taken leave of the ledger."""
        return asyncio.run(execute(self.store, "SELECT count(*) FROM processes"))[0][0]

    def replicas(self):
        return [pid for pid, command in below(self.process.pid) if command.startswith("ray::ServeReplica")]


def below(pid):
    """Return (pid, command) of all processes that a process started."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        try:
            children = [
                int(child)
                for task in Path(f"/proc/{one}/task").iterdir()
                for child in (task / "children").read_text().split()
            ]
            found += [(child, Path(f"/proc/{child}/cmdline").read_text()) for child in children]
        except OSError:
            continue
        waiting += children
    return found


@pytest.fixture(scope="module")
def router(tmp_path_factory, sample, sample_vectors):
    folder = tmp_path_factory.mktemp("ray-serve") / "router"
    Router.fit(sample.take(range(0, 2000, 10)), vectors=sample_vectors[::10]).save(folder)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory, router, sample, sample_vectors):
    """Two published versions, the first in use."""
    folder = tmp_path_factory.mktemp("published")
    Router.fit(sample.take(range(0, 2000, 20)), vectors=sample_vectors[::20]).save(folder / "other")
    place = (folder / "routers").as_uri()
    publish(folder / "other", place, "second")
    publish(router, place, "first")
    return place


@pytest.fixture(scope="module")
def served(tmp_path_factory, place):
    folder = tmp_path_factory.mktemp("served")
    for store in postgresql_url():
        asyncio.run(ready(store))
        with serving(create_provider(speed=Speed(first_token_s=0.05, tokens_per_s=40.0))) as provider:
            tables = f'[server]\nport = 0\n[store]\nurl = "{store}"\n'
            config = write_config(folder / "gateway.toml", provider, tables)
            # Not -W error: Ray itself warns where it is imported.
            command = [sys.executable, "-m", "avengers_pro", "serve", place, "--config", str(config)]
            with (folder / "said").open("wb") as said:
                process = subprocess.Popen(
                    [*command, "--engine", "ray-serve", "--replicas", "2"], cwd=folder, stderr=said
                )
            started = Served(process, folder / "said", store)
            try:
                wait_for(started.url, "the URL")
                yield started
            finally:
                process.kill()
                process.wait()


async def ready(store):
    async with await open_ledger(store, recording=False):
        pass


def test_both_replicas_answer_and_every_answer_has_its_row(served):
    answered = [served.ask(max_tokens=1) for _ in range(4)]
    wait_for(lambda: answered.append(served.ask(max_tokens=1)) or len(served.processes()) == 2, "rows of two processes")
    assert set(answered) <= served.rows().keys()
    with urllib.request.urlopen(f"{served.url()}/metrics", timeout=30) as page:
        found = re.search(r'^avengers_pro_requests_total\{outcome="ok".*\} (\S+)$', page.read().decode(), re.MULTILINE)
    assert float(found[1]) == len(answered)  # any replica answers for both
    with urllib.request.urlopen(f"{served.url()}/dashboard", timeout=30) as page:
        assert page.status == 200


def stream(url):
    """Ask for a long stream; return the connection, and the response once its head is there."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    body = json.dumps({**CHAT, "stream": True, "max_tokens": WORDS}).encode()
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    return connection, connection.getresponse()


def test_a_stream_comes_in_pieces_and_its_headers_are_ours(served):
    connection, response = stream(served.url())
    with closing(connection):
        assert response.headers["content-type"].startswith("text/event-stream")
        decision = response.headers["x-avengers-pro-decision"]
        assert response.readline().startswith(b"data: {")
        assert served.rows()[decision]["outcome"] is None  # it was still being made when its first piece was here
        assert response.read().endswith(b"data: [DONE]\n\n")
    wait_for(lambda: served.rows()[decision]["outcome"] == "ok", "the end in the ledger")


def test_a_client_that_goes_ends_the_upstreams_answer(served):
    connection, response = stream(served.url())
    decision = response.headers["x-avengers-pro-decision"]
    response.readline()
    response.close()
    connection.close()
    row = wait_for(lambda: (row := served.rows()[decision])["outcome"] is not None and row, "the end in the ledger")
    assert row["outcome"] == "client-gone"


def test_replicas_follow_the_place_and_go_back(served, place):
    known = {version.name: version.fingerprint for version in versions(place)}
    assert set(served.routers().values()) == {known["first"]}
    for version in ("second", "first"):
        use(version, place)
        wait_for(
            lambda version=version: (
                served.ask(max_tokens=1) and list(served.routers().values()) == [known[version]] * 2
            ),
            f"the {version} version in both replicas",
        )


def test_a_killed_replica_is_replaced_and_no_delivered_answer_lacks_its_row(served):
    delivered, broken, stops = [], [], threading.Event()

    def load():
        while not stops.is_set():
            try:
                delivered.append(served.ask(max_tokens=2))
            except (OSError, http.client.HTTPException) as error:  # was at the replica that died
                broken.append(error)

    first = set(served.replicas())
    assert len(first) == 2
    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        wait_for(lambda: len(delivered) > 8, "answers")
        os.kill(min(first), signal.SIGKILL)
        before = len(delivered)
        wait_for(lambda: len(delivered) > before + 20, "answers after it")
        wait_for(lambda: len(set(served.replicas()) - {min(first)}) == 2, "a replica in its place")
        known = served.processes()
        wait_for(lambda: len(served.processes()) > len(known) or len(known) > 2, "answers of the new one")
    finally:
        stops.set()
        for client in clients:
            client.join()
    assert set(delivered) <= served.rows().keys()


def test_it_stops_when_told_to_with_every_request_finished(served):
    connection, response = stream(served.url())
    with closing(connection):
        response.readline()
        present = served.present()
        started = [pid for pid, _ in below(served.process.pid)]
        served.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping" in served.said, "that it stops")
        assert response.read().endswith(b"data: [DONE]\n\n")
        decision = response.headers["x-avengers-pro-decision"]
    assert served.process.wait(60) == 0
    assert served.rows()[decision]["outcome"] == "ok"
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), "the end of Ray's processes")
    assert served.present() == present - 2  # their ledgers were closed: rows written, leases given back


def test_a_replica_that_cannot_start_says_why(tmp_path, router):
    from avengers_pro.gateway.settings import read_settings
    from avengers_pro.scale.replica import Replica

    (tmp_path / "l").write_text("this is no database, and it is longer than a hundred bytes" * 10)
    table = f'[store]\nurl = "sqlite:///{tmp_path}/l"\n'
    settings = read_settings(write_config(tmp_path / "gateway.toml", "http://127.0.0.1:9", table))
    with pytest.raises(EngineError, match="not a database"):
        asyncio.run(Replica.__init__(object.__new__(Replica), str(router), settings, None))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "ray"], "use local, ray-serve, or ray-serve://host:port"),
        (["--replicas", "2"], "belong to --engine ray-serve"),
        (["--engine", "ray-serve", "--workers", "2"], "with ray-serve, say --replicas"),
        (["--engine", "ray-serve", "--replicas", "3:2"], "MIN:MAX with 1 <= MIN <= MAX"),
        (["--engine", "ray-serve", "--replicas", "2", "--requests-per-replica", "9"], "belongs to --replicas MIN:MAX"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(options, said):
    refused = CliRunner().invoke(program, ["serve", "router", *options])
    assert refused.exit_code == 2
    assert said in refused.stderr


def test_what_a_cluster_cannot_have_is_found_before_it_is_asked(router, tmp_path):
    config = write_config(tmp_path / "gateway.toml", "http://127.0.0.1:9", "[server]\nport = 0\n")
    options = ["serve", str(router), "--config", str(config), "--check", "--engine"]
    on_cluster = CliRunner().invoke(program, [*options, "ray-serve://127.0.0.1:9"])
    assert on_cluster.exit_code == 1
    assert "cannot share a SQLite file" in on_cluster.stdout
    assert "server.port" in on_cluster.stdout
    assert CliRunner().invoke(program, [*options, "ray-serve"]).exit_code == 0
