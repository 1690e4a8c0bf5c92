"""stdout carries the result, stderr the talk."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table


def tell(message: str) -> None:
    """Say something to the person, not to the pipe."""
    click.echo(message, err=True)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function to call with (what, done, total); it draws on stderr if that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    console = Console(stderr=True)
    # Not disabled, it would leave an empty line in each log file.
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
    tasks: list[TaskID] = []

    def show(what: str, done: int, total: int) -> None:
        if not tasks:
            tasks.append(bar.add_task(what, total=total))
        bar.update(tasks[0], description=what, completed=done, total=max(total, 1))

    with bar:
        yield show


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, to_stderr: bool = False) -> None:
    """Print a table on stdout, or on stderr if it is talk; the first column is text, the others are right-aligned."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for position, name in enumerate(columns):
        table.add_column(name, justify="left" if position == 0 else "right", no_wrap=position > 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False, stderr=to_stderr)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, stderr=to_stderr, width=max(160, console.width))
    console.print(title, style="bold")
    console.print(table)


def percent(value: float | None, *, signed: bool = False) -> str:
    """Format a share; a dash when there is none."""
    if value is None or value != value:  # noqa: PLR0124
        return "-"
    return f"{value:+.1%}" if signed else f"{value:.1%}"


def dollars(value: float | None) -> str:
    """Format US dollars with three significant digits; a dash when not known."""
    if value is None or value != value:  # noqa: PLR0124
        return "-"
    return f"${value:.3g}" if value < 1000 else f"${value:,.0f}"  # noqa: PLR2004
