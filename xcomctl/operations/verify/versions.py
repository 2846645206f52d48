"""The check of versions: what is installed here and known to go wrong. No package is loaded for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from xcomctl.operations.verify.container import Container
from xcomctl.operations.verify.terms import Answer, Probe, ok, warn

COMMON_IO = "apache-airflow-providers-common-io"
UPATH = "universal-pathlib"
TASK_SDK = "apache-airflow-task-sdk"

PACKAGES = (
    "apache-airflow",
    TASK_SDK,
    COMMON_IO,
    "apache-airflow-providers-amazon",
    "apache-airflow-providers-google",
    "apache-airflow-providers-microsoft-azure",
    "fsspec",
    "s3fs",
    "gcsfs",
    "adlfs",
    UPATH,
    "pandas",
    "pyarrow",
)
"""What values and objects go through."""


def versions(container: Container) -> Answer:
    """Whether something of a known-bad version is installed."""
    bad = list(known_bad(container, {name: installed(name) for name in (COMMON_IO, UPATH, TASK_SDK)}))
    if not bad:
        return ok(
            ", ".join(f"{name.removeprefix('apache-airflow-')} {installed(name) or '-'}" for name in (COMMON_IO, UPATH))
        )
    return warn("; ".join(why for why, _ in bad), "; ".join(dict.fromkeys(what for _, what in bad)))


def installed(package: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def known_bad(container: Container, found: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    """What is known to go wrong, and what to install instead."""
    airflow, is_2 = container.version, container.version < (3,)
    common_io, upath, sdk = (numbers(found[name]) for name in (COMMON_IO, UPATH, TASK_SDK))
    newer = f"pip install -U {COMMON_IO}"
    if common_io == (1, 3, 0):
        yield "common-io 1.3.0 reads xcom_objectstore_*, not the options that it documents", newer
    if not is_2 and (1, 5, 0) <= common_io <= (1, 5, 3):
        yield f"common-io {found[COMMON_IO]} encodes inline values twice on Airflow 3 (apache/airflow#49159)", newer
    if airflow[:2] == (2, 11) and (1, 6, 1) <= common_io <= (1, 6, 2):
        yield f"common-io {found[COMMON_IO]} cannot be imported on Airflow 2.11 (apache/airflow#55803)", newer
    if is_2 and common_io >= (1, 5, 4) and container.backend is not None and container.is_stock:
        yield (
            f"common-io {found[COMMON_IO]} on Airflow 2 gives a task the number 123 for the string '123'",
            "push such strings inside a list, or use xcomctl.backend.XComBackend",
        )
    if (1, 0) <= sdk < (1, 1):
        yield "Airflow 3.0 never purges the objects of mapped tasks", "upgrade to Airflow 3.1, or let xcomctl gc do it"
    if upath == (0, 2, 4):
        yield "universal-pathlib 0.2.4 is one that Airflow excludes", f"pip install -U '{UPATH}>=0.2.6,<0.3'"
    if upath >= (0, 3) and airflow < (3, 2):
        yield (
            f"universal-pathlib {found[UPATH]} refuses the paths of Airflow before 3.2",
            f"pip install '{UPATH}>=0.2.6,<0.3'",
        )
    if (0,) < upath < (0, 3, 8) and airflow >= (3, 2):
        yield f"Airflow 3.2 and newer need universal-pathlib 0.3.8, not {found[UPATH]}", f"pip install -U {UPATH}"


def numbers(text: str | None) -> tuple[int, ...]:
    """`1.5.3rc1` as (1, 5, 3); () for none."""
    found = re.match(r"\d+(?:\.\d+)*", text or "")
    return tuple(map(int, found[0].split("."))) if found else ()


PROBES: tuple[Probe[Container], ...] = (Probe("versions", versions, ("airflow",)),)
