"""A real Airflow ran a real DAG. What xcomctl says about it is compared with what the database, the folder
and Airflow itself say; each of them is asked without xcomctl.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.conftest import NAMES, Row, files_of, rows_of, xcomctl
from xcomctl.demo.sandbox import DAG_ID, Sandbox

pytestmark = pytest.mark.xdist_group("sandbox")

COLLECT = ("gc", "--single-pass", "--older-than", "7d", "-o", "json")


@dataclass(frozen=True, slots=True)
class Collected:
    """What a gc said, and what was there before and after it."""

    report: dict[str, Any]
    rows: list[Row]
    before: dict[Path, int]
    after: set[Path]

    @property
    def orphans(self) -> dict[Path, int]:
        """The files that no row refers to, and their sizes."""
        referred = {json.loads(row.value) for row in self.rows if row.value.startswith('"file://')}
        return {path: size for path, size in self.before.items() if f"file://{path}" not in referred}


@pytest.fixture(scope="session")
def listed(sandbox: Sandbox) -> list[dict[str, Any]]:
    return listing(sandbox)


@pytest.fixture(scope="session")
def fetched(sandbox: Sandbox) -> dict[tuple[object, ...], Any]:
    """What `get` prints for every XCom of the newest run."""
    newest = rows_of(sandbox)[-1].run_id
    quick = {"XCOMCTL_DB": f"sqlite:///{sandbox.database}", "XCOMCTL_BASE_PATH": f"file://{sandbox.objects}"}
    values: dict[tuple[object, ...], Any] = {}
    for row in (row for row in rows_of(sandbox) if row.run_id == newest):
        where = ("--key", row.key, "--map-index", str(row.map_index), "-o", "json")
        values[row.names] = printed(xcomctl(sandbox, "get", DAG_ID, newest, row.task_id, *where, **quick))
    return values


@pytest.fixture(scope="session")
def planned(sandbox: Sandbox) -> dict[str, Any]:
    """What a dry run says. It must not touch a file."""
    before = {path: path.stat() for path in files_of(sandbox)}
    report: dict[str, Any] = printed(xcomctl(sandbox, *COLLECT, "--dry-run"))
    assert {path: path.stat() for path in files_of(sandbox)} == before
    return report


@pytest.fixture(scope="session")
def collected(sandbox: Sandbox, listed: object, fetched: object, planned: object) -> Collected:
    """The gc, after all that looks at the sandbox as it was."""
    rows, before = rows_of(sandbox), {path: path.stat().st_size for path in files_of(sandbox)}
    report = printed(xcomctl(sandbox, *COLLECT, "--yes"))
    return Collected(report, rows, before, files_of(sandbox))


@pytest.fixture(scope="session")
def read_by_airflow(sandbox: Sandbox, collected: Collected) -> dict[tuple[object, ...], Any]:
    """What a task of this Airflow gets for every XCom, after the gc."""
    wanted = [dict(zip(NAMES, row.names, strict=True)) for row in collected.rows]
    (sandbox.dags / "wanted.json").write_text(json.dumps(wanted))
    shutil.copy(Path(__file__).with_name("read_back.py"), sandbox.dags)
    command = [sys.executable, "-m", "airflow", "dags", "test", "read_back", "2026-02-01"]
    subprocess.run(command, env=sandbox.environment(), check=True)
    values = json.loads((sandbox.dags / "read.json").read_text())
    return dict(zip((row.names for row in collected.rows), values, strict=True))


def listing(sandbox: Sandbox, *more: str) -> list[dict[str, Any]]:
    rows = printed(xcomctl(sandbox, "ls", "-o", "json", *more))
    assert isinstance(rows, list)
    return rows


def printed(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def names(row: dict[str, Any]) -> tuple[object, ...]:
    return tuple(row[name] for name in NAMES)


def test_ls_shows_every_xcom_and_whether_it_is_in_its_row_or_in_storage(
    sandbox: Sandbox, listed: list[dict[str, Any]]
) -> None:
    truth = {
        row.names: (("external", json.loads(row.value)) if row.object(sandbox) else ("inline", None))
        for row in rows_of(sandbox)
    }
    assert {names(row): (row["state"], row["reference"]) for row in listed} == truth
    assert len(listed) == len(truth) == 5 * 14
    assert {row["map_index"] for row in listed if row["task_id"] == "score_region"} == {0, 1, 2}


def test_ls_check_tells_the_size_of_every_object(sandbox: Sandbox, listed: object) -> None:
    objects = {row.names: row.object(sandbox) for row in rows_of(sandbox)}
    sizes = {key: path.stat().st_size for key, path in objects.items() if path is not None}
    shown = {names(row): row["object_size_bytes"] for row in listing(sandbox, "--check", "--state", "external")}
    assert shown == sizes


def test_get_prints_what_airflow_itself_reads(
    fetched: dict[tuple[object, ...], Any], read_by_airflow: dict[tuple[object, ...], Any]
) -> None:
    assert len(fetched) == 14
    assert fetched == {key: read_by_airflow[key] for key in fetched}


def test_get_latest_is_the_newest_run(sandbox: Sandbox) -> None:
    newest = [row for row in rows_of(sandbox) if row.task_id == "choose_best"][-1]
    best = printed(xcomctl(sandbox, "get", DAG_ID, "latest", "choose_best", "-o", "json"))
    assert best == json.loads(newest.value)


def test_get_raw_gives_the_bytes_of_the_object(sandbox: Sandbox, tmp_path: Path) -> None:
    row = next(row for row in rows_of(sandbox) if row.task_id == "load_samples")
    into = tmp_path / "samples.json"
    done = xcomctl(sandbox, "get", DAG_ID, row.run_id, row.task_id, "--raw", "-O", str(into))
    stored = row.object(sandbox)
    assert done.returncode == 0 and stored is not None
    assert into.read_bytes() == stored.read_bytes()


def test_a_dry_run_of_gc_tells_the_orphans(planned: dict[str, Any], collected: Collected) -> None:
    assert planned["dry_run"] is True
    assert (planned["listed"], planned["live"], planned["unknown"]) == (6 * 7, 5 * 7, 0)
    assert planned["deletable"] == len(collected.orphans)
    assert planned["deletable_bytes"] == sum(collected.orphans.values())
    assert planned["deleted"] == 0


def test_gc_deletes_exactly_what_the_deleted_run_left_behind(sandbox: Sandbox, collected: Collected) -> None:
    orphans = collected.orphans
    (deleted_run,) = {path.relative_to(sandbox.objects).parts[1] for path in orphans}
    assert deleted_run not in {row.run_id for row in collected.rows}
    assert len(orphans) == 7

    assert collected.before.keys() - collected.after == orphans.keys()
    assert collected.report["status"] == "success"
    assert collected.report["deleted"] == len(orphans)
    assert collected.report["deleted_bytes"] == sum(orphans.values())
    assert collected.report["live"] == len(collected.after)


def test_after_gc_airflow_reads_every_xcom_that_it_has(
    collected: Collected, read_by_airflow: dict[tuple[object, ...], Any]
) -> None:
    """A reference that Airflow cannot follow reaches the task as the URL itself, without an error."""
    values = list(read_by_airflow.values())
    assert len(values) == len(collected.rows) == 5 * 14
    assert not [value for value in values if value is None or str(value).startswith("file://")]


def test_a_second_gc_finds_nothing(sandbox: Sandbox, collected: Collected) -> None:
    report = printed(xcomctl(sandbox, *COLLECT, "--yes"))
    assert (report["candidates"], report["deleted"], report["status"]) == (0, 0, "success")
    assert files_of(sandbox) == collected.after
