import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.gateway.request import Message, Part, read_chat
from avengers_pro.gateway.sessions import Sessions, in_tool_loop, session_key
from avengers_pro.gateway.settings import SessionSettings
from avengers_pro.routing.prompt import Prompt

TEXTS = st.text(max_size=20)
MESSAGES = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXTS | st.none()), max_size=4
)
USER = st.builds(Message, role=st.just("user"), content=TEXTS)


def sessions(**settings):
    return Sessions(SessionSettings(**settings))


def test_a_conversation_is_found_until_its_time_is_over():
    known = sessions(ttl=10)
    known.remember(b"a", "model", 2000, now=100.0)
    assert known.find(b"a", 110.0).model == "model"
    assert known.find(b"a", 110.1) is None
    assert known.find(b"b", 100.0) is None


def test_answering_again_renews_it_with_the_new_model():
    known = sessions(ttl=10)
    known.remember(b"a", "first", 2000, now=100.0)
    known.remember(b"a", "second", 2001, now=109.0)
    found = known.find(b"a", 118.0)
    assert (found.model, found.prompt_tokens) == ("second", 2001)
    assert len(known) == 1


def test_the_longest_unused_is_forgotten_first():
    known = sessions(max_sessions=2)
    for key in (b"a", b"b", b"a", b"c"):
        known.remember(key, "model", 2000, now=0.0)
    assert len(known) == 2
    assert known.find(b"b", 0.0) is None
    assert known.find(b"a", 0.0)
    assert known.find(b"c", 0.0)


def test_switched_off_nothing_is_remembered():
    known = sessions(enabled=False)
    known.remember(b"a", "model", 2000, now=0.0)
    assert len(known) == 0
    assert known.find(b"a", 0.0) is None


def test_what_the_provider_has_in_its_cache():
    known = sessions(cache_ttl=300, ttl=3600)
    known.remember(b"long", "model", 1024, now=0.0)
    known.remember(b"short", "model", 1023, now=0.0, calls_tools=True)
    assert known.prompt(2000, known.find(b"long", 300.0), 300.0) == Prompt(2000, "model", 1024)
    assert known.prompt(2000, known.find(b"long", 300.1), 300.1) == Prompt(2000)
    assert known.prompt(2000, known.find(b"short", 1.0), 1.0) == Prompt(2000)
    assert known.prompt(2000, None, 1.0) == Prompt(2000)


@settings(max_examples=200, deadline=None)
@given(MESSAGES, USER, MESSAGES)
def test_a_conversation_that_grows_keeps_its_key(before, user, after):
    begun = [*before, user]
    assert session_key("key", None, begun) == session_key("key", None, [*begun, *after])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.sampled_from(["None", "a", "b", ""]),
            st.none() | st.text("nameduser\0", max_size=6),
            MESSAGES,
        ),
        min_size=2,
        max_size=2,
    )
)
def test_keys_are_shared_by_equals_only(asked):
    (caller, named, messages), (other_caller, other_named, other_messages) = asked

    def told(messages):
        """What tells conversations apart: everything up to the first turn of the user."""
        end = next((at for at, message in enumerate(messages, 1) if message.role == "user"), len(messages))
        return [(message.role, message.text()) for message in messages[:end]]

    same = (
        caller == other_caller
        and named == other_named
        and (named is not None or told(messages) == told(other_messages))
    )
    assert (session_key(*asked[0]) == session_key(*asked[1])) is same


def test_the_same_turn_in_parts_has_the_same_key():
    assert session_key(None, None, [Message("user", "hello ")]) == session_key(
        None, None, [Message("user", [Part("text", "hello")])]
    )


def picture(data, *more):
    content = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}, *more]
    return read_chat(json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()).messages


@pytest.mark.parametrize("more", [(), ({"type": "text", "text": "What is this?"},)])
def test_pictures_tell_conversations_apart(more):
    first, second = picture("AAAA", *more), picture("BBBB", *more)
    assert session_key(None, None, first) != session_key(None, None, second)
    grown = [*first, Message("assistant", "A cat."), Message("user", "And its name?")]
    assert session_key(None, None, grown) == session_key(None, None, first)


def test_pictures_that_begin_alike_are_told_apart_by_their_length():
    first, second = picture("A" * 5000), picture("A" * 5004)
    assert session_key(None, None, first) != session_key(None, None, second)


def test_a_tool_loop_is_on_while_calls_are_being_answered():
    asked = [Message("user", "2 + 2?"), Message("assistant", None)]
    assert in_tool_loop([*asked, Message("tool", "4")])
    assert in_tool_loop([*asked, Message("function", "4")])
    assert not in_tool_loop(asked)
    assert not in_tool_loop([*asked, Message("tool", "4"), Message("assistant", "It is 4.")])
    assert not in_tool_loop([])


def test_only_conversations_with_a_reason_to_stay_are_remembered():
    known = sessions()
    known.remember(b"short", "m", 1023, now=0.0)
    assert len(known) == 0
    known.remember(b"long", "m", 1024, now=0.0)
    known.remember(b"tools", "m", 10, now=0.0, calls_tools=True)
    assert known.find(b"long", 1.0).model == known.find(b"tools", 1.0).model == "m"
