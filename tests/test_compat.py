"""Airflow's configuration, as Airflow resolves it and nobody hears."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = "from xcomctl import settings; print(settings.resolve([], None, None, []).databases[0])"


def asked(home: Path, configuration: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (home / "airflow.cfg").write_text(configuration)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "XCOMCTL_"))}
    return subprocess.run(
        [sys.executable, "-c", ASK],
        env={**kept, "AIRFLOW_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "configuration",
    [
        "[database]\nsql_alchemy_conn = sqlite:////told/by/cfg.db\n",
        "[database]\nsql_alchemy_conn_cmd = echo sqlite:////told/by/cfg.db\n",
    ],
)
def test_airflow_tells_its_database(tmp_path, configuration):
    assert asked(tmp_path, configuration).stdout == "sqlite:////told/by/cfg.db\n"


def test_the_environment_outranks_the_file(tmp_path):
    configuration = "[database]\nsql_alchemy_conn = sqlite:////told/by/cfg.db\n"
    told = asked(tmp_path, configuration, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD="echo sqlite:////told/by/command.db")
    assert told.stdout == "sqlite:////told/by/command.db\n"


def test_a_broken_configuration_is_an_error_without_its_secrets(tmp_path):
    (tmp_path / "secret").write_text("hunter2")
    told = asked(tmp_path, f"[database]\nsql_alchemy_conn_cmd = sh -c 'cat {tmp_path}/secret >&2; exit 3'\n")
    assert told.returncode != 0
    last = told.stderr.splitlines()[-1]
    assert "MetadataError: Airflow" in last and "hunter2" not in last, told.stderr
