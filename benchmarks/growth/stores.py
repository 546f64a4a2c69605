"""Two storages of one kind: one that stays small, and one that grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import statekeep
from attrs import frozen
from statekeep import Storage

from benchmarks.machine import apart
from tests.servers.postgres import SAFE, PostgresProcess

Config: TypeAlias = dict[str, Any]


@frozen
class Pair:
    """Both storages.

    Attributes:
        few: stays small.
        many: grows.
        config: of `many`, for another process that opens it.
        settle: does what a database does by itself sooner or later, so that it is not done while
            something is measured.
    """

    few: Storage
    many: Storage
    config: Config
    settle: Callable[[], None]


Opened: TypeAlias = Callable[[Path], AbstractContextManager[Pair]]


@contextmanager
def sqlite(folder: Path) -> Iterator[Pair]:
    """Two files, with the options that a user gets who says nothing: every commit is on disk."""
    few, many = ({"sqlite": {"path": str(folder / f"{name}.db")}} for name in ("few", "many"))
    with statekeep.open(few) as small, statekeep.open(many) as large:
        yield Pair(small, large, many, lambda: None)


@contextmanager
def postgres(folder: Path) -> Iterator[Pair]:
    """Two schemas of one server, which waits for its disk and has 128 MB of buffers, the default.

    The server has its folder among the temporary files, as its user may not see ours.
    """
    with closing(PostgresProcess(SAFE | {"shared_buffers": "128MB"})) as server:
        host, port = server.address
        few, many = (
            {"postgres": {"host": host, "port": port, "schema": name}} for name in ("few", "many")
        )
        with (
            apart(server.pid),
            statekeep.open(few) as small,
            statekeep.open(many) as large,
        ):

            def settle() -> None:
                with psycopg.connect(
                    host=host, port=port, user="postgres", dbname="postgres", autocommit=True
                ) as client:
                    client.execute("VACUUM ANALYZE")  # of ten million rows it takes minutes
                    client.execute("CHECKPOINT")

            yield Pair(small, large, many, settle)


STORES: Mapping[str, Opened] = {"sqlite": sqlite, "postgres": postgres}
