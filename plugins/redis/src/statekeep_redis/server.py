"""One server, or whichever one the Sentinels call the master: calls over its pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from statekeep.errors import AccessDenied, OutcomeUnknown, Unavailable
from statekeep.pending import Pending, Steps, begun
from statekeep.usage import PoolStats

from statekeep_redis.config import RedisConfig
from statekeep_redis.driver import Command, Link, Reply, ask_sentinel, connect, server_name
from statekeep_redis.failures import Broken, Refusal
from statekeep_redis.pool import Pool
from statekeep_redis.scripts import TEXTS

T = TypeVar("T")


class Server:
    """A server and its connections.

    Args:
        config: the options.
        open_link: opens one connection.
        name: what to call it in an error.
    """

    def __init__(self, config: RedisConfig, open_link: Callable[[], Link], name: str) -> None:
        self.pool: Pool[Link] = Pool(open_link, config.pool, config.timeout_seconds, name)

    def exchange(
        self, commands: Sequence[Command], write: bool, patience: float | None = None
    ) -> list[Reply]:
        """Sends commands in one go; the answers, a `Refusal` for each that was refused.

        What cannot have been applied is sent once more, over a new connection, where the one from
        the pool turned out to be dead.

        Raises:
            Unavailable: nothing was applied.
            OutcomeUnknown: a write was sent and its answer lost.
        """
        again = True
        while True:
            place = self.pool.acquire()
            link = place.link
            try:
                replies = link.exchange(commands, patience)
            except Broken as broken:
                retry = again and link.used and not broken.timed_out
                self.pool.discard(place)
                if not retry or (write and not broken.nothing_applied):
                    raise broken.as_error(write=write) from broken.cause
                again = False
                continue
            except BaseException:
                self.pool.discard(place, others=False)
                raise
            self.pool.release(place)
            return replies

    def start(self, steps: Callable[[Link], Steps[T]]) -> Pending[T] | None:
        """A call that is begun over an idle connection; None where none is ready, or will do.

        Raises:
            OutcomeUnknown: the connection broke while several writes were being sent.
        """
        place = self.pool.acquire_idle()
        if place is None:
            return None

        def give_back() -> None:
            if place.link.broken:
                self.pool.discard(place)
            else:
                self.pool.release(place)

        return begun(steps(place.link), give_back)

    def run(
        self, commands: Sequence[Command], write: bool, patience: float | None = None
    ) -> list[Reply]:
        """As `exchange`, with scripts that the server has forgotten sent whole.

        In a pipeline the first of each goes as text: so
        none of the later ones can run while an earlier one is unknown.
        """
        if len(commands) > 1:
            return self.exchange(_first_as_text(commands), write, patience)
        replies = self.exchange(commands, write, patience)
        if isinstance(replies[0], Refusal) and replies[0].code == "NOSCRIPT":
            return self.exchange([_as_text(commands[0])], write, patience)
        return replies


def _first_as_text(commands: Sequence[Command]) -> list[Command]:
    known: set[bytes] = set()
    prepared = []
    for command in commands:
        if command[0] == "EVALSHA" and command[1] not in known:
            known.add(command[1])
            command = _as_text(command)
        prepared.append(command)
    return prepared


def _as_text(command: Command) -> Command:
    return ("EVAL", TEXTS[command[1]], *command[2:])


class Single:
    """One place for all keys: a server by its address, or the Sentinels' master.

    Args:
        config: the options.
    """

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._sentinels = config.sentinel_addresses()
        if self._sentinels:
            self.name = f"the master {config.master_name!r} of the Sentinels"
            open_link = self._open_master
        else:
            address = config.unix_socket or (config.host or "", config.port)
            self.name = server_name(address)

            def open_link() -> Link:
                return connect(config, address)

        self._server = Server(config, open_link, self.name)

    def call(self, slot: int, command: Command, write: bool) -> Reply:
        """The answer to one command; raises where the server refuses it."""
        (reply,) = self._server.run((command,), write)
        if isinstance(reply, Refusal):
            self._notice(reply)
            raise reply.error
        return reply

    def start(self, steps: Callable[[Link], Steps[T]]) -> Pending[T] | None:
        """See `Server.start`."""
        return self._server.start(steps)

    def calls(
        self, commands: Sequence[tuple[int, Command]], write: bool, wait: bool = False
    ) -> list[Reply]:
        """The answers to several, in order; a `Refusal` for each that was refused."""
        plain = [command for _, command in commands]
        replies = self._server.run(plain, write) if not wait else self._waiting(plain)
        for reply in replies:
            if isinstance(reply, Refusal):
                self._notice(reply)
        return replies

    def _notice(self, refusal: Refusal) -> None:
        if refusal.code == "READONLY":
            self._server.pool.clear()  # it was demoted: the next connections ask the Sentinels

    def _waiting(self, commands: list[Command]) -> list[Reply]:
        return run_and_wait(self._server, self._config, commands)

    def _open_master(self) -> Link:
        unknown: list[str] = []
        for address in self._sentinels:
            try:
                master = ask_sentinel(self._config, address)
                if master is not None:
                    return connect(self._config, master, expect_master=True)
                unknown.append(f"{server_name(address)} does not know {self._config.master_name!r}")
            except AccessDenied:
                raise
            except Unavailable as error:
                unknown.append(str(error))
        raise Unavailable(
            f"redis: no Sentinel led to a master that answers: {'; '.join(unknown)}: check "
            "sentinels and master_name, or wait for the failover"
        )

    def servers(self) -> Iterator[tuple[str, Callable[[Command], Reply]]]:
        """The one server, as something to ask."""
        yield self.name, lambda command: self.call(0, command, write=False)

    def fill(self) -> None:
        """Opens the connections that are to be kept open."""
        self._server.pool.fill()

    def pool_stats(self) -> PoolStats:
        """See `Usage.pool`."""
        return self._server.pool.stats()

    def close(self) -> None:
        """Closes the connections."""
        self._server.pool.close()


def run_and_wait(server: Server, config: RedisConfig, commands: list[Command]) -> list[Reply]:
    """Writes, then waits for the replicas over the same connection, in one round trip.

    Raises:
        OutcomeUnknown: written, but too few replicas confirmed it in time.
    """
    wait = ("WAIT", config.wait_replicas, config.wait_timeout)
    patience = config.timeout_seconds + config.wait_timeout / 1000
    *replies, confirmed = server.run([*commands, wait], True, patience)
    if any(not isinstance(reply, Refusal) for reply in replies) and (
        isinstance(confirmed, Refusal) or confirmed < config.wait_replicas
    ):
        raise OutcomeUnknown(
            f"redis: written, but only {confirmed} of wait_replicas={config.wait_replicas} "
            f"replicas confirmed it within {config.wait_timeout} ms: a failover may lose it. Check "
            "the replicas"
        )
    return replies
