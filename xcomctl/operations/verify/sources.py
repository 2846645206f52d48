"""Where an option comes from, and names that look like one but that Airflow never reads. Airflow is not asked."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from configparser import RawConfigParser
from dataclasses import dataclass
from importlib.util import find_spec

from xcomctl.compat.airflow_cfg import airflow_file, airflow_sections
from xcomctl.masking import passwords_in, secrets_in

DEFAULT = "default"

BACKEND = ("core", "xcom_backend")
BASE_PATH = ("common.io", "xcom_objectstorage_path")
THRESHOLD = ("common.io", "xcom_objectstorage_threshold")
COMPRESSION = ("common.io", "xcom_objectstorage_compression")
STATE_STORE = ("common.io", "state_store_objectstorage_path")
PICKLING = ("core", "enable_xcom_pickling")
"""An option of Airflow 2 alone: where it is on, rows are pickles, and no class is asked."""
OPTIONS = (BACKEND, BASE_PATH, THRESHOLD, COMPRESSION, STATE_STORE)

Name = tuple[str, str]

_OWN_VARIABLES = ("AIRFLOW_", "AWS_", "AZURE_", "GOOGLE_")
_SECRET = re.compile(
    r"(?:fernet_key|secret_key|jwt_secret|password|token|secret_access_key|client_secret|api_key)$", re.IGNORECASE
)
_OBJECT_STORAGE = re.compile(r"(?:xcom_?)?object_?stor(?:e|age)_?([a-z_]+?)(?:_cmd|_secret)?")
_LAST_WORDS = ("path", "threshold", "compression")
_PREFIXES = (
    "",
    "airflow_",
    "airflow_core_",
    "airflow_xcom_",
    "airflow_common_io_",
    "airflow_commonio_",
    "airflow_providers_common_io_",
    "common_io_",
)
_BACKENDS = {
    "xcom_backend",
    "airflow_xcom_backend",
    "airflow_core_xcom_backend",
    "airflow_core_xcom_backend_cmd",
    "airflow_core_xcom_backend_secret",
    "airflow_core_xcombackend",
    "airflow_xcom_xcom_backend",
}


@dataclass(frozen=True, slots=True)
class NearMiss:
    """Something that is set and that nobody reads, and the option that it seems to mean."""

    found: str
    meant: Name


def variable_of(option: Name) -> str:
    """The environment variable of an option (airflow.configuration: AirflowConfigParser._env_var_name)."""
    section, key = option
    return f"AIRFLOW__{section.replace('.', '_').upper()}__{key.upper()}"


def source_of(option: Name) -> str:
    """What tells Airflow the value of an option: an environment variable, the airflow.cfg, or its own default."""
    variable = variable_of(option)
    if variable in os.environ:
        return variable
    return str(airflow_file()) if airflow_sections().has_option(*option) else DEFAULT


def written(option: Name) -> str | None:
    """An option's value as it is written, for want of an Airflow that resolves it."""
    variable, file = variable_of(option), airflow_sections()
    return os.environ.get(variable) or (file.get(*option) if file.has_option(*option) else None)


def names_in(section: str) -> set[str]:
    """The names of all options of a section that somebody has written, whether or not there are such options."""
    prefix = f"AIRFLOW__{section.upper()}__"
    file = airflow_sections()
    variables = {name.removeprefix(prefix).lower() for name in os.environ if name.startswith(prefix)}
    nearly = re.compile(f"AIRFLOW_+{section.upper()}_+")
    variables |= {name for name in os.environ if nearly.match(name) and not name.startswith(prefix)}
    return variables | set(file[section] if file.has_section(section) else ())


def is_true(text: str | None) -> bool:
    """Whether an option is on, as Airflow reads it (airflow.configuration: AirflowConfigParser.getboolean)."""
    return (text or "").lower() in ("t", "true", "1")


def importable(module: str) -> bool:
    """Whether there is such a module here, without importing it."""
    return find_spec(module) is not None


def secrets() -> Iterator[str]:
    """What of this process's configuration must never be said, wherever it is: in the environment, the airflow.cfg."""
    told = [(name, value) for name, value in os.environ.items() if name.startswith(_OWN_VARIABLES)]
    file = airflow_sections()
    told += [(key, value or "") for section in file.sections() for key, value in file[section].items()]
    for name, value in told:
        key = name.rpartition("__")[2]
        if _SECRET.search(key):
            yield value
        structure = value[:1] in "{["
        yield from secrets_in([value]) if structure else passwords_in(value)


def near_misses() -> list[NearMiss]:
    """Every variable and line of the airflow.cfg that Airflow passes over though somebody surely meant an option."""
    return [*_of_environment(os.environ), *_of_file(airflow_sections())]


def _of_environment(names: Iterable[str]) -> Iterator[NearMiss]:
    for name in sorted(names):
        meant = _meant(re.sub(r"[_.]+", "_", name).strip("_").lower())
        if meant is not None and name != variable_of(meant):
            yield NearMiss(name, meant)


def _of_file(parser: RawConfigParser) -> Iterator[NearMiss]:
    for section in parser.sections():
        for key in parser[section]:
            meant = _meant(key) or (_meant("xcom_backend") if (section, key) == ("xcom", "backend") else None)
            if meant is not None and (section, key) != meant:
                yield NearMiss(f"[{section}] {key}", meant)


def _meant(name: str) -> Name | None:
    """The option that a name in small letters, parted by single underscores, seems to mean."""
    if name in _BACKENDS:
        return BACKEND
    prefix = next((p for p in sorted(_PREFIXES, key=len, reverse=True) if name.startswith(p)), "")
    found = _OBJECT_STORAGE.fullmatch(name[len(prefix) :])
    if found is None or not (prefix or name.startswith("xcom")):
        return None
    near = difflib.get_close_matches(found[1], _LAST_WORDS, n=1, cutoff=0.7)
    return ("common.io", f"xcom_objectstorage_{near[0]}") if near else None
