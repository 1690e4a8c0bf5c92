"""Ray is another place where the same work is done."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from datasets import assert_same_router, in_parts

from avengers_pro.errors import EngineError, RecordsError
from avengers_pro.evaluation import Protocol, evaluate
from avengers_pro.records import write_records
from avengers_pro.routing import Router, build_method
from avengers_pro.scale import SavedRouter, fit_dataset, opened, route_dataset
from avengers_pro.scale.parts import parts_of

pytest.importorskip("ray", reason="ray is not installed: pip install 'avengers-pro[scale]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's own making

OURS = build_method("avengers-pro")
DEADLINE_S = 120


@pytest.fixture(scope="module")
def ray_here():
    with opened("ray") as engine:
        yield engine


@pytest.fixture(scope="module")
def folder(sample, sample_vectors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("router") / "router"
    Router.fit(sample, vectors=sample_vectors).save(folder)
    return folder


def below(pid):
    """Return (pid, command) of all processes that a process started, itself left out."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        try:
            children = [
                int(child)
                for task in Path(f"/proc/{one}/task").iterdir()
                for child in (task / "children").read_text().split()
            ]
            found += [(child, Path(f"/proc/{child}/cmdline").read_bytes().decode()) for child in children]
        except OSError:
            continue
        waiting += children
    return found


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def contents(output):
    return {path.name: path.read_bytes() for path in sorted(Path(output).glob("part-*.parquet"))}


def until(happened):
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.005)
    raise AssertionError("it did not happen in time")


def test_a_fit_on_ray_is_the_fit_on_one_machine(ray_here, sample, sample_vectors, tmp_path):
    write_records(sample, tmp_path / "records.jsonl")
    path = str(tmp_path / "records.jsonl")
    found = fit_dataset([path], OURS, ray_here, parts=parts_of([path], part_bytes=400_000))
    assert_same_router(found.router, Router.fit(sample, vectors=sample_vectors))


def test_an_evaluation_on_ray_is_the_evaluation_on_one_machine(ray_here, sample, sample_vectors):
    protocol = Protocol(seeds=(1, 2), alphas=(0.3, 0.7))
    given = sample.take(range(600)), ["avengers-pro", "avengers-pro-paper"]
    here, there = (
        evaluate(*given, protocol=protocol, vectors=sample_vectors[:600], spread=spread)
        for spread in (None, ray_here.run)
    )
    assert there.to_json() == here.to_json()


def test_a_bad_line_is_named_from_a_worker(ray_here, sample, tmp_path):
    source = in_parts(sample.take(range(200)), tmp_path / "logs", 50)
    with (tmp_path / "logs" / "part-0002.jsonl").open("a") as file:
        file.write('{"query": "q", "records": {"a": "good"}}\n')
    with pytest.raises(RecordsError, match=r"part-0002\.jsonl:51: records\[a\]"):
        fit_dataset([source], OURS, ray_here)


def test_a_fault_in_a_worker_is_told_as_it_was_there(ray_here):
    with pytest.raises(EngineError, match=r"could not finish the work: ValueError: int\(\) base must be"):
        list(ray_here.run(partial(int, base=99), ["3"]))


def test_a_killed_worker_loses_and_repeats_nothing(ray_here, folder, sample, tmp_path):
    source = in_parts(sample, tmp_path / "queries", 25)
    saved = SavedRouter.read(folder)
    route_dataset(saved, [source], tmp_path / "expected")

    def kill():
        worker = until(lambda: [pid for pid, command in below(os.getpid()) if command.startswith("ray::MapBatches")])
        os.kill(worker[0], signal.SIGKILL)
        return worker[0]

    with ThreadPoolExecutor(1) as aside:
        killed = aside.submit(kill)
        done = route_dataset(saved, [source], tmp_path / "out", engine=ray_here)
        assert not is_alive(killed.result())
    assert (done.queries, done.parts) == (2000, 80)
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_a_killed_driver_can_be_started_again(folder, sample, tmp_path):
    source = in_parts(sample, tmp_path / "queries", 10)
    saved = SavedRouter.read(folder)
    route_dataset(saved, [source], tmp_path / "expected")
    output = tmp_path / "out"
    command = [sys.executable, "-m", "avengers_pro", "route", folder, "--input", source, "--output", output]
    log = tmp_path / "log"
    with log.open("wb") as file:
        driver = subprocess.Popen([*command, "--engine", "ray"], stdout=file, stderr=file)
        until(lambda: contents(output) or driver.poll() is not None)
        started = [pid for pid, _ in below(driver.pid)]
        driver.kill()
        driver.wait()
    assert driver.returncode == -signal.SIGKILL, log.read_text()
    for pid in started:  # Ray's own processes notice only after a while
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in started))
    before = contents(output)
    assert 0 < len(before) < 200
    done = route_dataset(saved, [source], output)
    assert done.done_before == len(before)
    assert contents(output) == contents(tmp_path / "expected")


def test_the_command_runs_on_ray_quietly(sample, tmp_path):
    source = in_parts(sample.take(range(400)), tmp_path / "logs", 100)
    done = subprocess.run(
        [sys.executable, "-m", "avengers_pro", "fit", source, "-o", tmp_path / "router", "--engine", "ray"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'router'}: avengers-pro, 13 models, 400 queries\n"
    assert [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("Next: ")] == []
    assert_same_router(Router.load(tmp_path / "router"), Router.fit(sample.take(range(400))))


@pytest.fixture
def cluster(tmp_path):
    """Start a cluster of one node with a client server, and stop all that belongs to it."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for each in (one, two, three):
            each.bind(("127.0.0.1", 0))
        gcs, client, agent = (str(each.getsockname()[1]) for each in (one, two, three))
    command = [Path(sys.executable).parent / "ray", "start", "--head", "--block", "--include-dashboard=false"]
    command += ["--num-cpus=2", "--object-store-memory=100000000", "--disable-usage-stats", "--port", gcs]
    command += ["--ray-client-server-port", client, "--runtime-env-agent-port", agent]
    with (tmp_path / "cluster.log").open("wb") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"RAY_AUTH_MODE": "disabled"})
    yield f"ray://127.0.0.1:{client}"
    mine = [pid for pid, _ in below(head.pid)]
    head.kill()
    head.wait()
    for pid in mine:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_cluster_is_reached_by_its_address(cluster, sample, tmp_path):
    """In a process of its own: this one is connected to another Ray."""
    source = in_parts(sample.take(range(300)), tmp_path / "logs", 100)
    command = [sys.executable, "-m", "avengers_pro", "fit", source, "-o", tmp_path / "router", "--engine", cluster]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}

    def fitted():
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    done = until(lambda: (tried := fitted()).returncode == 0 and tried)  # the cluster takes its time to start
    assert "300 queries" in done.stdout
    assert_same_router(Router.load(tmp_path / "router"), Router.fit(sample.take(range(300))))


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "avengers_pro", "fit", tmp_path, "-o", tmp_path / "r", "--engine", "ray://127.0.0.1:1"],
        capture_output=True, text=True, check=False,
        env=os.environ | {"RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "1", "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: Ray at ray://127.0.0.1:1 cannot be used" in done.stderr
