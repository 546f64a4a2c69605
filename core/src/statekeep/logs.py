"""The observer `logging`: calls that failed or were slow, as log records. It is part of the core.

    [storage.observers.logging]
    slow = 250

A record's `statekeep` attribute is a dict of what its text says, for handlers that write JSON.
Values, tokens and passwords are in neither; the text of an error may name a key.
"""

from __future__ import annotations

import logging
from typing import Any

from attrs import frozen

from statekeep.errors import LeaseLost, VersionConflict
from statekeep.hookspecs import ObserverPlugin, hookimpl
from statekeep.observer import CallEnd, CallObserver, Watched
from statekeep.options import at_least, not_blank, option

EXPECTED = (VersionConflict, LeaseLost)
"""What the caller deals with, and no trouble of the store."""


@frozen(kw_only=True)
class LoggingConfig:
    """What is logged, and where to."""

    logger: str = option("statekeep.calls", "name of the logger", not_blank)
    slow: int = option(
        1000, "milliseconds from which on a call is logged as slow; 0 for every call", at_least(0)
    )


class CallLog(CallObserver):
    """Logs failed calls as errors, slow ones as warnings, and lost conditions for debugging."""

    def __init__(self, config: LoggingConfig) -> None:
        self._log = logging.getLogger(config.logger)
        self._slow = config.slow / 1000
        self._store: dict[str, Any] = {}

    def opened(self, watched: Watched) -> None:
        """Notes what the calls go to."""
        self._store = {"backend": watched.backend_name, "target": str(watched.target)}

    def close(self) -> None:
        """There is nothing to close."""

    def begun(self, operation: str) -> None:
        """There is nothing to say yet."""

    def ended(self, end: CallEnd, begun: Any) -> None:
        """One record for a call that is worth it."""
        level = self._level(end)
        if level is None or not self._log.isEnabledFor(level):
            return
        fields = {
            **self._store,
            "operation": end.operation,
            "milliseconds": round(end.seconds * 1000, 3),
            "records": end.records,
        }
        if end.error is not None:
            fields["error"] = type(end.error).__name__
            fields["detail"] = str(end.error)
        text = " ".join(f"{name}={_in_a_line(str(value))}" for name, value in fields.items())
        self._log.log(level, "%s", text, extra={"statekeep": fields})

    def _level(self, end: CallEnd) -> int | None:
        if isinstance(end.error, EXPECTED):
            return logging.DEBUG
        if end.error is not None:
            return logging.ERROR
        return logging.WARNING if end.seconds >= self._slow else None


def _in_a_line(text: str) -> str:
    """Without line ends, which would begin another record, and what a terminal acts on."""
    return text if text.isprintable() else repr(text)[1:-1]


@hookimpl
def statekeep_observers() -> list[ObserverPlugin]:
    """The observer `logging`."""
    return [ObserverPlugin(name="logging", config=LoggingConfig, factory=CallLog)]
