import math

import pytest

from avengers_pro.errors import SettingsError
from avengers_pro.routing.pool import ModelCard, read_pool

POOL = """
[server]
port = 8080

[[models]]
name = "lab/large"
input_price = 2.5
output_price = 10.0
cached_input_price = 1.25
capabilities = ["tools", "images"]
base_url = "https://example.com/v1"
api_key_env = "LAB_KEY"

[[models]]
name = "lab/small"
price = "unknown"
[[models.endpoints]]
base_url = "http://127.0.0.1:1/v1"
weight = 3
[[models.endpoints]]
base_url = "http://127.0.0.1:2/v1"
"""


def pool(tmp_path, text):
    path = tmp_path / "pool.toml"
    path.write_text(text, encoding="utf-8")
    return read_pool(path)


def test_a_row_with_one_endpoint_may_hold_its_keys(tmp_path):
    large, small = pool(tmp_path, POOL)
    assert [endpoint.base_url for endpoint in large.endpoints] == ["https://example.com/v1"]
    assert large.endpoints[0].api_key_env == "LAB_KEY"
    assert [endpoint.weight for endpoint in small.endpoints] == [3, 1]
    assert large.capabilities == ("tools", "images")
    assert small.capabilities is None


def test_cached_tokens_have_their_own_price():
    card = ModelCard(name="a", input_price=2.0, output_price=10.0, cached_input_price=0.5)
    assert card.cost_usd(1000, 100, cached_tokens=400) == pytest.approx((600 * 2 + 400 * 0.5 + 100 * 10) / 1e6)
    assert math.isnan(ModelCard(name="a", input_price=2.0).cost_usd(1, 1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no \\[\\[models\\]\\]"),
        ("models = 3", "no \\[\\[models\\]\\]"),
        ("not toml", "not TOML"),
        ("[[models]]\ninput_price = 1", "name"),
        ("[[models]]\nname = 'a'\ninput_prise = 1", "did you mean 'input_price'"),
        ("[[models]]\nname = 'a'\ninput_price = -1", "input_price is -1"),
        ("[[models]]\nname = 'a'\ninput_price = 'x'", "float"),
        ("[[models]]\nname = 'a'\n[[models]]\nname = 'a'", "given twice"),
        ("[[models]]\nname = 'a'\nbase_url = 'ftp://x'", "http"),
        ("[[models]]\nname = 'a'\nbase_url = 'http://x'\nweight = 0", "weight is 0"),
        ("[[models]]\nname = 'a'\nbase_url = 'http://x'\nmax_concurrency = 0", "max_concurrency is 0"),
        ("[[models]]\nname = 'a'\nendpoints = 3", "endpoints must be a list"),
        ('[[models]]\nname = "a\\r\\nset-cookie: x"', "printable"),
        ("[[models]]\nname = 'a'\ncontext = 0", "context is 0"),
        ("[[models]]\nname = 'a'\ncapabilities = ['flying']", "flying|Invalid enum"),
        ("[[models]]\nname = 'a'\nbase_url = 'http://x'\n[[models.endpoints]]\nbase_url = 'http://y'", "beside"),
        ("[[models]]\nname = 'a'\n[[models.endpoints]]\nbase_ur = 'http://y'", "did you mean 'base_url'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, said):
    with pytest.raises(SettingsError, match=said) as caught:
        pool(tmp_path, text)
    assert "pool.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"no\.toml: cannot be read"):
        read_pool(tmp_path / "no.toml")
