"""Where the database and the objects are: flags, then environment, then Airflow's own configuration, resolved once.

Airflow is asked, which means importing it, only for what nobody said and what its airflow.cfg could say.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from xcomctl import compat
from xcomctl.errors import MetadataError, UsageError
from xcomctl.model import StorageOptions

BASE_PATH_ENV = "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH"
THRESHOLD_ENV = "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD"
COMPRESSION_ENV = "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESSION"
STATE_STORE_ENV = "AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH"
DATABASE_ENV = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
SCHEMA_ENV = "AIRFLOW__DATABASE__SQL_ALCHEMY_SCHEMA"


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command works on. The URLs and the options may hold secrets, so they are not in its repr.

    `base_path` is None where Airflow has none; `base_path_source` is the flag or option that it comes from. `control`
    names the folder of gc's own state, where a flag does.
    """

    databases: tuple[str, ...] = field(repr=False)
    db_schema: str | None
    base_path: str | None
    base_path_source: str
    storage_options: StorageOptions = field(repr=False)
    control: str | None = None


def resolve(
    databases: Sequence[str],
    db_schema: str | None,
    base_path: str | None,
    storage_options: Sequence[str],
    *,
    needs_database: bool = True,
    control: str | None = None,
) -> Settings:
    """Settings from what the flags and their environment variables say, and Airflow for the rest.

    Raises `UsageError` for a flag that cannot be read, `MetadataError` where Airflow's configuration is at fault.
    """
    options = parse_storage_options(storage_options)
    source = "--base-path" if base_path else "[common.io] xcom_objectstorage_path"
    base_path = base_path or _configured(BASE_PATH_ENV, "xcom_objectstorage_path")
    if not needs_database:
        return Settings((), None, base_path, source, options, control)
    urls = tuple(databases) or (_database(),)
    return Settings(urls, db_schema or _db_schema(bool(databases)), base_path, source, options, control)


def state_store_path() -> str | None:
    """The base path of Airflow's state stores (Airflow >=3.3, common-io >=1.8), if there is one."""
    return _configured(STATE_STORE_ENV, "state_store_objectstorage_path")


def xcom_threshold() -> int | None:
    """The size in bytes from which on Airflow puts values into storage; None where it never does."""
    text = _configured(THRESHOLD_ENV, "xcom_objectstorage_threshold")
    try:
        threshold = int(text) if text is not None else -1
    except ValueError as error:
        raise MetadataError(
            f"[common.io] xcom_objectstorage_threshold {text!r} is not a number", hint="say --threshold"
        ) from error
    return threshold if threshold >= 0 else None


def xcom_compression() -> str | None:
    """What Airflow compresses objects with, by fsspec's name."""
    return _configured(COMPRESSION_ENV, "xcom_objectstorage_compression")


def parse_storage_options(words: Sequence[str]) -> StorageOptions:
    """`key=value` words as fsspec's options; a dotted key reaches into nested ones.

    >>> parse_storage_options(["key=k", "client_kwargs.endpoint_url=http://localhost:9000"])
    {'key': 'k', 'client_kwargs': {'endpoint_url': 'http://localhost:9000'}}
    """
    options: StorageOptions = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not all(name.split(".")):
            raise UsageError("--storage-option wants key=value", hint="for example client_kwargs.endpoint_url=URL")
        *outer, last = name.split(".")
        inner = options
        for part in outer:
            nested = inner.setdefault(part, {})
            if not isinstance(nested, dict):
                raise UsageError(
                    f"--storage-option {name} reaches into {part}, which has a value of its own", hint="leave out one"
                )
            inner = nested
        inner[last] = _typed(value, number=outer[:1] == ["config_kwargs"])
    return options


def _typed(value: str, *, number: bool) -> object:
    """Truth values are such, and numbers too in botocore's configuration; a key of digits stays text."""
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if number and value.isdecimal() else value


def _database() -> str:
    url = os.environ.get(DATABASE_ENV) or compat.airflow_option("database", "sql_alchemy_conn")
    if not url:
        raise MetadataError("Airflow names no metadata database", hint="say --db, or set XCOMCTL_DB")
    return url


def _db_schema(database_was_named: bool) -> str | None:
    """Airflow's schema, from the same source as its database."""
    named = os.environ.get(SCHEMA_ENV)
    if named or database_was_named or DATABASE_ENV in os.environ:
        return named or None
    return compat.airflow_option("database", "sql_alchemy_schema")


def _configured(variable: str, option: str) -> str | None:
    """An option of [common.io], from its environment variable or where an airflow.cfg could have it."""
    configured = os.environ.get(variable)
    if configured is None and compat.airflow_configured() and compat.airflow_installed():
        configured = compat.airflow_option("common.io", option)
    return configured or None
