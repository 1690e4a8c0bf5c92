"""Whatever is sent, the gateway answers in OpenAI's shape, and nothing is its own fault."""

import http.client
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import CHAT, call

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["avengers-pro", "avengers-pro@0.3", "avengers-pro@x", "avengers-pro/no", "x"]) | JSON,
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "system", "tool"]) | JSON}, optional={"content": JSON}
            )
        )
        | JSON,
        "stream": st.booleans() | JSON,
        "avengers_pro": st.dictionaries(st.sampled_from(["alpha", "models", "max_cost", "session", "x"]), JSON) | JSON,
        "tools": JSON,
        "n": JSON,
        "max_tokens": JSON,
        "response_format": JSON,
        "stream_options": JSON,
    },
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["x-avengers-pro-alpha", "x-avengers-pro-models", "x-avengers-pro-x", "authorization", "x-api-key"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
    max_size=2,
)
PATHS = st.sampled_from([CHAT, "/v1/route", "/v1/feedback"])


def judge(answer):
    assert answer.status in {200, 400, 401, 403, 404, 413, 422}, (answer.status, answer.body)
    if answer.status != 200:
        assert answer.error["message"]


def test_no_body_and_no_header_is_an_internal_error(provider, gateway):
    url = gateway(provider).url

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=FIELDS | JSON, headers=HEADERS, path=PATHS)
    def fuzz(body, headers, path):
        sent = json.dumps(body).encode("utf-8", "surrogatepass")
        try:
            judge(call(url, path, sent, **headers))
        except http.client.BadStatusLine:
            raise AssertionError(f"no answer to {sent!r}") from None

    fuzz()


def test_no_bytes_are_an_internal_error(provider, gateway):
    url = gateway(provider).url

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=st.binary(max_size=200), path=PATHS)
    def fuzz(body, path):
        judge(call(url, path, body))

    fuzz()


def test_the_interface_is_described(provider, gateway):
    live = gateway(provider)
    found = live.call("/openapi.json").json
    assert found["openapi"].startswith("3.1")
    assert {CHAT, "/v1/route", "/v1/feedback", "/v1/models"} <= found["paths"].keys()
    controls = found["components"]["schemas"]["Controls"]["properties"]
    refused = live.ask(avengers_pro={"nonsense": 1})
    for name in controls:  # what is described is what is read
        assert name in refused.error["message"]
