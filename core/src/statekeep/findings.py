"""What an examination of a store finds: for `statekeep doctor`, and for whoever asks a backend."""

from __future__ import annotations

from enum import Enum

from attrs import frozen


class Severity(Enum):
    """How much a finding matters."""

    GOOD = "good"
    ADVICE = "advice"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what was looked at, a short stable name such as `maxmemory-policy`.
        severity: good; advice, where something could be better; a problem, where state can be lost,
            calls fail, or disk and memory fill up; unknown, where it could not be looked at.
        found: what was found, with its value.
        meaning: what follows from it, in a sentence; empty where all is good.
        remedy: the command or config line that mends it, complete; empty where there is none.
    """

    check: str
    severity: Severity
    found: str
    meaning: str = ""
    remedy: str = ""
