"""`BackendConformance`: every topic of the kit in one class."""

from __future__ import annotations

from statekeep.testing.batches import BatchesTests
from statekeep.testing.claims import ClaimsTests
from statekeep.testing.conditions import ConditionsTests
from statekeep.testing.crash import CrashTests
from statekeep.testing.cursors import CursorsTests
from statekeep.testing.expiry import ExpiryTests
from statekeep.testing.forks import ForksTests
from statekeep.testing.histories import HistoriesTests
from statekeep.testing.interrupts import InterruptsTests
from statekeep.testing.keys import KeysTests
from statekeep.testing.leases import LeasesTests
from statekeep.testing.lifecycle import LifecycleTests
from statekeep.testing.paging import PagingTests
from statekeep.testing.processes import ProcessesTests
from statekeep.testing.queues import QueuesTests
from statekeep.testing.reads import ReadsTests
from statekeep.testing.restore import RestoreTests
from statekeep.testing.scans import ScansTests
from statekeep.testing.sets import SetsTests
from statekeep.testing.starting import StartingTests
from statekeep.testing.stateful import StatefulTests
from statekeep.testing.threads import ThreadsTests
from statekeep.testing.transactions import TransactionsTests
from statekeep.testing.undo import UndoTests
from statekeep.testing.values import ValuesTests
from statekeep.testing.versions import VersionsTests
from statekeep.testing.watching import WatchingTests


class BackendConformance(
    KeysTests,
    ValuesTests,
    VersionsTests,
    ConditionsTests,
    TransactionsTests,
    UndoTests,
    BatchesTests,
    ReadsTests,
    StartingTests,
    ExpiryTests,
    SetsTests,
    PagingTests,
    ScansTests,
    CursorsTests,
    QueuesTests,
    LeasesTests,
    ClaimsTests,
    RestoreTests,
    LifecycleTests,
    WatchingTests,
    ThreadsTests,
    ForksTests,
    InterruptsTests,
    ProcessesTests,
    CrashTests,
    HistoriesTests,
    StatefulTests,
):
    """What any backend must pass: subclass it and say how to open yours.

        def open_mine(path: Path) -> Backend:  # in a module that a child process can import
            backend = MyBackend(path)
            backend.setup()
            return backend

        class TestMine(BackendConformance):
            @pytest.fixture
            def opener(self, tmp_path: Path) -> Callable[[], Backend]:
                return functools.partial(open_mine, tmp_path / "state")

    The opener is called several times in one test, also in other processes (so it must pickle),
    and each backend is over the same store; where it is not `shared`, each call gives another
    store. The store may be used by many tests, and by others: every test has names of its own.

    Tests are skipped by declared capability only. What is not declared is asserted absent: expiry
    is `Unsupported`, another backend sees nothing, a reopened store is empty. To leave out what
    moves much data: `pytest -k "not heavy"`. A backend whose clock can be set overrides the
    fixture `clocked` too.
    """
