"""`plugins`, `config show`, `purge`: what there is, without changing a record."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import typer

from statekeep.cli.call import Call, command, group
from statekeep.cli.exits import NO, OK
from statekeep.cli.output import Row

if TYPE_CHECKING:
    from statekeep.registry import Registry

config_app = group("config", "The config in use.")
PLUGIN_COLUMNS = ("kind", "name", "distribution", "version", "aliases", "status", "cause")


def plugins(call: Call) -> int:
    """List the backends, compressors, caches and observers that are installed.

    Exit code 1 where one is broken, or two have the same name.
    """
    from statekeep.registry import default_registry

    rows = list(_plugins(default_registry()))
    call.out.rows(PLUGIN_COLUMNS, rows)
    return OK if all(row["status"] == "ok" for row in rows) else NO


def show(call: Call) -> None:
    """Show the checked config, secrets masked, and where it was found."""
    from statekeep.cli.settings import as_toml, settings
    from statekeep.registry import default_registry
    from statekeep.sources import read

    config = call.load()
    source = read(call.source, default_registry().backend).name
    found = settings(config, default_registry())
    if call.out.as_json:
        call.out.record({"source": source, "storage": found})
    else:
        call.out.line(f"# from {source}\n{as_toml(found)}")


def purge(call: Call) -> None:
    """Remove expired values now, and print how many there were."""
    with call.storage() as storage:
        count = storage.purge()
    if call.out.as_json:
        call.out.record({"purged": count})
    else:
        call.out.line(str(count))


def _plugins(registry: Registry) -> Iterator[Row]:
    for shelf in registry.shelves:
        for name, offer in sorted(shelf.offers.items()):
            yield _plugin(
                shelf.kind, name, offer.source, aliases=list(getattr(offer.plugin, "aliases", ()))
            )
        for name, sources in sorted(shelf.clashes.items()):
            cause = f"offered by both {' and '.join(sources)}: uninstall one"
            yield _plugin(shelf.kind, name, sources[1], status="clash", cause=cause)
    for broken in registry.broken:
        cause = f"{type(broken.error).__name__}: {broken.error}"
        yield _plugin("plugin", broken.name, broken.source, status="broken", cause=cause)


def _plugin(kind: str, name: str, source: str, **more: Any) -> Row:
    try:
        release: str | None = version(source)
    except (PackageNotFoundError, ValueError):
        release = None
    row = {"kind": kind, "name": name, "distribution": source, "version": release}
    return {**row, "aliases": [], "status": "ok", "cause": None, **more}


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    command(app, "plugins")(plugins)
    command(config_app, "show")(show)
    app.add_typer(config_app)
    command(app, "purge")(purge)
