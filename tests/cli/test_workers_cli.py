"""``avengers-pro serve --workers``: several processes on one port, as a client and a supervisor see them."""

import os
import re
import shutil
import signal
import urllib.request
from pathlib import Path

import pytest

from avengers_pro.demo.provider import Speed, create_provider, serving
from cli.served import CHAT, post, program, wait_for, write_config

STARTED = r"Avengers-Pro on (http://\S+)/v1, 2 workers"


@pytest.fixture(scope="module")
def upstream():
    with serving(create_provider(speed=Speed(first_token_s=0.3, tokens_per_s=400.0))) as url:
        yield url


def pids(running):
    """Return the processes of the workers."""
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    found = [int(pid) for pid in children.read_text(encoding="ascii").split()]
    return [pid for pid in found if "spawn_main" in _command(pid)]


def _command(pid):
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")


def asked(url):
    with post(f"{url}/v1/chat/completions", CHAT) as answer:
        assert answer.status == 200
        return answer.read()


def counted(url):
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as page:
        text = page.read().decode()
    pattern = r'^avengers_pro_requests_total\{outcome="ok".*\} (\S+)$'
    return sum(float(value) for value in re.findall(pattern, text, re.MULTILINE))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the workers are found in /proc")
def test_workers_answer_on_one_port_are_replaced_reload_and_drain(tmp_path, router, upstream):
    folder = shutil.copytree(router, tmp_path / "router")
    config = write_config(tmp_path / "gateway.toml", upstream, "[server]\nreload_interval = 3600.0\n")
    with program(tmp_path, "serve", folder, "--config", config, "--port", 0, "--workers", 2) as running:
        url = running.said(STARTED)
        first = pids(running)
        assert len(first) == 2
        for _ in range(6):
            asked(url)
        wait_for(lambda: all(counted(url) == 6 for _ in range(4)), "every scrape counts for both workers")

        os.kill(first[0], signal.SIGKILL)
        wait_for(lambda: any(line.get("status") == -9 for line in running.log()), "a log line of the end of a worker")
        wait_for(lambda: len(set(pids(running)) - {first[0]}) == 2, "two workers again")
        wait_for(lambda: sum(line["message"] == "listening" for line in running.log()) == 3, "the new one listens")
        for _ in range(4):
            asked(url)

        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(re.findall(r"router \w+ in use", running.err)) == 2, "both have loaded the router again")

        assert running.stop() == 0
        assert sum(line["message"] == "stopped" for line in running.log()) == 2


def test_a_worker_that_cannot_start_says_why(tmp_path, router, upstream):
    (tmp_path / "no").mkdir()
    config = write_config(tmp_path / "gateway.toml", upstream, '[store]\nurl = "sqlite:///no/l"\n')
    (tmp_path / "no" / "l").write_text("this is no database, and it is longer than a hundred bytes" * 10)
    with program(tmp_path, "serve", router, "--config", config, "--port", 0, "--workers", 2) as running:
        assert running.process.wait(60) == 1
        assert "no database" in running.err or "not a database" in running.err
