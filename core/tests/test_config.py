"""Config: every form, the storage guide's files unchanged, and every error at once."""

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
import statekeep
from attrs import frozen
from statekeep import BackendPlugin, ConfigError, PluginError, StorageConfig, hookimpl
from statekeep.compressor import GzipConfig
from statekeep.config import CompressionConfig, load, masked
from statekeep.options import REQUIRED, at_least, between, not_blank, option, positive
from statekeep.registry import Registry
from statekeep_memory import MemoryCacheConfig, MemoryConfig

GUIDE = Path(__file__).parent / "guide"
SECRET = "s3cr3t/with@signs"


@frozen(kw_only=True)
class PoolConfig:
    max_total: int = option(-1, "connections", at_least(-1))
    max_idle: int = option(8, "connections", at_least(0))
    min_idle: int = option(0, "connections", at_least(0))


@frozen(kw_only=True)
class ServerConfig:
    """The options that the guide gives its servers, for loading its files without any server."""

    host: str = option(REQUIRED, "where", not_blank)
    port: int = option(1234, "port", between(1, 65535))
    username: str | None = option(None, "user")
    password: str | None = option(None, "password", secret=True)
    database: Any = option("0", "a number in Redis, a name elsewhere")
    schema: str = option("infinitic", "schema")
    timeout: int = option(2000, "ms", positive)
    ssl: bool = option(False, "TLS")
    pool_config: PoolConfig = option(PoolConfig(), "pool")
    key_set_table: str = option("key_set_storage", "table")
    key_value_table: str = option("key_value_storage", "table")
    maximum_pool_size: int = option(10, "connections", positive)
    minimum_idle: int | None = option(None, "connections", at_least(0))
    idle_timeout: int = option(600_000, "ms", positive)
    connection_timeout: int = option(30_000, "ms", positive)
    max_lifetime: int = option(1_800_000, "ms", positive)


class Servers:
    """Stands in for the server plugins; nothing here is opened."""

    @hookimpl
    def statekeep_backends(self) -> list[BackendPlugin]:
        def factory(config: ServerConfig) -> Any:
            raise AssertionError("nothing is opened when a config is loaded")

        return [
            BackendPlugin(name=name, config=ServerConfig, factory=factory)
            for name in ("server", "other")
        ]


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(Servers(), "test-servers")
    return registry


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATEKEEP_CONFIG", raising=False)
    monkeypatch.delenv("STATEKEEP_URL", raising=False)
    monkeypatch.chdir(tmp_path)


def problems(source: Any, registry: Registry | None = None, **overrides: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(source, overrides, registry)
    return caught.value.problems


TABLE = {"backend": "memory", "compression": {"name": "gzip", "level": 9}}
EXPECTED = StorageConfig(
    backend=MemoryConfig(), compression=CompressionConfig(compressor=GzipConfig(level=9))
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", '[storage]\nbackend = "memory"\ncompression = { name = "gzip", level = 9 }\n'),
        ("a.yaml", "storage:\n  backend: memory\n  compression: {name: gzip, level: 9}\n"),
        ("a.yml", "other: 1\nstorage: {backend: memory, compression: {mode: gzip, level: 9}}\n"),
        ("a.json", json.dumps({"storage": TABLE})),
    ],
)
def test_every_file_format_gives_the_same_config(tmp_path: Path, name: str, text: str) -> None:
    """TOML, YAML and JSON; what stands beside the storage table is another program's."""
    (tmp_path / name).write_text(text)
    assert load(tmp_path / name) == load(str(tmp_path / name)) == EXPECTED


def test_a_mapping_gives_the_same_config() -> None:
    """With or without the outer table."""
    assert load(TABLE) == load({"storage": TABLE}) == EXPECTED


def test_a_config_object_passes_through() -> None:
    """And overrides apply to it too."""
    assert load(EXPECTED) is EXPECTED or load(EXPECTED) == EXPECTED
    assert load(EXPECTED, {"compression": "none"}) == StorageConfig(backend=MemoryConfig())


def test_a_url_gives_the_same_config() -> None:
    """Its query holds the options."""
    assert load("memory:") == StorageConfig(backend=MemoryConfig())
    assert load("memory:", {"compression": {"name": "gzip", "level": 9}}) == EXPECTED


