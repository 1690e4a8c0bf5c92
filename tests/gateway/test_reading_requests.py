import contextlib
import json
import sys

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avengers_pro.gateway.breaker import Breaker, BreakerSettings
from avengers_pro.gateway.controls import read_controls, with_controls
from avengers_pro.gateway.intent import intent
from avengers_pro.gateway.needs import ATTACHED_TOKENS, needs_of
from avengers_pro.gateway.refused import RefusedError
from avengers_pro.gateway.request import read_chat
from avengers_pro.gateway.sessions import in_tool_loop, session_key
from avengers_pro.gateway.upstreams import Upstream
from avengers_pro.routing import Policy
from avengers_pro.routing.pool import Endpoint, ModelCard

ENDPOINT = Endpoint(base_url="http://127.0.0.1:1/v1", upstream_model="theirs")
UPSTREAM = Upstream(ModelCard(name="ours"), ENDPOINT, Breaker(BreakerSettings()), {})
HELLO = [{"role": "user", "content": "hello"}]


def chat_of(**fields):
    return read_chat(json.dumps({"model": "avengers-pro", "messages": HELLO, **fields}).encode())


def refusal(body):
    with pytest.raises(RefusedError) as caught:
        read_chat(body)
    assert caught.value.status == 400
    assert json.loads(caught.value.body())["error"]["param"] == caught.value.param
    return caught.value


def use(body):
    """Do everything with a body that is done before it is sent on."""
    chat = read_chat(body)
    controls = read_controls(chat.controls, [])
    with_controls(Policy(), controls)
    needs = needs_of(chat)
    assert 0 <= needs.answer_tokens < 2**31
    assert needs.prompt_tokens > 0
    assert isinstance(intent(chat.messages), str)
    assert len(session_key("key", controls.session, chat.messages)) == 16
    in_tool_loop(chat.messages)
    for name in chat.fields:
        chat.has(name)
    sent, _ = UPSTREAM.body(chat)
    assert msgspec.json.decode(sent, type=dict[str, msgspec.Raw]).keys() >= chat.fields.keys()


def survives(body):
    try:
        use(body)
    except RefusedError as error:
        assert error.status == 400  # noqa: PT017  # a refusal is as good as success
        json.loads(error.body())


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.text("\ud800\udfffa", max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "input_audio", "file", "odd"])},
    optional={"text": st.text(max_size=8), "image_url": VALUES, "input_audio": VALUES, "file": VALUES},
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
        optional={"content": st.text(max_size=20) | st.none() | st.lists(PARTS, max_size=3), "tool_calls": VALUES},
    ),
    max_size=4,
)
OURS = st.dictionaries(
    st.sampled_from(["alpha", "target", "models", "session", "on_infeasible", "odd"]), VALUES, max_size=3
)
NUMBERS = ["n", "max_tokens", "max_completion_tokens", "top_logprobs"]
READ = [*NUMBERS, "tools", "tool_choice", "logprobs", "response_format", "modalities", "audio", "stream_options"]
BODIES = st.fixed_dictionaries(
    {"model": st.text(max_size=20) | VALUES, "messages": MESSAGES | VALUES},
    optional={"stream": st.booleans() | VALUES, "avengers_pro": OURS | VALUES, **dict.fromkeys(READ, VALUES)},
)


