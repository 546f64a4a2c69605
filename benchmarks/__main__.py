"""python -m benchmarks [NAME ...] [--json FILE] [--markdown PAGE] [--quick] [--strict]."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from benchmarks import (
    caching,
    choosing,
    compression,
    embedded,
    envelope,
    importing,
    moving,
    mysql,
    peers,
    postgres,
    redis,
    report,
    scale,
    servers,
    watching,
)
from benchmarks.aio import stores as aio
from benchmarks.harness import QUICK, Benchmark, Plan, Result, Workshop, run
from benchmarks.plots import pages as plots

HERE = Path(__file__).parent
RESULTS = HERE / "results"

GROUPS: dict[str, dict[str, Benchmark]] = {
    "embedded": {
        "sqlite-get": embedded.sqlite_get,
        "sqlite-put": embedded.sqlite_put,
        "sqlite-transaction": embedded.sqlite_transaction,
        "memory": embedded.memory,
    },
    "scale": {"memory-scale": scale.memory_scale, "sqlite-scale": scale.sqlite_scale},
    "peers": {
        "key-value-memory": peers.key_value_memory,
        "key-value-disk": peers.key_value_disk,
        "diskcache": peers.disk_cache,
    },
    "envelope": {
        "envelope-cost": envelope.envelope_cost,
        "layers": envelope.layers,
        "compressors": envelope.compressors,
    },
    "postgres": {
        "postgres-bare": postgres.postgres_bare,
        "postgres-threads": postgres.postgres_threads,
        "postgres-peers": postgres.postgres_peers,
        "postgres-scale": postgres.postgres_scale,
        "postgres-claims": postgres.postgres_claims,
    },
    "mysql": {
        "mysql-bare": mysql.mysql_bare,
        "mysql-async": mysql.mysql_async,
        "mysql-claims": mysql.mysql_claims,
    },
    "redis": {"redis-bare": redis.redis_bare, "redis-key-value": redis.redis_key_value},
    "compression": {
        "compression-by-size": compression.by_size,
        "dictionaries": compression.dictionaries,
    },
    "caching": {
        "cached-get": caching.cached_get,
        "idle-layers": caching.idle_layers,
        "hit-rates": caching.hit_rates,
    },
    "servers": {
        "end-to-end": servers.end_to_end,
        "cached-over-servers": servers.cached_over_servers,
    },
    "aio": {
        "aio-redis": aio.redis_tasks,
        "aio-postgres": aio.postgres_tasks,
        "aio-mysql": aio.mysql_tasks,
        "aio-sqlite": aio.sqlite_tasks,
        "aio-memory": aio.memory_tasks,
    },
    "watching": {"watching": watching.watching},
    "choosing": {"choosing-latency": choosing.latency},
    "moving": {"moving": moving.moving},
    "importing": {"importing": importing.importing},
}
BENCHMARKS = {name: made for group in GROUPS.values() for name, made in group.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - {*GROUPS, *BENCHMARKS})
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    plan = QUICK if options.quick else Plan()
    start = time.perf_counter()
    results = list(_measured(_chosen(options.names), plan, console))
    content = report.document(results, quick=options.quick, seconds=time.perf_counter() - start)
    console.print(report.table(results))
    path = options.json or RESULTS / f"{datetime.now():%Y%m%d-%H%M%S}.json"
    report.write_json(path, content)
    if options.markdown:
        report.write_markdown(options.markdown, content, results)
        plots.write(options.markdown, content)
    missed = [result.name for result in results if result.met is False]
    console.print(f"{len(results)} comparisons, {len(missed)} bars missed; {path}", highlight=False)
    return 1 if missed and options.strict else 0


def _measured(names: Sequence[str], plan: Plan, console: Console) -> list[Result]:
    results: list[Result] = []
    # Beside this file rather than in /tmp, which may be memory: fsync must cost what it costs.
    RESULTS.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=RESULTS) as folder, console.status("") as status:
        for name in names:
            status.update(name)
            for result in run(name, BENCHMARKS[name], Workshop(Path(folder) / name, plan)):
                results.append(result)
                status.update(f"{name}: {result.name}")
    return results


def _chosen(names: Sequence[str]) -> list[str]:
    chosen: dict[str, None] = {}
    for name in names or GROUPS:
        chosen.update(dict.fromkeys(GROUPS.get(name, (name,))))
    return list(chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="What statekeep costs beside the alternatives."
    )
    known = [*GROUPS, *(name for name in BENCHMARKS if name not in GROUPS)]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--json", type=Path, help="the file to write; benchmarks/results/ without")
    parser.add_argument(
        "--markdown", type=Path, metavar="PAGE", help="writes table and plots into PAGE"
    )
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a bar is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
