"""Airflow's own class and this one read what the other wrote, each in processes of its own: nobody is locked in."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from fsspec.compression import compr

from tests.airflow.deployment import AIRFLOW
from tests.airflow.stage import OURS, STOCK, Combination, Stage, connection, copy_parts
from tests.lab import s3
from tests.lab.folder import Folder
from xcomctl.demo.sandbox import Sandbox, prepare

pytestmark = pytest.mark.xdist_group("airflow-migrate")

CODECS = [codec for codec in ("", "gzip", "zstd") if not codec or codec in compr]
ENDINGS = {"": "", "gzip": ".gz", "zstd": ".zst"}
THRESHOLD = 60
"""Bytes: about half of the values stay in their rows."""
HOOKS = {"serialize_value", "store_value"} if AIRFLOW >= (3, 4) else {"serialize_value"}
COERCED = {"json_text", "digits"} if AIRFLOW < (3,) else set()
"""Texts in rows of Airflow 2 that Airflow's own class takes for JSON: a task gets another value than was pushed."""


@dataclass(frozen=True, slots=True)
class Written:
    """What one class wrote with one codec, and what either class reads of it."""

    by: str
    codec: str
    base: str
    refused: dict[str, str]
    expected: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, str]]
    read_by: dict[str, dict[str, dict[str, Any]]]

    def is_external(self, hook: str, name: str) -> bool:
        return self.rows[hook][name].startswith(f'"{self.base}/')

    def wanted(self, hook: str, name: str) -> Any:
        """What Airflow itself makes of the value."""
        return self.expected[name]["object" if self.is_external(hook, name) else "row"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    sandbox = Sandbox.at(tmp_path_factory.mktemp("airflow") / "exchange")
    prepare(sandbox)
    copy_parts(sandbox.folder, "exchange.py", "every_value.py")
    return sandbox


@pytest.fixture(scope="module")
def written(home: Sandbox, tmp_path_factory: pytest.TempPathFactory, seaweedfs: s3.S3Server) -> list[Written]:
    """With both classes, into both stores, with each codec; and read with both classes."""
    lab = {"AIRFLOW_CONN_LAB": connection(seaweedfs, seaweedfs.endpoint)}
    folder = Folder(tmp_path_factory.mktemp("objects"))
    stages = [Stage(Combination("file", THRESHOLD), folder), Stage(Combination("s3", THRESHOLD), s3.bucket(seaweedfs))]
    jobs = [(by, stage, codec) for by in (OURS, STOCK) for stage in stages for codec in CODECS]
    files = [home.folder / f"{number}.json" for number in range(len(jobs))]
    writing = [
        {"verb": "write", "file": str(file), "settings": lab | stage.settings | compressed(codec)}
        for file, (_, stage, codec) in zip(files, jobs, strict=True)
    ]
    half = len(jobs) // 2
    answers = done(home, OURS, writing[:half]) + done(home, STOCK, writing[half:])
    # What was compressed must be read without being told so.
    reading = [{**job, "verb": "read", "settings": job["settings"] | compressed("")} for job in writing]
    read = {by: done(home, by, reading) for by in (OURS, STOCK)}
    return [
        Written(
            by,
            codec,
            stage.base,
            answers[number]["refused"],
            answers[number]["expected"],
            json.loads(files[number].read_text()),
            {reader: read[reader][number] for reader in read},
        )
        for number, (by, stage, codec) in enumerate(jobs)
    ]


def compressed(codec: str) -> dict[str, str]:
    return {"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESSION": codec}


def done(home: Sandbox, by: str, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the jobs answer. Airflow's own class works without a trace of the other."""
    (home.folder / "jobs.json").write_text(json.dumps(jobs))
    run = subprocess.run(
        [sys.executable, home.folder / "exchange.py", by, home.folder / "jobs.json"],
        env=home.environment() | {"AIRFLOW__CORE__XCOM_BACKEND": by},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    answers = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert len(answers) == len(jobs)
    assert {answer["is_ours_loaded"] for answer in answers} == {by == OURS}
    return answers


def test_both_write_every_type_to_the_same_places(written: list[Written]) -> None:
    for each in written:
        assert each.rows.keys() == HOOKS
        for hook, rows in each.rows.items():
            external = {name for name in rows if each.is_external(hook, name)}
            assert len(external) > 10 and len(rows.keys() - external) > 10
            ending = (".json" if hook == "store_value" else "") + ENDINGS[each.codec]
            leaves = [json.loads(rows[name]).rpartition("/")[2] for name in external]
            assert all(leaf.endswith(ending) and leaf.count(".") == ending.count(".") for leaf in leaves), leaves
            assert set(each.refused) == {"bytes"}
    ours, stock = ({each.codec: each for each in written if each.by == by} for by in (OURS, STOCK))
    for codec in CODECS:
        for hook, rows in ours[codec].rows.items():
            assert rows.keys() == stock[codec].rows[hook].keys()
            for name in rows:
                assert ours[codec].is_external(hook, name) == stock[codec].is_external(hook, name)
                if not ours[codec].is_external(hook, name):
                    assert rows[name] == stock[codec].rows[hook][name]


def test_airflows_own_class_reads_what_ours_wrote(written: list[Written]) -> None:
    """But for what it cannot read of its own either."""
    for each in (each for each in written if each.by == OURS):
        for hook, values in each.read_by[STOCK].items():
            for name, value in values.items():
                wanted = each.wanted(hook, name)
                if wanted[0] != "error" and (name not in COERCED or each.is_external(hook, name)):
                    assert value == wanted, (each.codec, each.base, hook, name)


def test_ours_reads_what_airflows_own_class_wrote(written: list[Written]) -> None:
    for each in (each for each in written if each.by == STOCK):
        for hook, values in each.read_by[OURS].items():
            for name, value in values.items():
                wanted = each.wanted(hook, name)
                same = value[0] == "error" if wanted[0] == "error" else value == wanted
                assert same, (each.codec, each.base, hook, name, value, wanted)
