"""The options that commands share, declared once as frozen values, and how a command takes them.

Every flag has an environment variable but those that lift a safety, which must be said anew each time.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Any, Optional, TypeVar, get_type_hints

import typer

from xcomctl.cli import suggest
from xcomctl.errors import UsageError
from xcomctl.model import Filter, State

Command = TypeVar("Command", bound=Callable[..., Any])


class Output(str, Enum):
    """How data is written to stdout."""

    AUTO = "auto"
    TABLE = "table"
    PLAIN = "plain"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    YAML = "yaml"


class Color(str, Enum):
    """Whether the terminal gets colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class LogFormat(str, Enum):
    """How notes and errors are written to stderr."""

    TEXT = "text"
    JSON = "json"


def flag(*names: str, help: str, env: str | None = None, panel: str | None = None, **more: Any) -> Any:
    """A Typer option whose environment variable is `XCOMCTL_` and its long name, unless `env` is empty."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "XCOMCTL_" + long.strip("-").replace("-", "_").upper() if env is None else env
    return typer.Option(*names, help=help, envvar=variable or None, rich_help_panel=panel, **more)


TERMINAL_LIMIT = 50
"""So many lines a person is shown who did not say how many."""

MAX_INDEX = 2**31 - 1
"""The largest map index: an INTEGER of the database."""

_WHERE = "Where the XComs are"
_SHOW = "Output"
_ROWS = "Which XComs"
_SAFETY = "Safety"
_RUNNING = "Running"


@dataclass(frozen=True)
class Place:
    """The database and the storage."""

    db: Annotated[
        Optional[list[str]],
        flag("--db", metavar="URL", panel=_WHERE, help="Metadata database; Airflow's own by default."),
    ] = None
    db_schema: Annotated[
        Optional[str], flag("--db-schema", metavar="NAME", panel=_WHERE, help="Schema of Airflow's tables.")
    ] = None
    base_path: Annotated[
        Optional[str],
        flag(
            "--base-path",
            metavar="URL",
            panel=_WHERE,
            help="Where external XComs are; Airflow's own by default.",
        ),
    ] = None
    storage_option: Annotated[
        Optional[list[str]],
        flag(
            "--storage-option",
            metavar="KEY=VALUE",
            panel=_WHERE,
            help="Option of the fsspec file system, for a base path without connection; dotted keys nest.",
        ),
    ] = None


@dataclass(frozen=True)
class Control:
    """Where gc keeps its own state."""

    control: Annotated[
        Optional[str],
        flag(
            "--control",
            metavar="URL",
            panel=_WHERE,
            help="Folder of gc's marks, audit and trash, in the same bucket; beside the base path by default.",
        ),
    ] = None


TimeBudget = Annotated[
    Optional[str],
    flag(
        "--time-budget", metavar="AGE", panel=_RUNNING, help="Then begin no batch but the first; the next run goes on."
    ),
]


Allow = Annotated[
    Optional[list[str]],
    flag(
        "--allow",
        env="",
        metavar="GATE",
        autocompletion=suggest.one_of(suggest.gates),
        panel=_SAFETY,
        help="Lift one gate; repeatable.",
    ),
]
Yes = Annotated[bool, flag("-y", "--yes", env="", panel=_SAFETY, help="Do not ask.")]


@dataclass(frozen=True)
class Acting:
    """How a command that changes rows runs, and who agrees to it."""

    time_budget: TimeBudget = None
    allow: Allow = None
    dry_run: Annotated[
        bool, flag("-n", "--dry-run", panel=_SAFETY, help="Count what would be done, and change nothing.")
    ] = False
    yes: Yes = False

    def require_consent(self, asks: str) -> None:
        """Decided before anything is read: somebody has agreed, or can be asked. Raises `UsageError`."""
        if not self.dry_run and not self.yes and not sys.stdin.isatty():
            raise UsageError(f"{asks}, and there is no terminal", hint="--yes agrees beforehand")

    @property
    def ends_at(self) -> float | None:
        """When the time is up if it begins now, by the monotonic clock."""
        if not self.time_budget:
            return None
        return time.monotonic() + duration(self.time_budget, "--time-budget").total_seconds()


@dataclass(frozen=True)
class Display:
    """What is shown, and how."""

    output: Annotated[
        Output, flag("-o", "--output", panel=_SHOW, help="auto: a table on a terminal, plain off it.")
    ] = Output.AUTO
    quiet: Annotated[bool, flag("-q", "--quiet", panel=_SHOW, help="Say nothing on success.")] = False
    verbose: Annotated[bool, flag("-v", "--verbose", panel=_SHOW, help="Say what is done, and with what.")] = False
    debug: Annotated[bool, flag("--debug", panel=_SHOW, help="Show the traceback of an error.")] = False
    color: Annotated[Color, flag("--color", panel=_SHOW, help="Colours on the terminal.")] = Color.AUTO
    log_format: Annotated[LogFormat, flag("--log-format", panel=_SHOW, help="Form of notes and errors on stderr.")] = (
        LogFormat.TEXT
    )


@dataclass(frozen=True)
class Table:
    """Which fields a list shows."""

    columns: Annotated[
        Optional[str],
        flag(
            "--columns",
            metavar="A,B",
            autocompletion=suggest.list_of(suggest.fields),
            panel=_SHOW,
            help="Only these fields, in this order.",
        ),
    ] = None
    no_headers: Annotated[
        bool, flag("--no-headers", panel=_SHOW, help="Leave the names of the columns out of csv and table.")
    ] = False

    @property
    def headers(self) -> bool:
        """Whether columns are named."""
        return not self.no_headers

    def chosen(self, offered: Sequence[str]) -> tuple[str, ...]:
        """The fields to show, of those that there are. Raises `UsageError` for one that is not there, or twice."""
        if self.columns is None:
            return tuple(offered)
        return listed(self.columns, offered, "--columns")


@dataclass(frozen=True)
class Rows:
    """Which rows are meant."""

    dag_id: Annotated[
        Optional[list[str]],
        flag(
            "--dag-id", metavar="GLOB", autocompletion=suggest.dag_ids, panel=_ROWS, help="Only these DAGs; repeatable."
        ),
    ] = None
    run_id: Annotated[
        Optional[list[str]],
        flag(
            "--run-id", metavar="GLOB", autocompletion=suggest.run_ids, panel=_ROWS, help="Only these runs; repeatable."
        ),
    ] = None
    task_id: Annotated[
        Optional[list[str]],
        flag(
            "--task-id",
            metavar="GLOB",
            autocompletion=suggest.task_ids,
            panel=_ROWS,
            help="Only these tasks; repeatable.",
        ),
    ] = None
    key: Annotated[
        Optional[list[str]],
        flag("--key", metavar="GLOB", autocompletion=suggest.keys, panel=_ROWS, help="Only these keys; repeatable."),
    ] = None
    map_index: Annotated[
        Optional[int],
        flag(
            "--map-index", metavar="N", min=-1, max=MAX_INDEX, panel=_ROWS, help="Only this map index; -1 is unmapped."
        ),
    ] = None
    exclude_dag_id: Annotated[
        Optional[list[str]],
        flag("--exclude-dag-id", metavar="GLOB", autocompletion=suggest.dag_ids, panel=_ROWS, help="Not these DAGs."),
    ] = None
    exclude_key: Annotated[
        Optional[list[str]],
        flag("--exclude-key", metavar="GLOB", autocompletion=suggest.keys, panel=_ROWS, help="Not these keys."),
    ] = None
    older_than: Annotated[
        Optional[str],
        flag("--older-than", metavar="AGE", panel=_ROWS, help="Pushed longer ago than 7d, 12h, 30m."),
    ] = None
    since: Annotated[
        Optional[str],
        flag("--since", metavar="WHEN", panel=_ROWS, help="Pushed since a time, or an age like 7d."),
    ] = None
    until: Annotated[
        Optional[str],
        flag("--until", metavar="WHEN", panel=_ROWS, help="Pushed until a time, or an age like 7d."),
    ] = None
    larger_than: Annotated[
        Optional[str],
        flag("--larger-than", metavar="SIZE", panel=_ROWS, help="Stored size at least 1MB, 1MiB, 512k."),
    ] = None
    smaller_than: Annotated[
        Optional[str], flag("--smaller-than", metavar="SIZE", panel=_ROWS, help="Stored size at most this.")
    ] = None
    state: Annotated[Optional[list[State]], flag("--state", panel=_ROWS, help="Only in this state; repeatable.")] = None

    def filter(self, now: datetime) -> Filter:
        """The filter that these options mean at a time. Raises `UsageError` for one that cannot be read."""
        until = [moment(self.until, now, "--until")] if self.until else []
        until += [now - duration(self.older_than, "--older-than")] if self.older_than else []
        return Filter(
            dag_ids=tuple(self.dag_id or ()),
            run_ids=tuple(self.run_id or ()),
            task_ids=tuple(self.task_id or ()),
            keys=tuple(self.key or ()),
            map_index=self.map_index,
            exclude_dag_ids=tuple(self.exclude_dag_id or ()),
            exclude_keys=tuple(self.exclude_key or ()),
            since=moment(self.since, now, "--since") if self.since else None,
            until=min(until) if until else None,
            larger_than=size(self.larger_than, "--larger-than") if self.larger_than else None,
            smaller_than=size(self.smaller_than, "--smaller-than") if self.smaller_than else None,
            states=tuple(self.state or ()),
        )


CONTEXT = "typed"


def takes(*groups: type[Any]) -> Callable[[Command], Command]:
    """Let a command's parameters of these types stand for their options.

    Typer reads a function's signature, so each such parameter is replaced there by the fields of its type, and put
    together again when the command is called.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        hints = get_type_hints(command, include_extras=True)
        grouped = {name: hints[name] for name in signature.parameters if hints[name] in groups}
        # Typer hands its context to one parameter alone.
        asks_itself = next((name for name in signature.parameters if hints[name] is typer.Context), None)

        @functools.wraps(command)
        def call(**options: Any) -> Any:
            typed = options[asks_itself] if asks_itself else options.pop(CONTEXT)
            for name, group in grouped.items():
                options[name] = group(**{f.name: options.pop(f.name) for f in dataclasses.fields(group)})
            try:
                return command(**options)
            except UsageError as error:
                raise _as_said(error, typed) from error

        own = [p.replace(annotation=hints[n]) for n, p in signature.parameters.items() if n not in grouped]
        shared = [parameter for group in grouped.values() for parameter in _parameters(group)]
        context = inspect.Parameter(CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        every = (*own, *shared) if asks_itself else (context, *own, *shared)
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in every]
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call  # type: ignore[return-value]

    return decorate


