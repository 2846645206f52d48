"""How every command that works on a deployment opens it, and says so."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xcomctl.cli import report
from xcomctl.cli.options import Place
from xcomctl.cli.report import Report
from xcomctl.errors import UsageError
from xcomctl.masking import is_sensitive, passwords_in

if TYPE_CHECKING:
    from xcomctl.catalog import Catalog
    from xcomctl.operations.deployment import Deployment


def opened(place: Place, said: Report, *, databases: int | None = None, control: str | None = None) -> Deployment:
    """The deployment that the options, the environment or Airflow's configuration name, of at most so many databases.

    With none, only its storage is opened.
    """
    urls = _whole(place.db or ())
    if databases and len(urls) > databases:
        raise UsageError("this command reads one database", hint="give --db once")
    hush(said)
    report.hide([*_secret_options(place.storage_option or ()), *passwords_in(place.base_path or "")])
    from xcomctl import settings
    from xcomctl.operations.deployment import open_deployment

    chosen = settings.resolve(
        urls,
        place.db_schema,
        place.base_path,
        place.storage_option or (),
        needs_database=databases != 0,
        control=control,
    )
    deployment = open_deployment(chosen)
    for catalog in deployment.catalogs:
        said.detail(f"database {catalog}, schema of Airflow {catalog.schema.version or '(unknown)'}")
    said.detail(f"base path {chosen.base_path or '(none)'}")
    if databases:
        _tell_unknown_head(deployment.catalog, said)
    return deployment


def _tell_unknown_head(catalog: Catalog, said: Report) -> None:
    """Reading goes by the tables, whatever their version; gc has a gate for it."""
    if catalog.schema.version is None:
        head = catalog.schema.head or "(none)"
        said.note(
            f"{catalog} has the alembic head {head}, which this xcomctl does not know",
            hint="its tables are read as they are found; gc refuses it",
        )


def _secret_options(words: Sequence[str]) -> list[str]:
    """The values of those storage options that open a door."""
    named = (word.partition("=") for word in words)
    return [value for name, _, value in named if is_sensitive(name)]


def _whole(words: Sequence[str]) -> list[str]:
    """URLs that Typer took apart at the spaces in XCOMCTL_DB: a new one begins with a scheme."""
    urls: list[str] = []
    for word in words:
        if urls and "://" not in word:
            urls[-1] += f" {word}"
        else:
            urls.append(word)
    return urls


def hush(said: Report) -> None:
    """Keep libraries off stderr, where errors are one line: gcsfs logs a traceback for every refusal."""
    if said.display.debug:
        return
    warnings.simplefilter("ignore")
    for name in ("gcsfs", "s3fs", "fsspec", "botocore", "aiobotocore", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
