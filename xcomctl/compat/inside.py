"""Airflow's names, seen from one of its own processes: a task, a triggerer, on Airflow 2 the scheduler too.

Such a process belongs to Airflow. Nothing here changes its environment, its streams or its logging, as the commands'
side of this room does, and importing it loads nothing that Airflow's own class for object storage does not load.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any, cast

from airflow import __version__ as airflow_version
from airflow.utils.json import XComDecoder, XComEncoder

from xcomctl.errors import MetadataError

IS_AIRFLOW_2 = airflow_version.startswith("2.")

if IS_AIRFLOW_2:
    from airflow.io.path import ObjectStoragePath
    from airflow.io.store import attach
    from airflow.models.xcom import BaseXCom
else:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.io.store import attach

try:
    from airflow.sdk.configuration import conf  # SDK >=1.2
except ImportError:
    from airflow.configuration import conf

try:
    from airflow.providers.common.io.xcom.backend import XComObjectStorageBackend as StockBackend
except ImportError:  # absent, or one that cannot be imported from here: common-io 1.6.1 and 1.6.2 on Airflow 2.11
    StockBackend = BaseXCom


def option(section: str, key: str, default: str = "") -> str:
    """An option as this process resolves it."""
    value = conf.get(section, key, fallback=None)
    return default if value is None else str(value).strip()


def variable(key: str) -> str | None:
    """An Airflow Variable, as a task would read it; None where there is none."""
    if IS_AIRFLOW_2:
        from airflow.models.variable import Variable

        return cast("str | None", Variable.get(key, default_var=None))
    from airflow.sdk import Variable as TaskVariable

    return cast("str | None", TaskVariable.get(key, default=None))


@cache
def opens(scheme: str) -> bool:
    """Whether a provider of this Airflow opens URLs in a scheme."""
    try:
        from airflow.sdk.io import has_fs  # SDK >=1.1
    except ImportError:
        from airflow.io import has_fs
    return bool(has_fs(scheme))


def path_of(url: str) -> str:
    """What Airflow calls the object of a URL, where it asks the file system for it.

    The URL names no connection: with one, Airflow opens the store here and now. Raises what Airflow does for a URL that
    it cannot take apart, and for a scheme whose package is missing.
    """
    return str(ObjectStoragePath(url).path)


def filesystem(protocol: str, conn_id: str | None) -> Any:
    """The fsspec file system that Airflow opens for a URL, the same for all callers of a process.

    One that was opened before this process was forked off is dead here, and opened anew. Some cannot be opened on a
    thread whose event loop runs, as the triggerer's does (asyncio.run in the Amazon provider): another thread does it.
    """
    store = attach(protocol=protocol, conn_id=conn_id)
    if getattr(vars(store).get("fs"), "_pid", os.getpid()) != os.getpid():
        del store.fs
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return store.fs
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(copy_context().run, lambda: store.fs).result()


@cache
def require_connection(conn_id: str) -> None:
    """Raise `MetadataError` where there is no such connection.

    Airflow's Amazon hook would go on with whatever credentials the machine has (AwsGenericHook.conn_config).
    """
    from airflow.exceptions import AirflowNotFoundException

    try:
        from airflow.sdk.bases.hook import BaseHook  # SDK >=1.1
    except ImportError:
        from airflow.hooks.base import BaseHook
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise MetadataError(
            f"there is no Airflow connection {conn_id}, which the XCom's URL names",
            hint="define it, or let the machine's own credentials do: [xcomctl] require_connection = False",
        ) from None


__all__ = [
    "IS_AIRFLOW_2",
    "BaseXCom",
    "StockBackend",
    "XComDecoder",
    "XComEncoder",
    "filesystem",
    "opens",
    "option",
    "path_of",
    "require_connection",
    "variable",
]
