"""A gateway as the shell starts it: the real program, on a free port, with the simulated provider behind it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

from avengers_pro.demo.pool import MODELS

LONGEST_S = 60.0
ASKED = [{"role": "user", "content": "Which river flows through the city where the treaty of 1815 was signed?"}]
CHAT = {"model": "avengers-pro", "messages": ASKED}


def post(url: str, body: object, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Post JSON; the caller closes what it gets."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json", **(headers or {})}
    )
    return urllib.request.urlopen(request, timeout=30)


def wait_for(found: Callable[[], object], what: str) -> object:
    """Look again until something is there; fail with a name for it."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {LONGEST_S:g} s")


def write_config(path: Path, upstream: str, extra: str = "") -> Path:
    """Write a gateway.toml for the sample pool; ``extra`` are more tables."""
    models = "".join(
        f'[[models]]\nname = "{model.name}"\nbase_url = "{upstream}/v1"\ninput_price = {model.input_price}\n'
        f'output_price = {model.output_price}\ncontext = 200000\ncapabilities = ["tools"]\n\n'
        for model in MODELS
    )
    path.write_text(f"{extra}\n{models}", encoding="utf-8")
    return path


class Program:
    """A running program; what it writes goes to files, so that nothing waits for a reader."""

    def __init__(self, folder: Path, *arguments: object, **environment: str) -> None:
        self._out, self._err = folder / "program.out", folder / "program.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "avengers_pro", *map(str, arguments)],
                cwd=folder,
                stdout=out,
                stderr=err,
                env={**os.environ, "AVENGERS_PRO_HOME": str(folder / "home"), **environment},
            )

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    def said(self, pattern: str, *, on: str = "err") -> str:
        """Wait until the program has written something; return the first group."""

        def look() -> re.Match[str] | None:
            assert self.process.poll() is None, f"it has ended:\n{self.out}\n{self.err}"
            return re.search(pattern, getattr(self, on))

        found = wait_for(look, pattern)
        return found[1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(LONGEST_S)

    def log(self) -> list[dict[str, object]]:
        """Return the lines of the log, which are JSON."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


@contextmanager
def program(folder: Path, *arguments: object, **environment: str) -> Iterator[Program]:
    """Run a program, and kill it at the end if it still runs."""
    running = Program(folder, *arguments, **environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


@contextmanager
def served(folder: Path, router: Path, config: Path, *arguments: object) -> Iterator[tuple[Program, str]]:
    """Run ``avengers-pro serve`` on a free port; yields the program and its base URL."""
    with program(folder, "serve", router, "--config", config, "--port", 0, *arguments) as running:
        yield running, running.said(r"Next: curl (http://[^/]+)/")
