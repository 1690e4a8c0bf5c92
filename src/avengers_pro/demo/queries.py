"""Query texts for the simulated pool, from the templates with slots in ``templates.txt``."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

OFF_TOPIC = "off-topic"
_MIXED_SHARE = 0.06
_OFF_TOPIC_SHARE = 0.02
_SLOT = re.compile(r"<(?:([a-z]+)(\d?)|(\d+)-(\d+))>")

_WRAPPERS = (
    "Hey, could you turn this into a friendly chat for my little brother, with a joke at the end? {}",
    "Write a Python function solve(text: str) -> str with asserts that answers the following.\n{}",
    "Customer: the agent before you closed my ticket. Look into this with your tools, please:\n{}",
    "Issue: our quiz bot raises ValueError in parser.py on this input, expected a full answer.\n{}",
    "Write a short poem, then compute $\\int_0^1 x^2\\,dx$, and then answer:\n{}",
    "{}\nAlso draft an email to my landlord that sums up your answer in three lines.",
    "{}\n(A) yes (B) no (C) it depends (D) not enough data. Explain the chemistry of it, if any.",
)
"""Each makes a text look like another dataset's while the question inside stays."""

_ASIDES = {
    "text": ("<greet> <about>, and <about> <end>",),
    "greet": ("ok so", "hmm", "test <1-999>", "hello again", "hey you", "sorry, wrong window,", "asdf"),
    "about": (
        "what is the weather like on your side of the screen",
        "do you remember what I told you about the <2-90> goldfish",
        "lorem ipsum dolor sit amet <10-99>",
        "my cat walked over the keyboard for <2-60> minutes",
        "sing something in a language nobody speaks",
        "I only wanted to see whether this thing is switched on",
    ),
    "end": (
        "and are you bored today?",
        "or should I come back at <1-12> o'clock?",
        "never mind, bye for now",
        "lol ok",
    ),
}

Rules = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A generated query text.

    Attributes:
        text: What a user would send.
        topic: Sub-topic within the dataset, or ``OFF_TOPIC``.
    """

    text: str
    topic: str


def topics(dataset: str) -> tuple[str, ...]:
    """Sub-topics of a dataset, without ``OFF_TOPIC``."""
    return tuple(_sections()[dataset])


def draw(dataset: str, rng: Random) -> Query:
    """Draw a query; some 6 % are dressed up as another dataset's, 2 % belong nowhere."""
    kind = rng.random()
    if kind < _OFF_TOPIC_SHARE:
        return Query(text=_expand(_ASIDES, rng), topic=OFF_TOPIC)
    topic = _pick(topics(dataset), rng)
    text = _expand(_sections()[dataset][topic], rng)
    if kind < _OFF_TOPIC_SHARE + _MIXED_SHARE:
        text = _pick(_WRAPPERS, rng).format(text)
    return Query(text=text, topic=topic)


@cache
def _sections() -> dict[str, dict[str, Rules]]:
    """Read the templates: dataset → sub-topic → rules; a dataset's first rules serve all its topics."""
    templates = Path(__file__).with_name("templates.txt").read_text(encoding="utf-8")
    sections: dict[str, dict[str, Rules]] = {}
    for block in templates.removeprefix("== ").split("\n\n== "):
        dataset, _, body = block.partition("\n")
        shared, *parts = body.split("-- ")
        sections[dataset] = {}
        for part in parts:
            topic, _, rules = part.partition("\n")
            sections[dataset][topic] = _rules(shared) | _rules(rules)
    return sections


def _rules(text: str) -> Rules:
    """Read ``name = one | another`` lines; an indented line continues the one before."""
    lines = text.strip().replace("\n  ", " ").splitlines()
    pairs = (line.split(" = ", 1) for line in lines)
    return {name: tuple(part.strip() for part in alternatives.split(" | ")) for name, alternatives in pairs}


def _expand(rules: Rules, rng: Random) -> str:
    """Fill the slots of a ``text`` alternative, without repeating a choice while others are left.

    ``<name>`` is a choice, ``<name1>`` the same choice each time, ``<2-9>`` a number, ``<br>`` a line break.
    """
    unused: dict[str, list[str]] = {}
    kept: dict[str, str] = {}

    def fill(slot: re.Match[str]) -> str:
        name, mark, low, high = slot.groups()
        if name is None:
            return str(int(low) + int(rng.random() * (int(high) - int(low) + 1)))
        if name == "br":
            return "\n"
        if mark and slot[0] in kept:
            return kept[slot[0]]
        choices = unused.get(name) or list(rules[name])
        chosen = choices.pop(int(rng.random() * len(choices)))
        unused[name] = choices
        kept[slot[0]] = filled = _SLOT.sub(fill, chosen)
        return filled

    return _SLOT.sub(fill, "<text>")


def _pick(items: tuple[str, ...], rng: Random) -> str:
    """Choose one; only ``random()`` is promised to stay the same in every Python."""
    return items[int(rng.random() * len(items))]
