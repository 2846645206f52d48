"""How a database is reached, and what is said when it cannot be."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.lab.database import Databases
from xcomctl.catalog import open_catalog
from xcomctl.catalog.engine import open_engine, shown
from xcomctl.errors import ExitCode, MetadataError
from xcomctl.model import Filter


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:p@h/d", "psycopg2"),
        ("postgres://u:p@h/d", "psycopg2"),
        ("postgresql+psycopg2://u:p@h/d", "psycopg2"),
        ("postgresql+asyncpg://u:p@h/d", "psycopg2"),
        ("mysql://u:p@h/d", "pymysql"),
        ("mysql+mysqldb://u:p@h/d", "pymysql"),
        ("mysql+aiomysql://u:p@h/d", "pymysql"),
    ],
)
def test_a_driver_that_is_installed_is_found(url, driver):
    engine = open_engine(url)
    assert engine.url.drivername.endswith(f"+{driver}")
    assert engine.url.password == "p" and engine.url.host == "h"


@pytest.mark.parametrize("url", ["", "nonsense", "oracle://u:hunter2@h/d", "://", "sqlite:////no/such/file.db"])
def test_a_url_that_leads_nowhere_is_one_clear_error(url):
    with pytest.raises(MetadataError) as error:
        open_engine(url)
    assert error.value.exit_code is ExitCode.METADATA and error.value.hint
    assert "hunter2" not in f"{error.value.message}{error.value.hint}"


def test_a_password_with_an_at_sign_is_refused_and_not_shown():
    """SQLAlchemy takes what follows the first of two for the host, and would show it."""
    with pytest.raises(MetadataError, match="has an @") as error:
        open_engine("postgresql://u:p@hunter2@h/d")
    assert "hunter2" not in f"{error.value.message}{error.value.hint}" and "%40" in str(error.value.hint)


def test_a_missing_sqlite_file_is_not_created(tmp_path: Path):
    with pytest.raises(MetadataError, match="there is no SQLite file"):
        open_engine(f"sqlite:///{tmp_path}/airflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_sqlite_file_of_any_name_is_opened_read_only(tmp_path: Path, databases: Databases):
    with databases.fresh("sqlite-3.3") as database:
        path = tmp_path / "air flow#é=.db"
        path.write_bytes(Path(database.url.removeprefix("sqlite:///")).read_bytes())
    catalog = open_catalog(f"sqlite:///{path}", None, None)
    assert str(catalog) == f"sqlite:///{path}"
    with pytest.raises(Exception, match="readonly"), catalog.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM xcom")


HALF_DONE = """
import os, signal, sqlite3, sys
rows = sqlite3.connect(sys.argv[1], isolation_level=None)
rows.execute("PRAGMA cache_size = 2")
rows.execute("BEGIN")
rows.execute("UPDATE filler SET text = 'after'")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_half_done_is_undone(databases: Databases):
    """SQLite's journal has to be played back before anybody may read, which a read-only connection cannot."""
    with databases.fresh("sqlite-3.3") as database:
        path = Path(database.url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(path, isolation_level=None)) as rows:
            rows.execute("CREATE TABLE filler (text TEXT)")
            rows.executemany("INSERT INTO filler VALUES (?)", [["before" * 100]] * 1000)
        done = subprocess.run([sys.executable, "-c", HALF_DONE, str(path)], check=False)
        journal = Path(f"{path}-journal")
        assert done.returncode == -signal.SIGKILL and journal.stat().st_size > 512
        catalog = open_catalog(database.url, None, None)
        assert list(catalog.rows(Filter())) == [] and not journal.exists()
        with closing(sqlite3.connect(path)) as rows:
            assert rows.execute("SELECT DISTINCT text FROM filler").fetchall() == [("before" * 100,)]


def test_what_is_no_database_is_one_clear_error(tmp_path: Path):
    path = tmp_path / "air flow#é=.db"
    path.write_text("not a database, but long enough to look like one " * 100)
    with pytest.raises(MetadataError) as error:
        open_catalog(f"sqlite:///{path}", None, None)
    assert error.value.hint


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_a_database_that_is_not_airflows(databases: Databases, dialect):
    with databases.empty(dialect) as url:
        if dialect == "sqlite":
            Path(url.removeprefix("sqlite:///")).touch()
        with pytest.raises(MetadataError, match="not Airflow's database") as error:
            open_catalog(url, None, None)
    assert "airflow db migrate" in error.value.hint


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@127.0.0.1:1/d", "mysql://u:hunter2@127.0.0.1:1/d"])
def test_an_unreachable_server_is_one_line_without_the_password(url):
    with pytest.raises(MetadataError) as error:
        open_catalog(url, None, None)
    assert "hunter2" not in f"{error.value.message}{error.value.hint}"
    assert "127.0.0.1" in error.value.message and "\n" not in error.value.message


def test_a_url_is_shown_without_secrets():
    url = open_engine("postgresql://u:hunter2@h:5/d?sslpassword=hunter3&options=x").url
    assert shown(url) == "postgresql+psycopg2://u:***@h:5/d"
