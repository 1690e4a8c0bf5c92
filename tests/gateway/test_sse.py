import itertools
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.gateway.refused import error_event
from avengers_pro.gateway.sse import MOST_HELD, EventReader, read_answer

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
DELTA = {"choices": [{"index": 0, "delta": {"content": 'Hi "usage" there'}, "finish_reason": None}], "usage": None}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
ONLY_USAGE = {"choices": [], "usage": USAGE}


def event(value, line_end="\n", **how):
    return f"data: {json.dumps(value, **how)}{line_end}{line_end}".encode()


def read(*pieces, hide=True):
    reader = EventReader(hide_usage=hide)
    passed = b"".join(reader.feed(piece) for piece in pieces)
    return passed + reader.end(), reader


def cut(stream, at):
    """Cut into pieces at these places."""
    ends = sorted({place % (len(stream) + 1) for place in at})
    return [stream[start:end] for start, end in itertools.pairwise([0, *ends, len(stream)])]


LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
SPACINGS = st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",", "\t:\t")])


@st.composite
def events(draw):
    """Draw an event, and whether it holds nothing but usage."""
    kind = draw(
        st.sampled_from(["delta", "stop", "usage", "usage too", "lines", "comment", "done", "blank", "junk", "long"])
    )
    end, spacing = draw(LINE_ENDS), draw(SPACINGS)
    if kind == "comment":
        return f": keep-alive{end}{end}".encode(), False
    if kind == "done":
        return f"data: [DONE]{end}{end}".encode(), False
    if kind == "blank":
        return b"\n" * draw(st.integers(1, 3)), False
    if kind == "junk":
        return b"data: {" + draw(st.binary(max_size=9)).replace(b"\n", b"").replace(b"\r", b"") + b"\n\n", False
    if kind == "long":
        content = "x" * draw(st.integers(MOST_HELD - 60, MOST_HELD + 60))
        return event({"choices": [{"delta": {"content": content}}]}, end), False
    value = {
        "delta": DELTA,
        "stop": STOP,
        "usage": ONLY_USAGE,
        "usage too": {**STOP, "usage": USAGE},
        "lines": ONLY_USAGE,
    }[kind]
    text = json.dumps(value, separators=spacing, indent=1 if kind == "lines" else None)
    lines = [f"{draw(st.sampled_from(['data:', 'data: ']))}{line}{end}" for line in text.split("\n")]
    before = draw(st.sampled_from(["", f"event: message{end}", f": a comment{end}", f"id: 7{end}"]))
    return (before + "".join(lines) + end).encode(), value is ONLY_USAGE


@settings(max_examples=300, deadline=None)
@given(st.lists(events(), max_size=8), st.lists(st.integers(0, 2**20), max_size=12), st.booleans())
def test_the_same_bytes_pass_however_the_stream_is_cut(stream, at, hide):
    whole = b"".join(data for data, _ in stream)
    wanted = b"".join(data for data, hidden in stream if not (hide and hidden))
    passed, reader = read(*cut(whole, at), hide=hide)
    assert passed == wanted
    assert (reader.usage is not None) >= any(hidden for _, hidden in stream)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([event(DELTA), event(ONLY_USAGE), b"\n", b"\r", b"\r\n", b"data: x", b":"]), max_size=9),
    st.booleans(),
)
def test_cutting_changes_nothing_even_where_lines_end_oddly(stream, hide):
    whole = b"".join(stream)
    assert read(whole, hide=hide)[0] == read(*(whole[at : at + 1] for at in range(len(whole))), hide=hide)[0]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_any_bytes_pass(data, at):
    assert read(*cut(data, at))[0] == data


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" , ", " : "), ("\t,", "\t:\t")])
def test_what_matters_is_found_however_it_is_spaced(separators):
    _, reader = read(event({**STOP, "usage": USAGE}, separators=separators))
    assert reader.finish_reason == "stop"
    assert (reader.usage.prompt_tokens, reader.usage.completion_tokens, reader.usage.cached_tokens) == (7, 5, 3)
    _, reader = read(event(STOP, separators=separators))
    assert reader.finish_reason == "stop"
    _, reader = read(event({"error": {"message": "overloaded"}}, separators=separators))
    assert reader.failed


