from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import statekeep
from rich.console import Console
from statekeep import Storage

from examples.orders.display import Progress, display, print_report
from examples.orders.feed import Feed, remove_run
from examples.orders.generate import generate
from examples.orders.keys import Keys
from examples.orders.model import FINAL, Status, Stock
from examples.orders.source import InputError, read_orders
from examples.orders.supervisor import Supervisor, WorkerFailed
from examples.orders.verify import Report, expectations, verify
from examples.orders.worker import Worker

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "examples" / "orders" / "orders.csv"
HEADER = "id,customer,sku,quantity,price_cents,region\n"
KEYS = Keys("test")
LEASE = timedelta(seconds=10)


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.orders", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def figure(output: str, name: str) -> str:
    """The number that the table gives for a name."""
    found = re.search(rf"{re.escape(name)} +│ +(.+?) │", output)
    assert found, output
    return found[1]


def write_orders(path: Path, count: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        generate(file, count, seed=count)
    return path


# The run as a user sees it


def test_a_run_loses_and_doubles_nothing_while_its_workers_are_killed(tmp_path: Path) -> None:
    """The table of a short run with kills says what the input says."""
    source = write_orders(tmp_path / "orders.csv", 150)
    options = ("--workers", 2, "--kills", 5, "--stalls", 0, "--open", 25, "--lease", 0.8)
    process = start(source, *options, "--folder", tmp_path / "runs")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, ""), output
    expected = expectations(source).values()
    done, steps = sum(e.status == "done" for e in expected), sum(len(e.steps) for e in expected)
    assert 0 < done < 150
    assert figure(output, "orders") == "150 of 150"
    assert figure(output, "done") == f"{done} of {done}"
    assert figure(output, "cancelled, stock released") == f"{150 - done} of {150 - done}"
    assert figure(output, "steps applied exactly once") == f"{steps} of {steps}"
    assert figure(output, "lost or doubled") == "nothing"
    assert int(figure(output, "workers killed with SIGKILL")) >= 4
    assert list((tmp_path / "runs").iterdir()) == []


def test_an_interrupted_run_stops_cleanly_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """Ctrl-C leaves no process behind; the kept run finishes, exactly once, when named again."""
    source = write_orders(tmp_path / "orders.csv", 200)
    folder = tmp_path / "runs"
    options = (source, "--kills", 1, "--stalls", 0, "--folder", folder, "--run", "again")
    process = start(*options, "--open", 10, "--keep")
    assert process.stdout
    assert "200 orders; 3 workers" in process.stdout.readline()
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "")
    assert "stopped; all workers have ended" in output
    assert "--run again --keep" in output
    assert (
        str(folder)
        not in subprocess.run(["ps", "-eo", "args"], capture_output=True).stdout.decode()
    )

    process = start(*options)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, ""), output
    assert re.search(r"200 orders, \d+ of them in the store already", output)
    assert figure(output, "orders") == "200 of 200"


def test_a_wrong_input_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """The command names file and line, exits with 2, and leaves nothing behind."""
    source = tmp_path / "orders.csv"
    source.write_text(HEADER + "a,c,s,-1,5,eu\n")
    process = start(source, "--folder", tmp_path / "runs")
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (2, "")
    assert errors == f"{source}, line 2: quantity must be from 1 to 1000000000, got -1: mend it\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--workers", "0"), "must be a whole number from 1"),
        (("--lease", "0"), "must be seconds"),
        (("--run", "../x"), "use letters, digits"),
        (("--config", "nowhere.toml"), "nowhere.toml"),
        (("--config", '{"memory"}.json'), ".json"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path: Path, option: tuple[str, str], said: str) -> None:
    process = start(*option, "--folder", tmp_path / "runs")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert said in errors
    assert "Traceback" not in errors


def test_a_backend_of_one_process_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "memory.json"
    config.write_text('{"storage": {"memory": {}}}')
    process = start("--config", config, "--folder", tmp_path / "runs")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "seen by one process only" in errors


