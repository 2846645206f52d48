"""Where the sandbox's files are, and what its Airflow is told. Everything stands in the sandbox's own
airflow.cfg, so that AIRFLOW_HOME alone leads Airflow and xcomctl to it.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from xcomctl.errors import UsageError

DAG_ID = "train_models"
THRESHOLD_BYTES = 1024

_TITLE = "# The Airflow of an xcomctl sandbox. It may be deleted with its folder at any time.\n"
_CONFIGURATION = """\
[core]
dags_folder = {dags}
load_examples = False
xcom_backend = airflow.providers.common.io.xcom.backend.XComObjectStorageBackend

[common.io]
xcom_objectstorage_path = {base_url}
xcom_objectstorage_threshold = {threshold}

[database]
sql_alchemy_conn = {database_url}

[logging]
base_log_folder = {logs}
logging_level = WARNING

[usage_data_collection]
enabled = False
"""
# `%` and `$` are expanded in airflow.cfg; `?` and `#` end the path of a URL.
_PLAIN_PATH = re.compile(r"[\w ./+@~:-]+")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """An Airflow home in a folder, which must be absolute (`Sandbox.at` makes it so)."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Sandbox:
        """The sandbox in this folder, whether or not it is built yet."""
        return cls(folder.resolve())

    @property
    def configuration(self) -> Path:
        """What tells Airflow all of this."""
        return self.folder / "airflow.cfg"

    @property
    def database(self) -> Path:
        """The metadata database."""
        return self.folder / "airflow.db"

    @property
    def dags(self) -> Path:
        """Where Airflow looks for DAG files."""
        return self.folder / "dags"

    @property
    def objects(self) -> Path:
        """The base path of the object storage."""
        return self.folder / "xcom"

    @property
    def control(self) -> Path:
        """What gc keeps beside the base path."""
        return self.folder / "_xcomctl"

    @property
    def logs(self) -> Path:
        """Where Airflow writes its logs."""
        return self.folder / "logs"

    @property
    def airflow_log(self) -> Path:
        """All that Airflow says while the sandbox is built."""
        return self.logs / "airflow.log"

    def exists(self) -> bool:
        """Whether a sandbox was begun here; its first file is airflow.cfg."""
        return self.configuration.is_file() and self.configuration.read_bytes().startswith(_TITLE.encode())

    def environment(self) -> dict[str, str]:
        """This process's environment, pointing at the sandbox and free of any other Airflow's settings."""
        others = ("AIRFLOW_", "_AIRFLOW_", "XCOMCTL_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        return kept | {"AIRFLOW_HOME": str(self.folder)}

    def objects_of_run(self, run_id: str) -> list[Path]:
        """The files that a run of the demo's DAG left in storage."""
        return _files_below(self.objects / DAG_ID / run_id)

    def all_objects(self) -> list[Path]:
        """Every file in storage."""
        return _files_below(self.objects)


def prepare(sandbox: Sandbox, *, force: bool = False) -> None:
    """Write the files of an Airflow home without a database yet.

    With `force` an older sandbox in the same folder is deleted first, and nothing else that lies there.

    Raises:
        UsageError: the folder holds something else, or an older sandbox, or cannot be written, or has a
            name that Airflow would not understand.
    """
    try:
        _check(sandbox, force=force)
        _write(sandbox)
    except OSError as error:
        raise UsageError(
            f"cannot build a sandbox in {sandbox.folder}: {error.strerror}", hint="choose another folder"
        ) from error


def _check(sandbox: Sandbox, *, force: bool) -> None:
    folder = sandbox.folder
    if not _PLAIN_PATH.fullmatch(str(folder)):
        raise UsageError(
            f"a sandbox cannot be built in {folder}: Airflow reads some of these characters differently",
            hint="choose a folder of letters, digits, spaces and . _ - + @ ~ :",
        )
    if sandbox.exists():
        if not force:
            raise UsageError(f"{folder} is already a sandbox", hint="--force builds it anew")
    elif folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty, and not a sandbox", hint="name a folder that does not exist")


def _write(sandbox: Sandbox) -> None:
    sandbox.folder.mkdir(parents=True, exist_ok=True)
    settings = _CONFIGURATION.format(
        dags=sandbox.dags,
        base_url=f"file://{sandbox.objects}",
        threshold=THRESHOLD_BYTES,
        database_url=f"sqlite:///{sandbox.database}",
        logs=sandbox.logs,
    )
    sandbox.configuration.write_text(_TITLE + settings, "utf-8")
    sandbox.database.unlink(missing_ok=True)
    shutil.rmtree(sandbox.control, ignore_errors=True)  # to a new database what gc knew of the old one looks restored
    for part in (sandbox.dags, sandbox.objects, sandbox.logs):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    shutil.copyfile(Path(__file__).with_name("dag.py"), sandbox.dags / f"{DAG_ID}.py")


def _files_below(folder: Path) -> list[Path]:
    return [Path(where, name) for where, _, names in os.walk(folder) for name in names]
