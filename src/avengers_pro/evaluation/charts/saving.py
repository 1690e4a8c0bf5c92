"""Figures as files, and as parts of a page; nothing is fetched from anywhere."""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avengers_pro.errors import EvaluationError
from avengers_pro.evaluation.charts.theme import require_altair

if TYPE_CHECKING:
    import altair as alt

SUFFIXES = (".html", ".json", ".png", ".svg")
_SCALE = 2.0
_SHUT = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
POLICY = f'<meta http-equiv="Content-Security-Policy" content="{_SHUT}">'
"""Forbids a page to load anything; the Vega runtime compiles its expressions, hence unsafe-eval."""


def save_chart(chart: "alt.TopLevelMixin", path: str | Path) -> None:
    """Write a figure as .svg, .png (twice its size), .html (opens offline) or .json (Vega-Lite).

    Raises:
        EvaluationError: If the suffix is none of these.
        MissingExtraError: If altair or vl-convert is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise EvaluationError(f"figures are saved as {', '.join(SUFFIXES)}, not {suffix or 'without a suffix'}: {path}")
    require_altair()
    import vl_convert

    content = specification(chart)
    if suffix == ".png":
        path.write_bytes(vl_convert.vegalite_to_png(content, scale=_SCALE))
    elif suffix == ".svg":
        path.write_text(vl_convert.vegalite_to_svg(content), encoding="utf-8")
    elif suffix == ".json":
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        path.write_text(_page(content), encoding="utf-8")


def specification(chart: "alt.TopLevelMixin") -> dict[str, Any]:
    """Return the Vega-Lite specification with its data inside, whatever data transformer the caller has enabled."""
    import altair as alt

    with alt.data_transformers.enable("default", max_rows=None):
        content: dict[str, Any] = chart.to_dict()
    return content


def script_json(value: Any) -> str:
    """Return JSON that cannot end or open a script element, whatever the strings in it say."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def runtime() -> str:
    """Return the JavaScript of Vega, Vega-Lite and vegaEmbed, safe inside a script element."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def embedding(charts: dict[str, dict[str, Any]]) -> str:
    """Return the script that draws specifications into the elements with these ids."""
    bare = {key: {name: part for name, part in content.items() if name != "$schema"} for key, content in charts.items()}
    return (
        f"const charts = {script_json(bare)};\n"
        'const options = {mode: "vega-lite", renderer: "svg", '
        "actions: {export: true, source: false, compiled: false, editor: false}};\n"
        "for (const [id, chart] of Object.entries(charts)) vegaEmbed(document.getElementById(id), chart, options);\n"
    )


def _page(content: dict[str, Any]) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{POLICY}\n<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Figure</title>\n'
        f'</head>\n<body>\n<div id="figure"></div>\n<script>{runtime()}</script>\n'
        f"<script>{embedding({'figure': content})}</script>\n</body>\n</html>\n"
    )
