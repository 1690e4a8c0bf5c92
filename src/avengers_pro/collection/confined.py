"""Runs one untrusted program under limits; started as a script of its own, by `sandbox`, and imported by nobody.

``python -I -B confined.py FOLDER`` reads one JSON object from standard input: the program, its tests and the limits.
It gives up network, other processes, writing outside FOLDER and its privileges before the program runs; if any of these
cannot be given up it writes ``refused`` and the reason, and runs nothing. Nothing of avengers_pro is imported here.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
import time
import traceback
from typing import Any, NoReturn, Self

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
_CLONE_NEWPID, _CLONE_NEWNET = 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 1 << 1, 1 << 2, 1 << 14, 1 << 18
_PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 8, 38
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAP_DAC_READ_SEARCH = 1 << 2
_CAPABILITY_VERSION = 0x20080522
_FIRST_FREE_UID = 2_000_000_000
_FAILED = 1
_FOLDER_MB = 64
_LOOK_EVERY_S = 0.01
_REPORT_CHARS = 2000

libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _set_capabilities(allowed: int) -> None:
    number = _CAPSET.get(platform.machine())
    if number is None:
        raise OSError(0, f"dropping privileges is not known for {platform.machine()}")
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    sets = struct.pack("IIIIII", allowed, allowed, 0, 0, 0, 0)
    _checked(libc.syscall(number, header, sets), "capset")


def _isolate(folder: str) -> None:
    """Leave the network, the processes and, for writing, the files of this machine."""
    uid, gid = os.geteuid(), os.getegid()
    spaces = _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC
    if uid:
        _checked(libc.unshare(_CLONE_NEWUSER | spaces), "unshare")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(text)
    else:
        _checked(libc.unshare(spaces), "unshare")
    _checked(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
    change = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    _checked(libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, change, len(change)), "mount_setattr")
    options = f"size={_FOLDER_MB}m,mode=0777".encode()
    _checked(libc.mount(b"none", os.fsencode(folder), b"tmpfs", _MS_NOSUID | _MS_NODEV, options), "mount")


def _give_up_privileges() -> None:
    """Become nobody: an account of its own if this is root, which else no limit on processes would bind."""
    if os.geteuid():
        _set_capabilities(0)
    else:
        account = _FIRST_FREE_UID + os.getpid() % 1_000_000
        os.setgroups([])
        _checked(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl")
        os.setresgid(account, account, account)
        os.setresuid(account, account, account)
        _set_capabilities(_CAP_DAC_READ_SEARCH)  # Python's own files may lie where only root may look
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def _limit(limits: dict[str, int]) -> None:
    """Bound what the program may use; each limit is hard."""
    for name, most in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory_mb"] << 20),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_FSIZE, limits["file_mb"] << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (most, most))


def _answer(report: int, word: str, text: str = "") -> None:
    os.write(report, json.dumps([word, text[-_REPORT_CHARS:]]).encode())


class _Attempt:
    """Runs a block; whatever it raises, SystemExit too, is kept as text: the program is not ours."""

    failure: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if error is not None:
            trace = None if error.__traceback__ is None else error.__traceback__.tb_next  # without our own frame
            self.failure = "".join(traceback.format_exception(kind, error, trace, limit=-2))
        return True


def _run(job: dict[str, Any], report: int) -> NoReturn:
    """Run program and tests; say the token and the count of passed tests, which ending early does not."""
    space: dict[str, Any] = {"__name__": "solution"}
    with _Attempt() as attempt:
        exec(compile(job["program"], "solution.py", "exec"), space)  # noqa: S102
    if attempt.failure is not None:
        _answer(report, "failed", attempt.failure)
        os._exit(1)
    failures = []
    for test in job["tests"]:
        with _Attempt() as attempt:
            exec(compile(test, "tests.py", "exec"), space)  # noqa: S102
        if attempt.failure is not None:
            failures.append(attempt.failure)
    _answer(report, f"{job['token']} {len(job['tests']) - len(failures)}", failures[0] if failures else "")
    os._exit(0)


def _watch(child: int, starter: int, timeout_s: float) -> None:
    """Wait for the program; end it, and with it all it started, when its time is up or nobody waits for it."""
    end = time.monotonic() + timeout_s
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end or os.getppid() != starter:
            os.kill(child, signal.SIGKILL)  # the first of its process numbers: the kernel ends the others
            os.waitpid(child, 0)
            return
        time.sleep(_LOOK_EVERY_S)


def main() -> None:
    """Isolate, fork so that the new process numbers begin, run, and pass on how it ended."""
    folder = os.path.realpath(sys.argv[1])
    starter = os.getppid()
    report = os.dup(1)
    job = json.load(sys.stdin)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    try:
        _isolate(folder)
        os.chdir(folder)
        child = os.fork()
        if child == 0:
            _give_up_privileges()
            _limit(job["limits"])
    except OSError as error:
        _answer(report, "refused", error.strerror or str(error))
        os._exit(_FAILED)
    if child == 0:
        _run(job, report)
    _watch(child, starter, job["timeout_s"])
    os._exit(0)


if __name__ == "__main__":
    main()
