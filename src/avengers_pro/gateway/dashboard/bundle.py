"""Makes what draws charts in the browser; run as a program, so that the gateway does not grow by a JavaScript engine.

Writes JSON to its standard output: ``script``, the Vega runtime, and ``charts``, the specifications by name.
"""

import json
import sys


def make() -> dict[str, object]:
    """Return the script and the charts.

    Raises:
        ImportError: If altair or vl-convert is not installed.
    """
    import vl_convert

    from avengers_pro.gateway.dashboard.charts import charts

    return {"script": vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"), "charts": charts()}


if __name__ == "__main__":
    json.dump(make(), sys.stdout)