def test_the_parts_of_a_server_url_are_decoded(registry: Registry) -> None:
    """User name and password may hold any character, percent-encoded."""
    url = "server://us%40er:s3cr3t%2Fwith%40signs@db.example.com:99/app?ssl=true&timeout=7"
    config = load(url, registry=registry).backend
    assert (config.host, config.port, config.username) == ("db.example.com", 99, "us@er")
    assert (config.password, config.database) == (SECRET, "app")
    assert (config.ssl, config.timeout) == (True, 7)


def test_the_backend_may_be_left_out_where_one_has_a_table(registry: Registry) -> None:
    """With several tables, or none, it must be named."""
    assert load({"memory": {}}).backend == MemoryConfig()
    (problem,) = problems({"memory": {}, "server": {"host": "x"}}, registry)
    assert "several backends have a table: memory, server" in problem
    (problem,) = problems({})
    assert "no backend is named" in problem
    chosen = load({"backend": "server", "memory": {}, "server": {"host": "x"}}, registry=registry)
    assert chosen.backend.host == "x"


@pytest.mark.parametrize("name", ["redis", "postgres", "mysql"])
def test_the_storage_guides_files_load_unchanged(
    name: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All names of the guide, in its spelling, land in the option of the same meaning."""
    monkeypatch.setenv(f"{name.upper()}_PASSWORD", SECRET)
    stand_in = Registry([])
    for plugin in ("statekeep.compressor", "statekeep_memory.plugin"):
        stand_in.register(__import__(plugin, fromlist=["x"]), plugin)
    stand_in.register(named(name), "stand-in")
    config = load(GUIDE / f"{name}.yaml", registry=stand_in)
    assert config.backend.host == f"{name}.example.com"
    assert config.backend.password == SECRET
    assert SECRET not in repr(config)
    assert SECRET not in str(masked(config))
    assert config.compression is not None
    if name == "redis":
        assert config.backend.pool_config == PoolConfig(max_total=50, max_idle=20, min_idle=5)
        assert config.cache is not None
        assert config.cache.key_value == MemoryCacheConfig(
            maximum_size=10000, expire_after_access=3600
        )
        assert config.cache.key_set == MemoryCacheConfig(
            maximum_size=5000, expire_after_access=1800
        )
    else:
        assert config.backend.maximum_pool_size == 20
        assert config.backend.minimum_idle == 5


def named(name: str) -> object:
    class One:
        @hookimpl
        def statekeep_backends(self) -> list[BackendPlugin]:
            return [BackendPlugin(name=name, config=ServerConfig, factory=lambda config: config)]

    return One()


def test_the_storage_guides_in_memory_file_opens(tmp_path: Path) -> None:
    """Its `inMemory:` without any option is the memory backend."""
    with statekeep.open(GUIDE / "in_memory.yaml") as storage:
        storage.values.put("k", b"1")
        assert storage.values.get("k") == storage.values.get("k")


def test_both_spellings_work_but_not_together(registry: Registry) -> None:
    """camelCase, snake_case and kebab-case name the same option."""
    for spelling in ("maximumPoolSize", "maximum_pool_size", "maximum-pool-size"):
        config = load({"server": {"host": "x", spelling: 3}}, registry=registry)
        assert config.backend.maximum_pool_size == 3
    (problem,) = problems(
        {"server": {"host": "x", "maximumPoolSize": 3, "maximum_pool_size": 4}}, registry
    )
    assert "twice" in problem


def test_every_problem_is_told_at_once_with_place_and_source(
    registry: Registry, tmp_path: Path
) -> None:
    """The whole list, so that one round of mending is enough."""
    (tmp_path / "s.toml").write_text(
        """
        [storage]
        compresion = "gzip"
        compression = { name = "gzip", level = 10 }
        [storage.server]
        prot = 1
        port = 99999
        maximum_pool_size = -3
        ssl = "maybe"
        timeout = 1.5
        pool_config = { max_idel = 1, min_idle = "many" }
        [storage.cache]
        keyvalue = { maximum_size = 10 }
        key_set = { maximum_size = 0 }
        """
    )
    found = problems(tmp_path / "s.toml", registry)
    source = f"({tmp_path / 's.toml'})"
    assert all(problem.endswith(source) for problem in found)
    stripped = {problem.removesuffix(f" {source}") for problem in found}
    assert stripped == {
        "storage.compresion: unknown option; did you mean 'compression'?",
        "storage.compression.level: must be from 1 to 9, got 10",
        "storage.server.prot: unknown option; did you mean 'port'?",
        "storage.server.port: must be from 1 to 65535, got 99999",
        "storage.server.maximum_pool_size: must be > 0, got -3",
        "storage.server.ssl: must be true or false, got 'maybe'",
        "storage.server.timeout: must be a whole number, got 1.5",
        "storage.server.pool_config.max_idel: unknown option; did you mean 'max_idle'?",
        "storage.server.pool_config.min_idle: must be a whole number, got 'many'",
        "storage.server.host: is required",
        "storage.cache.keyvalue: unknown option; did you mean 'key_value'?",
        "storage.cache.key_set.maximum_size: must be > 0, got 0",
    }


def test_a_secret_is_never_in_an_error(registry: Registry) -> None:
    """Not even when it is of the wrong type, or in a URL that is wrong elsewhere."""
    (problem,) = problems({"server": {"host": "x", "password": 123456789}}, registry)
    assert "password: must be" in problem
    assert "123456789" not in problem
    for url in (f"server://u:{SECRET.replace('@', '%40')}@h:99999/", "server://u:hush@h/?prot=1"):
        assert "s3cr3t" not in str(problems(url, registry))
        assert "hush" not in str(problems(url, registry))


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.yaml", "storage:\n  server:\n    password: hush: x\n", "line 3, column 19"),
        ("a.yaml", "storage: {server: {password: *hush}}", "undefined alias (line 1, column 30)"),
        ("a.yaml", "storage: {server: {password: !hush }}", "the tag (line 1, column 30)"),
        ("a.yaml", "storage: {server: {password: !hush!x y}}", "tag (line 1, column 30)"),
        ("a.yaml", "storage: {server: {password: !!int hush}}", "does not fit its tag"),
        ("a.yaml", "storage: {server: {password: !!bool hush}}", "does not fit its tag"),
        ("a.yaml", "storage: {server: {password: hush\a}}", "#x0007"),
        ("a.toml", "[storage.server]\npassword = hush\n", "line 2, column 12"),
        ("a.toml", "[storage.server]\npassword = 'hush\n", "end of document"),
        ("a.json", '{"storage": {"server": {"password": hush}}}', "line 1 column 37"),
        ("a.json", '{"storage": {"server": {"password": "hush\\x"}}}', "line 1 column"),
    ],
)
def test_a_file_with_a_slip_beside_a_secret_does_not_show_it(
    tmp_path: Path, name: str, text: str, place: str
) -> None:
    """The line and the column, but nothing of the line; nor by way of the error's causes."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / name)
    assert "cannot be parsed" in str(caught.value) and place in str(caught.value)
    assert "hush" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("ending", ["", "/x.toml", "/x.json"])
@pytest.mark.parametrize("before", [" ", '"', "'", "<"])
def test_a_url_with_a_slip_at_its_beginning_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, before: str, ending: str
) -> None:
    """It is no URL, but the password is in it all the same."""
    text = f"{before}postgres://u:hush@h/db{ending}"
    assert "hush" not in "".join(problems(text) + problems(Path(text)))
    monkeypatch.setenv("STATEKEEP_CONFIG", text)
    assert "hush" not in "".join(problems(None))
    monkeypatch.delenv("STATEKEEP_CONFIG")
    if before != " ":
        monkeypatch.setenv("STATEKEEP_URL", text)
        (problem,) = problems(None)
        assert "STATEKEEP_URL must begin with a scheme" in problem and "hush" not in problem