@pytest.mark.parametrize("error", [{"message": "overloaded"}, "overloaded", 500, []])
def test_an_error_is_seen_and_passed_on(error):
    stream = event(DELTA) + event({"error": error})
    passed, reader = read(stream)
    assert passed == stream
    assert reader.failed
    assert read_answer(json.dumps({"error": error}).encode()).failed


def test_our_own_error_event_is_one():
    assert read(error_event("gone", "server_error"))[1].failed


def test_no_error_is_none():
    _, reader = read(event({**DELTA, "error": None}) + event({**STOP, "error": None, "usage": USAGE}))
    assert not reader.failed
    assert not read_answer(b'{"error":null,"choices":[]}').failed
    assert not read_answer(b"{}").failed


def test_done_is_an_event_and_not_a_word():
    text = event({"choices": [{"delta": {"content": "I say [DONE]"}}]})
    assert not read(text)[1].done
    assert read(text + b"data: [DONE]\n\n")[1].done
    assert read(b"data:[DONE]\r\n\r\n")[1].done


def test_usage_beside_an_answer_or_an_error_is_not_hidden():
    for value in ({**STOP, "usage": USAGE}, {"usage": USAGE, "error": {"message": "x"}}):
        assert read(event(value))[0] == event(value)


def test_only_what_was_hidden_is_missing():
    stream = [b": hello\n\n", event(DELTA), event(STOP), event(ONLY_USAGE), b"data: [DONE]\n\n"]
    passed, reader = read(*stream)
    assert passed == b"".join(stream[:3] + stream[4:])
    assert reader.usage.completion_tokens == 5
    assert read(*stream, hide=False)[0] == b"".join(stream)


def test_the_last_usage_counts():
    _, reader = read(event({**DELTA, "usage": {"completion_tokens": 1}}) + event(ONLY_USAGE) + event(DELTA))
    assert reader.usage.completion_tokens == 5


def test_events_go_on_as_soon_as_they_are_whole():
    for line_ends in ("\n\n", "\r\n\r\n", "\r\r", "\n\r\n", "\r\n\n"):
        whole = b"data: {}" + line_ends.encode()
        assert EventReader(hide_usage=True).feed(whole + b"data: {") == whole


def test_a_stream_that_ends_without_a_blank_line_is_read_to_its_end():
    passed, reader = read(event(STOP), event(ONLY_USAGE)[:-2])
    assert passed == event(STOP)
    assert reader.usage.prompt_tokens == 7
    assert read(event(STOP)[:-2])[0] == event(STOP)[:-2]


@pytest.mark.parametrize("size", [1000, 16_384, 65_536])
def test_memory_stays_flat_when_an_event_never_ends(size):
    reader, fed, passed, chunk = EventReader(hide_usage=True), 0, 0, b"data: " + b"x" * size
    tracemalloc.start()
    try:
        for _ in range(20_000_000 // size):
            fed += len(chunk)
            passed += len(reader.feed(chunk))
            assert fed - passed <= MOST_HELD
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert passed + len(reader.end()) == fed


def test_after_an_event_too_long_to_hold_the_next_is_read_even_if_the_blank_line_came_in_two():
    long = b"data: " + b"x" * (MOST_HELD + 10) + b"\n\n"
    stream = long + event(ONLY_USAGE)
    for split in range(len(long) - 4, len(long) + 4):
        passed, reader = read(stream[:split], stream[split:])
        assert passed == long
        assert reader.usage.prompt_tokens == 7


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "7", "completion_tokens": 5.0},
        {"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": None},
        {"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {}, "more": [1]},
    ],
)
def test_usage_is_read_as_providers_give_it(usage):
    found = read_answer(json.dumps({"choices": [], "usage": usage}).encode()).usage
    assert (found.prompt_tokens, found.completion_tokens, found.cached_tokens) == (7, 5, None)


@pytest.mark.parametrize("usage", [5, [], {"prompt_tokens": -1}, {"completion_tokens": 10**30}, {"prompt_tokens": {}}])
def test_usage_that_makes_no_sense_does_not_spoil_the_answer(usage):
    answer = read_answer(json.dumps({**STOP, "usage": usage}).encode())
    assert len(answer.choices) == 1
    assert answer.usage is None
    assert not answer.failed


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"no", b'{"choices":5}', b'{"a":' + b"[" * 99_999, b'{"choices":[{"finish_reason":"\xff"}]}']
)
def test_what_is_no_answer_is_none(data):
    assert read_answer(data) is None
