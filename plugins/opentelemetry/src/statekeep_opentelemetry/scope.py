"""Who it is that tells: the instrumentation scope."""

from statekeep import __version__

NAME = "statekeep"
VERSION = __version__
SCHEMA = "https://opentelemetry.io/schemas/1.38.0"
"""The version of the conventions that the names are of."""
