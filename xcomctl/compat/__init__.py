"""Every difference between Airflow versions, and between the ways it is installed, resolved once.

Airflow is imported only inside the functions that need it: that costs one to three seconds. What it says while it
works is not heard: its console log goes to stdout, which is for data, and its failures arrive as exceptions.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, cast

from xcomctl.compat.airflow_cfg import airflow_file
from xcomctl.errors import MetadataError, StorageError
from xcomctl.masking import Mask
from xcomctl.model import StorageOptions

PROVIDERS = {
    "s3": ("s3fs", "apache-airflow-providers-amazon[s3fs]"),
    "gs": ("gcsfs", "apache-airflow-providers-google"),
    "abfs": ("adlfs", "apache-airflow-providers-microsoft-azure"),
}
"""For each scheme the fsspec package, and the Airflow provider that opens its connections."""


def airflow_installed() -> bool:
    """Whether Airflow can be imported, without importing it."""
    return importlib.util.find_spec("airflow") is not None


def airflow_xcom() -> Any:
    """The XCom class that Airflow's own processes resolve; None where this is asked while they do.

    Raises what keeps the class from being imported.
    """
    from airflow import __version__

    module = "airflow.models.xcom" if __version__.startswith("2.") else "airflow.sdk.execution_time.xcom"
    return getattr(importlib.import_module(module), "XCom", None)


def airflow_configured() -> bool:
    """Whether this process has an airflow.cfg: without one every option is an environment variable or a default."""
    try:
        return airflow_file().is_file()
    except PermissionError:
        return False


def airflow_option(section: str, key: str) -> str | None:
    """An option as Airflow itself resolves it: environment, airflow.cfg, commands, secrets, defaults.

    Raises `MetadataError` when Airflow is missing or its configuration is broken.
    """
    try:
        value = _imported("airflow.configuration", lambda module: module.conf.get(section, key, fallback=None))
    except MetadataError:
        raise
    except Exception as error:
        raise MetadataError(
            f"Airflow's configuration of [{section}] {key} is broken: {told(error)}",
            hint="run `airflow config list`",
        ) from error
    return str(value).strip() if value else None  # what a command prints ends in a newline


def airflow_variable(key: str) -> str | None:
    """An Airflow Variable as Airflow itself resolves it: environment, secrets backends, database; None for none.

    Raises `MetadataError` when Airflow is missing or does not start.
    """
    named = os.environ.get(f"AIRFLOW_VAR_{key.upper()}")
    if named is not None:
        return named
    ask_the_database()
    try:
        return cast(
            "str | None",
            _imported("airflow.models.variable", lambda module: module.Variable.get_variable_from_secrets(key)),
        )
    except MetadataError:
        raise
    except Exception as error:
        raise MetadataError(
            f"the Airflow Variable {key} cannot be read ({type(error).__name__})",
            hint="one that is there needs the fernet key that it was written with",
        ) from error


def filesystem(protocol: str, scheme: str, conn_id: str | None, options: StorageOptions) -> Any:
    """The fsspec file system of a protocol, with an Airflow connection's credentials or with the given options.

    `scheme` is the canonical name of the store, as PROVIDERS has it.

    Raises `MetadataError` for a connection that does not resolve, `StorageError` for a package that is missing.
    """
    if conn_id is not None:
        try:
            return _connected_filesystem(protocol, scheme, conn_id)
        except MetadataError as error:
            if ":" not in conn_id:
                raise
            mask = Mask()
            mask.hide(conn_id.partition(":")[2])  # a key and its secret, where somebody took the place for theirs
            raise MetadataError(mask(error.message), hint=mask(error.hint or "")) from None
    import fsspec

    package, _ = PROVIDERS.get(scheme, ("fsspec", ""))
    try:
        return fsspec.filesystem(protocol, **{**_safe_defaults(scheme), **options})
    except (ImportError, ValueError) as error:
        raise StorageError(f"cannot open {protocol}:// URLs: {error}", hint=f"pip install {package}") from error
    except Exception as error:
        raise StorageError(
            f"cannot open {protocol}:// URLs: {type(error).__name__}: {error}",
            hint="check --storage-option and the credentials in the environment",
        ) from error


def _safe_defaults(scheme: str) -> StorageOptions:
    """No cached listings, and no instance shared with another caller: what is asked is what is there now."""
    listing: StorageOptions = {} if scheme == "abfs" else {"use_listings_cache": False}
    return {"skip_instance_cache": True, **listing}


def _connected_filesystem(protocol: str, scheme: str, conn_id: str) -> Any:
    """The file system that Airflow's provider builds.

    The connection is looked up first: the Amazon hook turns a missing one into a warning and ambient credentials
    (AwsGenericHook.conn_config).
    """
    _require_airflow(scheme, conn_id)
    _require_connection(conn_id)
    try:
        with unheard():
            return _get_fs()(protocol, conn_id)
    except ValueError as error:
        _, provider = PROVIDERS.get(scheme, ("", f"the one for {protocol}"))
        raise MetadataError(
            f"Airflow cannot open {protocol}:// URLs: {error}", hint=f"pip install '{provider}'"
        ) from error
    except Exception as error:
        raise MetadataError(
            f"the Airflow connection {conn_id} does not open {protocol}:// URLs: {type(error).__name__}: {error}",
            hint=f"run `airflow connections get {conn_id}` and check its type, extras and provider",
        ) from error


def _require_airflow(scheme: str, conn_id: str) -> None:
    """Without Airflow a bucket may be opened by what somebody says of it, never by what happens to be around."""
    if not airflow_installed():
        option = {"s3": "anon=false", "gs": "token=google_default"}.get(scheme, "KEY=VALUE")
        raise MetadataError(
            f"Airflow is not installed here, and the connection {conn_id} is Airflow's",
            hint=f"say the base path without {conn_id}@, and how its bucket is opened: --storage-option {option} takes "
            "what the environment has",
        )


def _require_connection(conn_id: str) -> None:
    def look_up(module: Any) -> object:
        return module.Connection.get_connection_from_secrets(conn_id)

    ask_the_database()
    try:
        _imported("airflow.models.connection", look_up)
    except MetadataError:
        raise
    except Exception as error:
        raise MetadataError(
            f"the Airflow connection {conn_id} cannot be resolved ({type(error).__name__})",
            hint=f"define it: `airflow connections add {conn_id}` or AIRFLOW_CONN_{conn_id.upper()}; "
            "one that is there needs the fernet key that it was written with",
        ) from error


def ask_the_database() -> None:
    """Outside a task, Airflow >=3.1.1 asks the metadata database only in a process so marked, as its own commands are.

    (airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded)
    """
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def _get_fs() -> Callable[[str, str], Any]:
    """Airflow's own opener: airflow.sdk.io since 3.1, airflow.io before; 3.0 has both, and it only in the latter."""
    try:
        module = importlib.import_module("airflow.sdk.io")
        return cast("Callable[[str, str], Any]", module.get_fs)
    except (ImportError, AttributeError):
        module = importlib.import_module("airflow.io")
        return cast("Callable[[str, str], Any]", module.get_fs)


def _imported(module: str, use: Callable[[Any], Any]) -> Any:
    """What `use` makes of an Airflow module; `MetadataError` when Airflow is missing or does not start."""
    if not airflow_installed():
        raise MetadataError(
            "Airflow is not installed here, and this needs its configuration or connections",
            hint="install xcomctl beside Airflow, or say --db, --base-path and --storage-option",
        )
    with unheard():
        try:
            imported = importlib.import_module(module)
        except Exception as error:
            raise MetadataError(
                f"Airflow does not start: {told(error)}", hint="run `airflow version` to see why"
            ) from error
        return use(imported)


def told(error: BaseException) -> str:
    """An error in one line, without what a command of the configuration is and printed: both may hold a secret."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "").partition(" Output:")[0]
    first = re.sub(r"(Cannot execute ).*?(\. Error code is)", r"\1a command of the configuration\2", first)
    return f"{type(error).__name__}: {first}"


@contextmanager
def unheard() -> Iterator[None]:
    """Let Airflow talk to nobody. Its log handlers keep the streams that they find, so these are never closed."""
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"
    nobody = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    with redirect_stdout(nobody), redirect_stderr(nobody):
        yield
