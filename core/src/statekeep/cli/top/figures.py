"""What two samples say together: rates, growth, shares; and numbers as people read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import asdict, field, frozen, mutable

from statekeep.cli.counting import queue_row
from statekeep.cli.text import iso
from statekeep.cli.top.exposition import Exported, added_up
from statekeep.cli.top.samples import Counted, Sample
from statekeep.metrics import TASKS

HISTORY = 60
BARS = "▁▂▃▄▅▆▇█"
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@frozen(kw_only=True)
class CallFigures:
    """An operation between two samples; times in seconds, the rest a second."""

    rate: float
    p50: float | None
    p95: float | None
    p99: float | None
    failed: float
    conflicts: float


@frozen(kw_only=True)
class KindFigures:
    """A kind of records; growth a second since counting began, None before there are two counts."""

    records: int
    bytes: int
    growth: float | None


@frozen(kw_only=True)
class Figures:
    """Everything that is shown.

    Attributes:
        sample: the latest sample.
        calls: by operation, the most frequent first.
        kinds: by kind of records.
        hit_rates: of each cache, where processes export one.
        compression: plain to stored bytes of what was written so far.
        retries: a second.
    """

    sample: Sample
    calls: Mapping[str, CallFigures]
    kinds: Mapping[str, KindFigures]
    hit_rates: Mapping[str, float]
    compression: float | None
    retries: float | None


@mutable
class History:
    """The latest samples, from which figures are made.

    Attributes:
        pings: seconds, the latest last.
        rates: calls a second of all operations, the latest last.
    """

    pings: deque[float] = field(factory=lambda: deque(maxlen=HISTORY))
    rates: deque[float] = field(factory=lambda: deque(maxlen=HISTORY))
    _before: Sample | None = None

    def take(self, sample: Sample, first: Counted | None) -> Figures:
        """The figures of a sample, beside the one before it.

        Args:
            sample: the latest one.
            first: what was counted first, from which growth is reckoned.
        """
        before = self._before or sample
        self._before = sample
        elapsed = max(sample.at - before.at, 1e-9)
        grown = _grown(sample, before)
        calls = _calls(grown, elapsed)
        self.pings.append(sample.ping or 0.0)
        self.rates.append(sum(each.rate for name, each in calls.items() if name not in TASKS))
        return Figures(
            sample=sample,
            calls=dict(sorted(calls.items(), key=lambda pair: -pair[1].rate)),
            kinds=_kinds(sample.counted, first),
            hit_rates=_hit_rates(grown),
            compression=_compression(sample.exported),
            retries=_rate("retries_total", grown, elapsed),
        )


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures as one JSON object."""
    sample = figures.sample
    stats, exported = sample.counted.stats, sample.exported
    return {
        "time": iso(sample.time),
        "ping": sample.ping,
        "get": sample.get,
        "kinds": {name: asdict(each) for name, each in figures.kinds.items()},
        "stored_bytes": None if stats is None else stats.stored_bytes,
        "queues": [queue_row(depth) for depth in sample.counted.queues],
        "processes": exported.processes,
        "calls": {name: asdict(each) for name, each in figures.calls.items()},
        "pool": {
            "in_use": exported.get("pool_connections", "in_use"),
            "idle": exported.get("pool_connections", "idle"),
            "waiting": exported.get("pool_waiting"),
            "limit": exported.get("pool_limit"),
        },
        "hit_rates": dict(figures.hit_rates),
        "compression": figures.compression,
        "retries": figures.retries,
        "errors": list(sample.errors),
    }


def sparkline(values: Iterable[float], width: int) -> str:
    """The latest values as bars, the highest as high as a line."""
    latest = list(values)[-width:]
    highest = max(latest, default=0.0)
    if not highest:
        return BARS[0] * len(latest)
    top = len(BARS) - 1
    return "".join(BARS[round(top * value / highest)] for value in latest)


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it."""
    if seconds is None:
        return "-"
    size, unit = next((pair for pair in UNITS if seconds >= pair[0]), UNITS[-1])
    return f"{seconds / size:.3g} {unit}"


def amount(value: float | None) -> str:
    """A count or a rate."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def size(count: float | None) -> str:
    """Bytes in the unit that suits them."""
    if count is None:
        return "-"
    power = 0
    while abs(count) >= 1024 and power < len(SIZES) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.3g} {SIZES[power]}" if abs(count) < 1000 else f"{count:.0f} {SIZES[power]}"


def _grown(sample: Sample, before: Sample) -> Exported:
    """What came between two samples, of the processes that answered both times."""
    return added_up(
        now.since(before.processes.get(url, now)) for url, now in sample.processes.items()
    )


def _calls(grown: Exported, elapsed: float) -> dict[str, CallFigures]:
    return {
        operation: CallFigures(
            rate=new.count / elapsed,
            p50=new.quantile(0.5),
            p95=new.quantile(0.95),
            p99=new.quantile(0.99),
            failed=new.failed / elapsed,
            conflicts=new.conflicts / elapsed,
        )
        for operation, new in grown.calls.items()
    }


def _kinds(counted: Counted, first: Counted | None) -> dict[str, KindFigures]:
    if counted.stats is None:
        return {}
    found: dict[str, KindFigures] = {}
    for kind, now in counted.stats.kinds.items():
        growth = None
        if first is not None and first.stats is not None and counted.at > first.at:
            grown = now.bytes - first.stats.kinds[kind].bytes
            growth = grown / (counted.at - first.at)
        found[kind.value] = KindFigures(records=now.records, bytes=now.bytes, growth=growth)
    return found


def _hit_rates(grown: Exported) -> dict[str, float]:
    rates: dict[str, float] = {}
    for kind in ("key_value", "key_set"):
        hits, misses = (
            grown.get(name, kind) or 0.0 for name in ("cache_hits_total", "cache_misses_total")
        )
        if hits + misses > 0:
            rates[kind] = hits / (hits + misses)
    return rates


def _compression(now: Exported) -> float | None:
    plain, stored = (now.get("value_bytes_total", "written", form) for form in ("plain", "stored"))
    return plain / stored if plain and stored else None


def _rate(name: str, grown: Exported, elapsed: float) -> float | None:
    new = grown.get(name)
    return None if new is None else new / elapsed
