"""What a shell may offer for a value: names out of the database, and the fields of a command.

The database is one that the line or the environment names, or else airflow.cfg in plain words; Airflow itself is not
asked, which takes seconds to import. What goes wrong, or takes too long, offers nothing and says nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from xcomctl.model import State

if TYPE_CHECKING:
    from xcomctl.catalog.names import Names

SECONDS = 0.8
LEAST_SECONDS = 0.4
"""How long a person who has pressed TAB waits from the start of the process on, and at least for a database."""

_STARTED = time.monotonic()

FILES, NO_SPACE = "files", "nospace"
wanted: set[str] = set()
"""What the shell is to do beside offering words: complete names of files, leave the cursor at the end of the word."""


def dag_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """DAGs."""
    return _named(ctx, lambda names: names.dag_ids(incomplete))


def run_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Runs of the DAGs on the line, the newest first."""
    return _named(ctx, lambda names: names.run_ids(_given(ctx, "dag_id"), incomplete))


def runs_and_latest(ctx: typer.Context, incomplete: str) -> list[str]:
    """`latest`, and the runs."""
    return [*(each for each in ("latest",) if each.startswith(incomplete)), *run_ids(ctx, incomplete)]


def task_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tasks of the DAGs on the line."""
    return _named(ctx, lambda names: names.task_ids(_given(ctx, "dag_id"), incomplete))


def keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of the tasks on the line."""
    dags, runs, tasks = (_given(ctx, name) for name in ("dag_id", "run_id", "task_id"))
    return _named(ctx, lambda names: names.keys(dags, runs, tasks, incomplete))


def files(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of files, which shells know best."""
    wanted.add(FILES)
    return []


def fields(ctx: typer.Context) -> Sequence[str]:
    """What a command lists of each thing."""
    if ctx.info_name == "ls":
        from xcomctl.operations import listing

        checked = ctx.params.get("check") or State.DANGLING in (ctx.params.get("state") or ())
        return listing.fields_of(checked=bool(checked), archived=bool(ctx.params.get("archive")))
    if ctx.info_name == "du":
        from xcomctl.operations import usage

        by = str(ctx.params.get("by") or "dag_id").split(",")
        flags = (ctx.params.get("threshold") is not None, bool(ctx.params.get("storage")))
        return usage.fields_of(by, with_movable=flags[0], with_objects=flags[1])
    if ctx.info_name == "gc":
        from xcomctl.operations import history

        return ("about", "found") if ctx.params.get("explain") else history.COLUMNS
    room = {"fsck": "fsck", "preflight": "preflight", "verify-backend": "verify"}.get(ctx.info_name or "")
    return import_module(f"xcomctl.operations.{room}").FIELDS if room else ()


def groupings(ctx: typer.Context) -> Sequence[str]:
    """What du tells apart."""
    from xcomctl.operations import usage

    return usage.BY


def findings(ctx: typer.Context) -> Sequence[str]:
    """What fsck finds."""
    from xcomctl.operations.fsck import Kind

    return [kind.value for kind in Kind]


def gates(ctx: typer.Context) -> Sequence[str]:
    """What a command may refuse by."""
    if ctx.info_name == "rm":
        from xcomctl.operations.rm import GATES

        return [gate.value for gate in GATES]
    return [gate.value for gate in import_module(f"xcomctl.operations.{ctx.info_name}").Gate]


def list_of(fields: Callable[[typer.Context], Sequence[str]]) -> Callable[[typer.Context, str], list[str]]:
    """Fields with commas between them, each but once."""

    def offered(ctx: typer.Context, incomplete: str) -> list[str]:
        wanted.add(NO_SPACE)
        before, comma, last = incomplete.rpartition(",")
        there = before.split(",")
        return [f"{before}{comma}{each}" for each in fields(ctx) if each.startswith(last) and each not in there]

    return offered


def one_of(fields: Callable[[typer.Context], Sequence[str]]) -> Callable[[typer.Context, str], list[str]]:
    """A field."""

    def offered(ctx: typer.Context, incomplete: str) -> list[str]:
        return [each for each in fields(ctx) if each.startswith(incomplete)]

    return offered


def _given(ctx: typer.Context, name: str) -> list[str]:
    """What the line, or the environment, says of a parameter."""
    value = ctx.params.get(name)
    return [value] if isinstance(value, str) else [str(each) for each in value or ()]


def _named(ctx: typer.Context, ask: Callable[[Names], list[str]]) -> list[str]:
    """The answer of the database, if it comes in time. Whoever called does not wait for the thread that asks."""
    from xcomctl import settings

    urls = _given(ctx, "db") or [os.environ.get(settings.DATABASE_ENV) or _written("sql_alchemy_conn")]
    schema = ctx.params.get("db_schema") or os.environ.get(settings.SCHEMA_ENV) or _written("sql_alchemy_schema")
    answer: list[str] = []
    with suppress(Exception):
        from xcomctl.catalog import names

        def asking() -> None:
            with suppress(Exception):
                answer.extend(ask(names.open_names(os.path.expandvars(urls[0]), schema or None, SECONDS)))

        _import_sqlalchemy()
        thread = threading.Thread(target=asking, daemon=True)
        thread.start()
        thread.join(max(LEAST_SECONDS, SECONDS - (time.monotonic() - _STARTED)))
    return list(answer)


def _written(option: str) -> str:
    """What airflow.cfg says of the database in plain words; empty where it does not, or leaves it to a command."""
    from xcomctl.compat.airflow_cfg import airflow_sections

    return (airflow_sections().get("database", option, fallback="") or "").replace("%%", "%")


def _import_sqlalchemy() -> Any:
    """Before the time is taken."""
    import sqlalchemy

    return sqlalchemy
