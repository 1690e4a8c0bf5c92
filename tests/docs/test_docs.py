"""Every code block of README and docs runs, in order, page by page, in a folder with the simulated records."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from avengers_pro.records import write_records

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN = {"sh", "python", "json"}
SHOWN = {"text"}  # output, not input


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def run(kind: str, code: str, folder: Path) -> None:
    if kind == "json":
        for line in code.splitlines():
            json.loads(line)
        return
    if kind == "sh":
        # The package is installed already; what CI's install step did is not repeated for each page.
        lines = [re.sub(r"^pip install [^&]*(&& )?", "", line) for line in code.splitlines()]
        command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    else:
        command = [sys.executable, "-W", "error", "-c", code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "AVENGERS_PRO_HOME": str(folder / "home")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_blocks_run(page, tmp_path, sample):
    write_records(sample.take(np.random.default_rng(0).permutation(len(sample))[:400]), tmp_path / "records.jsonl")
    for kind, code in blocks(page):
        assert kind in RUN | SHOWN, f"{page.name}: a block of kind {kind!r} is neither run nor output"
        if kind in RUN:
            run(kind, code, tmp_path)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_generated_reference_is_current():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "reference.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_is_short():
    words = len(re.sub(BLOCK, "", (ROOT / "README.md").read_text(encoding="utf-8")).split())
    assert words <= 600
