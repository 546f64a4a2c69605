"""Builds an attrs config object from a mapping, and collects every problem on the way.

Values are structured by cattrs, with strict primitives: a number is not a text, `"false"` is not
true. Text from the environment or a URL may stand for a number or a boolean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

import attrs
import cattrs

from statekeep.options import OptionError

WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
TRUTH = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}

_converter = cattrs.Converter(detailed_validation=False)


def _integer(value: Any, _: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,18}", value.strip()):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("must be a whole number")
    return value


def _number(value: Any, _: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise TypeError("must be a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("must be a number")
    return value


def _boolean(value: Any, _: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in TRUTH:
        return TRUTH[value.strip().lower()]
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value


for _type, _hook in ((int, _integer), (float, _number), (bool, _boolean), (str, _text)):
    _converter.register_structure_hook(_type, _hook)


def snake_case(name: str) -> str:
    """`maximumPoolSize` and `maximum-pool-size` as `maximum_pool_size`."""
    return WORDS.sub("_", name).replace("-", "_").lower()


class Problems:
    """What is wrong with a config, each problem with its place and its source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[str] = []

    def add(self, path: str, problem: str) -> None:
        """Notes a problem with the option at this dotted path."""
        self.found.append(f"{path}: {problem} ({self.source})")

    def unknown(self, path: str, name: str, known: list[str]) -> None:
        """Notes an option that does not exist, with the nearest one that does."""
        near = get_close_matches(snake_case(name), known, n=1, cutoff=0.6)
        hint = (
            f"; did you mean {near[0]!r}?"
            if near
            else f"; known: {', '.join(sorted(known)) or 'none'}"
        )
        self.add(f"{path}.{name}", f"unknown option{hint}")


def table(value: Any, path: str, problems: Problems) -> dict[str, Any]:
    """A mapping with snake_case keys; anything else is a problem, and an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        problems.add(path, f"must be a table of options, got {type(value).__name__}")
        return {}
    result: dict[str, Any] = {}
    for name, content in value.items():
        known_as = snake_case(str(name))
        if known_as in result:
            problems.add(f"{path}.{name}", "is given twice, in two spellings")
        result[known_as] = content
    return result


def build(kind: type, value: Any, path: str, problems: Problems) -> Any:
    """An object of an attrs config class from a mapping, or None after noting problems.

    Args:
        kind: the config class.
        value: the mapping; None stands for an empty one.
        path: where it stands in the config, such as `storage.postgres`.
        problems: where to note what is wrong; the object is usable only if nothing is.
    """
    before = len(problems.found)
    given = table(value, path, problems)
    attrs.resolve_types(kind)
    arguments: dict[str, Any] = {}
    fields = {name: field for field in attrs.fields(kind) for name in _names(field)}
    for name, raw in given.items():
        if name not in fields:
            problems.unknown(path, name, [field.name for field in attrs.fields(kind)])
        elif fields[name].name in arguments:
            problems.add(f"{path}.{name}", "is given twice, in two spellings")
        elif raw is not None or _takes_none(fields[name]):
            field = fields[name]
            arguments[field.name] = _field_value(field, raw, f"{path}.{field.name}", problems)
    for field in attrs.fields(kind):
        if field.default is attrs.NOTHING and field.name not in arguments:
            problems.add(f"{path}.{field.name}", "is required")
    if len(problems.found) > before:
        return None
    try:
        return kind(**arguments)
    except OptionError as error:  # a rule over several options, raised by the class itself
        problems.add(path, str(error))
        return None


def _names(field: attrs.Attribute[Any]) -> tuple[str, ...]:
    return (field.name, *field.metadata.get("aliases", ()))


def _takes_none(field: attrs.Attribute[Any]) -> bool:
    return field.type is Any or type(None) in get_args(field.type)


def _field_value(field: attrs.Attribute[Any], raw: Any, path: str, problems: Problems) -> Any:
    if field.type is not None and attrs.has(field.type):
        return build(field.type, raw, path, problems)
    secret = field.metadata.get("secret", False)
    try:
        value = _converter.structure(raw, field.type or Any)
        if field.validator is not None:
            field.validator(None, field, value)
    except OptionError as error:
        problems.add(path, error.problem)
    except Exception as error:  # cattrs lets through whatever a hook raised
        shown = "" if secret else f", got {raw!r}"
        rule = str(error) if isinstance(error, TypeError) else f"must be {_expected(field)}"
        problems.add(path, f"{rule}{shown}")
    else:
        return value
    return None


def _expected(field: attrs.Attribute[Any]) -> str:
    return str(getattr(field.type, "__name__", field.type))
