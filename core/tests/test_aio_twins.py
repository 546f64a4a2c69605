"""The asynchronous surface is the synchronous one, awaitable: same methods, signatures, docs."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args, get_origin

import pytest
import statekeep
from statekeep import Storage, UnitOfWork, aio
from statekeep.deferred import Deferred
from statekeep.sets import KeySets
from statekeep.values import KeyValues

TWINS = [
    (Storage, aio.AsyncStorage),
    (KeyValues, aio.AsyncKeyValues),
    (KeySets, aio.AsyncKeySets),
    (Deferred, aio.AsyncDeferred),
    (UnitOfWork, aio.AsyncUnitOfWork),
]
COLLECTED = {name for name in dir(UnitOfWork) if not name.startswith("_")}
NEVER_AWAITED = {"transaction", "usage", *COLLECTED}
"""What asks no store."""

METHODS = [
    (ours, twin, name)
    for ours, twin in TWINS
    for name in dir(ours)
    if not name.startswith("_") and callable(getattr(ours, name))
]
RENAMED = {UnitOfWork: aio.AsyncUnitOfWork}


def public(surface: type) -> set[str]:
    return {name for name in dir(surface) if not name.startswith("_")}


def attributes(surface: type) -> set[str]:
    """What `__init__` sets and the class docs name."""
    docs = inspect.getdoc(surface) or ""
    _, _, listed = docs.partition("Attributes:")
    return {line.split(":")[0].strip() for line in listed.splitlines() if ":" in line}


@pytest.mark.parametrize(("ours", "twin"), TWINS, ids=lambda surface: surface.__name__)
def test_both_have_the_same_methods(ours: type, twin: type) -> None:
    """None is missing, none is more."""
    assert public(ours) == public(twin)
    assert attributes(ours) == attributes(twin)


@pytest.mark.parametrize(("ours", "twin", "name"), METHODS)
def test_a_method_takes_and_gives_the_same(ours: type, twin: type, name: str) -> None:
    """Names, kinds, defaults and types of parameters; the result, awaited or iterated."""
    mine, theirs = (inspect.signature(getattr(each, name)) for each in (ours, twin))
    assert list(mine.parameters) == list(theirs.parameters)
    hints, twin_hints = (typing.get_type_hints(getattr(each, name)) for each in (ours, twin))
    for parameter, other in zip(mine.parameters.values(), theirs.parameters.values(), strict=True):
        assert (parameter.kind, parameter.default) == (other.kind, other.default)
        if (name, parameter.name) != ("update", "function"):  # which may be async besides
            assert hints.get(parameter.name) == twin_hints.get(parameter.name)
    assert awaited(hints["return"]) == twin_hints["return"]


def awaited(result: Any) -> Any:
    """What the twin gives where the original gives this."""
    if get_origin(result) is Iterator:
        (item,) = get_args(result)
        return AsyncIterator[item]
    return RENAMED.get(result, result)


@pytest.mark.parametrize(("ours", "twin", "name"), METHODS)
def test_a_method_is_awaited_where_it_calls_the_store(ours: type, twin: type, name: str) -> None:
    """Coroutines, asynchronous generators for iterators; what only collects is neither."""
    method = getattr(twin, name)
    if name in NEVER_AWAITED and ours in (Storage, UnitOfWork):
        assert not inspect.iscoroutinefunction(method)
    elif inspect.isgeneratorfunction(getattr(ours, name)):
        assert inspect.isasyncgenfunction(method)
    else:
        assert inspect.iscoroutinefunction(method)


@pytest.mark.parametrize(("ours", "twin", "name"), METHODS)
def test_a_method_has_the_same_docs(ours: type, twin: type, name: str) -> None:
    """Written once, on the synchronous surface."""
    assert getattr(twin, name).__doc__ == getattr(ours, name).__doc__


def test_open_takes_the_same() -> None:
    """`aio.open` is `statekeep.open`, to be awaited or entered."""
    mine, theirs = inspect.signature(statekeep.open), inspect.signature(aio.open)
    assert mine.parameters == theirs.parameters
    assert statekeep.open.__doc__ == aio.open.__doc__


def test_the_public_names() -> None:
    """Sorted, there, and documented."""
    assert sorted(aio.__all__) == aio.__all__
    for name in aio.__all__:
        assert getattr(aio, name).__doc__, name


def test_it_is_there_once_statekeep_is_imported_and_costs_nothing_before() -> None:
    """`statekeep.aio` needs no import of its own; asyncio is not imported before it is used."""
    program = """
import sys, statekeep
before = "asyncio" in sys.modules
statekeep.aio.open
print(before, "asyncio" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False True\n", done.stderr