def test_the_variable_for_a_url_names_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Blanks around the URL do not count; a blank alone is nothing."""
    from statekeep_sqlite import SqliteConfig

    monkeypatch.setenv("STATEKEEP_URL", " sqlite:///other.db\n")
    assert load().backend == SqliteConfig(path="other.db")
    monkeypatch.setenv("STATEKEEP_URL", " ")
    assert load().backend == SqliteConfig(path="statekeep.db")
    (tmp_path / "x.toml").write_text("[storage.memory]\n")
    monkeypatch.setenv("STATEKEEP_URL", "x.toml")
    assert "STATEKEEP_URL" in "".join(problems(None))


def test_an_option_left_empty_has_its_default(registry: Registry, tmp_path: Path) -> None:
    """As YAML files often have it: the name and nothing behind it."""
    (tmp_path / "a.yaml").write_text("storage: {server: {host: x, port: , username: , ssl: }}")
    config = load(tmp_path / "a.yaml", registry=registry).backend
    assert (config.port, config.username, config.ssl) == (1234, None, False)


def test_environment_variables_are_filled_in(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a default, with an escape, and with an error for each that is not set."""
    monkeypatch.setenv("PASS", SECRET)
    monkeypatch.setenv("PORT", "77")
    table = {"host": "${HOST:-localhost}", "port": "${PORT}", "password": "${PASS}"}
    config = load({"server": {**table, "username": "$${raw}"}}, registry=registry).backend
    assert (config.host, config.port, config.password) == ("localhost", 77, SECRET)
    assert config.username == "${raw}"
    found = problems({"server": {"host": "${NO_A}", "username": "${NO_B}"}}, registry)
    assert [problem.split(":")[0] for problem in found] == [
        "storage.server.host",
        "storage.server.username",
    ]
    assert "environment variable NO_A is not set" in found[0]


