"""What this container is made of, as far as XComs go: for a comparison with others, so without any secret.

It is taken also where Airflow or the class is broken or hangs, and says so in its fields `error`.
"""

from __future__ import annotations

import hashlib
import inspect
import platform
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xcomctl import __version__, compat
from xcomctl.backend.provider import OPTIONS, SECTION
from xcomctl.backend.reference import parse_base
from xcomctl.errors import XcomctlError
from xcomctl.operations.verify import inside, sources, versions
from xcomctl.operations.verify.backend_class import why_unresolved
from xcomctl.operations.verify.container import Container, name_of
from xcomctl.operations.verify.environment import environment
from xcomctl.operations.verify.runner import Overdue, closed_to_children, deadline
from xcomctl.operations.verify.sources import Name
from xcomctl.operations.verify.terms import CHECK_SECONDS, IMPORT_SECONDS

SCHEMA = 1

NOT_TRIED = "not tried, for Airflow does not start"

Told = dict[str, Any]


def fingerprint() -> Told:
    """The fingerprint of this container, to be written as JSON."""
    container = Container()
    with compat.unheard(), closed_to_children():
        airflow = _airflow()
        starts = airflow["error"] is None
        pickling = (sources.PICKLING,) if _is_2() else ()
        options = _options(dict.fromkeys((*sources.OPTIONS, *pickling)), starts=starts)
        own = _options({(SECTION, name): option.default for name, option in OPTIONS.items()}, starts=starts)
        taken: Told = {
            "schema": SCHEMA,
            "hostname": socket.gethostname(),
            "xcomctl": __version__,
            "python": platform.python_version(),
            "airflow": airflow,
            "packages": {name: versions.installed(name) for name in versions.PACKAGES},
            "class": _class(starts=starts),
            "options": {".".join(option): told for option, told in options.items()},
            "near_misses": [miss.found for miss in sources.near_misses()],
            "xcomctl_options": {name: told for (_, name), told in own.items()},
            **_storage(options[sources.BASE_PATH]["value"], container, starts=starts),
            "codecs": _codecs(),
            "environment": environment(),
        }
    return {name: _masked(value, container) for name, value in taken.items()}


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Break the block off when its time is up, and go on. What it tells is `_late` until it says otherwise."""
    try:
        with deadline(seconds):
            yield
    except Overdue:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _late(seconds: float) -> str:
    return f"no answer within {seconds:g} s"


def _airflow() -> Told:
    told: Told = {"version": versions.installed("apache-airflow"), "error": _late(IMPORT_SECONDS)}
    if not compat.airflow_installed():
        return {**told, "error": "Airflow is not installed here"}
    with _within(IMPORT_SECONDS):
        try:
            compat.airflow_option(*sources.BACKEND)
            told["error"] = None
        except XcomctlError as error:
            told["error"] = error.message
        except SystemExit as error:
            told["error"] = why_unresolved(error)
    return told


def _class(*, starts: bool) -> Told:
    """The class that is and a digest of the file that it is in; else why there is none."""
    told: Told = {"name": None, "file": None, "sha256": None, "error": _late(IMPORT_SECONDS) if starts else NOT_TRIED}
    if not starts:
        return told
    with _within(IMPORT_SECONDS):
        try:
            backend = compat.airflow_xcom()
            told.update(name=name_of(backend), file=inspect.getfile(backend), error=None)
        except (Exception, SystemExit) as error:
            return {**told, "name": None, "error": why_unresolved(error)}
        with suppress(OSError):  # a module in an archive has no file of its own
            told["sha256"] = hashlib.sha256(Path(told["file"]).read_bytes()).hexdigest()
    return told


def _options(defaults: Mapping[Name, str | None], *, starts: bool) -> dict[Name, Told]:
    """Options from Airflow or, where that does not start or tell, as they are written; and where they come from."""
    error = _late(CHECK_SECONDS) if starts else NOT_TRIED
    told: dict[Name, Told] = {
        option: {"value": sources.written(option) or default, "source": sources.source_of(option), "error": error}
        for option, default in defaults.items()
    }
    if starts:
        with _within(CHECK_SECONDS):
            for option, default in defaults.items():
                told[option].update(_option(option, default))
    return told


def _option(option: Name, default: str | None) -> Told:
    try:
        value = compat.airflow_option(*option)
    except XcomctlError as error:
        return {"error": error.message}
    return {"value": value if value is not None else default, "error": None}


def _storage(base_path: str | None, container: Container, *, starts: bool) -> Told:
    """The scheme of the base path, and the connection that opens it."""
    base = parse_base(base_path or "")
    if base is None:
        return {"scheme": None, "connection": None}
    if base.conn_id is None or ":" in base.conn_id:
        return {"scheme": base.location.scheme, "connection": None}
    return {"scheme": base.location.scheme, "connection": _connection(base.conn_id, container, starts=starts)}


def _connection(conn_id: str, container: Container, *, starts: bool) -> Told:
    """What a connection is. `visible` is false where only the API server knows it, as on workers of Airflow 3."""
    told: Told = {"id": conn_id, "type": None, "endpoint": None, "source": None}
    told |= {"error": _late(CHECK_SECONDS) if starts else NOT_TRIED, "visible": starts}
    if starts:
        with _within(CHECK_SECONDS):
            try:
                told.update(_looked_up(conn_id, container))
            except (Exception, SystemExit) as error:
                told["error"] = why_unresolved(error)
    return told


def _looked_up(conn_id: str, container: Container) -> Told:
    found = inside.connection(conn_id)
    if found.connection is None:
        elsewhere = not found.error and found.database is not inside.Database.PRESENT and not _is_2()
        return {"error": found.error or f"it is {found.source}", "visible": not elsewhere}
    container.hide(*inside.secrets_of(found.connection))
    endpoint = inside.endpoint_of(found.connection)
    return {"type": found.connection.conn_type, "endpoint": endpoint or None, "source": found.source, "error": None}


def _is_2() -> bool:
    return versions.numbers(versions.installed("apache-airflow"))[:1] == (2,)


def _codecs() -> list[str] | None:
    """What objects can be compressed with here, by fsspec's names; None where fsspec does not tell."""
    with _within(CHECK_SECONDS), suppress(Exception, SystemExit):
        from fsspec.utils import compressions

        return sorted(set(compressions.values()) | ({"snappy"} if sources.importable("snappy") else set()))
    return None


def _masked(value: Any, container: Container) -> Any:
    if isinstance(value, str):
        return container.masked(value)
    if isinstance(value, dict):
        return {name: _masked(inner, container) for name, inner in value.items()}
    return [_masked(inner, container) for inner in value] if isinstance(value, list) else value
