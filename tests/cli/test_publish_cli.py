"""``avengers-pro publish``, and workers that follow what it does."""

import json
import shutil
import time
import urllib.request
from http.client import HTTPConnection
from pathlib import Path

import pytest

from avengers_pro.demo.pool import MODELS
from avengers_pro.demo.provider import create_provider, serving
from avengers_pro.routing import Router
from avengers_pro.routing.artifact import ARRAYS
from cli.served import CHAT, program, wait_for, write_config

FIRST, SECOND = MODELS[0].name, MODELS[1].name


@pytest.fixture(scope="module")
def routers(tmp_path_factory, sample, sample_vectors):
    """Two routers of one model each."""
    folder = tmp_path_factory.mktemp("routers")
    for name, model in (("first", FIRST), ("second", SECOND)):
        rows = range(0, 2000, 20)
        Router.fit(sample.select_models([model]).take(rows), vectors=sample_vectors[::20]).save(folder / name)
    return folder / "first", folder / "second"


def test_publishing_listing_and_going_back(shell, routers):
    done = shell("publish", routers[0], "published", "--as", "v1")
    assert (done.code, done.out) == (0, "v1\n")
    name = shell("publish", routers[1], f"file://{shell.folder}/published").out.strip()
    rows = json.loads(shell("publish", "--list", "published", "--json").out)
    assert [(row["version"], row["current"]) for row in rows] == sorted([("v1", False), (name, True)])
    assert shell("publish", "--use", "v1", "published").code == 0
    assert "nothing is published there" in shell("publish", "--list", "elsewhere").err
    listed = shell("publish", "--list", "published")
    assert [line.split()[-1] for line in listed.out.splitlines() if line.startswith("v1")] == ["yes"]
    for verb in (("inspect",), ("models", "list"), ("route", "--json")):
        done = shell(*verb, "published", *(["Hello?"] if verb[0] == "route" else []))
        assert done.code == 0, done.err
        assert FIRST in done.out
    assert FIRST in shell("inspect", f"file://{shell.folder}/published").out


def test_what_is_refused(shell, routers):
    shell("publish", routers[0], "published", "--as", "v1")
    for arguments, message in {
        ("publish", routers[1], "published", "--as", "v1"): "another router is version 'v1'",
        ("publish", routers[1], "published", "--as", "../x"): "no name of a version",
        ("publish", "--use", "v2", "published"): "there is no version 'v2'; there are: v1",
        ("publish", "nowhere", "published"): "nowhere",
        ("publish", routers[0], "nosuch://me:hunter2@host/x"): "nosuch://host/x: no file system",
        ("inspect", "nosuch://me:hunter2@host/x"): "nosuch://host/x: no file system",
    }.items():
        done = shell(*arguments)
        assert done.code == 1, arguments
        assert message in done.err
        assert "hunter2" not in done.err + done.out


@pytest.mark.parametrize(
    "arguments",
    [("published",), ("a", "b", "c"), ("--list", "a", "b"), ("--list", "--use", "v1", "a"), ("a", "b", "--json"),
     ("--use", "v1", "--as", "v2", "a")],
)  # fmt: skip
def test_what_contradicts_itself_is_a_question_of_usage(shell, arguments):
    assert shell("publish", *arguments).code == 2


def chosen(url, asked=12):
    """Return the models chosen over several connections, which the system deals out to the workers."""
    found = set()
    for _ in range(asked):
        connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
        connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        found.add(answer.headers["x-avengers-pro-model"])
        connection.close()
    return found


def failures(url):
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as page:
        lines = page.read().decode().splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith('avengers_pro_router_reloads_total{result="f')
    )


def maps(running):
    """Return the inodes of the router's arrays that each worker has mapped."""
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text(encoding="ascii")
    found = []
    for pid in children.split():
        lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
        if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8"):
            found.append({line.split()[4] for line in lines if line.endswith(ARRAYS)})
    return found


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is mapped is read in /proc")
def test_workers_map_one_file_and_follow_within_ten_seconds(tmp_path, routers):
    url = f"file://{tmp_path}/published"
    with serving(create_provider()) as provider:
        config = write_config(tmp_path / "gateway.toml", provider)
        with program(tmp_path, "publish", routers[0], url, "--as", "v1") as publishing:
            assert publishing.process.wait(60) == 0
        with program(tmp_path, "serve", url, "--config", config, "--port", 0, "--workers", 2) as running:
            gateway = running.said(r"Avengers-Pro on (http://\S+)/v1, 2 workers")
            assert chosen(gateway) == {FIRST}
            inodes = maps(running)
            assert len(inodes) == 2
            assert inodes[0] == inodes[1]
            assert len(inodes[0]) == 1

            from avengers_pro.routing.publishing import publish, use

            for act, model in ((lambda: publish(routers[1], url, "v2"), SECOND), (lambda: use("v1", url), FIRST)):
                act()
                end = time.monotonic() + 10
                wait_for(lambda model=model: chosen(gateway) == {model}, f"{model} in use")
                assert time.monotonic() < end

            third = shutil.copytree(routers[1], tmp_path / "third")
            Router.load(third).reprice(SECOND, factor=2.0).save(third)
            publish(third, url, "v3")  # as it should be
            use("v1", url)
            wait_for(lambda: chosen(gateway) == {FIRST}, "back")
            version = tmp_path / "published" / "v4"
            shutil.copytree(third, version)
            Router.load(version).reprice(SECOND, factor=2.0).save(version)
            (version / ARRAYS).write_bytes((version / ARRAYS).read_bytes()[:-1])
            use("v4", url)
            wait_for(lambda: failures(gateway) == 2, "both workers refuse it")
            assert chosen(gateway) == {FIRST}
            said = [line["message"] for line in running.log() if "the old router goes on" in line["message"]]
            assert len(said) == 2
