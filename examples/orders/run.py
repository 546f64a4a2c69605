"""One run: feeds orders in, kills workers, and watches until every order is finished."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen
from statekeep import Storage

from examples.orders.display import Progress, Show
from examples.orders.feed import Feed
from examples.orders.keys import Keys
from examples.orders.model import FINAL, Status
from examples.orders.supervisor import Supervisor

POLL = 0.1
"""Seconds between two looks at the store, at least."""
STEPS_BEHIND = {
    Status.NEW: 0,
    Status.RESERVED: 1,
    Status.RETRYING: 2,
    Status.PAID: 2,
    Status.REFUSED: 4,
}
"""How many steps an order in the works has taken at least; only the live display needs it."""


@frozen
class Settings:
    """How to run.

    Attributes:
        config: the config file or URL that workers open.
        run: the name of the run.
        log: where workers write what goes wrong.
        kills: how many workers to kill.
        stalls: how many workers sleep past their lease.
        lease: seconds.
        open: orders in the works at once.
    """

    config: str
    run: str
    log: Path
    workers: int = 3
    kills: int = 12
    stalls: int = 2
    seed: int = 1
    lease: float = 2.0
    open: int = 300


def execute(
    settings: Settings, storage: Storage, feed: Feed, steps: Mapping[str, int], show: Show
) -> Progress:
    """Runs until every order is done or cancelled.

    Args:
        settings: how to run.
        storage: the store.
        feed: brings in the orders; prepared.
        steps: how many steps each order takes, by id; only the display needs it.
        show: gets the progress again and again.

    Returns:
        The progress at the end.
    """
    choose = random.Random(settings.seed)
    targets = _kill_at(settings.kills, len(feed.orders), choose)
    stalls = [choose.randrange(3, 15) for _ in range(settings.stalls)]
    arguments = ["--config", settings.config, "--run", settings.run]
    arguments += ["--lease", str(settings.lease)]
    begun = time.monotonic()
    already = None
    with Supervisor(arguments, settings.workers, settings.log, choose, stalls) as team:
        while True:
            looked = time.monotonic()
            counts, taken = _look(storage, feed.keys, steps)
            if already is None:
                already = taken
            seconds = time.monotonic() - begun
            progress = Progress(len(feed.orders), counts, taken - already, team.kills, seconds)
            show(progress)
            if progress.finished == progress.total:
                return progress
            feed.top_up(progress.finished)
            team.check()
            pause = max(POLL, 10 * (time.monotonic() - looked))
            if targets and progress.finished >= targets[0]:
                targets.pop(0)
                pause *= choose.random()  # so that it strikes at any moment of a worker's round
                time.sleep(pause)
                team.kill_one()
            else:
                time.sleep(pause)


def _kill_at(kills: int, orders: int, choose: random.Random) -> list[int]:
    """Kills come at random, but all of them before the run ends, however fast it is."""
    return sorted(int(choose.uniform(0.02, 0.85) * orders) for _ in range(kills))


def _look(storage: Storage, keys: Keys, steps: Mapping[str, int]) -> tuple[dict[Status, int], int]:
    """How many orders are in each status, and how many steps were taken."""
    tags = storage.sets.members_many(keys.status(status) for status in Status)
    members = {status: tags[keys.status(status)] for status in Status}
    counts = {status: len(ids) for status, ids in members.items()}
    finished = sum(steps[id.decode()] for status in FINAL for id in members[status])
    return counts, finished + sum(STEPS_BEHIND[s] * n for s, n in counts.items() if s not in FINAL)
