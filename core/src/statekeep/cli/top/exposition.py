"""Reads the text that Prometheus scrapes, back into numbers of calls, pool and caches.

The format is Prometheus's "Text-based format"; the names are those of the observer `prometheus`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import isinf
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from attrs import field, frozen

from statekeep.errors import Unavailable

PREFIX = "statekeep_"
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)(?: -?\d+)?")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ESCAPED = re.compile(r"\\(.)")
MOST_BYTES = 16 * 2**20
"""Of one answer; more is no exposition of metrics."""

PATIENCE = 5.0
"""Seconds to wait for a process that should tell its numbers."""

_open = build_opener(ProxyHandler({})).open  # a metrics endpoint is near: no proxy on the way


@frozen
class Calls:
    """The calls of an operation, of all processes together.

    Attributes:
        buckets: how many calls took at most so many seconds, by the bound.
        failed: how many ended with an error that is no lost condition.
        conflicts: how many did with one.
    """

    buckets: Mapping[float, float] = field(factory=dict)
    failed: float = 0.0
    conflicts: float = 0.0

    @property
    def count(self) -> float:
        """All of them."""
        return max(self.buckets.values(), default=0.0)

    def since(self, earlier: Calls) -> Calls:
        """What came after; all, where a process began anew."""
        if earlier.count > self.count:
            return self
        return Calls(
            {le: count - earlier.buckets.get(le, 0.0) for le, count in self.buckets.items()},
            self.failed - earlier.failed,
            self.conflicts - earlier.conflicts,
        )

    def quantile(self, part: float) -> float | None:
        """What this part of the calls took at most, in seconds; None where there are none.

        Within a bucket times are taken for evenly spread, as Prometheus's histogram_quantile does.
        """
        rank, lower, below = part * self.count, 0.0, 0.0
        for bound in sorted(self.buckets):
            count = self.buckets[bound]
            if count > below and count >= rank:
                inside = (rank - below) / (count - below)
                return lower if isinf(bound) else lower + (bound - lower) * inside
            lower, below = (lower, below) if isinf(bound) else (bound, count)
        return None


@frozen
class Exported:
    """What processes export, added up.

    Attributes:
        calls: by operation.
        numbers: every other metric by its name without `statekeep_`, and its labels that are
            neither the storage's nor an operation's, such as `pool_connections`, `in_use`.
        processes: how many answered.
    """

    calls: Mapping[str, Calls] = field(factory=dict)
    numbers: Mapping[tuple[str, ...], float] = field(factory=dict)
    processes: int = 0

    def get(self, *name: str) -> float | None:
        """A number, or None where nobody exports it."""
        return self.numbers.get(name)


def fetch(url: str) -> str:
    """What a process exports.

    Raises:
        Unavailable: it does not answer, or not with metrics of statekeep.
    """
    try:
        with _open(url, timeout=PATIENCE) as answer:
            text: str = answer.read(MOST_BYTES).decode("utf-8", "replace")
    except (URLError, OSError, ValueError) as error:
        raise Unavailable(f"{url}: {getattr(error, 'reason', None) or error}") from error
    if PREFIX not in text:
        raise Unavailable(
            f"{url}: no metric of statekeep is there: does the application have "
            "[storage.observers.prometheus] in its config?"
        )
    return text


def added_up(texts: list[str]) -> Exported:
    """The numbers of several processes as one."""
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    failed: dict[str, float] = defaultdict(float)
    conflicts: dict[str, float] = defaultdict(float)
    numbers: dict[tuple[str, ...], float] = defaultdict(float)
    for name, labels, value in (sample for text in texts for sample in parsed(text)):
        operation = labels.pop("operation", "")
        labels.pop("storage", None)
        if name == "call_duration_seconds_bucket":
            buckets[operation][float(labels["le"])] += value
        elif name == "task_wait_seconds_bucket":
            buckets[f"task_{labels['kind']}"][float(labels["le"])] += value
        elif name == "errors_total":
            failed[operation] += value
        elif name == "conflicts_total":
            conflicts[operation] += value
        elif not name.startswith(("call_", "task_")):
            numbers[name, *labels.values()] += value
    calls = {
        operation: Calls(dict(found), failed[operation], conflicts[operation])
        for operation, found in buckets.items()
    }
    return Exported(calls, dict(numbers), len(texts))


def parsed(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Every sample of statekeep: its name without the prefix, its labels, its value."""
    for line in text.splitlines():
        match = SAMPLE.fullmatch(line.strip())
        if match is None or not match[1].startswith(PREFIX):
            continue
        labels = {name: _unescaped(value) for name, value in LABEL.findall(match[2] or "")}
        try:
            yield match[1].removeprefix(PREFIX), labels, float(match[3])
        except ValueError:
            continue


def _unescaped(text: str) -> str:
    return ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
