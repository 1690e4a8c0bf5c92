"""Runs the program in children of a process that has imported inspect-ai once: importing it takes seconds."""

import multiprocessing
from pathlib import Path

from collect_child import run_program

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
        process = _CONTEXT.Process(target=run_program, args=job)
        process.start()
        process.join(_LONGEST_S)
        assert process.exitcode is not None, "it has not ended"
        out, err = ((self.folder / f"program.{name}").read_text(encoding="utf-8") for name in ("out", "err"))
        return Ran(process.exitcode, out, err)
