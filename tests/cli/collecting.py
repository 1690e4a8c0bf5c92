"""Runs the program in children of a process that has imported inspect-ai once: importing it takes seconds."""

import multiprocessing
import os
import sys
import warnings
from pathlib import Path

from conftest import Ran

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "inspect_ai.hooks",
        "inspect_ai.agent._acp.server",
        "inspect_ai.model._providers.openai_compatible",
        "avengers_pro.cli.collect",
    ]
)
_LONGEST_S = 120.0


class Collecting:
    """Runs ``avengers-pro collect`` in a folder of its own, as `Shell` does, warnings being errors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: object, **environment: str) -> Ran:
        job = (["collect", *map(str, arguments)], str(self.folder), environment)
        process = _CONTEXT.Process(target=_run, args=job)
        process.start()
        process.join(_LONGEST_S)
        assert process.exitcode is not None, "it has not ended"
        out, err = ((self.folder / f"program.{name}").read_text(encoding="utf-8") for name in ("out", "err"))
        return Ran(process.exitcode, out, err)


def _run(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    for number, name in ((1, "out"), (2, "err")):
        with Path(f"program.{name}").open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.argv = ["avengers-pro", *arguments]
    warnings.simplefilter("error")
    from avengers_pro.cli.main import main

    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
