"""Where the names of points go so that they do not cover each other."""

from collections.abc import Sequence
from dataclasses import dataclass

GLYPH, LINE = 6.4, 12.0
"""Rough width of a letter and height of a line, in pixels."""
REACH = 5.0
"""Half the size of a mark, in pixels."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A mark that wants a name.

    Attributes:
        x: Pixels from the left.
        y: Pixels from the top.
        text: The name.
        needed: Whether to write it even where it covers something.
    """

    x: float
    y: float
    text: str
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Label:
    """A name at its place; ``align`` is the side of the text that x fixes, y is its middle."""

    x: float
    y: float
    text: str
    align: str


Box = tuple[float, float, float, float]
_FAR = 15
_STRAY = 4.0
"""Price of a name so far from its mark that it may be read as another's."""
_SIDES = (
    (8, 0, "left"),
    (-8, 0, "right"),
    (0, -12, "center"),
    (0, 12, "center"),
    (6, -10, "left"),
    (6, 10, "left"),
    (-6, -10, "right"),
    (-6, 10, "right"),
    (4, -23, "left"),
    (4, 23, "left"),
    (-4, -23, "right"),
    (-4, 23, "right"),
)


def place(
    spots: Sequence[Spot], obstacles: Sequence[tuple[float, float, float]], width: float, height: float
) -> list[Label]:
    """Name the spots, most important first; a name without a free place is left out unless it is needed.

    Args:
        spots: Marks to name; all of them are kept free of other names.
        obstacles: Points of curves, better not covered, each with how much it matters.
        width: Of the plot.
        height: Of the plot.
    """
    marks = [(spot.x - REACH, spot.y - REACH, spot.x + REACH, spot.y + REACH) for spot in spots]
    taken: list[Box] = []
    labels: list[Label] = []
    for index, spot in enumerate(spots):
        others = taken + [mark for position, mark in enumerate(marks) if position != index]
        choices = [
            (_price(_box(spot, side), others, obstacles, width, height) + _STRAY * (abs(side[1]) > _FAR), side)
            for side in _SIDES
        ]
        price, side = min(choices, key=lambda choice: choice[0])
        if price < _BLOCKED or spot.needed:
            taken.append(_box(spot, side))
            labels.append(Label(spot.x + side[0], spot.y + side[1], spot.text, side[2]))
    return labels


_BLOCKED = 100.0
_OUTSIDE = 10_000.0


def _box(spot: Spot, side: tuple[int, int, str]) -> Box:
    dx, dy, align = side
    length = GLYPH * len(spot.text)
    left = spot.x + dx - {"left": 0.0, "right": length, "center": length / 2}[align]
    return left, spot.y + dy - LINE / 2, left + length, spot.y + dy + LINE / 2


def _price(
    box: Box, others: Sequence[Box], obstacles: Sequence[tuple[float, float, float]], width: float, height: float
) -> float:
    left, top, right, bottom = box
    outside = left < 0 or top < 0 or right > width or bottom > height
    hits = sum(left < b[2] and b[0] < right and top < b[3] and b[1] < bottom for b in others)
    covered = sum(weight for x, y, weight in obstacles if left < x < right and top < y < bottom)
    return _OUTSIDE * outside + _BLOCKED * hits + covered
