"""What the gateway writes to stderr: one JSON object a line, or text. Set up when it starts, never at import."""

import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from avengers_pro.gateway.settings import LoggingSettings

_OURS = "avengers_pro"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def set_up_logging(settings: LoggingSettings, stream: TextIO | None = None) -> None:
    """Send the log of the whole process to a stream, in place of whatever was set up before.

    Other libraries are heard from ``warning`` on, whatever the level: at ``debug`` some of them write out what they
    send and store, which may be a prompt or a key.

    Args:
        settings: Level and format.
        stream: Where to write; None = stderr.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger(_OURS).setLevel(level)
    logging.captureWarnings(capture=True)


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, logger, message, the fields given as ``extra``, and an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode("utf-8", "replace")


class TextFormatter(logging.Formatter):
    """Time (UTC), level, message, and the fields given as ``extra``; an exception on the lines below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the lines of an exception."""
        fields = "".join(f" {name}={_on_one_line(str(value))}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname.lower():8} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _on_one_line(text: str) -> str:
    """Write out what would begin a new line or steer a terminal: clients choose some of the text."""
    return text if text.isprintable() else _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
