"""The registry: plugins by name, collisions and broken ones reported, nothing taken down."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest
from attrs import frozen
from statekeep import BackendPlugin, CompressorPlugin, PluginError, hookimpl
from statekeep.registry import Registry
from statekeep_memory import MemoryConfig


@frozen
class Nothing:
    """No options."""


@frozen
class Other:
    """No options either."""


def offering(name: str, *aliases: str, config: type = Nothing) -> object:
    class Plugin:
        @hookimpl
        def statekeep_backends(self) -> list[BackendPlugin]:
            return [
                BackendPlugin(name=name, config=config, factory=lambda _: None, aliases=aliases)  # type: ignore[arg-type, return-value]  # never opened
            ]

    return Plugin()


def entry_point(name: str, target: str) -> EntryPoint:
    return EntryPoint(name=name, value=target, group="statekeep")


def test_installed_plugins_are_found_by_name_and_alias() -> None:
    """Through the entry points of the distributions."""
    registry = Registry()
    assert registry.backend("memory").config is MemoryConfig
    assert registry.backend("in_memory").name == "memory"
    assert registry.compressor("gzip").name == "gzip"
    assert registry.cache("memory").name == "memory"
    assert not registry.broken


def test_a_name_that_two_offer_is_refused_naming_both() -> None:
    """Only that name: the rest of both stays usable."""
    registry = Registry([])
    registry.register(offering("a"), "dist-one")
    registry.register(offering("a"), "dist-two")
    registry.register(offering("b", "a2"), "dist-three")
    with pytest.raises(PluginError, match="dist-one and dist-two"):
        registry.backend("a")
    assert registry.backend("a2").name == "b"


@pytest.mark.parametrize("name", ["a", "old", "new"])
def test_the_aliases_of_two_of_one_name_are_refused_too(name: str) -> None:
    """An alias that only one of them has would lead to the other."""
    registry = Registry([])
    registry.register(offering("a", "old"), "dist-one")
    registry.register(offering("a", "new", config=Other), "dist-two")
    with pytest.raises(PluginError, match=f"'{name}' is offered by both dist-one and dist-two"):
        registry.backend(name)
    for config in (Nothing(), Other()):
        with pytest.raises(PluginError, match="dist-one and dist-two"):
            registry.offering(registry.backends, config)


def test_an_alias_that_is_anothers_name_spoils_only_itself() -> None:
    """Each is still found by what is its own."""
    registry = Registry([])
    registry.register(offering("a", "b"), "dist-one")
    registry.register(offering("b", "c"), "dist-two")
    assert (registry.backend("a").name, registry.backend("c").name) == ("a", "b")
    with pytest.raises(PluginError, match="dist-one and dist-two"):
        registry.backend("b")


def test_a_plugin_that_cannot_be_imported_is_reported_with_its_cause() -> None:
    """And it does not take the others down."""
    registry = Registry(
        [entry_point("broken", "no_such_module_at_all"), entry_point("c", "statekeep.compressor")]
    )
    assert registry.compressor("gzip")
    with pytest.raises(PluginError, match="broken.*no_such_module_at_all") as caught:
        registry.backend("broken")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_plugin_that_fails_when_asked_is_reported() -> None:
    """Whatever it raises."""

    class Rude:
        @hookimpl
        def statekeep_backends(self) -> list[BackendPlugin]:
            raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        Registry([]).register(Rude(), "rude")


def test_a_hook_that_does_not_exist_is_an_error() -> None:
    """A misspelt hook would silently offer nothing."""

    class Misspelt:
        @hookimpl
        def statekeep_backend(self) -> list[Any]:
            return []

    with pytest.raises(PluginError, match="statekeep_backend"):
        Registry([]).register(Misspelt(), "misspelt")


def test_a_config_object_finds_its_plugin() -> None:
    """And one of a class that nobody takes is an error that names the class."""
    registry = Registry()
    assert registry.offering(registry.backends, MemoryConfig()).name == "memory"
    with pytest.raises(PluginError, match="Nothing"):
        registry.offering(registry.backends, Nothing())


def test_a_compressor_without_defaults_cannot_be_looked_up_by_name_only() -> None:
    """Every compressor must be able to read with its defaults: the contract of the hook."""
    for offer in Registry().compressors.offers.values():
        assert isinstance(offer.plugin, CompressorPlugin)
        offer.plugin.factory(offer.plugin.config())
