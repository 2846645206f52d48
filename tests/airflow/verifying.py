"""An Airflow home as a test wants it, and `verify-backend` in a process of its own there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STOCK = "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"
OURS = "xcomctl.backend.XComBackend"
STOREROOM = ("airflow.cfg", "airflow.db", "logs", "plugins", "webserver_config.py")
"""What Airflow itself leaves in its home, whatever is started there."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What the command said."""

    code: int
    out: str
    err: str

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        """The checks by their ids."""
        listed = json.loads(self.out)
        assert [list(check) for check in listed] == [["id", "status", "detail", "hint", "ms"]] * len(listed)
        return {check["id"]: check for check in listed}

    @property
    def statuses(self) -> dict[str, str]:
        return {name: check["status"] for name, check in self.checks.items()}

    def only(self, status: str) -> dict[str, str]:
        """Detail and hint of the checks of one status."""
        found = {n: c for n, c in self.checks.items() if c["status"] == status}
        return {name: f"{check['detail']} | {check['hint']}" for name, check in found.items()}

    @property
    def failed(self) -> dict[str, str]:
        return self.only("fail")


@dataclass(frozen=True, slots=True)
class Home:
    """A folder that AIRFLOW_HOME names; its base path is `xcom` below it unless something else is said."""

    folder: Path
    sections: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path, backend: str | None = OURS, **common: str) -> Home:
        """A home with the class and the options of [common.io], where None leaves an option out."""
        folder.mkdir(parents=True, exist_ok=True)
        common = {"path": f"file://{folder}/xcom", "threshold": "100", **common}
        stored = {f"xcom_objectstorage_{name}": value for name, value in common.items() if value is not None}
        core = {"load_examples": "False", **({"xcom_backend": backend} if backend else {})}
        database = {"sql_alchemy_conn": f"sqlite:///{folder}/airflow.db"}
        home = cls(folder, {"core": core, "common.io": stored, "database": database})
        home.configure()
        return home

    def configure(self, **sections: Mapping[str, str]) -> None:
        """Write airflow.cfg, with more options."""
        for name, options in sections.items():
            self.sections.setdefault(name.replace("__", "."), {}).update(options)
        lines = (
            f"[{n}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
            for n, options in self.sections.items()
        )
        (self.folder / "airflow.cfg").write_text("\n".join(lines), "utf-8")

    def module(self, name: str, source: str) -> None:
        """A module of the team's own; `verify` has its folder on PYTHONPATH."""
        (self.folder / "plugins").mkdir(exist_ok=True)
        (self.folder / "plugins" / f"{name}.py").write_text(source, "utf-8")

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        others = ("AIRFLOW_", "_AIRFLOW_", "XCOMCTL_", "AWS_", "KUBERNETES_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        path = os.pathsep.join(filter(None, (str(self.folder / "plugins"), kept.get("PYTHONPATH"))))
        own = {"AIRFLOW_HOME": str(self.folder), "PYTHONPATH": path, "AWS_EC2_METADATA_DISABLED": "true"}
        return {**kept, **own, **settings}

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "xcomctl", "verify-backend", *arguments],
            env=self.environment(settings),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def verify(self, *arguments: str, settings: Mapping[str, str] | None = None) -> Verified:
        """Run the command. What it says is one answer: no traceback, ever, and 0, 1 or 2."""
        words = arguments if "-q" in arguments or "--fingerprint" in arguments else ("-o", "json", *arguments)
        with self.start(*words, **(settings or {})) as process:
            out, err = process.communicate(timeout=180)
        assert process.returncode in (0, 1, 2), err
        assert "Traceback" not in out + err
        return Verified(process.returncode, out, err)

    def tree(self) -> set[str]:
        """Everything below the home but what is Airflow's."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*"))
        return {str(path) for path in found if path.parts[0] not in STOREROOM}
