"""The text of a chat that a router looks at: the last user turn."""

from typing import Any

from avengers_pro.errors import RecordsError


def query_of(messages: list[Any] | None) -> str:
    """Return the text of the last user turn of an OpenAI-style message list; images and audio are left out.

    Raises:
        RecordsError: If there is no user turn with text.
    """
    for message in reversed(messages or []):
        if isinstance(message, dict) and message.get("role") == "user":
            text = _text(message.get("content"))
            if text:
                return text
    raise RecordsError("a row needs 'query', or 'messages' with a user turn that has text")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(
        part["text"]
        for part in parts
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )
