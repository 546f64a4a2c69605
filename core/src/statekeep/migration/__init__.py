"""Moves state between stores and files: copy, compare, follow, export, import, archive.

    from statekeep import migration

    migration.copy(old.backend, new.backend)
    assert not list(migration.compare(old.backend, new.backend))

Everything works over the contract of `statekeep.Backend`, so between any two backends. Open the
storages without a cache.
"""

from statekeep.migration.archiving import ARCHIVED, Archived, delete_exported
from statekeep.migration.blocks import DamagedFile
from statekeep.migration.checkpoint import Checkpoint, Pair
from statekeep.migration.comparing import Comparison, compare
from statekeep.migration.copying import copy
from statekeep.migration.differences import Difference
from statekeep.migration.exporting import export
from statekeep.migration.files import ExportFile
from statekeep.migration.following import follow
from statekeep.migration.format import Header
from statekeep.migration.importing import check_file, import_
from statekeep.migration.progress import Count, Progress, Tally, Watch
from statekeep.migration.selection import EVERYTHING, Selection, SetMembers
from statekeep.migration.writing import OnConflict, TargetConflict

__all__ = [
    "ARCHIVED",
    "EVERYTHING",
    "Archived",
    "Checkpoint",
    "Comparison",
    "Count",
    "DamagedFile",
    "Difference",
    "ExportFile",
    "Header",
    "OnConflict",
    "Pair",
    "Progress",
    "Selection",
    "SetMembers",
    "Tally",
    "TargetConflict",
    "Watch",
    "check_file",
    "compare",
    "copy",
    "delete_exported",
    "export",
    "follow",
    "import_",
]
