"""Finding in an answer what a grader compares: a letter, a number, code, JSON."""

import math
import re

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_STATED = re.compile(r"(?:final answer|answer|result)\s*(?:is|:|=)\s*:?\s*(.+)", re.IGNORECASE)
_LETTER_STATED = re.compile(
    r"(?:answer|choice|option)\s*(?:is|:|=)?\s*:?\s*[*_]*\(?([A-Z])\)?(?![A-Za-z0-9'])", re.IGNORECASE
)
_LETTER_FIRST = re.compile(r"[*_\s]*\(?([A-Za-z])\)?[*_]*(?:[.):,\s]|$)")
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


def letter_in(answer: str) -> str | None:
    """Return the letter that an answer to a multiple-choice question settles on, upper case; None = none.

    A boxed letter goes before the last "answer is X", that before a letter at the very beginning or alone at the end.
    """
    boxed = [text.strip() for text in _BOXED.findall(answer) if re.fullmatch(r"\s*[A-Za-z]\s*", text)]
    stated = _LETTER_STATED.findall(answer)
    for letters in (boxed, stated):
        if letters:
            return str(letters[-1]).upper()
    lines = answer.strip().splitlines() or [""]
    if len(lines[0].strip(" *_().:")) == 1 and (match := _LETTER_FIRST.match(lines[0])):
        return match[1].upper()
    if match := re.match(r"\s*[*_]*\(?([A-Z])(?:\)|\.|:)", lines[0]):
        return match[1]
    match = re.fullmatch(r"[*_\s(]*([A-Z])[*_\s).]*", lines[-1])
    return match[1] if match else None


def number_in(answer: str) -> float | None:
    """Return the number an answer ends with: the last boxed one, else the last after "answer is", else the last."""
    for texts in (_BOXED.findall(answer), _STATED.findall(answer)):
        for text in reversed(texts):
            numbers = _numbers(text)
            if numbers:
                return numbers[0]
    numbers = _numbers(answer)
    return numbers[-1] if numbers else None


def _numbers(text: str) -> list[float]:
    found = (match[0] for match in _NUMBER.finditer(text) if re.search(r"\d", match[0]))
    return [value for part in found if math.isfinite(value := float(part.replace(",", "")))]


def code_in(answer: str) -> str:
    """Return the Python code of an answer: its fenced blocks one after the other, else all of it."""
    blocks = _FENCE.findall(answer)
    python = [code for language, code in blocks if language.lower() in {"python", "py", "python3"}]
    plain = [code for language, code in blocks if not language]
    return "\n".join(python or plain) or answer


def json_in(answer: str) -> str:
    """Return the JSON of an answer: its last block fenced as JSON or as nothing, else all of it."""
    blocks = [code for language, code in _FENCE.findall(answer) if language.lower() in {"", "json"}]
    return blocks[-1] if blocks else answer.strip()
