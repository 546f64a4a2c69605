"""On what kind of file system a folder is, where the system says so (Linux)."""

from __future__ import annotations

import re
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
"""https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html"""

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "virtiofs", "ocfs2", "gfs2"}
)
"""Shared by several machines, or without the locks and the shared memory of a local one."""

PASSING = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
"""In memory, or the upper layer of a container."""

ESCAPED = re.compile(r"\\([0-7]{3})")


def kind(folder: Path, table: Path = TABLE) -> str | None:
    """The type of the file system that a folder is on, such as `ext4`; None where nobody says."""
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return None
    found: tuple[int, str] | None = None
    place = folder.resolve()
    for line in lines:
        before, _, behind = line.partition(" - ")
        point = Path(ESCAPED.sub(lambda match: chr(int(match[1], 8)), before.split()[4]))
        depth = len(point.parts)
        # The last of several at one place lies over the others.
        if place.is_relative_to(point) and (found is None or depth >= found[0]):
            found = (depth, behind.split()[0])
    return None if found is None else found[1]
