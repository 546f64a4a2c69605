"""Which server it is, in the attributes of the conventions."""

from __future__ import annotations

import re

from attrs import frozen
from statekeep.observer import Watched

SYSTEMS = {"postgres": "postgresql"}
"""`db.system.name` of the backends that are called otherwise."""

NETWORK = re.compile(r"(?P<host>\[[^]]+\]|[^\s/:,]+):(?P<port>\d+)(?:/(?P<namespace>.+))?")


@frozen
class Target:
    """What the calls of a storage are made to.

    Attributes:
        attributes: those that every span and every duration has.
        label: what stands in a span's name after the operation; "" for nothing.
    """

    attributes: dict[str, str | int]
    label: str


def target_of(watched: Watched) -> Target:
    """The server of a storage. One that is no `host:port/database`, as a file, is a namespace."""
    backend, server = watched.backend_name, watched.server
    attributes: dict[str, str | int] = {"db.system.name": SYSTEMS.get(backend, backend)}
    network = NETWORK.fullmatch(server)
    if network is None:
        namespace = server
    else:
        attributes["server.address"] = network["host"].strip("[]")
        attributes["server.port"] = int(network["port"])
        namespace = network["namespace"] or ""
    if namespace:
        attributes["db.namespace"] = namespace
    return Target(attributes, namespace or server)
