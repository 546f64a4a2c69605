"""The observer `opentelemetry`: spans and metrics by the conventions for database clients."""

from statekeep_opentelemetry.config import OpenTelemetryConfig

__all__ = ["OpenTelemetryConfig"]
