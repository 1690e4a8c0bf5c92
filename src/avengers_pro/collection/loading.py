"""A task of inspect-ai, looked at before it runs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage


def prompt_lengths(task: str, limit: int | None = None) -> tuple[tuple[int, ...] | None, str]:
    """Load a task's dataset and measure its prompts, without asking any model.

    Args:
        task: ``package/name`` or ``file.py@name``; of several tasks in a file, all count.
        limit: Only so many samples of each task; None = all.

    Returns:
        Characters of each sample's input and choices; None, and why, where the task cannot be loaded by itself, as one
        that asks for its model while it is made. Whether the task is wrong is seen when it runs.
    """
    from inspect_ai._eval.loader import load_tasks  # not exported, yet what `inspect eval` loads tasks by
    from inspect_ai._util.error import PrerequisiteError

    try:
        tasks = load_tasks([task])
    except (PrerequisiteError, OSError, LookupError, ValueError, TypeError, ImportError, RuntimeError) as error:
        return None, (str(error).splitlines() or [type(error).__name__])[0]
    if not tasks:
        return None, "inspect-ai finds no such task"
    samples = [sample for one in tasks for sample in one.dataset[:limit]]
    return tuple(_length(sample.input) + sum(map(len, sample.choices or ())) for sample in samples), ""


def _length(asked: "str | list[ChatMessage]") -> int:
    return len(asked) if isinstance(asked, str) else sum(len(message.text) for message in asked)
