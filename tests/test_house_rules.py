"""Rules of the house that a linter does not know."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "avengers_pro"
MODULES = sorted(SOURCE.rglob("*.py"))
MOST_MODULE_LINES, MOST_FUNCTION_LINES = 400, 80


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.relative_to(SOURCE).as_posix())
def test_modules_and_functions_stay_small(module):
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MOST_FUNCTION_LINES, node.name


def test_no_bins():
    names = {module.stem for module in MODULES} | {module.parent.name for module in MODULES}
    assert not names & {"utils", "helpers", "common", "misc", "base"}


def test_only_the_command_line_prints():
    for module in MODULES:
        if module.parent.name != "cli":
            calls = [
                node for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
            ]
            assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"], module


def test_no_broad_except():
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, module
                assert not (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}), module


def test_importing_sets_nothing_up():
    """No logging setup, no heavy optional package, no environment read, no network at import."""
    code = (
        "import logging, sys, socket\n"
        "def refuse(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = refuse\n"
        "import avengers_pro.routing, avengers_pro.evaluation, avengers_pro.records, avengers_pro.embedding\n"
        "avengers_pro.Router, avengers_pro.evaluate\n"
        "assert not logging.getLogger().handlers\n"
        "heavy = {'faiss', 'altair', 'aiohttp', 'pyarrow', 'wordllama', 'vl_convert'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_exist():
    import avengers_pro

    for name in avengers_pro.__all__:
        assert getattr(avengers_pro, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = avengers_pro.nothing