@settings(max_examples=400, deadline=None)
@given(
    BODIES,
    st.booleans(),
    st.none() | st.integers(0, 400),
    st.none() | st.tuples(st.integers(0, 400), st.integers(0, 255)),
)
def test_no_body_does_worse_than_400(value, ascii_only, cut, flip):
    body = bytearray(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    if flip is not None and body:
        body[flip[0] % len(body)] = flip[1]
    survives(bytes(body[:cut]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
@example(b"")
@example(b"null")
@example(b'{"model":"a\xff","messages":[]}')
@example(b'{"model":"a","messages":[{"role":"user","content":"\xed\xa0\x80"}]}')
@example(b'{"model":"a","messages":[{"role":"user","content":"\\ud800"}]}')
@example(b'{"model":"a","messages":[{"role":"user","content":"hello"}],"n":1e999}')
@example(b'{"model":"a","messages":[{"role":"user","content":"hello"}],"max_tokens":' + b"9" * 400 + b"}")
@example(b'{"model":"a","messages":[{"role":"user","content":"hello"}],"max_tokens":' + b"9" * 9999 + b"}")
def test_no_bytes_do_worse_than_400(body):
    survives(body)


@pytest.mark.parametrize(
    "name", ["messages", "response_format", "stream_options", "avengers_pro", "modalities", "n", "x"]
)
def test_deep_nesting_does_no_worse_than_400(name):
    limit = sys.getrecursionlimit()
    for depth in (*range(limit - 150, limit + 10), 50_000):
        nested = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
        fields = {b"model": b'"a"', b"stream": b"true", b"messages": b"[]", name.encode(): nested}
        survives(b"{" + b",".join(b'"%s":%s' % field for field in fields.items()) + b"}")


@pytest.mark.parametrize("name", ["response_format", "stream_options"])
def test_nesting_too_deep_to_look_into_is_the_upstreams_to_refuse(name):
    """What can be read as a frame may still be too deep to look into from further down the stack."""

    def from_below(chat, frames):
        return from_below(chat, frames - 1) if frames else (needs_of(chat), UPSTREAM.body(chat))

    read = 0
    for depth in range(sys.getrecursionlimit() - 150, sys.getrecursionlimit()):
        nested = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
        with contextlib.suppress(RefusedError):
            from_below(read_chat(b'{"model":"a","stream":true,"messages":[],"%s":%s}' % (name.encode(), nested)), 40)
            read += 1
    assert read


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (b"[]", None, "not a JSON object"),
        (b'{"model":"a","messages":[]', None, "not a JSON object"),
        (b'{"messages":[]}', "model", "model is missing"),
        (b'{"model":5,"messages":[]}', "model", "model: Expected `str`"),
        (b'{"model":"a"}', "messages", "messages is missing"),
        (b'{"model":"a","messages":{}}', "messages", "messages: Expected `array`"),
        (b'{"model":"a","messages":[{"content":"x"}]}', "messages", "$[0]"),
        (b'{"model":"a","messages":[{"role":"user","content":5}]}', "messages", "$[0].content"),
        (b'{"model":"a","messages":[],"stream":"yes"}', "stream", "stream: Expected `bool"),
    ],
)
def test_a_refusal_names_the_field(body, param, says):
    error = refusal(body)
    assert error.param == param
    assert says in error.message


def test_a_model_name_of_absurd_length_is_refused_without_repeating_it():
    error = refusal(json.dumps({"model": "m" * 100_000, "messages": []}).encode())
    assert error.param == "model"
    assert len(error.message) < 200


def test_of_a_field_given_twice_the_last_counts_and_is_the_only_one_sent():
    chat = read_chat(b'{"model":"first","n":5,"messages":[],"model":"last","n":1}')
    assert chat.model == "last"
    assert needs_of(chat).capabilities == frozenset()
    assert json.loads(UPSTREAM.body(chat)[0]) == {"model": "theirs", "n": 1, "messages": []}


SPACE = st.sampled_from(["", " ", "\n\t", "  \r\n"])
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name not in {"model", "messages", "stream", "avengers_pro"})
LITERALS = st.sampled_from(
    ["1.0", "1.50e+02", "-0", "1E400", "12345678901234567890123", '"\\u0041\\/"', "[ 1 ,2 ]", "null"]
)
RAW = st.builds(
    lambda value, indent: json.dumps(value, indent=indent, allow_nan=False),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from([None, 0, 3]),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(NAMES, RAW | LITERALS), max_size=6, unique_by=lambda field: field[0]),
    st.permutations(["model", "messages", "avengers_pro"]),
    st.data(),
)
def test_what_is_not_ours_is_sent_on_as_it_came(theirs, ours, data):
    values = {
        "model": '"asked"',
        "messages": '[ {"role":"user", "content":"hi" , "x":1.0} ]',
        "avengers_pro": '{"alpha":1}',
    }
    fields = list(theirs)
    for name in ours:
        fields.insert(data.draw(st.integers(0, len(fields))), (name, values[name]))
    pairs = [f"{json.dumps(name)}{data.draw(SPACE)}:{data.draw(SPACE)}{raw}{data.draw(SPACE)}" for name, raw in fields]
    chat = read_chat(("{" + ",".join(pairs) + "}").encode())
    sent, hides = UPSTREAM.body(chat)
    read = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])
    wanted = [(name, '"theirs"' if name == "model" else raw) for name, raw in fields if name != "avengers_pro"]
    assert [(name, bytes(raw).decode()) for name, raw in read.items()] == wanted
    assert sent == b"{" + b",".join(msgspec.json.encode(name) + b":" + raw.encode() for name, raw in wanted) + b"}"
    assert not hides
    assert bytes(chat.controls) == b'{"alpha":1}'


