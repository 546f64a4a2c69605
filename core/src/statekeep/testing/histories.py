"""Histories of reads and conditional writes, recorded under contention and checked afterwards."""

from __future__ import annotations

import pytest

from statekeep.storage import Storage
from statekeep.testing import workers
from statekeep.testing.children import run_processes
from statekeep.testing.history import Event, Written, check_history
from statekeep.testing.recording import record
from statekeep.testing.support import Kit, Opener

SHOWN = 10


def verify(events: list[Event], *, fresh_reads: bool = True) -> None:
    """Fails with the first problems of a history, and where nothing was written."""
    problems = check_history(events, fresh_reads=fresh_reads)
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:SHOWN])
    assert any(isinstance(event, Written) for event in events)


class HistoriesTests(Kit):
    """Sections 3.3 to 3.6 and 3.11 of the contract, all at once.

    Attributes:
        history_rounds: reads and writes of each thread.
    """

    history_rounds: int = 120

    def test_histories_of_threads_are_linear(self, storage: Storage, prefix: str) -> None:
        """No update lost, no version twice, no read of what was never written or is outdated."""
        keys = [f"{prefix}{number}" for number in range(3)]
        recorded = self.in_threads(
            *[lambda n=n: record(storage, keys, n, self.history_rounds) for n in range(5)]
        )
        verify([event for one in recorded for event in one])

    def test_histories_of_processes_are_linear(
        self, opener: Opener, storage: Storage, prefix: str
    ) -> None:
        """The same between processes: the clock they are timed by is the machine's.

        Without `fresh_reads` a read may be outdated, and a write that trusts it must fail.
        """
        if not storage.capabilities.shared:
            pytest.skip("shared is not declared")
        keys = [f"{prefix}{number}" for number in range(3)]
        recorded = run_processes(
            workers.history,
            [(opener, keys, seed, self.history_rounds) for seed in range(3)],
            self.patience,
        )
        verify(
            [event for one in recorded for event in one],
            fresh_reads=storage.capabilities.fresh_reads,
        )
