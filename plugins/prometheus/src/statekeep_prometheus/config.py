"""The options of the observer `prometheus`."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from statekeep.options import at_least, between, not_blank, option


def _is_registry(value: Any) -> str | None:
    """A registry can be given in code only; whatever else takes collectors will do too."""
    if all(callable(getattr(value, name, None)) for name in ("register", "unregister", "collect")):
        return None
    return "must be a prometheus_client.CollectorRegistry, which only code can give"


@frozen(kw_only=True)
class PrometheusConfig:
    """What is exported under which name, and who serves it."""

    port: int | None = option(
        None,
        "port to serve `/metrics` on; without it the application serves the registry itself",
        between(1, 65535),
    )
    host: str = option("127.0.0.1", "address to serve on; `0.0.0.0` for every one", not_blank)
    name: str | None = option(
        None, "value of the label `storage`; the backend's name without it", not_blank
    )
    count_interval: int = option(
        300,
        "seconds between two counts of records and bytes, which read the store; 0 for never",
        at_least(0),
    )
    registry: Any = option(  # noqa: RUF009  # it makes an attrs field
        None,
        "in code only: a `CollectorRegistry` of `prometheus_client` other than its default one",
        _is_registry,
    )
