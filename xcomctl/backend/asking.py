"""Which XCom a task asks for: Airflow's hooks for reading are given the value, and mostly not its names.

A value's names tell hand-written references from a task's own data, and stand in what is said of a lost object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    return {**_ASKED.get(), **{name: str(value) for name, value in own.items() if value is not None}}


def last_key() -> str | None:
    """The key that was asked for last in this thread, on Airflow 2. The value at hand may be another's."""
    return _LAST_KEY.get()


@contextmanager
def _asking(asked: Mapping[str, Any]) -> Iterator[None]:
    names = {name: str(asked[name]) for name in NAMES if asked.get(name) is not None}
    if asked.get("include_prior_dates"):
        names.pop("run_id", None)  # the row may be an earlier run's
    token = _ASKED.set(names)
    try:
        yield
    finally:
        _ASKED.reset(token)


class AskedByKey:
    """Airflow 2: `xcom_pull` and the scheduler ask by `get_many`, and then hand over single columns of a row."""

    @staticmethod
    def get_many(*date: Any, **asked: Any) -> Any:
        """As Airflow does; the key is remembered."""
        _LAST_KEY.set(asked.get("key"))
        return inside.BaseXCom.get_many(*date, **asked)


class AskedByName:
    """Airflow 3: the task's process asks the API server for one XCom, or for those of all map indexes."""

    @classmethod
    def get_one(cls, **asked: Any) -> Any:
        """As Airflow does; the names are remembered."""
        with _asking(asked):
            return super().get_one(**asked)  # type: ignore[misc]

    @classmethod
    async def aget_one(cls, **asked: Any) -> Any:
        """As `get_one`."""
        with _asking(asked):
            return await super().aget_one(**asked)  # type: ignore[misc]

    @classmethod
    def get_all(cls, **asked: Any) -> Any:
        """As Airflow does; the names are remembered."""
        with _asking(asked):
            return super().get_all(**asked)  # type: ignore[misc]

    @classmethod
    async def aget_all(cls, **asked: Any) -> Any:
        """As `get_all`."""
        with _asking(asked):
            return await super().aget_all(**asked)  # type: ignore[misc]


Asked = AskedByKey if inside.IS_AIRFLOW_2 else AskedByName
