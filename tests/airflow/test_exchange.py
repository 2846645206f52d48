"""Airflow's own class and this one read what the other wrote, each in processes of its own: nobody is locked in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fsspec.compression import compr

from tests.airflow.deployment import AIRFLOW
from tests.airflow.every_value import MAKERS
from tests.airflow.stage import OURS, STOCK, Combination, Stage, copy_parts
from tests.lab import s3
from tests.lab.effort import LONG
from tests.lab.folder import Folder
from xcomctl.demo.sandbox import Sandbox, prepare

pytestmark = pytest.mark.xdist_group("airflow-migrate")

CODECS = ("", "zstd") if "zstd" in compr else ("",)
SETUPS = [("s3", ""), ("file", "gzip")]
SETUPS += [(kind, codec) for kind in ("file", "s3") for codec in CODECS if (kind, codec) != ("s3", "")] if LONG else []
ENDINGS = {"": "", "gzip": ".gz", "zstd": ".zst"}
THRESHOLD = 60
"""Bytes: about half of the values stay in their rows."""
HOOKS = {"serialize_value", "store_value"} if AIRFLOW >= (3, 4) else {"serialize_value"}
REFUSED = {"bytes"} | ({"uuid"} if AIRFLOW < (3, 2) else set())
"""What Airflow's own encoder has no form for."""
COERCED = {"json_text", "digits"} if AIRFLOW < (3,) else set()
"""Texts in rows of Airflow 2 that Airflow's own class takes for JSON: a task gets another value than was pushed."""


@dataclass(frozen=True, slots=True, repr=False)
class Written:
    """What one class wrote, and what the other read of it."""

    base: str
    ending: str
    refused: dict[str, str]
    expected: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, str]]
    read: dict[str, dict[str, Any]]

    def is_external(self, hook: str, name: str) -> bool:
        return self.rows[hook][name].startswith(f'"{self.base}/')

    def wanted(self, hook: str, name: str) -> Any:
        """What Airflow itself makes of the value."""
        return self.expected[name]["object" if self.is_external(hook, name) else "row"]


@dataclass(frozen=True, slots=True, repr=False)
class Exchange:
    """What Airflow's own class and ours wrote with the same settings."""

    stock: Written
    ours: Written


@pytest.fixture(scope="module", params=SETUPS, ids=lambda setup: "-".join(filter(None, setup)))
def exchange(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, seaweedfs: s3.S3Server
) -> Exchange:
    """Airflow's own class writes; ours reads that and writes; Airflow's own class reads that."""
    kind, codec = request.param
    sandbox = Sandbox.at(tmp_path_factory.mktemp("airflow") / "exchange")
    prepare(sandbox)
    copy_parts(sandbox.folder, "exchange.py", "every_value.py")
    store = s3.bucket(seaweedfs) if kind == "s3" else Folder(tmp_path_factory.mktemp("objects"))
    stage = Stage(Combination(kind, THRESHOLD), store)
    settings = stage.settings | {
        "AIRFLOW_CONN_LAB": seaweedfs.connection(),
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESSION": codec,
    }
    by_stock, by_ours = (str(sandbox.folder / f"{name}.json") for name in ("stock", "ours"))
    (stock,) = asked(sandbox, settings, STOCK, "write", by_stock)
    read_by_ours, ours = asked(sandbox, settings, OURS, "read", by_stock, "write", by_ours)
    (read_by_stock,) = asked(sandbox, settings, STOCK, "read", by_ours)
    rows_of_stock, rows_of_ours = (json.loads(Path(file).read_text()) for file in (by_stock, by_ours))
    ending = ENDINGS[codec]
    return Exchange(
        Written(stage.base, ending, stock["refused"], stock["expected"], rows_of_stock, read_by_ours),
        Written(stage.base, ending, ours["refused"], ours["expected"], rows_of_ours, read_by_stock),
    )


def asked(sandbox: Sandbox, settings: dict[str, str], backend: str, *jobs: str) -> list[dict[str, Any]]:
    """What a process with this backend answers. With Airflow's own class there is nothing of the other in it."""
    done = subprocess.run(
        [sys.executable, sandbox.folder / "exchange.py", backend, *jobs],
        env=sandbox.environment() | settings | {"AIRFLOW__CORE__XCOM_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr[-4000:])
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {answer.pop("is_ours_loaded") for answer in answers} == {backend == OURS}
    return answers


def test_both_write_every_type_to_the_same_places(exchange: Exchange) -> None:
    stock, ours = exchange.stock, exchange.ours
    assert stock.rows.keys() == ours.rows.keys() == HOOKS
    assert stock.refused.keys() == ours.refused.keys() == REFUSED
    for hook, rows in ours.rows.items():
        assert rows.keys() == stock.rows[hook].keys() == MAKERS.keys() - REFUSED
        external = {name for name in rows if ours.is_external(hook, name)}
        assert len(external) > 10 and external == {name for name in rows if stock.is_external(hook, name)}
        inline = rows.keys() - external
        assert len(inline) > 10 and {name: rows[name] for name in inline} == {
            name: stock.rows[hook][name] for name in inline
        }
        for written in (stock, ours):
            leaves = {name: json.loads(written.rows[hook][name]).rpartition("/")[2] for name in external}
            named = {name: f"{name}.json{written.ending}" for name in external}
            assert leaves == named if hook == "store_value" else all(map(is_uuid(written.ending), leaves.values()))


def is_uuid(ending: str) -> Callable[[str], bool]:
    return lambda leaf: leaf.endswith(ending) and str(UUID(leaf.removesuffix(ending))) == leaf.removesuffix(ending)


def test_airflows_own_class_reads_what_ours_wrote(exchange: Exchange) -> None:
    """All but what it does not read of its own either."""
    written = exchange.ours
    for hook, values in written.read.items():
        wanted = {name: written.wanted(hook, name) for name in values}
        unreadable = {name for name, (kind, *_) in wanted.items() if kind == "error"}
        unreadable |= {name for name in COERCED if not written.is_external(hook, name)}
        assert unreadable <= {"offset", "pendulum"} | COERCED
        for name in values.keys() - unreadable:
            assert values[name] == wanted[name], (hook, name)


def test_ours_reads_what_airflows_own_class_wrote(exchange: Exchange) -> None:
    """What Airflow's own decoder cannot make a value of is an error, and nothing else is."""
    written = exchange.stock
    for hook, values in written.read.items():
        for name, value in values.items():
            wanted = written.wanted(hook, name)
            same = value[0] == "error" if wanted[0] == "error" else value == wanted
            assert same, (hook, name, value, wanted)