def _as_said(error: UsageError, typed: typer.Context) -> UsageError:
    """The error, naming the variable where that said what is wrong: nobody looks for a flag that was not typed."""
    for parameter in typed.command.params:
        source = typed.get_parameter_source(parameter.name or "")
        is_meant = any(re.match(rf"{re.escape(flag)}(?![\w-])", error.message) for flag in parameter.opts)
        if is_meant and source is not None and source.name == "ENVIRONMENT":
            return UsageError(f"{parameter.envvar}: {error.message}", hint=error.hint)
    return error


def _parameters(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in dataclasses.fields(group)
    ]


_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(w|d|h|m|s)")
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_LONGEST_SECONDS = 1000 * 365 * 86_400
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(?:([kmgt])(i)?)?b?", re.IGNORECASE)


def duration(text: str, option: str) -> timedelta:
    """`7d`, `12h`, `1d12h`, `30m`: an age.

    >>> duration("1d12h", "--older-than")
    datetime.timedelta(days=1, seconds=43200)
    """
    parts = _AGE.findall(text)
    if not parts or _AGE.sub("", text).strip():
        raise UsageError(f"{option} {text!r} is not an age", hint="write 7d, 12h or 30m")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST_SECONDS:
        raise UsageError(f"{option} {text!r} is too long", hint="write 7d, 12h or 30m")
    return timedelta(seconds=seconds)


