"""The kit on a sound backend of each kind and on every defective one; run by test_teeth.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from statekeep.backend import Backend
from statekeep.testing import BackendConformance
from statekeep.testing.starting import StartingTests
from statekeep.testing.support import Clocked, Opener
from statekeep_memory.backend import MemoryBackend

sys.path.insert(0, str(Path(__file__).parent))

import filestore
import planted
import posting  # adds its defects to those


def in_memory(kind: Callable[..., Backend]) -> dict[str, Any]:
    """The fixtures of a class that tests a backend in memory."""

    @pytest.fixture
    def opener(self: object) -> Opener:
        return kind

    @pytest.fixture
    def clocked(self: object) -> Clocked:
        return kind

    return {"opener": opener, "clocked": clocked}


def in_file(kind: Any) -> dict[str, Any]:
    """The fixtures of a class that tests a backend in a file."""

    @pytest.fixture
    def opener(self: object, tmp_path: Path) -> Opener:
        return filestore.opener(kind, tmp_path / "state")

    return {"opener": opener}


# A failing example is not made small here: nobody reads it.
settings.register_profile("teeth", phases=[Phase.generate])
settings.load_profile("teeth")


def topic_of(test: str) -> type:
    """The part of the kit that holds a test: collecting the whole for each defect takes long."""
    return next(part for part in BackendConformance.__mro__ if test in vars(part))


DEFECTIVE = {"patience": 2.0}

TestSoundMemory = type("TestSoundMemory", (BackendConformance,), in_memory(MemoryBackend))
TestSoundFile = type(
    "TestSoundFile",
    (BackendConformance,),
    in_file(filestore.FileBackend) | {"stateful_examples": 10, "crashes": 3},
)
TestSoundPosting = type("TestSoundPosting", (StartingTests,), in_memory(posting.Posting))
for _name, (_kind, _test) in planted.DEFECTS.items():
    _parts = in_memory(_kind) | DEFECTIVE
    globals()[f"Test{_name}"] = type(f"Test{_name}", (topic_of(_test),), _parts)
for _name, (_kind, _test) in filestore.DEFECTS.items():
    _parts = in_file(_kind) | {"patience": 10.0}
    globals()[f"Test{_name}"] = type(f"Test{_name}", (topic_of(_test),), _parts)