@pytest.mark.parametrize(
    ("given_options", "sent_options", "hides"),
    [
        (None, {"include_usage": True}, True),
        ({"include_usage": True}, {"include_usage": True}, False),
        ({"include_usage": False}, {"include_usage": True}, True),
        ({"other": 1}, {"other": 1, "include_usage": True}, True),
    ],
)
def test_usage_is_asked_for_and_hidden_from_those_who_did_not(given_options, sent_options, hides):
    chat = chat_of(stream=True, **({} if given_options is None else {"stream_options": given_options}))
    sent, hide = UPSTREAM.body(chat)
    assert json.loads(sent)["stream_options"] == sent_options
    assert hide is hides


TEXT, IMAGE = (
    {"type": "text", "text": "what is this?"},
    {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
)


@pytest.mark.parametrize(
    ("fields", "capabilities"),
    [
        ({}, set()),
        ({"tools": [], "tool_choice": None, "logprobs": False, "n": 1, "audio": None, "modalities": ["text"]}, set()),
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"functions": [{}]}, {"tools"}),
        ({"tool_choice": "required"}, {"tools"}),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [{"id": "1"}]}]}, {"tools"}),
        ({"messages": [*HELLO, {"role": "tool", "content": "7"}]}, {"tools"}),
        ({"logprobs": True}, {"logprobs"}),
        ({"top_logprobs": 3}, {"logprobs"}),
        ({"top_logprobs": 0}, set()),
        ({"n": 2}, {"n"}),
        ({"n": 2.0}, {"n"}),
        ({"n": "3"}, {"n"}),
        ({"n": -2}, set()),
        ({"n": "many"}, set()),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"json_schema"}),
        ({"response_format": {"type": "json_object"}}, set()),
        ({"messages": [{"role": "user", "content": [TEXT, IMAGE]}]}, {"images"}),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, {"audio"}),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x"}}, {"audio"}),
    ],
)
def test_capabilities(fields, capabilities):
    assert needs_of(chat_of(**fields)).capabilities == capabilities


def test_an_empty_list_is_empty_however_it_is_spaced():
    chat = read_chat(b'{"model":"a","messages":[],"tools" : [ \n ] , "functions":{ }}')
    assert needs_of(chat).capabilities == frozenset()


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 0),
        ({"max_tokens": 100}, 100),
        ({"max_tokens": 100.0}, 100),
        ({"max_tokens": "100"}, 100),
        ({"max_tokens": None}, 0),
        ({"max_tokens": -5}, 0),
        ({"max_tokens": "nan"}, 0),
        ({"max_tokens": "inf"}, 2**31 - 1),
        ({"max_tokens": 10**300}, 2**31 - 1),
        ({"max_tokens": 100, "max_completion_tokens": 50}, 50),
        ({"max_tokens": 100, "max_completion_tokens": None}, 100),
    ],
)
def test_tokens_of_the_answer(fields, tokens):
    assert needs_of(chat_of(**fields)).answer_tokens == tokens


def test_prompt_tokens_are_a_quarter_of_the_bytes():
    short, long = (needs_of(chat_of(user="x" * size)).prompt_tokens for size in (0, 40_000))
    assert abs(long - short - 10_000) <= 1


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_what_is_attached_counts_for_the_same_whatever_its_bytes(kind):
    """A photo of 1 MB in base64 would otherwise be too long for every model."""
    part = {"type": kind, kind: {"data": "A" * 1_400_000}}
    needs = needs_of(chat_of(messages=[{"role": "user", "content": [TEXT, part, part]}]))
    assert 2 * ATTACHED_TOKENS < needs.prompt_tokens < 2 * ATTACHED_TOKENS + 100


def test_a_model_lacks_what_its_card_does_not_state():
    needs = needs_of(chat_of(tools=[{}], n=2, max_tokens=1000))
    assert needs.missing(ModelCard(name="a")) == "lacks n, tools"
    assert needs.missing(ModelCard(name="a", capabilities=("tools",))) == "lacks n"
    assert needs.missing(ModelCard(name="a", capabilities=("tools", "n"))) is None
    assert needs.missing(ModelCard(name="a", capabilities=("tools", "n"), context=needs.tokens)) is None
    assert f"needs about {needs.tokens}" in needs.missing(
        ModelCard(name="a", capabilities=("tools", "n"), context=needs.tokens - 1)
    )
