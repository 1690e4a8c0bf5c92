"""The graders that need nothing but the answer's text."""

import json
import math
from collections.abc import Callable
from typing import Any

from avengers_pro.collection.graders import (
    Choice,
    Contains,
    Exact,
    Grade,
    Grader,
    JsonSchema,
    Numeric,
    Regex,
    Target,
    name_of,
    pattern_of,
    texts_of,
)
from avengers_pro.collection.reading import json_in, letter_in, number_in
from avengers_pro.errors import RecordsError


def grade(answer: str, target: Target, grader: Grader) -> Grade:
    """Grade by one of the plain graders, which need neither a model nor a process.

    Raises:
        RecordsError: If the grader is ``python-tests`` or ``judge``, or does not fit the target.
    """
    plain: dict[type[Any], Callable[[str, Target, Any], Grade]] = {
        Exact: _exact, Contains: _contains, Regex: _regex, Choice: _choice, Numeric: _numeric, JsonSchema: _json_schema
    }  # fmt: skip
    if type(grader) not in plain:
        raise RecordsError(f"{name_of(grader)} cannot be graded from the text alone; use collect")
    return plain[type(grader)](answer, target, grader)


def _exact(answer: str, target: Target, grader: Exact) -> Grade:
    found = answer.strip()
    right = {_folded(text.strip(), ignore=grader.ignore_case) for text in texts_of(target)}
    return Grade(float(_folded(found, ignore=grader.ignore_case) in right), found)


def _contains(answer: str, target: Target, grader: Contains) -> Grade:
    text = _folded(answer, ignore=grader.ignore_case)
    hits = [_folded(part, ignore=grader.ignore_case) in text for part in texts_of(target)]
    return Grade(float(all(hits) if grader.all else any(hits)))


def _regex(answer: str, target: Target, grader: Regex) -> Grade:
    patterns = texts_of(target) if grader.pattern is None else [grader.pattern]
    for pattern in patterns:
        match = pattern_of(pattern, ignore_case=grader.ignore_case).search(answer)
        if match is None:
            continue
        found = match[1] if match.re.groups and match[1] is not None else match[0]
        if grader.pattern is None or target is None:
            return Grade(1.0, found)
        right = {_folded(text, ignore=grader.ignore_case) for text in texts_of(target)}
        return Grade(float(_folded(found, ignore=grader.ignore_case) in right), found)
    return Grade(0.0, reason="the pattern does not match")


def _choice(answer: str, target: Target, _: Choice) -> Grade:
    found = letter_in(answer)
    if found is None:
        return Grade(0.0, reason="the answer settles on no letter")
    return Grade(float(found in {text.upper() for text in texts_of(target)}), found)


def _numeric(answer: str, target: Target, grader: Numeric) -> Grade:
    found = number_in(answer)
    if found is None:
        return Grade(0.0, reason="the answer has no number")
    for text in texts_of(target):
        right = number_in(text)
        if right is not None and math.isclose(
            found, right, rel_tol=0.0, abs_tol=max(grader.tolerance, grader.relative_tolerance * abs(right))
        ):
            return Grade(1.0, f"{found:g}")
    return Grade(0.0, f"{found:g}")


def _json_schema(answer: str, target: Target, grader: JsonSchema) -> Grade:
    import jsonschema  # type: ignore[import-untyped]  # it ships none
    import referencing

    text = json_in(answer)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Grade(0.0, reason="the answer is not JSON")
    kind = jsonschema.validators.validator_for(grader.schema, default=jsonschema.Draft202012Validator)
    try:
        valid = kind(grader.schema, registry=referencing.Registry()).is_valid(value)
    except referencing.exceptions.Unresolvable as error:
        raise RecordsError(f"json-schema: {error}; put what is referred to into the schema") from error
    if not valid:
        return Grade(0.0, text, "the answer does not satisfy the schema")
    if target is None:
        return Grade(1.0, text)
    right = json.loads(target) if isinstance(target, str) and _is_json(target) else target
    return Grade(float(value == right), text)


def _folded(text: str, *, ignore: bool) -> str:
    return text.casefold() if ignore else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
