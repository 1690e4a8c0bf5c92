"""Conversations: one that has a model keeps it as long as that pays.

Providers keep the beginning of a prompt in a cache and charge less for it; another model has to read everything anew.
So the model that answered last gets its cached tokens at the cached price, and the decision weighs that like any other
cost. A tool-call loop in progress never changes its model: another one would not know why the calls were made.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from avengers_pro.gateway.request import Message
from avengers_pro.gateway.settings import SessionSettings
from avengers_pro.routing.prompt import Prompt

_SEEN = 2048
"""Characters of each first turn, and bytes of what is attached to it, that tell conversations apart."""
_TURNS = 8
"""The first user turn is sought among so many messages."""
_CACHED_TOKENS = 1024
"""Prompts shorter than this are not cached by providers."""


@dataclass(frozen=True, slots=True)
class Session:
    """What is remembered of a conversation: its model, when it answered (seconds), and the prompt's tokens then."""

    model: str
    at: float
    prompt_tokens: int


class Sessions:
    """The conversations in progress; the longest unused is forgotten first."""

    def __init__(self, settings: SessionSettings) -> None:
        """Begin with none."""
        self._settings = settings
        self._known: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        """Number of conversations remembered."""
        return len(self._known)

    def find(self, key: bytes, now: float) -> Session | None:
        """Return a conversation that is not forgotten yet."""
        found = self._known.get(key)
        if found is None or not self._settings.enabled or now - found.at > self._settings.ttl:
            return None
        return found

    def remember(self, key: bytes, model: str, prompt_tokens: int, now: float, *, calls_tools: bool = False) -> None:
        """Note who answered, if the next turn has a reason to stay: a prompt worth caching, or tools being called."""
        if not self._settings.enabled or not (calls_tools or prompt_tokens >= _CACHED_TOKENS):
            return
        self._known[key] = Session(model, now, prompt_tokens)
        self._known.move_to_end(key)
        while len(self._known) > self._settings.max_sessions:
            self._known.popitem(last=False)

    def prompt(self, tokens: int, session: Session | None, now: float) -> Prompt:
        """Describe a request's prompt, with what its provider still has in the cache."""
        if session is None or session.prompt_tokens < _CACHED_TOKENS or now - session.at > self._settings.cache_ttl:
            return Prompt(tokens)
        return Prompt(tokens, session.model, session.prompt_tokens)


def session_key(caller: str | None, named: str | None, messages: Sequence[Message]) -> bytes:
    """Return what a conversation is known by: its name, or its first turns; never shared between callers.

    Args:
        caller: Id of the API key.
        named: Name given by the client; None = it gave none.
        messages: The conversation; its system prompt and first user turn stay the same while it grows.
    """
    turns = []
    for message in messages[:_TURNS] if named is None else ():
        attached = [(len(raw), memoryview(raw)[:_SEEN].tobytes()) for raw in message.attached()]
        turns.append((message.role, message.text()[:_SEEN], attached))
        if message.role == "user":
            break
    return blake2b(msgspec.json.encode((caller, named, turns)), digest_size=16).digest()


def in_tool_loop(messages: Sequence[Message]) -> bool:
    """Whether the model's own tool calls are being answered."""
    return bool(messages) and messages[-1].role in {"tool", "function"}
