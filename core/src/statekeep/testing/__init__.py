"""The conformance kit: some two hundred tests that any backend must pass.

    class TestMine(BackendConformance):
        @pytest.fixture
        def opener(self, tmp_path):
            return functools.partial(open_mine, tmp_path / "state")

Needs the extra `testing` (pytest and hypothesis).
"""

from __future__ import annotations

try:
    import hypothesis  # noqa: F401  # imported to say at once what is missing
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'statekeep.testing needs pytest and hypothesis: pip install "statekeep[testing]"',
        name=error.name,
    ) from error

# So that a failing `assert` in the kit shows its operands, as one in the author's own tests does.
# The package itself cannot be named: it is being imported already.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "batches",
            "claims",
            "conditions",
            "crash",
            "cursors",
            "expiry",
            "forks",
            "histories",
            "history",
            "interrupts",
            "keys",
            "leases",
            "lifecycle",
            "paging",
            "processes",
            "queues",
            "reads",
            "reference",
            "restore",
            "scans",
            "sets",
            "stateful",
            "threads",
            "transactions",
            "undo",
            "values",
            "versions",
        )
    )
)

from statekeep.testing.conformance import BackendConformance  # noqa: E402  # after the hook above
from statekeep.testing.history import Conflicted, Read, Written, check_history  # noqa: E402
from statekeep.testing.support import Opener, heavy  # noqa: E402

__all__ = [
    "BackendConformance",
    "Conflicted",
    "Opener",
    "Read",
    "Written",
    "check_history",
    "heavy",
]
