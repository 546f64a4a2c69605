"""Reads the input, and says of everything that is wrong with it where it is and how to mend it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

COLUMNS = ("id", "customer", "sku", "quantity", "price_cents", "region")
SHOWN = 10
"""At most so many problems are listed; a wrong delimiter would otherwise list every line."""
LONGEST_TEXT = 100
LARGEST_NUMBER = 10**9


@frozen
class Order:
    """One line of the input."""

    id: str
    customer: str
    sku: str
    quantity: int
    price_cents: int
    region: str


class InputError(Exception):
    """The input cannot be used; each line of the message is one problem."""


def read_orders(path: Path) -> list[Order]:
    """All orders of a CSV file.

    Raises:
        InputError: naming file and line of every problem, and how to mend it.
    """
    table = _table(path)
    header_line, header = next(table, (1, []))
    if not header:
        raise InputError(f"{path}: the file is empty: its first line must be {','.join(COLUMNS)}")
    places = _places(path, header_line, header)
    orders: dict[str, tuple[int, Order]] = {}
    problems: list[str] = []
    for line, row in table:
        try:
            order = _order(row, places, len(header))
            if order.id in orders:
                raise ValueError(
                    f"id {order.id!r} is also on line {orders[order.id][0]}: give each order an id "
                    "of its own, or remove one of the two lines"
                )
            orders[order.id] = (line, order)
        except ValueError as error:
            problems.append(f"{path}, line {line}: {error}")
    if problems:
        more = [f"... and {len(problems) - SHOWN} more problems"] if len(problems) > SHOWN else []
        raise InputError("\n".join(problems[:SHOWN] + more))
    if not orders:
        raise InputError(f"{path}: there is no order after the header: add at least one line")
    return [order for _, order in orders.values()]


def _table(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its line."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder: name a CSV file in it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: is not UTF-8 (byte 0x{data[error.start]:02x}): save the file "
            'with the encoding "UTF-8"'
        ) from None
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    while True:
        first = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path}, line {first}: is not CSV ({error}): look for a quotation mark that is "
                "not closed, or not doubled"
            ) from None
        if any(cell.strip() for cell in row):
            yield first, row


def _places(path: Path, line: int, header: Sequence[str]) -> dict[str, int]:
    """Where each column is; columns that we do not need are ignored."""
    names = [name.strip() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        hint = "add the column" if len(missing) == 1 else "add the columns"
        if len(names) == 1 and re.search(r"[;\t|]", names[0]):
            hint = "separate the columns by commas"
        raise InputError(
            f"{path}, line {line}: the header has no {', '.join(map(repr, missing))}: {hint} "
            f"(the header is {','.join(COLUMNS)})"
        )
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}, line {line}: column {twice[0]!r} is there twice: remove one")
    return {name: names.index(name) for name in COLUMNS}


def _order(row: Sequence[str], places: dict[str, int], width: int) -> Order:
    if len(row) != width:
        raise ValueError(
            f"has {len(row)} fields where the header has {width}: put a text that contains a "
            "comma in quotation marks, or add what is missing"
        )
    cells = {name: row[place].strip() for name, place in places.items()}
    return Order(
        id=_text("id", cells["id"]),
        customer=_text("customer", cells["customer"]),
        sku=_text("sku", cells["sku"]),
        quantity=_number("quantity", cells["quantity"], least=1),
        price_cents=_number("price_cents", cells["price_cents"], least=0),
        region=_text("region", cells["region"]),
    )


def _text(column: str, cell: str) -> str:
    if not cell:
        raise ValueError(f"{column} is empty: fill it in")
    if len(cell) > LONGEST_TEXT or not cell.isprintable():
        raise ValueError(
            f"{column} {cell[:20]!r} must be at most {LONGEST_TEXT} printable characters: shorten "
            "or retype it"
        )
    return cell


def _number(column: str, cell: str, *, least: int) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", cell):
        raise ValueError(
            f"{column} must be a whole number, got {cell[:20]!r}: write digits only, such as 12"
        )
    if not least <= int(cell) <= LARGEST_NUMBER:
        raise ValueError(f"{column} must be from {least} to {LARGEST_NUMBER}, got {cell}: mend it")
    return int(cell)
