"""What this container is made of, as far as XComs go: for a comparison with others, so without any secret.

It is taken also where Airflow or the class is broken, and says so in its fields `error`.
"""

from __future__ import annotations

import hashlib
import inspect
import platform
import socket
from pathlib import Path
from typing import Any

from xcomctl import __version__, compat
from xcomctl.backend.provider import OPTIONS, SECTION
from xcomctl.backend.reference import parse_base
from xcomctl.errors import XcomctlError
from xcomctl.operations.verify import inside, sources, versions
from xcomctl.operations.verify.backend_class import why_unresolved
from xcomctl.operations.verify.container import Container, name_of
from xcomctl.operations.verify.sources import Name

SCHEMA = 1


def fingerprint() -> dict[str, Any]:
    """The fingerprint of this container, to be written as JSON."""
    container = Container()
    with compat.unheard():
        taken: dict[str, Any] = {
            "schema": SCHEMA,
            "hostname": socket.gethostname(),
            "xcomctl": __version__,
            "python": platform.python_version(),
            "airflow": _airflow(),
            "packages": {name: versions.installed(name) for name in versions.PACKAGES},
            "class": _class(),
            "options": {".".join(option): _option(option) for option in sources.OPTIONS},
            "near_misses": [miss.found for miss in sources.near_misses()],
            "xcomctl_options": {name: _option((SECTION, name), o.default) for name, o in OPTIONS.items()},
            **_storage(container),
            "codecs": _codecs(),
        }
    return {name: _masked(value, container) for name, value in taken.items()}


def _airflow() -> dict[str, str | None]:
    told = {"version": versions.installed("apache-airflow"), "error": None}
    if not compat.airflow_installed():
        return {**told, "error": "Airflow is not installed here"}
    try:
        compat.airflow_option(*sources.BACKEND)
    except XcomctlError as error:
        told["error"] = error.message
    return told


def _class() -> dict[str, str | None]:
    """The class that is and a digest of the file that it is in; else why there is none."""
    try:
        backend = compat.airflow_xcom()
        file = Path(inspect.getfile(backend))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except (Exception, SystemExit) as error:
        return {"name": None, "file": None, "sha256": None, "error": why_unresolved(error)}
    return {"name": name_of(backend), "file": str(file), "sha256": digest, "error": None}


def _option(option: Name, default: str | None = None) -> dict[str, str | None]:
    """An option's value, from Airflow or, where that does not start, as it is written; and where it comes from."""
    try:
        value = compat.airflow_option(*option)
    except XcomctlError:
        value = sources.written(option)
    return {"value": value if value is not None else default, "source": sources.source_of(option)}


def _storage(container: Container) -> dict[str, Any]:
    """The scheme of the base path, and the connection that opens it."""
    base = parse_base(_option(sources.BASE_PATH)["value"] or "")
    if base is None:
        return {"scheme": None, "connection": None}
    if base.conn_id is None or ":" in base.conn_id:
        return {"scheme": base.location.scheme, "connection": None}
    return {"scheme": base.location.scheme, "connection": _connection(base.conn_id, container)}


def _connection(conn_id: str, container: Container) -> dict[str, str | None]:
    told: dict[str, str | None] = {"id": conn_id, "type": None, "endpoint": None, "source": None, "error": None}
    try:
        found = inside.connection(conn_id)
    except (Exception, SystemExit) as error:
        return {**told, "error": why_unresolved(error)}
    if found.connection is None:
        return {**told, "error": found.error or f"it is {found.source}"}
    container.hide(*inside.secrets_of(found.connection))
    endpoint = inside.endpoint_of(found.connection)
    return {**told, "type": found.connection.conn_type, "endpoint": endpoint or None, "source": found.source}


def _codecs() -> list[str]:
    """What objects can be compressed with here, by fsspec's names."""
    try:
        from fsspec.utils import compressions
    except ImportError:
        return []
    return sorted(set(compressions.values()) | ({"snappy"} if sources.importable("snappy") else set()))


def _masked(value: Any, container: Container) -> Any:
    if isinstance(value, str):
        return container.masked(value)
    if isinstance(value, dict):
        return {name: _masked(inner, container) for name, inner in value.items()}
    return [_masked(inner, container) for inner in value] if isinstance(value, list) else value
