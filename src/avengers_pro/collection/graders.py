"""How an answer becomes a score: the graders, their options, and what each needs."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from avengers_pro.collection.reading import number_in
from avengers_pro.errors import RecordsError

Target = str | float | bool | list[Any] | dict[str, Any] | None
"""What is right: a text or number, a list of texts that are all right, or any JSON for ``json-schema``."""


@dataclass(frozen=True, slots=True)
class Grade:
    """What a grader found.

    Attributes:
        score: In [0, 1]; NaN = not observed.
        found: The part of the answer that was compared; None = there is none.
        reason: Why, in a few words; names no text of the prompt.
    """

    score: float
    found: str | None = None
    reason: str = ""


class Exact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="exact"):
    """The answer is the target, white space at both ends aside."""

    ignore_case: bool = True


class Contains(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="contains"):
    """The target, or any one of a list, occurs in the answer; ``all`` asks for every one."""

    ignore_case: bool = True
    all: bool = False


class Regex(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="regex"):
    """A pattern matches somewhere in the answer.

    Attributes:
        pattern: Its first group, or all of it, must equal the target if there is one; None = the target is the pattern.
        ignore_case: Of pattern and comparison.
    """

    pattern: str | None = None
    ignore_case: bool = False


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="choice"):
    """The letter that the answer settles on is the target's."""


class Numeric(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="numeric"):
    """The number that the answer ends with is the target.

    Attributes:
        tolerance: Largest difference that is right.
        relative_tolerance: The same, as a share of the target; the larger of both counts.
    """

    tolerance: float = 1e-9
    relative_tolerance: float = 0.0


class JsonSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="json-schema"):
    """The answer is JSON, perhaps fenced, that satisfies a schema, and equals the target if there is one.

    Attributes:
        schema: JSON Schema; references into the network are not followed.
    """

    schema: dict[str, Any]


class PythonTests(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="python-tests"):
    """The answer's Python code passes tests; a list of tests scores the share that passes.

    Attributes:
        tests: Python code that raises when something is wrong; None = the target is.
        timeout_s: Wall time; the processor's time is bounded by the same number.
        memory_mb: Address space.
        processes: Processes and threads at once.
    """

    tests: str | list[str] | None = None
    timeout_s: float = 10.0
    memory_mb: int = 512
    processes: int = 16


class Judge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="judge"):
    """Another model reads prompt, answer and target, and scores by a rubric.

    Attributes:
        rubric: What counts as good; None = agreement with the target.
    """

    rubric: str | None = None


Grader = Exact | Contains | Regex | Choice | Numeric | JsonSchema | PythonTests | Judge
NAMES = ("exact", "contains", "regex", "choice", "numeric", "json-schema", "python-tests", "judge")


def name_of(grader: Grader) -> str:
    """Return the name by which a grader is chosen."""
    return str(type(grader).__struct_config__.tag)


def grader_of(given: Any) -> Grader:
    """Read a grader: its name, or a table with ``name`` and its options.

    Raises:
        RecordsError: If there is none of that name, or an option is wrong.
    """
    table = {"name": given} if isinstance(given, str) else given
    if not isinstance(table, dict) or table.get("name") not in NAMES:
        raise RecordsError(f"a grader is one of {', '.join(NAMES)}, or a table with its name, got {given!r}")
    try:
        found: Grader = msgspec.convert(table, Grader)
    except msgspec.ValidationError as error:
        raise RecordsError(f"grader {table['name']!r}: {error}") from error
    return found


def check(grader: Grader, target: Target) -> None:
    """Refuse a grader that cannot work with a target.

    Raises:
        RecordsError: Saying what is missing or wrong.
    """
    checks: dict[type[Any], Callable[[Any, Target], object]] = {
        Exact: lambda _, right: _needed("exact", right),
        Contains: lambda _, right: _needed("contains", right),
        Regex: _check_regex,
        Choice: _check_choice,
        Numeric: _check_numeric,
        JsonSchema: _check_schema,
        PythonTests: _check_tests,
        Judge: _check_judge,
    }
    checks[type(grader)](grader, target)


def texts_of(target: Target) -> list[str]:
    """Return the texts that are all right; none for no target or an object."""
    if target is None or isinstance(target, dict):
        return []
    parts: list[Any] = target if isinstance(target, list) else [target]
    return [part if isinstance(part, str) else json.dumps(part) for part in parts]


def tests_of(grader: PythonTests, target: Target) -> list[str]:
    """Return the tests of a row.

    Raises:
        RecordsError: If there is none.
    """
    given = target if grader.tests is None else grader.tests
    tests: list[Any] = given if isinstance(given, list) else [given]
    if not tests or not all(isinstance(test, str) and test.strip() for test in tests):
        raise RecordsError("python-tests: needs tests, as its option or as the target: Python code, or a list of it")
    return tests


def pattern_of(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    """Compile a pattern.

    Raises:
        RecordsError: If it is none.
    """
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise RecordsError(f"regex: {pattern!r} is no pattern: {error}") from error


def _needed(name: str, target: Target) -> list[str]:
    texts = texts_of(target)
    if not texts:
        raise RecordsError(f"{name}: needs a target, a text or a list of texts, got {target!r}")
    return texts


def _check_regex(grader: Regex, target: Target) -> None:
    if grader.pattern is None:
        _needed("regex without a pattern", target)
    for pattern in texts_of(target) if grader.pattern is None else [grader.pattern]:
        pattern_of(pattern, ignore_case=grader.ignore_case)


def _check_choice(_: Choice, target: Target) -> None:
    for text in _needed("choice", target):
        if not re.fullmatch("[A-Za-z]", text):
            raise RecordsError(f"choice: the target must be one letter, got {text!r}")


def _check_numeric(grader: Numeric, target: Target) -> None:
    for text in _needed("numeric", target):
        if number_in(text) is None:
            raise RecordsError(f"numeric: the target must be a number, got {text!r}")
    if not (grader.tolerance >= 0 and grader.relative_tolerance >= 0):
        raise RecordsError("numeric: tolerance and relative_tolerance must not be negative")


def _check_schema(grader: JsonSchema, _: Target) -> None:
    import jsonschema  # type: ignore[import-untyped]  # it ships none

    schema = grader.schema
    try:
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.exceptions.SchemaError as error:
        raise RecordsError(f"json-schema: the schema is wrong: {error.message}") from error


def _check_tests(grader: PythonTests, target: Target) -> None:
    for test in tests_of(grader, target):
        try:
            compile(test, "tests", "exec")
        except (SyntaxError, ValueError) as error:
            raise RecordsError(f"python-tests: the tests are no Python: {error}") from error
    if not (grader.timeout_s > 0 and grader.memory_mb > 0 and grader.processes > 0):
        raise RecordsError("python-tests: timeout_s, memory_mb and processes must be more than 0")


def _check_judge(grader: Judge, target: Target) -> None:
    if grader.rubric is None and target is None:
        raise RecordsError("judge: needs a rubric, a target or both")
