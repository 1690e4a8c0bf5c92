"""What a child process does for `Collecting`: apart, because a child imports this module, and knows no conftest."""

import os
import sys
import warnings
from pathlib import Path


def run_program(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run the program in a folder, its output in files there, warnings being errors."""
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
