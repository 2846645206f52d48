"""What a command works on: one Airflow's databases, its base path and the stores behind it, opened as settings say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xcomctl.backend.reference import CANONICAL_SCHEMES, Address, parse_base
from xcomctl.backend.storage import Store, Stores
from xcomctl.catalog import Catalog, open_catalog
from xcomctl.errors import MetadataError, UsageError, XcomctlError
from xcomctl.ledger import control_folder
from xcomctl.settings import Settings


@dataclass(frozen=True, slots=True)
class Deployment:
    """`base` is None where Airflow is configured without object storage; `stores` open what references lead to.

    `control` is the prefix of gc's own objects, None without a base. `base_is_airflows` tells whether Airflow's own
    configuration names the base path, and not somebody who may leave out its connection.
    """

    catalogs: tuple[Catalog, ...]
    base: Address | None
    stores: Stores
    control: str | None
    base_is_airflows: bool = True

    @property
    def catalog(self) -> Catalog:
        """The database of a command that reads one."""
        return self.catalogs[0]

    def required_base(self) -> Address:
        """The base path, for a command that cannot do without."""
        if self.base is None:
            raise MetadataError(
                "nobody says the object storage path of XComs, and Airflow is not configured to have one",
                hint="say --base-path, or set [common.io] xcom_objectstorage_path",
            )
        return self.base

    def base_store(self) -> Store:
        """The store that the base path is in."""
        return self.stores.of(self.required_base())


def open_deployment(settings: Settings) -> Deployment:
    """Open the databases, having read the base path. Raises `UsageError` or `MetadataError`; no store is asked yet."""
    base = _base(settings) if settings.base_path is not None else None
    options = settings.storage_options
    if options and base is not None and base.conn_id is not None:
        raise UsageError(
            f"--storage-option does not go with the Airflow connection {base.conn_id} in the base path",
            hint="leave out one of the two: the connection has its own credentials and endpoint",
        )
    control = control_folder(base, settings.control) if base is not None else None
    catalogs = _catalogs(settings.databases, settings.db_schema, base)
    is_airflows = not settings.base_path_source.startswith("--")
    return Deployment(catalogs, base, Stores(base, options), control, is_airflows)


def _catalogs(urls: Sequence[str], db_schema: str | None, base: Address | None) -> tuple[Catalog, ...]:
    return tuple(open_catalog(url, db_schema, base) for url in urls)


def _base(settings: Settings) -> Address:
    text = settings.base_path or ""
    base = parse_base(text)
    if base is None or (base.location.scheme == "file" and base.location.name == "/"):
        return _reject(text, settings.base_path_source)
    return base


def _reject(text: str, source: str) -> Address:
    """Say what is wrong with a base path: a usage error where a flag said it, else Airflow's configuration."""
    error: type[XcomctlError] = UsageError if source.startswith("--") else MetadataError
    scheme, colon, _ = text.partition("://")
    if not colon:
        raise error(
            f"{source} {text!r} has no scheme, so Airflow never follows its references",
            hint=f"write file://{text}" if text.startswith("/") else "write s3://bucket/prefix, or file:///folder",
        )
    if scheme.lower() not in CANONICAL_SCHEMES:
        raise error(f"{source} has the unknown scheme {scheme}://", hint=f"known are {', '.join(CANONICAL_SCHEMES)}")
    if CANONICAL_SCHEMES[scheme.lower()] == "file":
        raise error(f"{source} {text!r} is not the absolute path of a folder", hint="three slashes: file:///folder")
    raise error(f"{source} {text!r} names no bucket", hint=f"write {scheme}://bucket/prefix")
