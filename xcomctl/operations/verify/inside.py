"""Airflow's own names that the checks of a store need, with the differences between its versions.

Nothing here makes a database: a missing SQLite file, as on a worker of Airflow 3, stays missing.
"""

from __future__ import annotations

import importlib
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xcomctl import compat
from xcomctl.backend.reference import Address
from xcomctl.operations.verify.drivers import let_alarms_be_heard

SOURCES = {
    "EnvironmentVariablesBackend": "from the environment",
    "MetastoreBackend": "from the metadata database",
}

DATABASE_BACKEND = "MetastoreBackend"

PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
CONNECT_SECONDS = 5.0

ENDPOINTS = ("endpoint_url", "host", "account_url", "account_host")


@dataclass(frozen=True, slots=True)
class Lookup:
    """What became of looking for a connection. `source` says where it was found, or not found; `database` whether
    there was a metadata database to ask; `error` why one that is there cannot be read.
    """

    connection: Any
    source: str
    database: bool = False
    error: str = ""


def connection(conn_id: str) -> Lookup:
    """Look for an Airflow connection wherever this process may, one place after the other."""
    from airflow.configuration import ensure_secrets_loaded

    asked = []
    error, database = "", False
    for backend in ensure_secrets_loaded():
        kind = type(backend).__name__
        if kind == DATABASE_BACKEND:
            database = _has_database()
            if not database:
                continue
            compat.ask_the_database()
        try:
            found = backend.get_connection(conn_id=conn_id)
        except Exception as failure:  # every secrets backend has errors of its own
            error = f"{type(failure).__name__}, {SOURCES.get(kind, f'from {kind}')}"
            continue
        if found is not None:
            return Lookup(found, SOURCES.get(kind, f"from {kind}"), database)
        asked.append(SOURCES.get(kind, f"from {kind}").removeprefix("from "))
    places = f"neither in {', nor in '.join(asked)}" if asked else "nowhere"
    absent = "" if database else ", and no metadata database is at hand here"
    return Lookup(None, f"{places}{absent}", database, error)


def secrets_of(connection: Any) -> Iterator[str]:
    """What of a connection must never be said: all that may be a secret."""
    for secret in (connection.login, connection.password):
        if secret:
            yield str(secret)
    with suppress(ValueError, TypeError):
        yield from _strings(json.loads(connection.extra or "null"))


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


def _has_database() -> bool:
    """Whether the metadata database answers, and is one."""
    from airflow import settings
    from sqlalchemy import text
    from sqlalchemy.engine import make_url

    url = compat.airflow_option("database", "sql_alchemy_conn") or ""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
            return False
        if parsed.host:  # a driver would wait for minutes
            port = parsed.port or PORTS.get(parsed.get_backend_name(), 0)
            socket.create_connection((parsed.host, port), timeout=CONNECT_SECONDS).close()
        if settings.engine is None:
            settings.configure_orm()
        let_alarms_be_heard()
        with settings.engine.connect() as opened:
            opened.execute(text("select 1 from connection where 1 = 0"))
    except Exception:  # of the driver, of SQLAlchemy, or of a URL that is none: it does not answer
        return False
    return True


def _strings(value: object) -> Iterator[str]:
    """The strings in what extras hold; URLs and names among them are hidden too, for nobody needs them."""
    if isinstance(value, str) and "://" not in value:
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in ("region_name", "endpoint_url", "service_name"):
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _host(text: str) -> str:
    parsed = urlsplit(text if "://" in text else f"//{text}")
    try:
        port = f":{parsed.port}" if parsed.port else ""
    except ValueError:
        return ""
    return f"{parsed.hostname}{port}" if parsed.hostname else ""
