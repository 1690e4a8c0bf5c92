import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.gateway.intent import HEAD, SHORT, TAIL, intent
from avengers_pro.gateway.request import Message, Part

LONG = "Explain how a heap keeps its order while elements come and go."
TEXTS = st.text(max_size=60) | st.text("ab \n", min_size=HEAD, max_size=HEAD + TAIL + 300)
CONTENTS = TEXTS | st.none() | st.lists(st.builds(Part, text=TEXTS | st.none()), max_size=3)
USER = st.builds(Message, role=st.just("user"), content=CONTENTS)
OTHER = st.builds(
    Message, role=st.sampled_from(["system", "developer", "assistant", "tool", "function"]), content=CONTENTS
)


def said(*texts, role="user"):
    return [Message(role, text) for text in texts]


def test_the_last_user_turn_is_what_counts():
    conversation = [
        *said("You are a pirate.", role="system"),
        *said("Tell me about ships, as many as you can name."),
        *said("Aye!", role="assistant"),
        *said(LONG),
        *said("Certainly.", role="assistant"),
        *said('{"result": 7}', role="tool"),
    ]
    assert intent(conversation) == LONG


def test_a_very_short_turn_takes_the_one_before_along():
    assert intent(said(LONG, "and in French?")) == f"{LONG}\nand in French?"
    assert intent(said(LONG, "x" * (SHORT - 1))) == f"{LONG}\n{'x' * (SHORT - 1)}"
    assert intent(said(LONG, "x" * SHORT)) == "x" * SHORT
    assert intent(said("hi")) == "hi"


def test_turns_without_text_are_passed_over():
    picture = Message("user", [Part("image_url")])
    assert intent([*said(LONG), picture, *said("   \n")]) == LONG
    assert intent([picture]) == ""
    assert intent([]) == ""


def test_of_parts_the_text_counts():
    content = [
        Part("text", " What is"),
        Part("image_url"),
        Part("odd", "not this"),
        Part("text", None),
        Part("text", "on it? "),
    ]
    assert intent([Message("user", content)]) == "What is\non it?"


def test_long_text_keeps_head_and_tail():
    text = "".join(chr(0x4E00 + position) for position in range(HEAD + TAIL + 1))
    assert intent(said(text)) == text[:HEAD] + text[-TAIL:]
    assert intent(said(text[:-1])) == text[:-1]
    assert intent(said(text, "again"))[-5:] == "again"


@settings(max_examples=150, deadline=None)
@given(st.lists(USER, max_size=3), st.lists(OTHER, max_size=4), st.data())
def test_what_others_say_changes_nothing(users, others, data):
    mixed = list(users)
    for message in others:
        mixed.insert(data.draw(st.integers(0, len(mixed))), message)
    assert intent(mixed) == intent(users)


@settings(max_examples=150, deadline=None)
@given(st.lists(USER | OTHER, max_size=5))
def test_it_is_bounded_stripped_and_pure(messages):
    before = msgspec.json.encode(messages)
    text = intent(messages)
    assert len(text) <= HEAD + TAIL
    assert text.lstrip() == text
    assert (text == "") == all(not message.text() for message in messages if message.role == "user")
    assert intent(messages) == text
    assert msgspec.json.encode(messages) == before


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=3), st.sampled_from([" ", "\n", "\t\r\n", "\u2003"]))
def test_white_space_around_and_the_form_of_content_change_nothing(texts, space):
    plain = intent(said(*texts))
    assert intent(said(*(f"{space}{text}{space}" for text in texts))) == plain
    assert intent([Message("user", [Part("text", text)]) for text in texts]) == plain
