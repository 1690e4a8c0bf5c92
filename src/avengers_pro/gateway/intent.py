"""What is embedded of a conversation: what the user wants now, not the scaffolding around it.

System prompts, tool schemas and tool results are the same, or foreign, whatever is asked; a router that embedded them
would tell applications apart, not questions. Records, too, hold the bare question.
"""

from collections.abc import Sequence

from avengers_pro.gateway.request import Message

SHORT = 40
"""A last user turn shorter than this many characters says little by itself; the turn before it is put in front."""
HEAD, TAIL = 3072, 1024
"""Characters kept of the beginning and of the end of a longer text: tokenizing stays well below a millisecond."""


def intent(messages: Sequence[Message]) -> str:
    """Return the text to route by; empty if the conversation holds no text of a user.

    The last user turn; with the user turn before it if it is very short ("and in French?"). Of content in parts, the
    text parts. Long text keeps head and tail, as questions stand before or after what they are about.
    """
    turns = [text for message in messages if message.role == "user" and (text := message.text())]
    if not turns:
        return ""
    last = turns[-1]
    if len(last) < SHORT and len(turns) > 1:
        last = f"{_clip(turns[-2])}\n{last}"
    return _clip(last)


def _clip(text: str) -> str:
    return text if len(text) <= HEAD + TAIL else text[:HEAD] + text[-TAIL:]
