"""Where things come from: flags, then environment, then Airflow's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from xcomctl import settings
from xcomctl.errors import MetadataError, UsageError
from xcomctl.operations.deployment import open_deployment
from xcomctl.settings import parse_storage_options, resolve


@pytest.fixture(autouse=True)
def no_airflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An Airflow home with nothing in it."""
    for name in (settings.BASE_PATH_ENV, settings.DATABASE_ENV, settings.SCHEMA_ENV, "AIRFLOW_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return tmp_path


def test_flags_come_first(monkeypatch):
    monkeypatch.setenv(settings.DATABASE_ENV, "sqlite:////airflow")
    monkeypatch.setenv(settings.BASE_PATH_ENV, "file:///airflow")
    found = resolve(["sqlite:////flag"], "schema", "file:///flag", [])
    assert (found.databases, found.db_schema, found.base_path) == (("sqlite:////flag",), "schema", "file:///flag")


def test_airflows_environment_comes_next_and_its_schema_with_it(monkeypatch):
    monkeypatch.setenv(settings.DATABASE_ENV, "sqlite:////airflow")
    monkeypatch.setenv(settings.BASE_PATH_ENV, "file:///airflow")
    monkeypatch.setenv(settings.SCHEMA_ENV, "tables")
    found = resolve([], None, None, [])
    assert (found.databases, found.db_schema, found.base_path) == (("sqlite:////airflow",), "tables", "file:///airflow")


def test_without_airflow_cfg_the_base_path_is_none_and_airflow_is_not_asked(monkeypatch):
    monkeypatch.setattr(settings.compat, "airflow_option", lambda *_: pytest.fail("Airflow was asked"))
    assert resolve(["sqlite:////x"], None, None, []).base_path is None


def test_secrets_are_not_in_the_repr():
    found = resolve(["postgresql://u:hunter2@h/d"], None, None, ["secret=hunter3"])
    assert "hunter" not in repr(found)


def test_storage_options_nest_and_have_types():
    words = ["key=123", "anon=false", "client_kwargs.endpoint_url=http://h:9000/?a=b", "config_kwargs.read_timeout=5"]
    assert parse_storage_options(words) == {
        "key": "123",
        "anon": False,
        "client_kwargs": {"endpoint_url": "http://h:9000/?a=b"},
        "config_kwargs": {"read_timeout": 5},
    }


@pytest.mark.parametrize("words", [["key"], ["=x"], ["a..b=1"], ["a=1", "a.b=2"]])
def test_storage_options_that_cannot_be_read(words):
    with pytest.raises(UsageError):
        parse_storage_options(words)


@pytest.mark.parametrize("base", ["/data/xcom", "foo://bucket", "s3://", "file://host/x", "data"])
def test_a_bad_base_path_is_a_usage_error_of_a_flag_and_a_configuration_error_of_airflow(monkeypatch, base):
    with pytest.raises(UsageError, match="--base-path"):
        open_deployment(resolve(["sqlite:////x"], None, base, []))
    monkeypatch.setenv(settings.BASE_PATH_ENV, base)
    with pytest.raises(MetadataError, match="xcom_objectstorage_path"):
        open_deployment(resolve(["sqlite:////x"], None, None, []))


def test_a_connection_and_storage_options_do_not_go_together():
    with pytest.raises(UsageError, match="conn"):
        open_deployment(resolve(["sqlite:////x"], None, "s3://conn@bucket/x", ["key=k"]))
