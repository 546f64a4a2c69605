"""Arguments that make no sense are refused with `InvalidArgument`, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import statekeep
from statekeep import Storage
from statekeep.config import load
from statekeep.errors import ConfigError, InvalidArgument

HUGE = 10**5000


@pytest.fixture
def storage() -> Iterator[Storage]:
    with statekeep.open("memory:") as storage:
        yield storage


@pytest.mark.parametrize(
    "call",
    [
        lambda storage: storage.values.put("key", b"", expected=HUGE),
        lambda storage: storage.sets.page("key", limit=HUGE),
        lambda storage: storage.values.update("key", lambda value: b"", attempts="3"),
        lambda storage: storage.values.update("key", lambda value: b"", attempts=1.5),
        lambda storage: storage.values.update("key", lambda value: b"", attempts=0),
        lambda storage: storage.values.update("key", lambda value: 5),
        lambda storage: storage.transaction().put("key", b"outside of its block"),
    ],
)
def test_senseless_arguments(storage: Storage, call: Callable[[Storage], object]) -> None:
    """Also numbers that Python itself refuses to write into a message."""
    with pytest.raises(InvalidArgument):
        call(storage)
    assert storage.values.get("key") is None


def test_a_block_is_entered_once(storage: Storage) -> None:
    """A second block of one transaction would commit the first one's operations too."""
    with storage.transaction() as tx:
        tx.put("key", b"1")
        with pytest.raises(InvalidArgument, match="entered already"), tx:
            pass
        assert storage.values.get("key") is None
    assert storage.values.get("key") is not None


@pytest.mark.parametrize("path", ["~nosuchuser/x.db", "file:a%00b.db"])
def test_a_path_that_cannot_be(path: str, tmp_path: Path) -> None:
    """Named with its option."""
    with pytest.raises(ConfigError, match=r"storage\.sqlite\.path: "):
        load({"sqlite": {"path": path}})


def test_a_url_error_shows_no_password() -> None:
    """A host where none belongs is shown without what stands before it."""
    with pytest.raises(ConfigError, match="'host'") as caught:
        load("sqlite://user:open-sesame@host/x.db")
    assert "open-sesame" not in str(caught.value)


def test_an_override_in_the_same_spelling() -> None:
    """camelCase in both places is one option."""
    config = load({"sqlite": {"busyTimeout": 5}}, {"sqlite": {"busyTimeout": 1000}})
    assert config.backend.busy_timeout == 1000
