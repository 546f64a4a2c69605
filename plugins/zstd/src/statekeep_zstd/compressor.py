"""The compressor contract in terms of Zstandard frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from statekeep.compressor import Trainable, TrainedDictionary
from statekeep.errors import ConfigError, CorruptValue, InvalidArgument, PluginError

from statekeep_zstd import driver
from statekeep_zstd.config import ZstdConfig, paths
from statekeep_zstd.driver import NO_DICTIONARY, Dictionary

PLACE = "compression.dictionaries"


class ZstdCompressor(Trainable):
    """Standard frames, each with the original length, and the id of its dictionary if it has one.

    Args:
        level: of what is written.
        writer: the dictionary that writes, or None to write without one.
        readers: those that read.
    """

    def __init__(
        self, level: int, writer: Dictionary | None = None, readers: Sequence[Dictionary] = ()
    ) -> None:
        self._level = level
        self._dictionaries = {each.id: each for each in readers}
        self._contexts = driver.Contexts(level, writer)

    def compress(self, data: bytes) -> bytes:
        """See `Compressor.compress`."""
        return self._contexts.compress(data)

    def decompress(self, data: bytes, size: int) -> bytes:
        """See `Compressor.decompress`. No memory is taken for a frame that claims another size."""
        claimed, number = driver.frame(data)
        if claimed != size:
            raise CorruptValue(f"zstd data is damaged: it claims {claimed} bytes, not {size}")
        if number == NO_DICTIONARY:
            return self._contexts.decompress(data, size, None)
        dictionary = self._dictionaries.get(number)
        if dictionary is None:
            raise PluginError(
                f"it was compressed with the zstd dictionary {number}, which is not among "
                f"{PLACE} ({', '.join(map(str, self._dictionaries)) or 'none'}); add its file there"
            )
        return self._contexts.decompress(data, size, dictionary)

    def train(self, samples: Sequence[bytes], size: int) -> TrainedDictionary:
        """See `Trainable.train`."""
        content = driver.train(samples, size, self._level)
        return TrainedDictionary(Dictionary(content).id, content)

    def with_dictionary(self, dictionary: bytes | None) -> ZstdCompressor:
        """See `Trainable.with_dictionary`."""
        if dictionary is None:
            return ZstdCompressor(self._level)
        loaded = Dictionary(dictionary, self._level)
        return ZstdCompressor(self._level, loaded, [loaded])


def read_dictionaries(config: ZstdConfig) -> list[Dictionary]:
    """The dictionaries that a config names, the one that writes first.

    Raises:
        ConfigError: a file cannot be read or is no dictionary, or two have the same id.
    """
    found: list[Dictionary] = []
    contents: dict[int, bytes] = {}
    for path in paths(config.dictionaries):
        content = _content(path)
        try:
            dictionary = Dictionary(content, None if found else config.level)
        except InvalidArgument as error:
            raise ConfigError(f"{PLACE}: {path}: {error}") from error
        if contents.setdefault(dictionary.id, content) != content:
            raise ConfigError(f"{PLACE}: {path}: another one has the id {dictionary.id} too")
        found.append(dictionary)
    return found


def _content(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{PLACE}: cannot read {path}: {error}") from error
