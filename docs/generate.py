"""Writes the tables of options and of `doctor`'s checks from the code: `make docs`.

The tables stand between marker comments; a test fails when they are not what this would write.
"""

from __future__ import annotations

import re
import typing
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
from statekeep.cli import doctor
from statekeep.config import CacheConfig, CompressionConfig
from statekeep.registry import Registry

PAGE = Path(__file__).with_name("configuration.md")
CHECKS_PAGE = PAGE.with_name("troubleshooting.md")
EXAMINING = ("redis", "postgres", "mysql", "sqlite", "memory")
"""The backends whose `doctor.py` says what it looks at."""

CHECKS_MARK = re.compile(r"(<!-- checks: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
MARK = re.compile(r"(<!-- options: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
SKIP = {
    "compressor",
    "readers",
    "key_value",
    "key_set",
    "registry",
    "tracer_provider",
    "meter_provider",
}


def tables() -> dict[str, str]:
    """The table of every installed plugin, by its kind and name."""
    registry = Registry()
    found = {"compression": table(CompressionConfig), "cache": table(CacheConfig)}
    for shelf in registry.shelves:
        for name, offer in shelf.offers.items():
            found[f"{shelf.kind}/{name}"] = table(offer.plugin.config)
    return found


def table(config: type, above: str = "") -> str:
    """One row an option: name, type, default, help; nested tables with dotted names.

    Of a class that extends another plugin's, only what it adds or changes.
    """
    rows = list(_rows(config, above))
    if not rows:
        return "It has no options.\n"
    head = "| option | type | default | meaning |\n|---|---|---|---|\n"
    return head + "".join(rows)


def _rows(config: type, above: str) -> typing.Iterator[str]:
    attrs.resolve_types(config)
    for field in attrs.fields(config):
        if field.name in SKIP or field.inherited:
            continue
        if field.type is not None and attrs.has(field.type):
            yield from _rows(field.type, f"{above}{field.name}.")
            continue
        name = f"`{above}{field.name}`"
        aliases = field.metadata.get("aliases", ())
        also = f" Also `{'`, `'.join(aliases)}`." if aliases else ""
        text = field.metadata.get("help", "") + "." + also
        yield f"| {name} | {_type(field.type)} | {_default(field.default)} | {text} |\n"


def _type(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return "list of text"
    names = [each.__name__ for each in typing.get_args(kind) or (kind,) if each is not type(None)]
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    words["Any"] = "text or list"
    return " or ".join(words.get(name, name) for name in names)


def _default(value: Any) -> str:
    if value is attrs.NOTHING:
        return "required"
    if value is None or value in ((), ""):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def generated(page: str) -> str:
    """The page with its tables as the classes have them."""
    found = tables()
    return MARK.sub(lambda mark: f"{mark[1]}{found[mark[2]]}{mark[3]}", page)


def checks() -> dict[str, dict[str, str]]:
    """What `doctor` looks at: itself, under `core`, and each backend."""
    own = doctor.checks()
    found = {name: import_module(f"statekeep_{name}.doctor").CHECKS for name in EXAMINING}
    records = own.pop("records")  # every backend says itself which of them it looks at
    assert all(
        records[name] == each[name] for each in found.values() for name in records.keys() & each
    )
    return {"core": {name: text for group in own.values() for name, text in group.items()}, **found}


def with_checks(page: str) -> str:
    """The page with its tables of checks as the code has them."""
    found = checks()

    def table(mark: re.Match[str]) -> str:
        rows = "".join(f"| `{name}` | {text} |\n" for name, text in found[mark[2]].items())
        return f"{mark[1]}| check | what is looked at |\n|---|---|\n{rows}{mark[3]}"

    return CHECKS_MARK.sub(table, page)


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text()))
    CHECKS_PAGE.write_text(with_checks(CHECKS_PAGE.read_text()))