def moment(text: str, now: datetime, option: str) -> datetime:
    """A time in ISO 8601, in UTC when it has no zone, or an age counted back from now."""
    try:
        parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return _ago(text, now, option)
    # MySQL's drivers drop the zone of a parameter, so it must be UTC.
    return parsed.replace(tzinfo=timezone.utc) if parsed.tzinfo is None else parsed.astimezone(timezone.utc)


def _ago(text: str, now: datetime, option: str) -> datetime:
    try:
        return now - duration(text, option)
    except UsageError:
        raise UsageError(f"{option} {text!r} is not a time", hint="write 2026-01-31T12:00, or an age: 7d") from None


def size(text: str, option: str) -> int:
    """A number of bytes: `1MB` is 1,000,000, `1MiB` 1,048,576, `512k` 512,000.

    >>> size("1MiB", "--larger-than")
    1048576
    """
    matched = _SIZE.fullmatch(text.strip())
    if matched is None:
        raise UsageError(f"{option} {text!r} is not a size", hint="write 1MB, 1MiB or 512k")
    number, letter, binary = matched.groups()
    power = " kmgt".index(letter.lower()) if letter else 0
    return int(float(number) * (1024 if binary else 1000) ** power)


def listed(text: str, allowed: Sequence[str], option: str) -> tuple[str, ...]:
    """Names with commas between them. Raises `UsageError` for one that is not there, or twice."""
    names = choose([in_full(name.strip().lower(), allowed) for name in text.split(",")], allowed, option)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{option} names {twice} twice", hint="name each field once")
    return names


def in_full(name: str, allowed: Sequence[str]) -> str:
    """A field's whole name: tables leave out that sizes are in bytes.

    >>> in_full("size", ["dag_id", "size_bytes"])
    'size_bytes'
    """
    return f"{name}_bytes" if name not in allowed and f"{name}_bytes" in allowed else name


def choose(names: Sequence[str], allowed: Sequence[str], option: str) -> tuple[str, ...]:
    """Names out of those allowed; the error lists them, the nearest first."""
    for name in names:
        if name not in allowed:
            meant = did_you_mean(name, allowed)
            raise UsageError(
                f"{option}: there is no {name!r}", hint=f"{meant}{' ' if meant else ''}one of {', '.join(allowed)}"
            )
    return tuple(names)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The question after the nearest of some words; empty where none is near.

    >>> did_you_mean("lss", ["ls", "get"])
    'did you mean ls?'
    """
    from difflib import get_close_matches

    by_folded = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), by_folded, n=1)
    return f"did you mean {by_folded[near[0]]}?" if near else ""
