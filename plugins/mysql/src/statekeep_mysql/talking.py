"""Several requests over one connection, written once: for callers that wait and for event loops."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias, TypeVar

from attrs import frozen
from statekeep.pending import Steps

from statekeep_mysql.driver import Connection, Stopped
from statekeep_mysql.reading import Result

T = TypeVar("T")


@frozen(slots=True)
class Request:
    """What `Connection.run` takes; see there."""

    statements: Sequence[str]
    writes: bool = False
    guard: int | None = None
    resume: bool = False


Talk: TypeAlias = Generator[Request, list[Result], T]
"""Yields requests, gets their results, or `Stopped` by a guard, and returns the answer."""


def waited_for(connection: Connection, talk: Talk[T]) -> T:
    """Carries it out, and waits for each answer."""
    try:
        request = next(talk)
        while True:
            try:
                results = connection.run(
                    request.statements,
                    writes=request.writes,
                    guard=request.guard,
                    resume=request.resume,
                )
            except Stopped as stopped:
                request = talk.throw(stopped)
            else:
                request = talk.send(results)
    except StopIteration as end:
        answer: T = end.value
        return answer


def begun(connection: Connection, talk: Talk[T]) -> Steps[T]:
    """The same, as steps of which each waits for nothing."""
    try:
        request = next(talk)
        while True:
            found = yield connection.begin(
                request.statements,
                writes=request.writes,
                guard=request.guard,
                resume=request.resume,
            )
            request = talk.throw(found) if isinstance(found, Stopped) else talk.send(found)
    except StopIteration as end:
        answer: T = end.value
        return answer
