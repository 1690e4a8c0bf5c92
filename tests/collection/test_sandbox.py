"""What a program that a model wrote can and cannot do."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avengers_pro.collection import sandbox
from avengers_pro.collection.sandbox import SandboxError, check_sandbox, run_tests

CONFINED = Path(sandbox.__file__).with_name("confined.py")
LIMITS = {"cpu_s": 5, "memory_mb": 512, "processes": 8, "file_mb": 1}


@pytest.fixture(autouse=True)
def confinable():
    try:
        check_sandbox()
    except SandboxError as error:
        pytest.skip(f"this machine cannot confine code: {error}")


def test_the_share_of_tests_that_pass_is_the_score():
    run = run_tests("def f(x): return x + 1", ["assert f(1) == 2", "assert f(2) == 9", "f('a')", "assert f(0) == 1"])
    assert (run.passed, run.total, run.score) == (2, 4, 0.5)
    assert "AssertionError" in run.reason


@pytest.mark.parametrize(
    "program",
    ["import os; os._exit(0)", "import sys; sys.exit(0)", "x = (", "raise KeyError", "raise SystemExit", "1 / 0",
     "x = [0] * 10**10"],
)  # fmt: skip
def test_a_program_that_ends_early_passes_nothing(program):
    assert run_tests(program, ["pass"]).passed == 0


def test_time_is_bounded_for_the_busy_and_the_idle():
    for program in ("while True: pass", "import time; time.sleep(600)"):
        start = time.monotonic()
        assert run_tests(program, ["pass"], timeout_s=1).passed == 0
        assert time.monotonic() - start < 15


def test_nothing_that_a_program_started_outlives_it():
    mark = f"outlives-{os.getpid()}"
    program = (
        "import ctypes, os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        f"    ctypes.CDLL(None).prctl(15, b'{mark[:15]}', 0, 0, 0)\n"
        "    time.sleep(600)\n"
    )
    assert run_tests(program, ["pass"], timeout_s=5).passed == 1
    names = [path.read_text() for path in Path("/proc").glob("[0-9]*/comm")]
    assert mark[:15] + "\n" not in names


def test_it_has_no_network_no_environment_no_files_and_no_way_back(tmp_path):
    tmp_path.chmod(0o777)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o666)
    program = """
import ctypes, os, socket
lib = ctypes.CDLL(None, use_errno=True)
def refused(call):
    try:
        call()
    except OSError:
        return True
    return False
"""
    tests = [
        "assert refused(lambda: socket.create_connection(('127.0.0.1', 1), 1))",
        "assert refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53)))",
        "assert set(os.environ) <= {'LC_CTYPE'}",
        f"assert refused(lambda: open({str(victim)!r}, 'w'))",
        f"assert refused(lambda: os.remove({str(victim)!r}))",
        f"assert refused(lambda: open({str(tmp_path / 'new')!r}, 'w'))",
        "assert refused(lambda: open('/proc/1/oom_score_adj', 'w'))",
        "open('here', 'w').write('x')",
        "assert lib.mount(None, b'/', None, 32 | 4096, None) == -1",
        f"assert refused(lambda: os.kill({os.getpid()}, 0))",
        "assert os.getuid() != 0",
        # A user namespace of its own gives it capabilities over nothing that matters.
        "lib.unshare(0x10000000 | 0x20000)\nassert lib.mount(None, b'/', None, 32 | 4096, None) == -1",
        f"assert refused(lambda: open({str(victim)!r}, 'w'))",
    ]
    run = run_tests(program, tests)
    assert (run.passed, run.reason) == (len(tests), "")
    assert victim.read_text() == "mine"


def test_processes_and_disk_are_bounded():
    forks = """
import os, time
count = 0
try:
    while count < 99:
        if not os.fork():
            time.sleep(60)
        count += 1
except OSError:
    pass
"""
    assert run_tests(forks, ["assert 0 < count < 9"], processes=8).passed == 1
    fill = """
total = 0
try:
    for number in range(99):
        total += open(f"file-{number}", "wb").write(b"x" * 10**7)
except OSError:
    pass
"""
    assert run_tests(fill, ["assert total < 10**8"]).passed == 1


def test_where_the_limits_cannot_be_had_nothing_runs(tmp_path):
    """Root without the right to make namespaces, as in many containers."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give up the right to make namespaces")
    folder, mark = tmp_path / "folder", tmp_path / "ran"
    folder.mkdir()
    job = {"program": f"open({str(mark)!r}, 'w')", "tests": ["pass"], "token": "t", "timeout_s": 5, "limits": LIMITS}
    drop = (
        "import ctypes, os, sys\n"
        "assert ctypes.CDLL(None).prctl(24, 21, 0, 0, 0) == 0\n"  # PR_CAPBSET_DROP, CAP_SYS_ADMIN
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", drop, "-I", "-B", CONFINED, folder],
        input=json.dumps(job), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout) == ["refused", "unshare: Operation not permitted"]
    assert not mark.exists()


def test_results_survive_a_loud_program():
    run = run_tests("print('x' * 10**6)\nimport sys\nsys.stderr.write('y' * 10**6)", ["pass"])
    assert run.passed == 1


def test_started_as_nobody_it_holds_too(tmp_path):
    """The way taken where the program is not started by root, whatever account runs the tests."""
    python = "/usr/bin/python3"
    if os.geteuid() != 0 or not Path(python).exists():
        pytest.skip("needs root, to become nobody, and a Python that nobody can read")
    script = tmp_path / "confined.py"
    script.write_text(CONFINED.read_text(encoding="utf-8"))
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    inside = tmp_path / "inside"
    inside.mkdir(mode=0o777)
    tests = ["assert os.getuid() == 65534", f"open({str(inside.parent / 'x')!r}, 'w')"]
    job = {"program": "import os", "tests": tests, "token": "t", "timeout_s": 5, "limits": LIMITS}
    done = subprocess.run(
        [python, "-I", "-B", script, inside],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        user=65534,
        cwd="/",
    )
    assert '"t 1"' in done.stdout, done
    assert "Read-only file system" in done.stdout
