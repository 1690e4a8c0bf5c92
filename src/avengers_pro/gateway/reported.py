"""Whether an upstream answered with the model it was asked for, by the id that it reports."""

import re

_DATE = re.compile(
    r"[-_@.:](?:20\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])|(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])|2\d(?:0[1-9]|1[0-2])|00\d)"
)
_LATEST = re.compile(r"[-_@:]latest$")


def is_same_model(asked: str, reported: str) -> bool:
    """Say whether a reported id stands for the model asked for.

    Ids are compared without case, and by what follows the last ``/`` (``models/gemini-2.5-pro``). The one may go on
    where the other ends with a date or a snapshot's number and nothing else: ``gpt-5`` and ``gpt-5-2025-08-07``,
    ``claude-sonnet-4`` and ``claude-sonnet-4-20250514``, ``gpt-4`` and ``gpt-4-0613``, ``mistral-large-latest``
    and ``mistral-large-2411``, ``gemini-1.5-pro`` and ``gemini-1.5-pro-002``. Two different dates are two different
    models, and so is any other word: ``gpt-5`` and ``gpt-5-mini``.
    """
    one, two = (_LATEST.sub("", name.lower().rpartition("/")[2]) for name in (asked, reported))
    shorter, longer = sorted((one, two), key=len)
    return longer.startswith(shorter) and (
        len(longer) == len(shorter) or _DATE.fullmatch(longer, len(shorter)) is not None
    )