def test_the_shipped_input_is_what_the_generator_writes() -> None:
    text = io.StringIO()
    generate(text)
    assert SHIPPED.read_text(encoding="utf-8") == text.getvalue()
    assert len(read_orders(SHIPPED)) == 4000
    assert SHIPPED.stat().st_size < 250_000


# Wrong inputs


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (HEADER.encode(), "there is no order after the header"),
        (b"id,customer,sku,price_cents,region\n", "line 1: the header has no 'quantity': add the"),
        (b"id;customer;sku;quantity;price_cents;region\n", "separate the columns by commas"),
        (HEADER.encode().replace(b"\n", b",id\n"), "line 1: column 'id' is there twice"),
        (HEADER.encode() + b"a,c,s,1,5,eu\n\na,c,s,1,5,eu\n", "line 4: id 'a' is also on line 2"),
        (HEADER.encode() + b"a,c,s,-3,5,eu\n", "line 2: quantity must be from 1"),
        (
            HEADER.encode() + b"a,c,s,two,5,eu\n",
            "2: quantity must be a whole number, got 'two'",
        ),
        (HEADER.encode() + b"a,c,s,1,9.5,eu\n", "price_cents must be a whole number, got '9.5'"),
        (HEADER.encode() + b"a,c,s,1,,eu\n", "price_cents must be a whole number, got ''"),
        (HEADER.encode() + b",c,s,1,5,eu\n", "line 2: id is empty: fill it in"),
        (HEADER.encode() + b"a\0,c,s,1,5,eu\n", "must be at most 100 printable characters"),
        (HEADER.encode() + b"a,c,s,1,5\n", "line 2: has 5 fields where the header has 6"),
        (HEADER.encode() + b'a,"c,s,1,5,eu\n', "line 2: is not CSV"),
        (HEADER.encode() + b"a,c,s,1,5,\xe9u\n", "line 2: is not UTF-8 (byte 0xe9)"),
    ],
)
def test_each_wrong_input_is_named_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_orders(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file: check the path"):
        read_orders(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_orders(tmp_path)


def test_all_problems_are_named_at_once_up_to_ten(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(HEADER + "".join(f"o{n},c,s,x,5,eu\n" for n in range(14)))
    with pytest.raises(InputError) as caught:
        read_orders(path)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[:10]] == [
        f"{path}, line {n}" for n in range(2, 12)
    ]
    assert lines[10:] == ["... and 4 more problems"]


def test_other_columns_blank_lines_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("\ufeffnote," + HEADER + '"a ""note"", long",o1, c,s,1,5,eu\n\n', "utf-8")
    (order,) = read_orders(path)
    assert (order.id, order.customer) == ("o1", "c")
    assert list(expectations(path)) == ["o1"]


# The verifier


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an input and the store of its finished run."""
    folder = tmp_path_factory.mktemp("finished")
    source = write_orders(folder / "orders.csv", 100)
    with statekeep.open({"sqlite": {"path": str(folder / "orders.db")}}) as storage:
        feed = Feed(storage, KEYS, read_orders(source), limit=1000)
        feed.prepare()
        feed.top_up(0)
        worker = Worker(storage, KEYS, "w", LEASE)
        while len(list(storage.deferred.scan(KEYS.timers))):
            worker.work()
    return folder


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Iterator[Storage]:
    """A copy of the finished store, to be tampered with."""
    for file in finished.glob("orders.db*"):
        shutil.copy(file, tmp_path)
    with statekeep.open({"sqlite": {"path": str(tmp_path / "orders.db")}}) as storage:
        yield storage


def check(storage: Storage, finished: Path) -> Report:
    return verify(storage, KEYS, finished / "orders.csv")


def edit(storage: Storage, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    def function(value: bytes | None) -> bytes:
        content = json.loads(value or b"")
        change(content)
        return json.dumps(content).encode()

    storage.values.update(key, function)


def test_a_finished_store_has_no_differences(finished: Path, store: Storage) -> None:
    report = check(store, finished)
    assert report.problems == []
    for tally in (report.orders, report.done, report.cancelled, report.steps, report.paid_cents):
        assert tally.found == tally.expected > 0


def tamper_effect(store: Storage) -> None:
    store.values.delete(KEYS.effect("o00001", "ship"))


def tamper_extra_effect(store: Storage) -> None:
    store.values.put(KEYS.effect("o00001", "release"), b"{}")


def tamper_history(store: Storage) -> None:
    edit(store, KEYS.order("o00001"), lambda state: state["history"].append(state["history"][-1]))


def tamper_status(store: Storage) -> None:
    edit(store, KEYS.order("o00001"), lambda state: state.update(status="paid"))


def tamper_money(store: Storage) -> None:
    edit(store, KEYS.order("o00001"), lambda state: state.update(paid_cents=1))


def tamper_facts(store: Storage) -> None:
    edit(store, KEYS.order("o00001"), lambda state: state["order"].update(customer="me"))


def tamper_state(store: Storage) -> None:
    store.values.delete(KEYS.order("o00001"))


def tamper_bytes(store: Storage) -> None:
    store.values.put(KEYS.order("o00001"), b"[1]")


def tamper_stock(store: Storage) -> None:
    ((key, entry), *_) = store.values.scan(KEYS.stock(""))
    stock = Stock.decode(entry.value)
    store.values.put(key, Stock(stock.available - 1, 1, stock.shipped).encode())


def tamper_tag(store: Storage) -> None:
    store.sets.remove(KEYS.status(Status.DONE), b"o00001")


def tamper_double_tag(store: Storage) -> None:
    store.sets.add(KEYS.status(Status.CANCELLED), b"o00001")


def tamper_region(store: Storage) -> None:
    store.sets.add(KEYS.unshipped("emea"), b"o00001")


def tamper_timer(store: Storage) -> None:
    store.deferred.schedule(KEYS.timers, "o00001", due=timedelta(days=1))


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (tamper_effect, "effect/o00001/ship: is missing"),
        (tamper_extra_effect, "effect/o00001/release: should not be there"),
        (tamper_history, "order o00001: history should be [["),
        (tamper_status, "order o00001: status should be done, is paid"),
        (tamper_money, "order o00001: paid_cents should be "),
        (tamper_facts, "order o00001: order should be {'id': 'o00001'"),
        (tamper_state, "order/o00001: is missing"),
        (tamper_bytes, "order/o00001: should be a JSON object, is b'[1]'"),
        (tamper_stock, "'reserved': 0, 'shipped'"),
        (tamper_tag, "tag status/done: order o00001 is missing"),
        (tamper_double_tag, "tag status/cancelled: order o00001 should not be there"),
        (tamper_region, "tag open/emea: order o00001 should not be there"),
        (tamper_timer, "timer of order o00001: should have been acknowledged"),
    ],
)
def test_the_verifier_names_each_thing_that_was_tampered_with(
    finished: Path, store: Storage, tamper: Callable[[Storage], None], said: str
) -> None:
    tamper(store)
    report = check(store, finished)
    assert len(report.problems) == 1
    assert said in report.problems[0]
    if tamper in (tamper_effect, tamper_history):
        assert report.steps.found == report.steps.expected - 1


def test_a_difference_fails_the_command_which_keeps_the_data(
    finished: Path, store: Storage, tmp_path: Path
) -> None:
    """Exit code 1, the difference printed, and the data named."""
    tamper_effect(store)
    store.close()
    source, folder = finished / "orders.csv", tmp_path / "runs"
    config = f"sqlite:///{tmp_path}/orders.db"
    process = start(source, "--config", config, "--run", KEYS.run, "--folder", folder)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (1, "")
    assert "DIFFERENCE effect/o00001/ship: is missing" in output
    assert figure(output, "lost or doubled") == "1 differences"
    assert f"kept in {config}" in output


def test_removing_a_run_leaves_nothing_of_it_and_all_of_others(store: Storage) -> None:
    other = Keys("other")
    store.values.put(other.order("x"), b"")
    store.sets.add(other.status(Status.NEW), b"x")
    remove_run(store, KEYS)
    assert [key for key, _ in store.values.scan()] == [other.order("x")]
    assert list(store.sets.scan()) == [other.status(Status.NEW)]


# The parts


def test_a_worker_that_outslept_its_lease_changes_nothing(tmp_path: Path) -> None:
    """Its steps are refused and counted; those of the worker that got its orders stand."""
    source = write_orders(tmp_path / "orders.csv", 8)
    with statekeep.open({"sqlite": {"path": str(tmp_path / "orders.db")}}) as storage:
        feed = Feed(storage, KEYS, read_orders(source), limit=100)
        feed.prepare()
        feed.top_up(0)
        sleeper = Worker(storage, KEYS, "sleeper", timedelta(seconds=0.25), stall_after=1)
        thread = threading.Thread(target=sleeper.work)
        thread.start()
        time.sleep(0.3)
        other = Worker(storage, KEYS, "other", LEASE)
        assert other.work() == 8
        thread.join()
        entry = storage.values.get(KEYS.fenced)
        assert entry and entry.value == b"8"
        while len(storage.sets.members(KEYS.status(Status.DONE))) < 7 and other.work() >= 0:
            pass
        while list(storage.deferred.scan(KEYS.timers)):
            other.work()
        report = verify(storage, KEYS, source)
    assert report.problems == []
    assert (report.redelivered, report.fenced) == (8, 8)


def test_a_worker_that_ends_by_itself_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    arguments = ["--config", "nowhere.toml", "--run", "x", "--lease", "2"]
    team = Supervisor(arguments, 1, tmp_path / "log", random.Random(1))
    with team, pytest.raises(WorkerFailed, match=r"nowhere\.toml"):
        while True:
            time.sleep(0.05)
            team.check()


def test_a_run_is_not_resumed_with_another_input(finished: Path, store: Storage) -> None:
    orders = read_orders(finished / "orders.csv")[1:]
    with pytest.raises(InputError, match="begun with another input"):
        Feed(store, KEYS, orders, limit=10).prepare()


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_live_or_in_plain_lines(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    counts = {status: 3 if status in FINAL else 1 for status in Status}
    progress = Progress(total=20, counts=counts, steps=50, kills=2, seconds=5.0)
    with display(console) as show:
        show(progress)
        show(progress)
    assert out.getvalue().count("6 of 20 orders finished, 10 steps/s, 2 kills") >= 1
    assert ("retrying" in out.getvalue()) is terminal
    print_report(console, Report(problems=[f"p{n}" for n in range(25)]), progress)
    assert "... and 5 more" in out.getvalue()


def test_a_worker_whose_supervisor_is_gone_ends(tmp_path: Path) -> None:
    """A killed supervisor leaves no workers that run for ever."""
    source = write_orders(tmp_path / "orders.csv", 200)
    folder = tmp_path / "runs"
    process = start(source, "--kills", 0, "--open", 5, "--folder", folder, "--run", "orphan")
    deadline = time.monotonic() + 15
    while len(workers_of(folder)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    while workers_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers_of(folder) == []


def workers_of(folder: Path) -> list[str]:
    """The command lines of the workers that a run in this folder has now."""
    if Path("/proc/self/cmdline").exists():
        lines = [_command(entry) for entry in Path("/proc").glob("[0-9]*")]
    else:
        ps = subprocess.run(["ps", "-Awwo", "args"], capture_output=True, text=True, check=True)
        lines = ps.stdout.splitlines()
    return [line for line in lines if "orders.worker" in line and str(folder) in line]


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has ended
        return ""
