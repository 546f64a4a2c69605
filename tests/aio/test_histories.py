"""What many tasks see, alone and with other processes, could have happened one after the other."""

from __future__ import annotations

import pytest
import statekeep
from statekeep.testing.children import run_processes
from statekeep.testing.history import Written, check_history

from tests.aio.conftest import Config
from tests.aio.recording import run_counting, run_recording

PATIENCE = 120.0


def verify(events):  # type: ignore[no-untyped-def]
    problems = check_history(events)
    assert not problems, "\n".join(problems[:10])
    assert sum(isinstance(event, Written) for event in events) > 100


def test_histories_of_tasks_are_linear(config: Config) -> None:
    """Fifty tasks of one storage over five keys: no update lost, no outdated read."""
    keys = [f"k{number}" for number in range(5)]
    verify(run_recording(config, keys, 1, 50, 25))


def test_histories_of_tasks_in_several_processes_are_linear(config: Config) -> None:
    """Three processes of twenty tasks each over four keys."""
    keys = [f"k{number}" for number in range(4)]
    statekeep.open(config).close()  # set up once
    arguments = [(config, keys, seed, 20, 20) for seed in range(3)]
    recorded = run_processes(run_recording, arguments, PATIENCE)
    verify([event for events in recorded for event in events])


@pytest.mark.parametrize("count", [3, 40])
def test_no_increment_of_any_process_is_lost(config: Config, count: int) -> None:
    """Three processes of twenty tasks each count keys up: few of them, or many in one commit."""
    keys = [f"n{number}" for number in range(count)]
    statekeep.open(config).close()
    counted = run_processes(run_counting, [(config, keys, 20, 12)] * 3, PATIENCE)
    with statekeep.open(config) as storage:
        found = storage.values.get_many(keys)
    assert sum(int(entry.value) for entry in found.values()) == sum(counted) == 720
