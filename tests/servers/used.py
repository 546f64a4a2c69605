"""Which real servers a test run used: noted where they start, shown at its end."""

from __future__ import annotations

from collections import Counter

_used: Counter[str] = Counter()


def note(server: str) -> None:
    """Notes that a server of this name and version was used."""
    _used[server] += 1


def noted() -> dict[str, int]:
    """Every server used in this process, and how many of it were started."""
    return dict(_used)
