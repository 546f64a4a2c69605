"""Conditional puts of a batch share calls of a script, and each comes to what it alone would."""

from __future__ import annotations

import random
from datetime import timedelta

from statekeep import (
    Add,
    Check,
    Committed,
    Conflict,
    CorruptValue,
    Delete,
    Failed,
    Operation,
    Outcome,
    Put,
    Storage,
    Transaction,
    Unavailable,
)
from statekeep_redis import updates

from tests.redis.conftest import Open
from tests.servers.redis import RedisProcess


def commit(storage: Storage, *operations: Operation | tuple[Operation, ...]) -> list[Outcome]:
    """One commit of several transactions."""
    return storage.backend.commit(
        [Transaction(each if isinstance(each, tuple) else (each,)) for each in operations]
    )


def calls(server: RedisProcess) -> int:
    """How many scripts the server ran so far."""
    stats = server.command("INFO", "commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def test_updates_share_a_call(server: RedisProcess, opened: Open, prefix: str) -> None:
    """A hundred of them, with conflicts and absent keys among them, are one call."""
    storage = opened(server, prefix=prefix)
    versions = storage.values.put_many({f"k{n}": b"0" for n in range(100)})
    puts = [Put(f"k{n}", b"1", versions[f"k{n}"] + (n % 10 == 3)) for n in range(100)]
    commit(storage, Put("x", b"", 1), Put("y", b"", 1))  # now the server knows the script
    before = calls(server)
    outcomes = commit(storage, *puts, Put("absent", b"1", 7))
    assert calls(server) - before == 1
    for n, outcome in enumerate(outcomes[:100]):
        key, version = f"k{n}", versions[f"k{n}"]
        conflict, committed = Conflict({key: version}), Committed({key: version + 1})
        assert outcome == (conflict if n % 10 == 3 else committed)
    assert outcomes[100] == Conflict({"absent": 0})
    found = storage.values.get_many([f"k{n}" for n in range(100)])
    assert all(found[f"k{n}"].value == (b"0" if n % 10 == 3 else b"1") for n in range(100))


def test_a_batch_comes_to_what_its_transactions_come_to_alone(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """Whatever is mixed in it, in any order, several times on one key."""
    together, alone = opened(server, prefix=prefix + "a:"), opened(server, prefix=prefix + "b:")
    keys = [f"k{n}" for n in range(12)]
    for seed in range(40):
        chance = random.Random(seed)
        for storage in (together, alone):
            for n, key in enumerate(keys):
                storage.values.delete(key)
                if n % 3:
                    storage.values.put(key, b"0", ttl=timedelta(hours=1) if n % 5 == 0 else None)
        first, second = (storage.values.get_many(keys) for storage in (together, alone))
        shapes = [_shape(chance, keys) for _ in range(chance.randrange(2, 20))]
        batch = [_operation(shape, {k: e.version for k, e in first.items()}) for shape in shapes]
        single = [_operation(shape, {k: e.version for k, e in second.items()}) for shape in shapes]
        outcomes = commit(together, *batch)
        one_by_one = [commit(alone, operation)[0] for operation in single]
        assert [type(each) for each in outcomes] == [type(each) for each in one_by_one], seed
        for key in keys:
            a, b = together.values.get(key), alone.values.get(key)
            assert (a and a.value) == (b and b.value), (seed, key)
            if a is not None and b is not None and key in first and a.expires is None:
                assert a.version - first[key].version == b.version - second[key].version or (
                    any(isinstance(each, Delete) for each in batch)
                )


def _shape(chance: random.Random, keys: list[str]) -> tuple[str, str, int, bytes]:
    kind = chance.choice(["put"] * 8 + ["delete", "check", "add", "any", "ttl"])
    off = chance.choice((0, 0, 0, 0, 1, -5))
    return kind, chance.choice(keys), off, b"%d" % chance.getrandbits(30)


def _operation(shape: tuple[str, str, int, bytes], versions: dict[str, int]) -> Operation:
    kind, key, off, value = shape
    expected = max(0, versions.get(key, 0) + off)
    if kind == "delete":
        return Delete(key, expected)
    if kind == "check":
        return Check(key, expected)
    if kind == "add":
        return Add(key, (value,))
    if kind == "any":
        return Put(key, value)
    return Put(key, value, expected, timedelta(hours=1) if kind == "ttl" else None)


def test_what_is_no_value_of_ours_fails_alone(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """Another program's keys among those to be updated: the others are written."""
    storage = opened(server, prefix=prefix)
    versions = storage.values.put_many(dict.fromkeys("abcd", b"0"))
    server.command("SET", prefix + "v:b", "short")
    server.command("DEL", prefix + "v:c")
    server.command("RPUSH", prefix + "v:c", "a list")
    outcomes = commit(storage, *(Put(key, b"1", versions[key]) for key in "abcd"))
    assert [type(each) for each in outcomes] == [Committed, Failed, Failed, Committed]
    assert all(isinstance(outcomes[n].error, CorruptValue) for n in (1, 2))  # type: ignore[union-attr]


def test_memory_that_is_full_fails_each(opened: Open) -> None:
    """`Unavailable` for each of them, nothing written, and it works again with room."""
    with RedisProcess() as server:
        storage = opened(server)
        versions = storage.values.put_many(dict.fromkeys("abcd", b"0"))
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.command("CONFIG", "SET", "maxmemory", "1")
        puts = [Put(key, b"1", versions[key]) for key in "abcd"]
        outcomes = commit(storage, *puts)
        assert all(
            isinstance(each, Failed) and isinstance(each.error, Unavailable) for each in outcomes
        )
        server.command("CONFIG", "SET", "maxmemory", "0")
        assert all(isinstance(each, Committed) for each in commit(storage, *puts))


def test_versions_beyond_half_of_their_bits(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """The carry from the lower half to the upper one, as in the general script."""
    storage = opened(server, prefix=prefix)
    storage.values.put_many({"a": b"", "b": b""})
    low = (5 << 32) | 0xFFFFFFFF
    for key in "ab":
        server.command("SET", f"{prefix}v:{key}", low.to_bytes(8, "big") + bytes(8) + b"v")
    assert commit(storage, Put("a", b"1", low), Put("b", b"1", low)) == [
        Committed({"a": low + 1}),
        Committed({"b": low + 1}),
    ]


def test_portions_are_small() -> None:
    """The server is kept for a moment only, whatever the batch."""
    many = {n: Put(f"k{n}", b"x", 1) for n in range(300)}
    assert [len(each) for each in updates.portions(many)] == [128, 128, 44]
    large = {n: Put(f"k{n}", b"x" * 2**21, 1) for n in range(5)}
    assert [len(each) for each in updates.portions(large)] == [2, 2, 1]
    assert {n for each in updates.portions(many) for n in each} == set(many)
