from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest

from xcomctl.demo.sandbox import DAG_ID, Sandbox, prepare
from xcomctl.errors import UsageError


def test_the_sandbox_is_described_by_its_own_airflow_cfg(tmp_path: Path) -> None:
    sandbox = Sandbox.at(tmp_path / "a new one")
    prepare(sandbox)

    settings = ConfigParser()
    settings.read(sandbox.configuration)
    assert settings["database"]["sql_alchemy_conn"] == f"sqlite:///{sandbox.database}"
    assert settings["common.io"]["xcom_objectstorage_path"] == f"file://{sandbox.objects}"
    assert settings["core"]["xcom_backend"].endswith("XComObjectStorageBackend")
    assert (sandbox.dags / f"{DAG_ID}.py").is_file()


def test_no_setting_of_another_airflow_reaches_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://production/airflow")
    monkeypatch.setenv("AIRFLOW_CONFIG", "/etc/airflow.cfg")
    monkeypatch.setenv("XCOMCTL_BASE_PATH", "s3://production")
    monkeypatch.setenv("LANG", "C.UTF-8")
    sandbox = Sandbox.at(tmp_path)

    environment = sandbox.environment()

    assert environment["AIRFLOW_HOME"] == str(sandbox.folder)
    assert environment["LANG"] == "C.UTF-8"
    assert not any("production" in value or value == "/etc/airflow.cfg" for value in environment.values())


def test_a_folder_with_other_things_is_refused_even_with_force(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(UsageError, match="not empty"):
            prepare(Sandbox.at(tmp_path), force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_airflow_home_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "airflow.cfg").write_text("[core]\n")
    with pytest.raises(UsageError, match="not a sandbox"):
        prepare(Sandbox.at(tmp_path), force=True)
    assert (tmp_path / "airflow.cfg").read_text() == "[core]\n"


def test_a_sandbox_is_built_anew_only_by_force_and_keeps_what_others_put_there(tmp_path: Path) -> None:
    sandbox = Sandbox.at(tmp_path)
    prepare(sandbox)
    old_object = sandbox.objects / "old"
    old_object.write_text("1")
    (tmp_path / "notes.txt").write_text("mine")
    claim = sandbox.control / "0123456789abcdef/claim.json"
    claim.parent.mkdir(parents=True)
    claim.write_text("{}")

    with pytest.raises(UsageError, match="already a sandbox") as refused:
        prepare(sandbox)
    assert refused.value.hint is not None and "--force" in refused.value.hint
    assert old_object.exists()

    prepare(sandbox, force=True)
    assert not old_object.exists() and not sandbox.control.exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["50%", "$HOME", "what?", "c#", 'a"b', "a\nb"])
def test_a_folder_whose_name_airflow_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="characters"):
        prepare(Sandbox.at(tmp_path / name))
    assert not (tmp_path / name).exists()


def test_a_folder_that_cannot_be_made_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="Not a directory"):
        prepare(Sandbox.at(tmp_path / "file" / "sandbox"))
