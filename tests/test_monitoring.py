"""The dashboard, the alert rules and the page on monitoring say what is really exported."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import statekeep
import statekeep.aio
import yaml
from attrs import frozen
from prometheus_client import CollectorRegistry, Metric
from statekeep import LeaseLost, Unavailable, VersionConflict, errors
from statekeep.metrics import READS, WRITES
from statekeep_opentelemetry.observed import INSTRUMENTS

from tests.servers.redis import RedisProcess
from tests.servers.waiting import until

DOCS = Path(__file__).parents[1] / "docs"
DASHBOARD = json.loads((DOCS / "operations/grafana-dashboard.json").read_text())
RULES = yaml.safe_load((DOCS / "operations/alerts.yml").read_text())["groups"][0]["rules"]
PAGE = (DOCS / "monitoring.md").read_text()

OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus itself gives to what it scrapes."""

NAME = re.compile(r"\bstatekeep_\w+")
SELECTOR = re.compile(r"\b(statekeep_\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
TEMPLATE = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")


@frozen
class Exported:
    """What a scrape of a storage that did everything has told.

    Attributes:
        types: of each metric by its name in the documentation, `_total` and all.
        labels: by the name of a sample, each label with the values it had.
    """

    types: dict[str, str]
    labels: dict[str, dict[str, set[str]]]


@pytest.fixture(scope="module")
def exported() -> Exported:
    """Every metric with samples: of a server that was used in every way, and then went away."""
    registry = CollectorRegistry()
    with RedisProcess() as server:
        config = {
            "redis": {
                **{"host": "127.0.0.1", "port": server.port, "timeout": 500},
                "pool_config": {"max_total": 5},
            },
            "compression": "gzip",
            "cache": {"key_value": {"maximum_size": 10}, "key_set": {"maximum_size": 10}},
            "observers": {"prometheus": {"registry": registry}},
        }
        of_tasks = asyncio.run(_use_in_tasks(config, registry))
        with statekeep.open(config) as storage:
            _use(storage, server, registry)
            return _exported([*of_tasks, *registry.collect()])


async def _use_in_tasks(config: dict[str, Any], registry: CollectorRegistry) -> list[Metric]:
    async with statekeep.aio.open(config) as storage:
        await storage.values.get("k")
        return list(registry.collect())


def _use(storage: statekeep.Storage, server: RedisProcess, registry: CollectorRegistry) -> None:
    storage.values.put("k", b"v" * 1000)
    storage.values.get("k")
    storage.sets.add("s", b"m")
    storage.sets.members("s")
    storage.deferred.schedule("q", "1", due=timedelta(0))
    (message,) = storage.deferred.claim("q")
    storage.deferred.acknowledge(message)
    with pytest.raises(LeaseLost):
        storage.deferred.acknowledge(message)
    with pytest.raises(VersionConflict):
        storage.values.put("k", b"w", expected=0)
    until((), lambda: _exported(registry.collect()).labels.get("statekeep_records"), "a count")
    server.kill()
    with pytest.raises(Unavailable):
        storage.values.get("other")


def _exported(metrics: Iterable[Metric]) -> Exported:
    types: dict[str, str] = {}
    labels: dict[str, dict[str, set[str]]] = {}
    for metric in metrics:
        suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
        types[metric.name + suffix] = "gauge" if metric.type == "info" else metric.type
        for sample in metric.samples:
            found = labels.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                found.setdefault(label, set()).add(value)
    return Exported(types, labels)


def queries() -> dict[str, tuple[str, str]]:
    """Every expression, by where it stands, with the text that uses the labels of its result."""
    found = {
        f"alert {rule['alert']}": (rule["expr"], " ".join(rule["annotations"].values()))
        for rule in RULES
    }
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            where = f"panel {panel['title']} {target['refId']}"
            found[where] = target["expr"], target["legendFormat"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found[f"variable {variable['name']}"] = variable["definition"], ""
    return found


@pytest.mark.parametrize("where", queries())
def test_a_query_uses_names_labels_and_values_that_are_exported(
    where: str, exported: Exported
) -> None:
    """A typing error in a dashboard shows as an empty panel, and in an alert as silence."""
    query, text = queries()[where]
    names = set(NAME.findall(query))
    assert names, "asks for nothing"
    for name in names:
        assert name in exported.labels, f"{name} is not exported"
    known = OF_PROMETHEUS.union(*(exported.labels[name] for name in names))
    grouped = {each.strip() for found in GROUPING.findall(query) for each in found.split(",")}
    assert grouped <= known, f"groups by {grouped - known}"
    for name, inside in SELECTOR.findall(query):
        for label, operator, value in MATCHER.findall(inside):
            assert label in OF_PROMETHEUS | exported.labels[name].keys(), f"{name} has no {label}"
            _check_value(exported.labels[name], label, operator, value)
    used = set(TEMPLATE.findall(text))
    assert used <= known, f"its text uses {used - known}"
    if re.search(r"\bby\s*\(", query):
        assert used <= grouped, f"its text uses {used - grouped}, which is not in the result"


def _check_value(labels: Mapping[str, set[str]], label: str, operator: str, value: str) -> None:
    if value.startswith("$"):
        return
    alternatives = set(value.split("|")) if "~" in operator else {value}
    if label == "error":
        known = {name for name in vars(errors) if not name.startswith("_")}
    elif label == "operation":
        known = {*READS, *WRITES}
    else:
        known = labels[label]
    assert alternatives <= known, f"{label} is never {alternatives - known}"


def test_every_metric_has_had_a_sample(exported: Exported) -> None:
    """So what is checked here was really exported."""
    without = {
        name
        for name in exported.types
        if not any(each.startswith(name) for each in exported.labels)
    }
    assert without == set()


def test_every_metric_is_on_the_page_with_its_type_and_labels(exported: Exported) -> None:
    """And the page has no other."""
    rows = re.findall(r"^\| `(statekeep_\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    found = {}
    for name, kind in exported.types.items():
        sample = f"{name}_count" if kind == "histogram" else name
        found[name] = kind, set(exported.labels[sample]) - {"storage"}
    assert documented == found


def test_names_elsewhere_on_the_page_are_exported(exported: Exported) -> None:
    """In examples and explanations."""
    others = {"statekeep_sqlite", "statekeep_prometheus", "statekeep_observers"}
    for name in set(NAME.findall(PAGE)) - others:
        assert name in exported.labels or name in exported.types, name


def test_every_metric_is_on_the_dashboard_or_behind_one_that_is(exported: Exported) -> None:
    """Whoever imports it sees everything."""
    shown = {name for query, _ in queries().values() for name in NAME.findall(query)}
    bases = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown} | shown
    assert exported.types.keys() - bases == set()


def test_every_alert_is_explained_on_the_page() -> None:
    """What it means and what to do; and the page explains no other."""
    explained = re.findall(r"^\| `(Statekeep\w+)` \| \S.* \| \S.* \|$", PAGE, re.MULTILINE)
    assert explained == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_every_operation_is_on_the_page() -> None:
    """They are the values of a label, and of an attribute."""
    (section,) = re.findall(
        r"^`operation` is what was called:.*?\n\n", PAGE, re.MULTILINE | re.DOTALL
    )
    assert {*READS, *WRITES} <= set(re.findall(r"`(\w+)`", section))


def test_every_name_of_opentelemetry_is_on_the_page() -> None:
    """With its kind; and the page has no other."""
    rows = re.findall(
        r"^\| `((?:db|statekeep)\.[\w.]+)` \| ([\w-]+(?: counter)?)", PAGE, re.MULTILINE
    )
    documented = {name: kind for name, kind in rows if "counter" in kind or kind == "histogram"}
    observed = {each.name: each.kind.value for each in INSTRUMENTS}
    assert documented == {"db.client.operation.duration": "histogram", **observed}


def test_the_panels_do_not_overlap() -> None:
    """Each has a place of its own, and an id."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
