"""Files that are whole or not there at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of `path` at the end of the block.

    It is on the disk by then. Where the block ends by an error, nothing is left of it. Only its
    owner can read it.
    """
    with _written(path, Path.replace) as file:
        yield file


@contextmanager
def creating(path: Path) -> Iterator[IO[bytes]]:
    """The same, for a name that nothing has: neither before nor at the end.

    Raises:
        FileExistsError: something has it by the end, and stays as it is.
    """
    with _written(path, _name) as file:
        yield file


def _name(file: Path, path: Path) -> None:
    """Gives a file a name that must be free."""
    try:
        os.link(file, path)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise FileExistsError(error.errno, error.strerror, str(path)) from error
        # A file system without hard links: the name is taken first, so that only one takes it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        file.replace(path)
    else:
        file.unlink()


@contextmanager
def _written(path: Path, finish: Callable[[Path, Path], object]) -> Iterator[IO[bytes]]:
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            finish(Path(file.name), path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
