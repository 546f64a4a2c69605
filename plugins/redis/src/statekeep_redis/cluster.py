"""A Cluster: which node serves which slot, and what to do when that changes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from statekeep import fork
from statekeep.errors import AccessDenied, Closed, StorageError, Unavailable
from statekeep.pending import Pending, Steps
from statekeep.usage import PoolStats, total

from statekeep_redis.config import RedisConfig
from statekeep_redis.driver import Address, Command, Link, Reply, connect, server_name
from statekeep_redis.failures import Refusal
from statekeep_redis.names import SLOTS
from statekeep_redis.server import Server, run_and_wait

AGAIN = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY")
"""Refusals after which a command is sent again, as the server applied nothing of it."""

FOLLOWED = 5
"""How many redirections are followed at once; then each after a pause."""

T = TypeVar("T")

PAUSES = 0.002, 0.05
"""The first and the longest pause between two tries, in seconds."""


class Cluster:
    """Sends each command to the node that serves its slot, and follows slots that move.

    Args:
        config: the options; `nodes` are where to begin.
    """

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._seeds = config.node_addresses()
        self.name = f"the Cluster of {', '.join(map(server_name, self._seeds))}"
        self._servers: dict[Address, Server] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self._failed: set[Address] = set()
        self._closed = False
        self._lock = threading.Lock()
        fork.register(self)

    def call(self, slot: int, command: Command, write: bool) -> Reply:
        """The answer to one command; raises where the servers refuse it."""
        (reply,) = self.calls([(slot, command)], write)
        if isinstance(reply, Refusal):
            raise reply.error
        return reply

    def calls(
        self, commands: Sequence[tuple[int, Command]], write: bool, wait: bool = False
    ) -> list[Reply]:
        """The answers to several, in order; one pipeline for each node.

        Commands that a moving slot refuses are sent again until the timeout.

        Raises:
            StorageError: nothing was applied by any node.
            OutcomeUnknown: of a write, where one node broke off.
        """
        replies: list[Reply] = [None] * len(commands)
        todo = list(range(len(commands)))
        asked: dict[int, Address] = {}
        deadline = time.monotonic() + self._config.timeout_seconds
        pause, longest = PAUSES
        tries = 0
        while True:
            for address, numbers in self._by_node(commands, todo, asked).items():
                self._send(address, commands, numbers, replies, asked, write, wait)
            todo = [n for n in todo if isinstance(replies[n], Refusal) and replies[n].code in AGAIN]
            if not todo or time.monotonic() > deadline:
                return replies
            asked = self._follow(commands, {n: replies[n] for n in todo})
            tries += 1
            if tries > FOLLOWED or any(replies[n].node is None for n in todo):
                time.sleep(pause)
                pause = min(2 * pause, longest)

    def start(self, steps: Callable[[Link], Steps[T]]) -> Pending[T] | None:
        """None: which node answers, and whether another one must, is found out in `calls`."""
        return None

    def _by_node(
        self, commands: Sequence[tuple[int, Command]], todo: list[int], asked: dict[int, Address]
    ) -> dict[Address, list[int]]:
        grouped: dict[Address, list[int]] = defaultdict(list)
        for number in todo:
            address = asked.get(number) or self._owner(commands[number][0])
            grouped[address].append(number)
        return grouped

    def _send(
        self,
        address: Address,
        commands: Sequence[tuple[int, Command]],
        numbers: list[int],
        replies: list[Reply],
        asked: dict[int, Address],
        write: bool,
        wait: bool,
    ) -> None:
        batch: list[Command] = []
        for number in numbers:
            if number in asked:
                batch.append(("ASKING",))
            batch.append(commands[number][1])
        server = self._server(address)
        try:
            if wait:
                answers = run_and_wait(server, self._config, batch)
            else:
                answers = server.run(batch, write)
        except Unavailable as error:
            self._forget(address)
            if not write:
                raise
            for number in numbers:  # the other nodes' share goes on
                replies[number] = Refusal("UNREACHABLE", error)
            return
        except StorageError:
            self._forget(address)
            raise
        self._failed.discard(address)
        kept = iter(answers)
        for number in numbers:
            if number in asked:
                next(kept)
            replies[number] = next(kept)

    def _follow(
        self, commands: Sequence[tuple[int, Command]], refused: dict[int, Refusal]
    ) -> dict[int, Address]:
        """Learns from refusals; which commands to send where with ASKING."""
        asked: dict[int, Address] = {}
        reload = False
        for number, refusal in refused.items():
            if refusal.code == "ASK" and refusal.node is not None:
                asked[number] = refusal.node
            elif refusal.code == "MOVED" and refusal.node is not None:
                self._owners[commands[number][0]] = refusal.node
            elif refusal.code in ("CLUSTERDOWN", "MASTERDOWN", "READONLY"):
                reload = True
        if reload:
            self.refresh()
        return asked

    def _owner(self, slot: int) -> Address:
        address = self._owners[slot]
        if address is None:
            self.refresh()
            address = self._owners[slot]
        if address is None:
            raise Unavailable(
                f"redis: no node of {self.name} serves slot {slot}: check CLUSTER INFO"
            )
        return address

    def _forget(self, address: Address) -> None:
        """A node failed: its slots may be another's by now."""
        self._failed.add(address)
        for slot, owner in enumerate(self._owners):
            if owner == address:
                self._owners[slot] = None

    def refresh(self) -> None:
        """Reads the map of the slots from the first node that has one.

        Raises:
            Unavailable: none answers.
        """
        problems: list[str] = []
        known = dict.fromkeys((*self._servers, *self._seeds))
        for address in sorted(known, key=self._failed.__contains__):
            try:
                (reply,) = self._server(address).exchange((("CLUSTER", "SLOTS"),), write=False)
            except (AccessDenied, Closed):
                raise
            except StorageError as error:
                self._failed.add(address)
                problems.append(str(error))
                continue
            if isinstance(reply, Refusal):
                problems.append(str(reply.error))
            elif reply:
                self._learn(reply, address)
                return
            else:
                problems.append(f"{server_name(address)} knows of no slots")
        raise Unavailable(
            f"redis: no node of the Cluster answers: {'; '.join(problems)}: check nodes"
        )

    def _learn(self, ranges: Sequence[Sequence[Reply]], asked: Address) -> None:
        owners: list[Address | None] = [None] * SLOTS
        for first, last, master, *_ in ranges:
            host = (master[0] or b"").decode() or asked[0]
            owners[first : last + 1] = [(host, master[1])] * (last + 1 - first)
        self._owners = owners

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:
            with self._lock:
                if self._closed:
                    raise Closed("this redis storage is closed; open another one")

                def open_link() -> Link:
                    return connect(self._config, address)

                server = self._servers.get(address) or Server(
                    self._config, open_link, server_name(address)
                )
                self._servers[address] = server
        return server

    def servers(self) -> Iterator[tuple[str, Callable[[Command], Reply]]]:
        """Every master, as something to ask."""
        self.refresh()
        for address in sorted({owner for owner in self._owners if owner is not None}):

            def ask(command: Command, address: Address = address) -> Reply:
                (reply,) = self._server(address).exchange((command,), write=False)
                if isinstance(reply, Refusal):
                    raise reply.error
                return reply

            yield server_name(address), ask

    def fill(self) -> None:
        """Opens the connections that are to be kept open to each master."""
        if self._config.pool.min_idle:
            for address in {owner for owner in self._owners if owner is not None}:
                self._server(address).pool.fill()

    def pool_stats(self) -> PoolStats:
        """See `Usage.pool`: the sums over all nodes."""
        return total(server.pool.stats() for server in list(self._servers.values()))

    def close(self) -> None:
        """Closes the connections."""
        with self._lock:
            self._closed = True
        for server in list(self._servers.values()):
            server.pool.close()

    def after_fork(self) -> None:
        """A thread that the child does not have may have held the lock."""
        self._lock = threading.Lock()
