"""Reads the text that Prometheus scrapes, back into numbers of calls, pool and caches.

The format is Prometheus's "Text-based format"; the names are those of the observer `prometheus`.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from math import isinf, isnan
from socket import SHUT_RDWR, socket
from urllib.parse import urlsplit

from attrs import field, frozen

from statekeep.errors import Unavailable

PREFIX = "statekeep_"
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)(?: -?\d+)?")
LABEL = re.compile(r'(?<!\w)(\w+)="((?:[^"\\]|\\.)*)"')
ESCAPED = re.compile(r"\\(.)")
MOST_BYTES = 16 * 2**20
"""Of one answer; more is no exposition of metrics."""

MOST = 1e18
"""No count, size or time of a process is as large; what is, or is negative or NaN, is not ours."""

PATIENCE = 5.0
"""Seconds to wait for a process that should tell its numbers, to the end of its answer."""

CONNECTIONS = {"http": HTTPConnection, "https": HTTPSConnection}


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
        """What came after; all, where the process began anew."""
        if any(count > self.buckets.get(le, 0.0) for le, count in earlier.buckets.items()):
            return self
        return Calls(
            {le: count - earlier.buckets.get(le, 0.0) for le, count in self.buckets.items()},
            max(0.0, self.failed - earlier.failed),
            max(0.0, self.conflicts - earlier.conflicts),
        )

    def plus(self, other: Calls) -> Calls:
        """Both together."""
        bounds = {**self.buckets, **other.buckets}
        return Calls(
            {le: self.buckets.get(le, 0.0) + other.buckets.get(le, 0.0) for le in bounds},
            self.failed + other.failed,
            self.conflicts + other.conflicts,
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

    def since(self, earlier: Exported) -> Exported:
        """What came after, of a single process; what began anew counts from zero."""
        numbers = {
            name: value - before if (before := earlier.numbers.get(name, 0.0)) <= value else value
            for name, value in self.numbers.items()
        }
        calls = {
            operation: calls.since(earlier.calls.get(operation, Calls()))
            for operation, calls in self.calls.items()
        }
        return Exported(calls, numbers, self.processes)


def fetch(url: str) -> str:
    """What a process exports. Redirects are not followed, and there is no proxy on the way.

    Raises:
        Unavailable: it does not answer, or not with metrics of statekeep.
    """
    try:
        text = _answer(url).decode("utf-8", "replace")
    except (OSError, ValueError, HTTPException) as error:
        raise Unavailable(f"{_shown(url)}: {error or type(error).__name__}") from error
    if PREFIX not in text:
        raise Unavailable(
            f"{_shown(url)}: no metric of statekeep is there: does the application have "
            "[storage.observers.prometheus] in its config?"
        )
    return text


def _answer(url: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme not in CONNECTIONS or not parts.hostname:
        raise ValueError("is no address such as http://localhost:9464/metrics")
    made = CONNECTIONS[parts.scheme](parts.hostname, parts.port, timeout=PATIENCE)
    made.connect()
    late = threading.Timer(PATIENCE, _hang_up, (made.sock,))  # a timeout begins anew with each byte
    late.daemon = True
    late.start()
    try:
        made.request("GET", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
        answer = made.getresponse()
        if answer.status != 200:
            raise ValueError(f"{answer.status} {answer.reason}")
        content: bytes = answer.read(MOST_BYTES)
        if late.finished.is_set():
            raise TimeoutError(f"the answer took over {PATIENCE:g} s")
        return content
    finally:
        late.cancel()
        made.close()


def _hang_up(connection: socket) -> None:
    with suppress(OSError):  # it ended in this very moment
        connection.shutdown(SHUT_RDWR)


def _shown(url: str) -> str:
    """An address without a user and password."""
    return re.sub(r"//[^/]*@", "//", url)


def exported(text: str) -> Exported:
    """The numbers of a process, of all its storages together; what makes no sense is left out."""
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    failed: dict[str, float] = defaultdict(float)
    conflicts: dict[str, float] = defaultdict(float)
    numbers: dict[tuple[str, ...], float] = defaultdict(float)
    for name, labels, value in parsed(text):
        operation = labels.pop("operation", "")
        labels.pop("storage", None)
        if name in ("call_duration_seconds_bucket", "task_wait_seconds_bucket"):
            bound = _bound(labels.get("le", ""))
            if bound is not None:
                of = f"task_{labels.get('kind', '')}" if name.startswith("task") else operation
                buckets[of][bound] += value
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
    return Exported(calls, dict(numbers), 1)


def added_up(processes: Iterable[Exported]) -> Exported:
    """The numbers of several processes as one."""
    calls: dict[str, Calls] = {}
    numbers: dict[tuple[str, ...], float] = defaultdict(float)
    count = 0
    for process in processes:
        count += process.processes
        for name, value in process.numbers.items():
            numbers[name] += value
        for operation, each in process.calls.items():
            calls[operation] = calls[operation].plus(each) if operation in calls else each
    return Exported(calls, dict(numbers), count)


def parsed(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Every sample of statekeep: its name without the prefix, its labels, its value."""
    for line in text.splitlines():
        match = SAMPLE.fullmatch(line.strip())
        if match is None or not match[1].startswith(PREFIX):
            continue
        labels = {name: _unescaped(value) for name, value in LABEL.findall(match[2] or "")}
        value = _number(match[3])
        if value is not None and 0 <= value <= MOST:
            yield match[1].removeprefix(PREFIX), labels, value


def _bound(text: str) -> float | None:
    """That of a bucket."""
    found = _number(text)
    return None if found is None or isnan(found) else found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _unescaped(text: str) -> str:
    return ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
