"""What /openapi.json says is what the gateway does: schemathesis makes up requests from it, right and wrong ones."""

import copy
import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
from live import CHAT, eventually

needs_schemathesis = pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")
EXAMPLES = 10
SEED = 4
BOUND_S = 400


def judge(folder, document, url, *options, config=""):
    """Run schemathesis's checks, in all its phases; its report is shown if one fails."""
    (folder / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "schemathesis.toml").write_text(config, encoding="utf-8")
    run = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "openapi.json"]
    given = ["--url", url, "--checks", "all", "--max-examples", f"{EXAMPLES}", "--seed", f"{SEED}", "--no-color"]
    done = subprocess.run(
        [*run, *given, *options], cwd=folder, capture_output=True, text=True, timeout=BOUND_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    described = sum(len(item) for item in document["paths"].values())
    assert f"Tested: {described}\n" in done.stdout


@needs_schemathesis
def test_whoever_has_a_key_is_answered_as_described(gateway, provider, tmp_path):
    """Not asked here: whether what fits is accepted, for which headers exclude each other cannot be described."""
    live = gateway(provider, {"access": {"required": True, "refresh": 0.02}})
    _, secret = live.key()
    eventually(lambda: live.call("/v1/models", x_api_key=secret).status == 200)
    document = live.call("/openapi.json").json
    options = ("--header", f"Authorization: Bearer {secret}", "--exclude-checks", "positive_data_acceptance")
    judge(tmp_path, document, live.url, *options)


@needs_schemathesis
def test_what_fits_the_description_is_accepted(gateway, provider, tmp_path):
    """With names that there are; that no model meets a limit, or that there is no such decision, is no fault."""
    live = gateway(provider, {"presets": {"cheap": {"alpha": 0.0}}})
    document = narrowed(
        live.call("/openapi.json").json, [model["id"] for model in live.call("/v1/models").json["data"]]
    )
    config = '[checks.positive_data_acceptance]\nexpected-statuses = ["2xx", "404", "422"]\n'
    judge(tmp_path, document, live.url, config=config)
    assert any(row["feedback"] for row in live.rows())


def narrowed(document, names):
    """Leave out what is right only by what else is asked, and what the simulated provider would refuse."""
    own = [name for name in names if name.startswith("avengers-pro")]
    for path in (CHAT, "/v1/route"):
        document["paths"][path]["post"]["parameters"] = []  # they must not repeat what the body says
    schemas = document["components"]["schemas"]
    schemas["ChatRequest"]["properties"]["model"] = {"enum": own}
    for setting in ("models", "exclude"):
        choice = {"type": "array", "items": {"enum": names[len(own) :]}}
        schemas["Controls"]["properties"][setting]["anyOf"][0] = choice
    answerable, message = (copy.deepcopy(schemas[name]) for name in ("ChatRequest", "Message"))
    message["properties"]["role"] = {"enum": ["user", "system", "assistant"]}
    answerable["properties"]["messages"] = {"type": "array", "items": message, "minItems": 1}
    document["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"] = answerable
    return document


def test_what_is_described_is_what_there_is(gateway, provider):
    live = gateway(provider, {"access": {"refresh": 0.02}})
    document = live.call("/openapi.json").json
    assert {} in document["security"]
    live.key()
    eventually(lambda: {} not in live.call("/openapi.json").json["security"])
    silent = gateway(provider, {"telemetry": {"metrics": False}})
    assert document["paths"].keys() - silent.call("/openapi.json").json["paths"].keys() == {"/metrics"}
