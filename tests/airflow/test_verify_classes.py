"""What verify-backend says about a class that Airflow does not get, or not as somebody meant it to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.airflow.test_verify_backend import AIRFLOW, FROM_BASE, IS_2
from tests.airflow.verifying import OURS, STOCK, Home

CIRCULAR = (
    """
from airflow.models.xcom import XCom

class Backend(XCom):
    pass
"""
    if IS_2
    else """
import team_helpers

class Backend(team_helpers.Base):
    pass
"""
)
HELPERS = """
from team import Backend

class Base:
    pass
"""

ILL_SIGNED = f"""
from {FROM_BASE} import BaseXCom

class Backend(BaseXCom):
    @staticmethod
    def serialize_value(value):
        return BaseXCom.serialize_value(value)

    @staticmethod
    def deserialize_value(result, session):
        return BaseXCom.deserialize_value(result)

    @staticmethod
    def purge():
        pass
"""

NOT_ONE = """
class Backend:
    pass
"""


@pytest.mark.parametrize(
    ("backend", "module", "told"),
    [
        (None, "", ("xcom_backend is not set", f"AIRFLOW__CORE__XCOM_BACKEND={OURS}")),
        (STOCK.replace("Storage", "Store"), "", ("XComObjectStoreBackend", f"did you mean {STOCK}?")),
        ("team.Backnd", ILL_SIGNED, ("Backnd", "did you mean team.Backend?")),
        ("absent.plugin.Backend", "", ("No module named 'absent'", "PYTHONPATH")),
        ("team.Backend", CIRCULAR, ("circular import", "in the methods that need it")),
        ("team.Backend", NOT_ONE, ("not a subclass of", "derive it from BaseXCom")),
        ("team.Backend", "import boto4", ("No module named 'boto4'", "install the package of boto4")),
    ],
    ids=["default", "old-name", "misspelt", "absent", "circular", "no-subclass", "its-import"],
)
def test_a_class_that_airflow_does_not_get(tmp_path: Path, backend: str | None, module: str, told: tuple[str, str]):
    home = Home.at(tmp_path / "home", backend)
    home.module("team", module)
    home.module("team_helpers", HELPERS)
    done = home.verify()
    assert done.code == 1
    (failed,) = done.failed.items()
    assert failed[0] == ("backend-class" if backend else "backend-option")
    detail, _, hint = failed[1].partition(" | ")
    assert told[0] in detail and told[1] in hint
    needs = {name: check["detail"] for name, check in done.checks.items() if check["status"] == "skipped"}
    assert needs["signatures"] == "needs backend-class" or backend is None
    assert {"threshold", "base-path", "put", "round-trip", "purge"} <= set(needs)


def test_a_class_that_does_not_take_the_calls_of_this_airflow(tmp_path: Path):
    home = Home.at(tmp_path / "home", "team.Backend")
    home.module("team", ILL_SIGNED)
    done = home.verify()
    assert set(done.failed) == {"signatures"}
    told = done.failed["signatures"]
    assert "deserialize_value" in told and "purge" in told and f"{FROM_BASE}.BaseXCom" in told
    assert IS_2 or "serialize_value: " in told  # Airflow 2 adapts this one
    assert done.checks["cleanup"]["detail"] == "needs signatures"


@pytest.mark.skipif(AIRFLOW < (3, 4), reason="the hooks are new in Airflow 3.4")
@pytest.mark.parametrize(("there", "absent"), [("store_value", "load_value"), ("load_value", "store_value")])
def test_half_a_pair_of_hooks(tmp_path: Path, there: str, absent: str):
    arguments = "cls, coordinate, key, value" if there == "store_value" else "cls, stored"
    home = Home.at(tmp_path / "home", "team.Backend")
    source = f"class Backend(BaseXCom):\n    @classmethod\n    def {there}({arguments}):\n        return None\n"
    home.module("team", f"from {FROM_BASE} import BaseXCom\n{source}")
    done = home.verify()
    assert set(done.failed) == {"signatures"}
    assert f"override {absent} too, or neither" in done.failed["signatures"]
