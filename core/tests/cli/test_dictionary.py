"""`dictionary train`: from stored values to a dictionary, and what it gains."""

from pathlib import Path

import pytest
import statekeep

pytest.importorskip("statekeep_zstd")


def state(number: int) -> bytes:
    return (
        b'{"workflow": "%032x", "status": "running", "step": "reserve-stock", "attempt": %d, '
        b'"customer": {"id": "customer/%d", "country": "GB"}, "paid": false}'
    ) % (number * 2**70 // 7, number % 5, number * 7919 % 99991)


@pytest.fixture
def filled() -> None:
    with statekeep.open("sqlite:///statekeep.db") as storage:
        storage.values.put_many({f"order/{number}": state(number) for number in range(600)})
        storage.values.put_many({f"noise/{number}": b"?" for number in range(10)})
        storage.values.put_many({f"short/{number}": b"!" for number in range(60)})
        storage.values.put("order/huge", bytes(20_000))


@pytest.mark.usefixtures("filled")
def test_a_dictionary_is_trained_measured_and_used(run) -> None:
    """The ratios are of values held back; a config that names the file writes with it."""
    ran = run("dictionary", "train", "--prefix", "order/", "--out", "orders.dict", "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["id"] > 0
    assert found["size"] == Path("orders.dict").stat().st_size <= 16_384
    assert (found["values"], found["too_large"]) == (601, 1)
    assert (found["trained_on"], found["held_back"]) == (480, 120)
    assert found["ratio_before"] < 1.5
    assert found["ratio_after"] > 2 * found["ratio_before"]
    assert found["stored_ratio_before"] <= found["ratio_before"]
    assert found["stored_ratio_after"] > 1.5 * found["stored_ratio_before"]
    compression = {"name": "zstd", "dictionary": "orders.dict"}
    with statekeep.open("sqlite:///statekeep.db", compression=compression) as storage:
        storage.values.put("order/1", state(1))
        entry = storage.values.get("order/1")
        assert entry is not None
        assert entry.value == state(1)


@pytest.mark.usefixtures("filled")
def test_people_see_the_ratios(run) -> None:
    """Line by line where it is piped."""
    lines = dict(
        line.split("\t") for line in run("dictionary", "train", "--out", "people.dict").lines
    )
    assert float(lines["ratio_after"]) > float(lines["ratio_before"])


@pytest.mark.usefixtures("filled")
def test_a_dictionary_is_not_replaced_by_mistake(run) -> None:
    """Values that were written with it need it; `--force` says that they do not."""
    Path("orders.dict").write_bytes(b"precious")
    ran = run("dictionary", "train", "--out", "orders.dict")
    assert ran.code == 2
    assert "orders.dict exists" in ran.err
    assert Path("orders.dict").read_bytes() == b"precious"
    assert run("dictionary", "train", "--out", "orders.dict", "--force").code == 0
    assert sorted(path.name for path in Path().glob("*.dict*")) == ["orders.dict"]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("--prefix", "noise/"), 1, "there are 10 values of at most 16384 bytes under 'noise/'"),
        (("--compressor", "gzip"), 2, "'gzip' has no dictionaries; zstd has"),
        (("--compressor", "snappy"), 2, "'snappy' is not installed"),
        (("--samples", "3"), 2, "--samples"),
        (("--prefix", "short/"), 1, "a dictionary gains nothing on these values"),
    ],
)
def test_what_cannot_be_trained_is_explained(run, arguments, code, error) -> None:
    """Nothing is left behind."""
    ran = run("dictionary", "train", "--out", "x.dict", *arguments)
    assert ran.code == code, ran.err
    assert error in ran.err
    assert not list(Path().glob("*x.dict*"))


def test_a_store_that_is_not_there_is_not_created(run) -> None:
    """Looking for samples leaves nothing behind."""
    assert run("dictionary", "train", "--out", "x.dict").code == 1
    assert run("dictionary", "train", "--out", "nowhere/x.dict").code == 2
    assert not list(Path().iterdir())
