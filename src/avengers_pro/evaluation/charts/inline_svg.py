"""Figures as parts of a page: SVG that needs no script, prints, and takes the colours of the page's style sheet."""

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from avengers_pro.evaluation.charts.saving import specification
from avengers_pro.evaluation.charts.theme import require_altair

if TYPE_CHECKING:
    import altair as alt

_NAMESPACE = "http://www.w3.org/2000/svg"
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Signs that XML cannot hold, whatever a name in the records says."""
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_TOLD_FROM = re.compile(r"(?:^|; )((?:Method|Model|Dataset|What|Setting|Example query): .*)", re.DOTALL)
"""Vega describes a mark by its axes and then by its tips; the tips say it all."""


def inline_svg(chart: "alt.TopLevelMixin", key: str) -> str:
    """Draw a figure as an SVG element for a page.

    What pointing at a mark would show is its ``title``, which browsers show without a script. The background is left
    out, so that the page's shows.

    Args:
        chart: The figure.
        key: Unique on the page; the ids inside begin with it.

    Raises:
        MissingExtraError: If altair or vl-convert is not installed.
    """
    require_altair()
    import vl_convert

    drawn = _UNWRITABLE.sub("", vl_convert.vegalite_to_svg(specification(chart)))
    root = ET.fromstring(drawn)  # noqa: S314 - our own drawing: it has no document type and so no entities
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
        _dress(element, key)
    _prune(root)
    background = root.find("rect")
    if background is not None:
        root.remove(background)
    root.set("class", "chart")
    root.set("aria-hidden", "true")
    return ET.tostring(root, encoding="unicode")


def _dress(element: ET.Element, key: str) -> None:
    told = _TOLD_FROM.search(element.get("aria-label", ""))
    for name in [name for name in element.attrib if name == "role" or name.startswith("aria-") or name[0] == "{"]:
        del element.attrib[name]
    for name, value in element.attrib.items():
        element.set(name, f"{key}-{value}" if name == "id" else _REFERENCE.sub(rf"url(#{key}-\1)", value))
    if told:
        title = ET.Element("title")
        title.text = told[1].replace("; ", "\n")
        element.insert(0, title)


def _prune(parent: ET.Element) -> None:
    """Drop what draws nothing."""
    for child in list(parent):
        _prune(child)
        if child.get("class") in {"background", "foreground"} and child.get("fill") is None and not child.get("stroke"):
            parent.remove(child)
