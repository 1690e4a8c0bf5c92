"""Files that a user would have, and a way to run the program as the shell does."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from avengers_pro.records import Records, write_records
from avengers_pro.routing import Router


@dataclass(frozen=True)
class Ran:
    """What a run left behind."""

    code: int
    out: str
    err: str


class Shell:
    """Runs ``python -m avengers_pro`` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: object, stdin: str | None = None, **environment: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "avengers_pro", *map(str, arguments)],
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "AVENGERS_PRO_HOME": str(self.folder / "home"), **environment},
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def shell(tmp_path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def small(sample) -> Records:
    """300 random rows of the simulated sample."""
    return sample.take(np.random.default_rng(0).permutation(len(sample))[:300])


@pytest.fixture
def records(tmp_path, small) -> Path:
    path = tmp_path / "records.jsonl"
    write_records(small, path)
    return path


@pytest.fixture(scope="session")
def router(tmp_path_factory, small) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "router"
    Router.fit(small).save(folder)
    return folder
