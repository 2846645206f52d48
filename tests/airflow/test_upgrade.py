"""A real upgrade from Airflow 2.11 to the installed Airflow 3, on PostgreSQL, with rows that it fails on.

What preflight predicts is what happens, and after its advice the upgrade passes.
"""

from __future__ import annotations

import json
import os
import pickle
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from tests.lab.database import Database, Databases
from tests.lab.world import Push, World
from tests.upgrades import whole
from xcomctl.catalog.treatments import CAST
from xcomctl.operations.preflight import target_of


def installed() -> str:
    """The version of the installed Airflow, without importing it; 0 where there is none."""
    try:
        return version("apache-airflow")
    except PackageNotFoundError:
        return "0"


pytestmark = pytest.mark.skipif(
    installed() < "3", reason="this is about an upgrade to the installed Airflow, and that is no 3"
)

VALUES: dict[str, bytes | None] = {
    "harmless": b'{"a": [1, 2.5, "x", null]}',
    "null": None,
    "nan": b'[1, NaN, {"a": -Infinity}]',
    "nan in a string": b'"a: NaN, b"',
    "nested json": b'"{\\"a\\": NaN}"',
    "nul": b'{"a": "x\\u0000y"}',
    "escaped nul": b'"\\\\u0000"',
    "pickled": pickle.dumps({"a": 1}),
    "float": b"[1e+16]",
}
CHANGED = {"nan": ("nan", '[1, null, {"a": null}]'), "nul": ("nul", '{"a": "xy"}')}

ABORTING: dict[str, bytes] = {
    "half a pair": b'"x\\ud83d y"',
    "spaced nan": b" NaN ",
    "overflow": b"1e200000",
    "old pickle": pickle.dumps({"a": 1}, 0),
    "latin": '"grün"'.encode("latin-1"),
    "empty": b"",
    "it's -- \"cut": b'{"a": [1',
}


@dataclass(frozen=True, slots=True)
class Old:
    """A database of Airflow 2.11, and how commands are run on it."""

    world: World
    home: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        url = self.world.database.url
        settings = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": (self.home / "xcom").as_uri(),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "XCOMCTL_DB": url,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XCOMCTL_", "AIRFLOW_"))}
        return subprocess.run(
            [sys.executable, "-m", *words],
            env=kept | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def preflight(self, target: str) -> tuple[int, dict[str, dict[str, Any]]]:
        done = self.run("xcomctl", "preflight", "--target", target, "-o", "json")
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, {each["key"]: each for each in json.loads(done.stdout)}

    def upgrade(self) -> subprocess.CompletedProcess[str]:
        return self.run("airflow", "db", "migrate")

    def follow(self, hint: str) -> None:
        """Do what a hint says, but agree beforehand."""
        done = self.run(*shlex.split(hint), "--yes")
        assert done.returncode == 0, done.stderr

    def rows(self, table: str, column: str = "value") -> dict[str, Any]:
        return {str(key): value for key, value in self.world.sql(f"SELECT key, {column} FROM {table}")}


@pytest.fixture
def old(databases: Databases, tmp_path: Path) -> Iterator[Old]:
    (tmp_path / "xcom").mkdir()
    with databases.empty("postgresql") as url:
        whole.load(url)
        with World(Database(url, "postgresql", "2.11")) as world:
            world.push("archived", "r", "t", value=b"[NaN]")
            world.push("archived", "r", "t", key="pickle", value=pickle.dumps("x"))
            world.db_clean()
            pushes = (VALUES | ABORTING).items()
            world.push_many(
                [Push("dag one", "r 1", f"t{n}", key=key, value=value) for n, (key, value) in enumerate(pushes)]
            )
            yield Old(world, tmp_path)


def test_what_is_predicted_happens_and_after_the_advice_the_upgrade_passes(old: Old):
    code, findings = old.preflight(installed())
    assert code == 1
    assert {key for key, each in findings.items() if each["severity"] == "error"} == ABORTING.keys()
    assert {key for key, each in findings.items() if each["severity"] == "warning"} == {"nan", "nul", "pickled"}
    before = old.rows("xcom")
    failed = old.upgrade()
    assert failed.returncode != 0 and old.rows("xcom") == before
    code, findings = old.preflight(installed())
    assert code == 1, "also on what a failed upgrade leaves behind"

    for key in ABORTING:
        old.follow(findings[key]["hint"])
    moved = {key for key in ABORTING if " migrate " in findings[key]["hint"]}
    assert moved == {"half a pair", "spaced nan", "overflow"}
    code, findings = old.preflight(installed())
    assert (code, set(findings)) == (0, {"nan", "nul", "pickled", "float"})

    archive = old.rows("_airflow_deleted__xcom__20260203040506")
    passed = old.upgrade()
    assert passed.returncode == 0, passed.stderr
    upgraded = "xcom" if "xcom" in old.world.tables() else "xcom_v1"  # Airflow 3.4 renames it
    after = old.rows(upgraded, "CAST(value AS TEXT)")
    assert old.rows("_airflow_deleted__xcom__20260203040506") == archive, "what was archived is not touched"
    assert {key: bytes(value) for key, value in old.rows("_xcom_archive").items()} == {"pickled": VALUES["pickled"]}
    assert after.keys() == VALUES.keys() - {"pickled"} | moved
    for key, (kind, becomes) in CHANGED.items():
        assert (findings[key]["id"], after[key]) == (kind, becomes)
    for key in VALUES.keys() - CHANGED.keys() - {"pickled", "null", "float"}:
        value = VALUES[key]
        assert value is not None and json.loads(after[key]) == json.loads(value)
    assert after["float"] == "[10000000000000000]" and findings["float"]["severity"] == "info"
    stored = {key: Path(json.loads(after[key]).removeprefix("file://")).read_bytes() for key in moved}
    assert stored == {key: ABORTING[key] for key in moved}, "an object holds the text as it was"
    code, findings = old.preflight(installed())
    assert (code, findings) == (0, {})


def test_the_statements_of_the_proof_are_those_of_the_installed_airflow():
    module = import_module("airflow.migrations.versions.0049_3_0_0_remove_pickled_data_from_xcom_table")
    theirs = module._xcom_pg_sanitize_statements("__TABLE__")
    ours = target_of(installed()).treatment.statements
    assert [_words(each) for each in ours] == [_words(each) for each in theirs]
    assert _words(CAST.replace("__TABLE__", "xcom")) in _words(Path(str(module.__file__)).read_text())


def _words(statement: str) -> str:
    """A statement without its comments and line breaks."""
    return " ".join(" ".join(line for line in statement.splitlines() if not line.strip().startswith("--")).split())
