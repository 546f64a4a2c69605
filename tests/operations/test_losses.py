"""What each setting of replication keeps, and what it does not: docs/high-availability.md."""

from __future__ import annotations

import pytest

from tests.operations.losses import DRILLS, MARK, PAGE

WAITING = [
    "Redis, `wait_replicas = 1`",
    "PostgreSQL, synchronous",
    "MariaDB, semi-synchronous",
]
ASYNCHRONOUS = [
    "Redis, asynchronous",
    pytest.param("PostgreSQL, asynchronous", marks=pytest.mark.soak),
    pytest.param("MariaDB, asynchronous", marks=pytest.mark.soak),
]
WRITERS = 3
"""So many may have passed the line before it was cut, and be acknowledged only then."""


@pytest.mark.parametrize("name", WAITING)
def test_who_waits_for_the_replica_loses_nothing(name: str) -> None:
    """After the cut nothing is acknowledged any more; what was, is there."""
    loss = DRILLS[name]()
    assert loss.acknowledged > 0 and loss.lost == 0
    assert loss.unknown > 0, "nobody was under way when the line was cut"


@pytest.mark.parametrize("name", ASYNCHRONOUS)
def test_who_does_not_wait_loses_what_the_replica_lacked(name: str) -> None:
    """Writes are acknowledged as before; those after the cut are gone, none is there in half."""
    loss = DRILLS[name]()
    assert loss.after_cut > WRITERS
    assert loss.after_cut - WRITERS <= loss.lost < loss.acknowledged


@pytest.mark.soak
def test_a_bound_on_the_lag_bounds_the_loss() -> None:
    """Redis' min-replicas: writes are refused after a while, and what came before is lost."""
    loss = DRILLS["Redis, `min-replicas-max-lag 2`, 6 s"]()
    assert 0 < loss.lost < loss.acknowledged


def test_the_page_has_a_row_for_each() -> None:
    """As `python -m tests.operations.losses` writes them."""
    found = MARK.search(PAGE.read_text())
    assert found is not None
    for name in DRILLS:
        assert f"| {name} |" in found.group(0)
