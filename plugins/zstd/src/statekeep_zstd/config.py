"""The options of the compressor `zstd`."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from statekeep.options import between, option


def paths(value: Any) -> tuple[str, ...]:
    """One path, or several, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def _paths(value: Any) -> str | None:
    several = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    if not (isinstance(value, str) or several) or not all(each.strip() for each in paths(value)):
        return "must be the path of a dictionary, or a list of paths"
    return None


@frozen(kw_only=True)
class ZstdConfig:
    """Zstandard (RFC 8878)."""

    level: int = option(
        3, "-100 fastest to 22 smallest; reading is as fast for all", between(-100, 22)
    )
    dictionaries: Any = option(  # noqa: RUF009  # it makes an attrs field
        (),
        "files of trained dictionaries: the first one writes, all of them read",
        _paths,
        aliases=("dictionary",),
    )
    write_with_dictionary: bool = option(
        True, "false only reads with the dictionaries: until every worker has the first one"
    )
