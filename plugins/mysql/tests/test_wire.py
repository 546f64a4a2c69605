"""Messages as bytes, and what differs between the two servers, without either."""

from __future__ import annotations

import socket
import threading
from decimal import Decimal
from typing import Any

import pytest
from statekeep_mysql import dialect, wire
from statekeep_mysql.schema import COLUMNS, _column


def lenenc(data: bytes | None) -> bytes:
    """A value of a row."""
    if data is None:
        return b"\xfb"
    size = len(data)
    if size < 251:
        return bytes((size,)) + data
    if size < 2**16:
        return b"\xfc" + size.to_bytes(2, "little") + data
    if size < 2**24:
        return b"\xfd" + size.to_bytes(3, "little") + data
    return b"\xfe" + size.to_bytes(8, "little") + data


@pytest.mark.parametrize("size", [0, 1, 250, 251, 65_535, 65_536, 2**24 - 1, 2**24])
def test_rows_of_any_size(size: int) -> None:
    """Each form of a length, beside a null and a number."""
    value = b"\xff" * size
    row = lenenc(value) + lenenc(None) + lenenc(b"-42") + lenenc("é".encode()) + lenenc(b"")
    found = wire.row(b"before" + row, 6, [None, int, int, bytes.decode, None])
    assert found == (value, None, -42, "é", b"")


@pytest.mark.parametrize("size", [0, 100, wire.MOST - 2, wire.MOST - 1, wire.MOST, 2 * wire.MOST])
def test_a_query_of_any_size_is_cut_into_packets(size: int) -> None:
    """One that ends with a packet is followed by an empty one."""
    sent = wire.query("x" * size)
    parts: list[bytes] = []
    while True:
        length, number = int.from_bytes(sent[:3], "little"), sent[3]
        assert number == len(parts)
        parts.append(sent[4 : 4 + length])
        sent = sent[4 + length :]
        if length < wire.MOST:
            break
    assert sent == b""
    assert b"".join(parts) == b"\x03" + b"x" * size


def test_what_answers_say() -> None:
    """Counts, whether more follows, errors with and without a state."""
    assert wire.ok(b"\x00\x05\x00\x0a\x00\x00\x00") == (5, True)
    assert wire.ok(b"\x00\xfc\x10\x27\x00\x02\x00\x00\x00") == (10_000, False)
    assert wire.more_results(b"\xfe\x00\x00\x08\x00")
    assert not wire.more_results(b"\xfe\x00\x00\x22\x00")
    assert wire.error(b"\xff\x26\x04#42000no") == (1062, "no")
    assert wire.error(b"\xff\x10\x04Too many") == (1040, "Too many")


@pytest.mark.parametrize(
    ("kind", "charset", "data", "value"),
    [(8, 63, b"12", 12), (3, 63, b"-1", -1), (246, 63, b"1.50", Decimal("1.50")),
     (5, 63, b"0.5", 0.5), (252, 63, b"\xff", b"\xff"), (253, 45, "é".encode(), "é")],
)  # fmt: skip
def test_columns_by_type(kind: int, charset: int, data: bytes, value: object) -> None:
    """Numbers, bytes, texts."""
    end = b"\x0c" + charset.to_bytes(2, "little") + bytes(4) + bytes((kind,)) + bytes(5)
    decode = wire.decoder(b"\x03def" + end)
    assert (data if decode is None else decode(data)) == value


def test_an_answer_in_the_smallest_pieces() -> None:
    """Byte by byte over a socket: two results, a row in two packets, an error behind them."""
    from statekeep_mysql.driver import Connection
    from statekeep_mysql.failures import ServerRefused

    def packet(data: bytes) -> bytes:
        return len(data).to_bytes(3, "little") + b"\0" + data

    column = b"\x03def" + b"\x0c\x3f\x00" + bytes(4) + b"\xfc" + bytes(5)
    answer = b"".join((
        packet(b"\x00\x01\x00\x0a\x00\x00\x00"), packet(b"\x01"), packet(column),
        packet(b"\xfe\x00\x00\x0a\x00"), packet(lenenc(b"one")), packet(lenenc(None)),
        packet(b"\xfe\x00\x00\x0a\x00"), packet(b"\xff\xbd\x04#40001deadlock"),
    ))  # fmt: skip
    ours, theirs = socket.socketpair()
    with theirs:

        class Core:
            server_version = "10.11.1-MariaDB"
            _sock = ours
            _rfile: Any = ours.makefile("rb")

        def answer_slowly() -> None:
            theirs.recv(1000)
            for byte in answer:
                theirs.sendall(bytes((byte,)))

        thread = threading.Thread(target=answer_slowly)
        thread.start()
        connection = Connection(Core(), "there", "app", 5.0)
        connection.timeout(5.0)
        results: list[Any] = []
        connection.socket.sendall(wire.query("SELECT 1"))
        with pytest.raises(ServerRefused, match="deadlock") as caught:
            connection._receive(results)
        assert caught.value.code == 1213
        assert [result.rows for result in results] == [(), [(b"one",), (None,)]]
        thread.join()
        connection.abandon()


GREETINGS = {
    "5.5.5-10.11.6-MariaDB-0+deb12u1": (True, None),
    "11.4.2-MariaDB-ubu2404": (True, None),
    "10.5.23-MariaDB": (True, "needs"),
    "8.0.36": (False, None),
    "8.4.0-0ubuntu": (False, None),
    "5.7.44-log": (False, "needs"),
    "what is this": (False, "needs"),
}


@pytest.mark.parametrize("greeting", GREETINGS)
def test_servers_by_their_greeting(greeting: str) -> None:
    """Which of the two it is, and whether it is new enough."""
    mariadb, problem = GREETINGS[greeting]
    assert dialect.is_mariadb(greeting) is mariadb
    assert (dialect.too_old(greeting) is None) is (problem is None)
    settings = ",".join(dialect.settings(greeting, 1500))
    assert ("max_statement_time=1.500" in settings) is mariadb
    assert ("max_execution_time=1500" in settings) is not mariadb


def test_columns_are_told_alike_by_both_servers() -> None:
    """MySQL 8 says no display widths, and STORED GENERATED in capitals."""
    assert _column("version", "bigint(20)", "NO", "") == COLUMNS["key_value"][1]
    assert _column("version", "bigint", "NO", "") == COLUMNS["key_value"][1]
    for extra in ("STORED GENERATED", "STORED GENERATED INVISIBLE"):
        assert _column("size", "int unsigned", "YES", extra) == COLUMNS["key_value"][3]
    assert (
        _column("size", b"int(10) unsigned".decode(), "YES", "STORED GENERATED")
        == (COLUMNS["key_value"][3])
    )
