"""How a plugin declares its options: attrs fields that carry their own help and checks.

A validator raises `OptionError`, which states the rule and the value; the config loader adds
where the value came from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

Rule: TypeAlias = "Callable[[Any], str | None]"
"""Gets a value and returns what is wrong with it ("must be > 0"), or None."""

REQUIRED = attrs.NOTHING


class OptionError(ValueError):
    """An option's value breaks its rule.

    Attributes:
        problem: the rule and the value, without the option's name.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.problem = problem


def option(
    default: Any = REQUIRED,
    help: str = "",
    *rules: Rule,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:
    """An attrs field for a config class; the class must be `@frozen(kw_only=True)`.

    Args:
        default: the value when nothing is said; without one the option is required.
        help: one line for the config reference, with the unit.
        rules: each is asked for what is wrong with the value.
        secret: keep the value out of reprs, logs, error messages and `config show`.
        aliases: other names under which the option is accepted in a config file.
    """

    def validate(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        for rule in rules:
            problem = None if value is None else rule(value)
            if problem is not None:
                shown = "" if secret else f", got {value!r}"
                raise OptionError(attribute.name, f"{problem}{shown}")

    return attrs.field(
        default=default,
        validator=validate,
        repr=not secret,
        metadata={"help": help, "secret": secret, "aliases": aliases},
    )


def positive(value: float) -> str | None:
    """The value must be above zero."""
    return None if value > 0 else "must be > 0"


def at_least(least: float) -> Rule:
    """The value must not be below `least`."""
    return lambda value: None if value >= least else f"must be >= {least}"


def between(least: float, most: float) -> Rule:
    """The value must lie in a range, both ends included."""
    return lambda value: None if least <= value <= most else f"must be from {least} to {most}"


def not_blank(value: str) -> str | None:
    """The text must have something in it."""
    return None if value.strip() else "must not be blank"


def one_of(*choices: str) -> Rule:
    """The value must be one of these."""
    return lambda value: None if value in choices else f"must be one of {', '.join(choices)}"
