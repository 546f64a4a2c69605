"""What every command has: the global options, an open storage, a place for its answer."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer
from attrs import evolve, frozen

from statekeep.cli.exits import No, PipeClosed
from statekeep.cli.output import Output

if TYPE_CHECKING:
    from statekeep.backend import Backend
    from statekeep.config import StorageConfig
    from statekeep.storage import Storage

P = ParamSpec("P")
PANEL = "Global options"

OPTIONS: dict[str, Any] = {
    "config": Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", rich_help_panel=PANEL, help="TOML, YAML or JSON."),
    ],
    "url": Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            rich_help_panel=PANEL,
            help="Such as sqlite:///state.db. Others see it in the list of processes: where it "
            "holds a password, set STATEKEEP_URL.",
        ),
    ],
    "json": Annotated[
        bool,
        typer.Option("--json", rich_help_panel=PANEL, help="Answers and errors as JSON lines."),
    ],
    "debug": Annotated[
        bool, typer.Option("--debug", rich_help_panel=PANEL, help="A traceback with every error.")
    ],
}
"""The global options, which may stand before or after the command."""


@frozen
class Call:
    """One run of a command.

    Attributes:
        config: the config file named, or None.
        url: the URL named, or None.
        out: where the answer goes.
    """

    config: str | None
    url: str | None
    out: Output

    @property
    def source(self) -> str | Path | None:
        """What `statekeep.config.load` reads."""
        if self.config is not None and self.url is not None:
            raise typer.BadParameter("give --config or --url, not both")
        if self.url is not None:
            from statekeep.sources import is_url

            if not is_url(self.url):  # not shown: it may hold a password
                raise typer.BadParameter("--url must begin with a scheme, as sqlite:///state.db")
            return self.url
        return None if self.config is None else Path(self.config)

    def load(self) -> StorageConfig:
        """The checked config; nothing is opened."""
        from statekeep.config import load

        return load(self.source)

    @contextmanager
    def backend(self, *, cache: bool = True) -> Iterator[Backend]:
        """The composed backend, not yet set up.

        Nobody observes it: a port for an application's metrics is not this program's.

        Args:
            cache: whether with the cache that the config asks for.
        """
        from statekeep.compose import assemble

        config = evolve(self.load(), observers=())
        backend = assemble(config if cache else evolve(config, cache=None))
        try:
            yield backend
        finally:
            backend.close()

    @contextmanager
    def storage(self, *, create: bool = False) -> Iterator[Storage]:
        """The storage, open.

        Args:
            create: create what is missing. Only what adds something does: looking at a store that
                is not there leaves nothing behind.

        Raises:
            No: something is missing, and is not to be created.
        """
        from statekeep.storage import Storage

        with self.backend() as backend:
            if not create and (missing := backend.missing()):
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise No(
                    f"there is no store yet: missing {missing[0]}{more}; "
                    f"{remedy_of_missing(backend)}"
                )
            backend.setup()
            yield Storage(backend)


def remedy_of_missing(backend: Backend) -> str:
    """What to do where there is no store yet."""
    if backend.capabilities.read_only:
        return "it is only read here, so nothing is created: correct the place in the config"
    return "the first write creates it, or: statekeep check --create"


def command(
    app: typer.Typer, name: str
) -> Callable[[Callable[Concatenate[Call, P], int | None]], Callable[..., int | None]]:
    """Makes a command of a function whose first parameter is its `Call`."""

    def register(
        function: Callable[Concatenate[Call, P], int | None],
    ) -> Callable[..., int | None]:
        return app.command(name)(_with_call(function))

    return register


def remember(context: typer.Context, **given: Any) -> dict[str, Any]:
    """The global options given so far, those of the groups above included."""
    above = context.parent.obj if context.parent is not None else None
    found = {**(above or {}), **{name: value for name, value in given.items() if value}}
    context.obj = found
    return found


def group(name: str, help: str, *own: inspect.Parameter, **options: Any) -> typer.Typer:
    """A group of commands that takes the global options too, and options of its own."""
    settings = {"no_args_is_help": True, "add_completion": False, **options}
    app = typer.Typer(name=name, help=help, **settings)
    app.callback()(_signed(remember, [_context_parameter(), *own]))
    return app


def _with_call(function: Callable[..., int | None]) -> Callable[..., int | None]:
    hints = get_type_hints(function, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY)
        for parameter in list(inspect.signature(function).parameters.values())[1:]
    ]

    @functools.wraps(function)
    def run(context: typer.Context, **arguments: Any) -> int | None:
        options = {each: arguments.pop(each) for each in OPTIONS}
        found = remember(context, **options)
        out = Output(as_json=found.get("json", False))
        try:
            code = function(Call(found.get("config"), found.get("url"), out), **arguments)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise PipeClosed from error
        return code

    made: Callable[..., int | None] = _signed(run, [_context_parameter(), *own])
    return made


def _context_parameter() -> inspect.Parameter:
    return inspect.Parameter(
        "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )


def _signed(function: Any, parameters: list[inspect.Parameter]) -> Any:
    """The function with these parameters and the global options, as typer reads them."""
    shared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=annotation,
            default=False if name in ("json", "debug") else None,
        )
        for name, annotation in OPTIONS.items()
    ]

    @functools.wraps(function)
    def signed(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    every = [*parameters, *shared]
    signed.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]  # read by inspect
    signed.__annotations__ = {each.name: each.annotation for each in every}
    return signed
