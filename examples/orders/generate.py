"""Writes orders.csv: the same file every time, so that it can be checked in and compared.

python -m examples.orders.generate [ORDERS] > examples/orders/orders.csv
"""

from __future__ import annotations

import csv
import random
import sys
from typing import TextIO

from examples.orders.source import COLUMNS

ORDERS = 4000
CUSTOMERS = 900
SKUS = 60
REGIONS = ("apac", "emea", "latam", "noram")


def generate(out: TextIO, orders: int = ORDERS, seed: int = 20261123) -> None:
    """Writes `orders` orders as CSV; a seed always gives the same ones."""
    choose = random.Random(seed)
    prices = {f"sku-{number:02}": choose.randrange(199, 25000) for number in range(SKUS)}
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number in range(1, orders + 1):
        sku = choose.choice(list(prices))
        writer.writerow(
            (
                f"o{number:05}",
                f"c{choose.randrange(CUSTOMERS):03}",
                sku,
                choose.choices((1, 2, 3, 5, 10), weights=(50, 25, 12, 8, 5))[0],
                prices[sku],
                choose.choice(REGIONS),
            )
        )


if __name__ == "__main__":
    generate(sys.stdout, int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS)