def test_overrides_replace_single_options(registry: Registry) -> None:
    """The rest of the source stays."""
    config = load({"server": {"host": "x", "port": 7}}, {"server": {"port": 8}}, registry)
    assert (config.backend.host, config.backend.port) == ("x", 8)
    (problem,) = problems({"memory": {}}, colour="red")
    assert "storage.colour: unknown option" in problem


def test_without_a_source_the_environment_then_a_file_then_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the design, each found only where the one before is absent."""
    from statekeep_sqlite import SqliteConfig

    assert load().backend == SqliteConfig(path="statekeep.db")
    (tmp_path / "statekeep.toml").write_text("[storage.memory]\n")
    assert load().backend == MemoryConfig()
    monkeypatch.setenv("STATEKEEP_URL", "sqlite:///other.db")
    assert load().backend == SqliteConfig(path="other.db")
    (tmp_path / "x.json").write_text(json.dumps({"storage": TABLE}))
    monkeypatch.setenv("STATEKEEP_CONFIG", "x.json")
    assert load() == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("missing.toml", None, "there is no such file"),
        ("a.toml", "storage = [", "cannot be parsed"),
        ("a.json", "{", "cannot be parsed"),
        ("a.yaml", "a: b: c", "cannot be parsed"),
        ("a.toml", "[other]\n", "has no table 'storage'"),
        ("a.yaml", "- 1\n", "has no table 'storage'"),
        ("a.toml", "storage = 3\n", "must be a table of options, got int"),
        ("a.ini", "x", "its name must end in .json, .toml, .yaml, .yml"),
        ("a.toml", "[storage]\nbackend = 3\n", "must be the name of a backend"),
        ("a.toml", "[storage]\nmemory = 3\n", "must be a table of options"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    """Each names the file."""
    if text is not None:
        (tmp_path / name).write_text(text)
    message = " ".join(problems(tmp_path / name))
    assert said in message
    assert name in message


def test_a_backend_that_is_not_installed_is_named_with_the_command() -> None:
    """The exact line to run, and what there is."""
    with pytest.raises(PluginError, match=r"pip install statekeep-mysql.*installed: .*memory"):
        load({"backend": "mysql"}, registry=bare_registry())
    with pytest.raises(PluginError, match="pip install statekeep-zstd"):
        load({"memory": {}, "compression": "zstd"}, registry=bare_registry())
    with pytest.raises(PluginError, match="did you mean 'memory'"):
        load({"backend": "memroy"})


def bare_registry() -> Registry:
    bare = Registry([])
    for plugin in ("statekeep.compressor", "statekeep_memory.plugin"):
        bare.register(__import__(plugin, fromlist=["x"]), plugin)
    return bare


def test_an_option_checked_in_code_says_its_name() -> None:
    """Config classes used directly raise the same rule."""
    with pytest.raises(ValueError, match="maximum_size: must be > 0, got -1"):
        MemoryCacheConfig(maximum_size=-1)
