"""Airflow's own names that the checks of a store need, with the differences between its versions.

Nothing here makes a database: a missing SQLite file, as on a worker of Airflow 3, stays missing.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from inspect import signature
from typing import Any
from urllib.parse import urlsplit

from xcomctl import compat
from xcomctl.backend.reference import Address
from xcomctl.catalog.engine import connected, open_engine
from xcomctl.errors import MetadataError
from xcomctl.masking import passwords_in, secrets_in

SOURCES = {
    "EnvironmentVariablesBackend": "from the environment",
    "MetastoreBackend": "from the metadata database",
}

DATABASE_BACKEND = "MetastoreBackend"

ACCESS_KEY = 16
LOGIN_IS_A_NAME = ("wasb", "adls", "azure_data_lake", "azure")
"""The types of Azure's connections, whose login is the name of an account or of a client."""

ENDPOINTS = ("endpoint_url", "host", "account_url", "account_host")


class Database(Enum):
    """Whether the metadata database can be asked."""

    PRESENT = "present"
    ABSENT = "absent"
    """There is none here, as on workers of Airflow 3."""
    SILENT = "silent"
    """One is configured, and does not answer, or has no tables yet."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What became of looking for a connection. `source` says where it was found, or not found; `error` why one that is
    there cannot be read.
    """

    connection: Any
    source: str
    database: Database = Database.ABSENT
    error: str = ""


def connection(conn_id: str) -> Lookup:
    """Look for an Airflow connection wherever this process may, one place after the other."""
    asked = []
    error, database, absent = "", Database.ABSENT, ", and no metadata database is at hand here"
    for backend, workers_only in _secrets_backends():
        kind = type(backend).__name__
        source = SOURCES.get(kind, f"from {kind}")
        if kind == DATABASE_BACKEND:
            database, silence = _database()
            if database is not Database.PRESENT:
                absent = f", and the metadata database does not answer: {silence}" if silence else absent
                continue
            absent = ""
            compat.ask_the_database()
        try:
            found = backend.get_connection(conn_id=conn_id)
        except Exception as failure:  # every secrets backend has errors of its own
            error = f"{type(failure).__name__}, {source}"
            continue
        if found is not None:
            if workers_only:
                _hand_over(found)
            return Lookup(found, source, database)
        asked.append(source.removeprefix("from "))
    places = f"neither in {', nor in '.join(asked)}" if asked else "nowhere"
    return Lookup(None, f"{places}{absent}", database, error)


def has_database() -> bool:
    """Whether the metadata database can be asked from here."""
    return _database()[0] is Database.PRESENT


def secrets_of(connection: Any) -> Iterator[str]:
    """What of a connection must never be said: all that may be a secret.

    A login is a secret where it is as long as an access key; else it is a name, which buckets and hosts may have too.
    """
    if connection.login and len(connection.login) >= ACCESS_KEY and connection.conn_type not in LOGIN_IS_A_NAME:
        yield str(connection.login)
    if connection.password:
        yield str(connection.password)
        yield from passwords_in(str(connection.password))
    extra = str(connection.extra or "")
    with suppress(ValueError, TypeError, RecursionError):
        yield from secrets_in(json.loads(extra))


def endpoint_of(connection: Any) -> str:
    """The host that a connection leads to, without user, password and path; empty where it does not say."""
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = {}
    extra = extra if isinstance(extra, dict) else {}
    service = extra.get("service_config")
    nested = service.get("s3") if isinstance(service, dict) else None
    for place in (nested, extra):
        for name in ENDPOINTS:
            if isinstance(place, dict) and isinstance(place.get(name), str) and place[name]:
                return _host(place[name])
    return _host(connection.host or "")


def opens(protocol: str) -> bool:
    """Whether Airflow has a file system for this protocol."""
    return protocol in _openers()


def opener_of(protocol: str) -> str:
    """The module of the provider that opens it."""
    return str(_openers()[protocol].__module__)


def filesystem(base: Address) -> Any:
    """The file system that Airflow opens for a base path, in the way that it does."""
    if base.conn_id is not None:
        return compat.filesystem(base.protocol, base.location.scheme, base.conn_id, {})
    return _io().get_fs(base.protocol, None)


def credentials_of(scheme: str, filesystem: Any) -> str | None:
    """What kind of credentials an open file system has, by botocore's name for S3; None where it does not tell."""
    if scheme == "s3":
        if filesystem.anon:
            return "anonymous"
        from fsspec.asyn import sync

        filesystem.connect()
        found = sync(filesystem.loop, filesystem.session.get_credentials)
        return "anonymous" if found is None else str(found.method)
    if scheme == "gs":
        found = getattr(getattr(filesystem, "credentials", None), "credentials", None)
        return "anonymous" if found is None else f"{type(found).__module__}.{type(found).__name__}"
    return None


def address_of(scheme: str, filesystem: Any) -> str | None:
    """The URL that an open file system asks; None where it does not tell."""
    if scheme == "s3":
        filesystem.connect()
        return str(filesystem.s3.meta.endpoint_url)
    return str(filesystem._location) if scheme == "gs" else None


def has_proxy(scheme: str, filesystem: Any) -> bool:
    """Whether an open file system goes through a proxy that its connection names (botocore's config_kwargs)."""
    return scheme == "s3" and bool(filesystem.s3.meta.config.proxies)


def _openers() -> Any:
    return _io()._register_filesystems()


def _io() -> Any:
    """airflow.sdk.io.fs since 3.1, airflow.io before."""
    for name in ("airflow.sdk.io.fs", "airflow.io"):
        with suppress(ImportError):
            module = importlib.import_module(name)
            if hasattr(module, "_register_filesystems"):
                return module
    raise ImportError("Airflow has no module of file systems")


def _database() -> tuple[Database, str]:
    """Whether there is a metadata database to ask, and why it is silent.

    xcomctl's own engine looks, which gives up after ten seconds; Airflow's waits for a server that says nothing.
    """
    from airflow import settings
    from sqlalchemy import text

    url = compat.airflow_option("database", "sql_alchemy_conn") or ""
    try:
        engine = open_engine(url)
        with connected(engine) as opened:
            opened.execute(text("select 1 from connection where 1 = 0"))
        engine.dispose()
    except MetadataError as error:
        return (Database.ABSENT, "") if url.startswith("sqlite") else (Database.SILENT, error.message)
    if settings.engine is None:
        settings.configure_orm()
    return Database.PRESENT, ""


def _secrets_backends() -> list[tuple[Any, bool]]:
    """Where connections are looked for, in order, and whether only workers look there ([workers] secrets_backend)."""
    from airflow.configuration import ensure_secrets_loaded, get_custom_secret_backend

    shared = [(each, False) for each in ensure_secrets_loaded()]
    if "worker_mode" not in signature(get_custom_secret_backend).parameters:
        return shared
    own = get_custom_secret_backend(worker_mode=True)
    if own is None or any(type(own) is type(each) for each, _ in shared):
        return shared
    if hasattr(own, "_set_connection_class"):
        from airflow.models import Connection

        own._set_connection_class(Connection)
    return [(own, True), *shared]


def _hand_over(connection: Any) -> None:
    """Let this process see a connection that Airflow's server side, which opens its stores here, does not look for."""
    os.environ[f"AIRFLOW_CONN_{connection.conn_id.upper()}"] = connection.get_uri()


def _host(text: str) -> str:
    parsed = urlsplit(text if "://" in text else f"//{text}")
    try:
        port = f":{parsed.port}" if parsed.port else ""
    except ValueError:
        return ""
    return f"{parsed.hostname}{port}" if parsed.hostname else ""
