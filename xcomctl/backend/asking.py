"""Which XCom a task asks for: Airflow's hooks for reading are given the value, and mostly not its names.

A row's names tell its references from a task's own data, and stand in what is said of a lost object.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from xcomctl.backend.rules import NAMES
from xcomctl.compat import inside

_ASKED: ContextVar[Mapping[str, str]] = ContextVar("asked", default=MappingProxyType({}))
_LAST_KEY: ContextVar[str | None] = ContextVar("last_key", default=None)


def names_of(result: Any) -> dict[str, str]:
    """What is known of the names of a row that a hook was given: by itself, or by what was asked for."""
    own = {name: getattr(result, name, None) for name in NAMES}
    if own["key"] is None and own["task_id"] is not None:
        own["key"] = _LAST_KEY.get()  # Airflow 2 asks by key, and hands over the first row without it at once
        _LAST_KEY.set(None)
    return {**_ASKED.get(), **{name: str(value) for name, value in own.items() if value is not None}}


@contextmanager
def _asking(function: Callable[..., Any], args: tuple[Any, ...], asked: Mapping[str, Any]) -> Iterator[None]:
    """Remember what a method of Airflow's is asked for while it runs."""
    told = inspect.signature(function).bind_partial(*args, **asked).arguments
    key = told.get("ti_key")
    names = {name: told.get(name, getattr(key, name, None)) for name in NAMES}
    if told.get("include_prior_dates"):
        names["run_id"] = None  # the row may be an earlier run's
    token = _ASKED.set({name: str(value) for name, value in names.items() if value is not None})
    try:
        yield
    finally:
        _ASKED.reset(token)


class AskedByKey:
    """Airflow 2: `xcom_pull` and the scheduler ask by `get_many`, and then hand over some columns of a row."""

    @staticmethod
    def get_many(*args: Any, **asked: Any) -> Any:
        """As Airflow does; the key is remembered."""
        _LAST_KEY.set(asked.get("key"))
        return inside.BaseXCom.get_many(*args, **asked)

    @staticmethod
    def get_one(*args: Any, **asked: Any) -> Any:
        """As Airflow does; the names are remembered."""
        with _asking(inside.BaseXCom.get_one, args, asked):
            return inside.BaseXCom.get_one(*args, **asked)

    @staticmethod
    def get_value(*args: Any, **asked: Any) -> Any:
        """As `get_one`."""
        with _asking(inside.BaseXCom.get_value, args, asked):
            return inside.BaseXCom.get_value(*args, **asked)


class AskedByName:
    """Airflow 3: the task's process asks the API server for one XCom, or for those of all map indexes."""

    @classmethod
    def get_one(cls, *args: Any, **asked: Any) -> Any:
        """As Airflow does; the names are remembered."""
        with _asking(super().get_one, args, asked):  # type: ignore[misc]
            return super().get_one(*args, **asked)  # type: ignore[misc]

    @classmethod
    def get_all(cls, *args: Any, **asked: Any) -> Any:
        """As `get_one`."""
        with _asking(super().get_all, args, asked):  # type: ignore[misc]
            return super().get_all(*args, **asked)  # type: ignore[misc]

    @classmethod
    def delete(cls, *args: Any, **asked: Any) -> Any:
        """As Airflow does; the names are remembered for `purge`."""
        with _asking(super().delete, args, asked):  # type: ignore[misc]
            return super().delete(*args, **asked)  # type: ignore[misc]


class AskedInTurn(AskedByName):
    """Airflow >=3.3: the same for tasks that wait."""

    @classmethod
    async def aget_one(cls, *args: Any, **asked: Any) -> Any:
        """As `get_one`."""
        with _asking(super().aget_one, args, asked):  # type: ignore[misc]
            return await super().aget_one(*args, **asked)  # type: ignore[misc]

    @classmethod
    async def aget_all(cls, *args: Any, **asked: Any) -> Any:
        """As `get_one`."""
        with _asking(super().aget_all, args, asked):  # type: ignore[misc]
            return await super().aget_all(*args, **asked)  # type: ignore[misc]


Asked: Any = AskedByKey if inside.IS_AIRFLOW_2 else AskedInTurn if hasattr(inside.BaseXCom, "aget_all") else AskedByName
