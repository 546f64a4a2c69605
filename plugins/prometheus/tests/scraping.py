"""Reads what an endpoint or a registry tells, with Prometheus's own parser."""

from __future__ import annotations

import urllib.request

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one answer.

    Attributes:
        samples: by name and labels.
        types: of the metrics by name, as Prometheus reads them.
    """

    def __init__(self, text: str) -> None:
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self.types: dict[str, str] = {}
        for family in text_string_to_metric_families(text):
            assert family.name not in self.types, f"{family.name} comes twice"
            self.types[family.name] = family.type
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.samples, f"{key} comes twice"
                self.samples[key] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """One sample of a metric of statekeep, by all its labels."""
        return self.samples[f"statekeep_{name}", frozenset(labels.items())]

    def series(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """All samples of this name."""
        return {
            labels: value
            for (found, labels), value in self.samples.items()
            if found == f"statekeep_{name}"
        }

    def labels(self, name: str, label: str) -> set[str]:
        """The values of a label among the samples of this name."""
        return {dict(labels)[label] for labels in self.series(name)}


def scraped(source: int | CollectorRegistry) -> Scrape:
    """What a port on the loopback address or a registry tells now."""
    if not isinstance(source, int):
        return Scrape(generate_latest(source).decode())
    with urllib.request.urlopen(f"http://127.0.0.1:{source}/metrics", timeout=10) as answer:
        return Scrape(answer.read().decode())
