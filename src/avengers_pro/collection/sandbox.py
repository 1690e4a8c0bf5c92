"""Running code that a model wrote: what it can do is given up before it starts, or it does not start.

What holds when `run_tests` returns a count, on Linux alone:

- no network: the process is in a network namespace of its own, without any interface that is up;
- no writing but into a folder in memory, of 64 MB, that is gone afterwards: every other mount is read-only to it;
- no reach to other processes: it has its own process numbers, and all its processes end with it;
- bounded processor time, wall time, memory, processes, files and open files; an empty environment;
- no privileges: all capabilities are dropped, and set-user-ID programs give none back.

What does not hold: it may read files that your account may read (it cannot send them anywhere), and code that sets out
to cheat can, since tests run in its own process. The kernel is shared; this is no virtual machine.
"""

import json
import math
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from avengers_pro.errors import AvengersProError

_SCRIPT = Path(__file__).with_name("confined.py")
_FILE_MB = 16
_STARTUP_S = 20.0
"""Wall time for Python itself to start, on a loaded machine, on top of the program's."""
_MOST_REPORT = 1 << 16
_PROBE = """
import socket
try:
    socket.create_connection(("127.0.0.1", {port}), 2)
except OSError:
    pass
else:
    raise RuntimeError("the network can be reached")
try:
    open({path!r}, "w")
except OSError:
    pass
else:
    raise RuntimeError("a file outside the folder can be written")
open("inside", "w").write("x")
import os, time
try:
    for _ in range(64):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
except OSError:
    pass
else:
    raise RuntimeError("processes are not bounded")
try:
    bytearray(1 << 31)
except MemoryError:
    pass
else:
    raise RuntimeError("memory is not bounded")
"""


class SandboxError(AvengersProError):
    """Code of a model cannot be run here under the limits promised."""


@dataclass(frozen=True, slots=True)
class TestRun:
    """How a program did.

    Attributes:
        passed: Tests that passed; 0 if the program failed, ended early or ran over a limit.
        total: Tests in all.
        reason: The first failure, or the limit; empty = all passed.
    """

    passed: int
    total: int
    reason: str

    @property
    def score(self) -> float:
        """Share of the tests that passed."""
        return self.passed / self.total


def run_tests(
    program: str, tests: Sequence[str], *, timeout_s: float = 10.0, memory_mb: int = 512, processes: int = 16
) -> TestRun:
    """Run a program and then each test in its name space, confined.

    Args:
        program: Python code.
        tests: Python code; whatever raises has failed.
        timeout_s: Wall time and, rounded up, processor time.
        memory_mb: Address space in mebibytes.
        processes: Processes and threads at once.

    Raises:
        SandboxError: If the limits cannot be put in place; then nothing has run.
    """
    token = secrets.token_hex(16)
    limits = {"cpu_s": math.ceil(timeout_s), "memory_mb": memory_mb, "processes": processes, "file_mb": _FILE_MB}
    job = json.dumps(
        {"program": program, "tests": list(tests), "token": token, "limits": limits, "timeout_s": timeout_s}
    )
    word, text = _confined(job, timeout_s)
    if word == "refused":
        raise SandboxError(f"code cannot be run safely on this machine: {text}")
    name, _, passed = word.partition(" ")
    if name == token:
        return TestRun(int(passed), len(tests), text)
    return TestRun(0, len(tests), text or "it ended before the tests did, or ran over a limit")


def _confined(job: str, timeout_s: float) -> tuple[str, str]:
    """Return the word and the text that the child reported; empty ones if it did not get so far."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as report:
        # A file, not a pipe: what a program may write to it is bounded by the limit on file sizes.
        process = subprocess.Popen(  # noqa: S603  # our own script
            [sys.executable, "-I", "-B", str(_SCRIPT), folder],
            stdin=subprocess.PIPE,
            stdout=report,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
        )
        try:
            process.communicate(job.encode(), timeout=timeout_s + _STARTUP_S)
        except subprocess.TimeoutExpired:
            return "", f"it took longer than {timeout_s:g} s"
        finally:
            process.kill()
            process.wait()
        report.seek(0)
        try:
            word, text = json.loads(report.read(_MOST_REPORT))
        except ValueError:
            return "", ""
    return str(word), str(text)


@cache
def check_sandbox() -> None:
    """See for oneself that the limits hold here: network, files, processes, memory.

    Raises:
        SandboxError: Naming the one that does not.
    """
    import socket

    if not sys.platform.startswith("linux"):
        raise SandboxError(f"code of a model is run on Linux alone, this is {sys.platform}; use another grader")
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryDirectory() as folder:
        outside = Path(folder, "outside")
        Path(folder).chmod(0o777)  # writable for anybody, so that only the read-only mount can refuse
        probe = _PROBE.format(port=listener.getsockname()[1], path=str(outside))
        run = run_tests(probe, ["pass"])
    if run.passed != 1:
        raise SandboxError(f"code cannot be run safely on this machine: {run.reason.strip().splitlines()[-1]}")
