"""The observer `prometheus`: a storage's numbers, told when Prometheus asks for them."""

from statekeep_prometheus.config import PrometheusConfig

__all__ = ["PrometheusConfig"]
