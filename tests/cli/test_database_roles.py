"""Users with no more rights than docs/database-roles.md gives them run every command, on real servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.engine import make_url

from tests import schemas
from tests.cli.conftest import PATIENCE_SECONDS, XCOMCTL, Run, place
from tests.lab import postgres, s3
from tests.lab.database import Database, Databases
from tests.lab.folder import Folder
from tests.lab.world import Push, World
from tests.operations.scene import BASE_FOLDER, Scene

PAGE = (Path(__file__).parents[2] / "docs/database-roles.md").read_text("utf-8")
SERVERS = pytest.mark.databases("postgresql-2.11", "postgresql-3.[34]", "mysql-2.11", "mysql-3.[34]")
POSTGRESQL = pytest.mark.databases("postgresql-3.3")

pytestmark = [pytest.mark.stores("file"), pytest.mark.xdist_group("roles")]

LARGE = json.dumps("x" * 5000)
LATER = (
    "CREATE TABLE log (id INTEGER PRIMARY KEY, dag_id VARCHAR(250), run_id VARCHAR(250))",
    "CREATE TABLE job (id INTEGER PRIMARY KEY, latest_heartbeat TIMESTAMP NULL)",
)
"""Airflow's tables that the prepared schemas lack, as far as gc looks at them."""

AT_ONCE = ("--single-pass", "--max-delete", "100%", "--older-than", "0s", "--unsafe-windows", "--yes", "-o", "json")


def statements(dialect: str, title: str) -> list[str]:
    """The statements of a block of the page that has this title."""
    section = PAGE.partition({"postgresql": "## PostgreSQL", "mysql": "## MySQL"}[dialect])[2].partition("\n## ")[0]
    (block,) = re.findall(rf"```sql\n-- {re.escape(title)}\n(.*?)```", section, re.DOTALL)
    return [line.removesuffix(";") for line in block.splitlines()]


def titles(label: str) -> list[str]:
    """The blocks that are for one version of Airflow."""
    version = tuple(int(part) for part in label.split("."))
    return [
        "every Airflow",
        *(["Airflow before 3.4"] if version < (3, 4) else ["Airflow 3.4"]),
        *(["Airflow 3.3 and later"] if version >= (3, 3) else []),
    ]


@dataclass(frozen=True)
class Roles:
    """The users that the page makes, under names of their own."""

    scene: Scene
    suffix: str

    def execute(self, *statements_: str) -> None:
        """As an administrator, in terms of this database and these users."""
        url = make_url(self.scene.database.url)
        for statement in statements_:
            named = re.sub(r"\b(xcomctl_(?:reader|writer))\b", rf"\1_{self.suffix}", statement)
            named = named.replace("DATABASE airflow", f"DATABASE {url.database}")
            named = named.replace("airflow.", f"{url.database}.").replace("ROLE airflow", f"ROLE {url.username}")
            self.scene.world.sql(named)

    def place(self, user: str) -> tuple[str, ...]:
        """The options of a command that one of them runs."""
        own = make_url(self.scene.database.url).set(username=f"{user}_{self.suffix}", password="choose-one")
        _, _, *rest = place(self.scene)
        return ("--db", own.render_as_string(hide_password=False), *rest)


@pytest.fixture
def roles(scene: Scene) -> Iterator[Roles]:
    with made(scene) as roles:
        yield roles


@contextmanager
def made(scene: Scene) -> Iterator[Roles]:
    """Both users, with what the page gives them for this Airflow."""
    dialect, roles = scene.database.dialect, Roles(scene, uuid4().hex[:8])
    everyone = titles(scene.database.label)
    reading = [*everyone, "archives to come"] if dialect == "postgresql" else ["every Airflow"]
    roles.execute(*LATER)
    writing = [f"writer: {title}" for title in everyone if title != "Airflow 3.3 and later"]
    try:
        for title in (*reading, *writing):
            roles.execute(*statements(dialect, title))
        yield roles
    finally:
        for user in ("xcomctl_writer", "xcomctl_reader"):
            if dialect == "postgresql":
                roles.execute(f"DROP OWNED BY {user}", f"DROP ROLE {user}")
            else:
                roles.execute(f"DROP USER {user}")


def fill(scene: Scene) -> str:
    """External values and a large inline one, an orphan, and an archive; the orphan's URL."""
    for number in range(3):
        scene.push("d", f"r {number}")
    scene.world.push("d", "r 0", "t", key="large", value=LARGE)
    table = "xcom_v2" if scene.database.label == "3.4" else "xcom"
    copy = f"_airflow_deleted__{table}__20260101000000"
    scene.world.sql(f"CREATE TABLE {copy} AS SELECT * FROM {table}")
    return scene.leak("d")


@pytest.fixture
def filled(roles: Roles) -> Roles:
    fill(roles.scene)
    return roles


def reads(cli: Run, at: tuple[str, ...], label: str) -> None:
    """All that reads works for a user."""
    assert len(cli("ls", *at, "--check", "-o", "json").json) == 4
    assert len(cli("ls", *at, "--archive", "-o", "json").json) == 4
    assert cli("get", "d", "latest", "t", "--key", "k", *at).json == [1]
    (took,) = cli("du", "--threshold", "1k", "--storage", *at, "-o", "json").json
    assert (took["count"], took["external"], took["inline"], took["objects"]) == (4, 3, 1, 4)
    report = cli("gc", "-n", *at, "-o", "json")
    assert (report.code, report.json["candidates"], report.json["refusals"]) == (0, 0, []), report.err
    checked = cli("fsck", "--deep", *at, "-o", "json")
    assert (checked.code, {each["id"] for each in checked.json}) == (0, {"archive"}), checked.err
    if label == "2.11":
        told = cli("preflight", "--target", "3.3.2", *at)  # MariaDB cannot run that upgrade at all
        assert told.code in (0, 1) and "would" in told.err and "denied" not in told.text


@SERVERS
def test_the_reader_reads_everything_and_collects(cli: Run, filled: Roles):
    at = filled.place("xcomctl_reader")
    reads(cli, at, filled.scene.database.label)
    collected = cli("gc", *AT_ONCE, *at)
    assert (collected.code, collected.json["deleted"], collected.json["live"]) == (0, 1, 3), collected.err
    assert cli("restore", collected.json["operation_id"], "--yes", *at).code == 0
    assert cli("gc", "--explain", filled.scene.leak("d"), *at).code == 0


@SERVERS
def test_the_reader_is_told_what_is_missing_to_write(cli: Run, filled: Roles):
    at = filled.place("xcomctl_reader")
    before = filled.scene.urls()
    for command in (("migrate", "--threshold", "1k", "--allow", "backend"), ("rm", "--dag-id", "d")):
        done = cli(*command, "--yes", *at)
        assert done.code == 10, (command, done.err)
        assert re.search(r"GRANT [A-Z, ]+ ON \S+ TO \S*xcomctl_reader", done.err), done.err
    assert len(cli("ls", *at, "-o", "json").json) == 4
    assert filled.scene.urls() == before


@SERVERS
def test_the_writer_moves_and_removes(cli: Run, filled: Roles):
    at = filled.place("xcomctl_writer")
    moved = cli("migrate", "--threshold", "1k", "--allow", "backend", "--yes", *at, "-o", "json")
    assert (moved.code, moved.json["migrated"]) == (0, 1), moved.err
    removed = cli("rm", "--run-id", "r 0", "--yes", *at, "-o", "json")
    assert (removed.code, removed.json["removed"]) == (0, 2), removed.err
    denied = cli("rm", "--run-id", "r 1", "--archive", "--yes", *at)
    assert denied.code == 10 and "GRANT " in denied.err and "xcomctl_writer" in denied.err
    filled.execute(*statements(filled.scene.database.dialect, "writer: with --archive"))
    archived = cli("rm", "--run-id", "r 1", "--archive", "--yes", *at, "-o", "json")
    assert (archived.code, archived.json["removed"], len(archived.json["archives"])) == (0, 1, 1), archived.err


@pytest.mark.databases("postgresql-2.11", "postgresql-3.[34]")
def test_a_session_that_only_reads_is_enough(cli: Run, filled: Roles):
    """Like that of a standby; and without temporary tables."""
    url = make_url(filled.scene.database.url)
    filled.execute("ALTER ROLE xcomctl_reader SET default_transaction_read_only = on")
    filled.execute("ALTER ROLE xcomctl_writer SET default_transaction_read_only = on")
    filled.scene.world.sql(f"REVOKE TEMPORARY ON DATABASE {url.database} FROM PUBLIC")
    try:
        reads(cli, filled.place("xcomctl_reader"), filled.scene.database.label)
        at = filled.place("xcomctl_writer")
        for command in (("migrate", "--threshold", "1k", "--allow", "backend"), ("rm", "--dag-id", "d")):
            done = cli(*command, "--yes", *at)
            assert done.code == 10 and "read-only transaction" in done.err and "name the primary" in done.err
    finally:
        filled.scene.world.sql(f"GRANT TEMPORARY ON DATABASE {url.database} TO PUBLIC")


@pytest.mark.databases("postgresql-3.[34]")
def test_each_right_that_is_missing_is_named_with_its_grant(cli: Run, filled: Roles):
    """But for those of tables that are asked only about some objects or values."""
    at, granted = filled.place("xcomctl_reader"), []
    for title in titles(filled.scene.database.label):
        for statement in statements("postgresql", title):
            tables = re.fullmatch(r"GRANT SELECT ON (.+) TO xcomctl_reader", statement)
            granted += tables[1].split(", ") if tables else []
    tolerated = set()
    for table in granted:
        filled.execute(f"REVOKE SELECT ON {table} FROM xcomctl_reader")
        done = next((done for words in (("gc", "-n"), ("ls",)) if (done := cli(*words, *at)).code), None)
        if done is None:
            tolerated.add(table)
        else:
            assert done.code == 10 and f"permission denied for table {table}" in done.err, (table, done.err)
            grant = re.search(r"hint: (GRANT .*?);", done.err)
            assert grant is not None and f"GRANT SELECT ON {table} TO" in grant[1]
            filled.scene.world.sql(grant[1])
            assert cli("gc", "-n", *at).code == cli("ls", *at).code == 0
        filled.execute(f"GRANT SELECT ON {table} TO xcomctl_reader")
    assert tolerated == ({"task_instance"} if filled.scene.database.label == "3.3" else set())


ROWS = 100_000
"""More than any command reads ahead of whoever reads what it writes."""


@POSTGRESQL
def test_a_listing_that_fails_in_its_middle_says_so_and_is_no_whole(roles: Roles, bare: dict[str, str]):
    roles.scene.world.push_many(Push("d", f"r {number // 1000}", "t", number) for number in range(ROWS))
    for form, mark in (("json", "map_index"), ("jsonl", "map_index"), ("csv", "\n"), ("plain", "\n"), ("yaml", "\n- ")):
        words = ("ls", *roles.place("xcomctl_reader"), "-o", form)
        listing = subprocess.Popen([*XCOMCTL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=bare)
        assert listing.stdout is not None
        first = os.read(listing.stdout.fileno(), 4096)  # the rest does not fit into a pipe
        roles.execute("REVOKE SELECT ON xcom FROM xcomctl_reader")
        out, err = listing.communicate(timeout=PATIENCE_SECONDS)
        roles.execute("GRANT SELECT ON xcom TO xcomctl_reader")
        what, hint = err.decode().splitlines()
        assert listing.returncode == 10 and "permission denied for table xcom" in what
        assert hint.startswith("hint: GRANT SELECT ON xcom TO ")
        shown = (first + out).decode()
        assert 0 < shown.count(mark) < ROWS
        if form == "json":
            with pytest.raises(json.JSONDecodeError):
                json.loads(shown)
        else:
            assert shown.endswith("\n")


def test_a_standby_is_enough_but_for_gc(cli: Run, store: Folder):
    """It refuses, since the newest rows may be missing, until that is allowed."""

    def prepare(url: str) -> None:
        schemas.load(url, "3.3")
        with World(Database(url, "postgresql", "3.3")) as world:
            Scene(world.database, world, store).push("d", key="return_value")

    with postgres.standby(prepare) as server:
        at = ("--db", server.url, "--base-path", f"{store.url}/{BASE_FOLDER}")
        assert cli("ls", *at, "--check", "-o", "json").json[0]["state"] == "external"
        assert cli("get", "d", "latest", "t", *at).json == [1]
        refused = cli("gc", "-n", *at, "-o", "json")
        assert (refused.code, [each["gate"] for each in refused.json["refusals"]]) == (5, ["replica"])
        assert cli("gc", "-n", *at, "--allow", "replica").code == 0
        removed = cli("rm", "--dag-id", "d", "--yes", "--allow", "replica", *at)
        assert removed.code == 10 and "name the primary" in removed.err, removed.err


CONNECTION = """
import sys
from airflow.models.connection import Connection
from sqlalchemy import create_engine
with create_engine(sys.argv[1]).begin() as connection:
    Connection.__table__.create(connection)
    row = {"conn_id": "store", "conn_type": "aws", "login": sys.argv[2], "password": sys.argv[3], "extra": sys.argv[4]}
    connection.execute(Connection.__table__.insert(), row)
"""


@POSTGRESQL
@pytest.mark.one_airflow
def test_verify_backend_asks_airflow_whose_user_may_do_little(
    process: Run, bare: dict[str, str], roles: Roles, ministack: s3.S3Server
):
    """It needs SELECT on the table of connections, if that is where the connection is."""
    bucket = s3.bucket(ministack)
    extra = json.dumps({"endpoint_url": ministack.endpoint, "region_name": ministack.region})
    own = roles.scene.database.url
    made = [sys.executable, "-c", CONNECTION, own, ministack.key, ministack.secret, extra]
    subprocess.run(made, env={**bare, "AIRFLOW__CORE__FERNET_KEY": ""}, check=True, capture_output=True)
    settings = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": roles.place("xcomctl_reader")[1],
        "AIRFLOW__CORE__FERNET_KEY": "",
        "AIRFLOW__CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"s3://store@{bucket.name}/xcom",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "1000",
    }

    def status() -> dict[str, str]:
        return {each["id"]: each["status"] for each in process("verify-backend", "-o", "json", **settings).json}

    roles.execute("REVOKE SELECT ON connection FROM xcomctl_reader")
    assert status()["connection"] == "unknown"
    roles.execute("GRANT SELECT ON connection TO xcomctl_reader")
    assert status()["connection"] == "ok" and "fail" not in status().values()


def test_every_block_of_the_page_is_tried(databases: Databases):
    """Those that need a table which is not there are tried with one that is made for them."""
    tried = {title for label in ("2.11", "3.3", "3.4") for title in titles(label)}
    tried |= {f"writer: {title}" for title in tried if title != "Airflow 3.3 and later"}
    extra = {"archives to come", "archives that are there", "writer: with --archive"}
    assert set(re.findall(r"```sql\n-- (.*)\n", PAGE)) == tried | extra
    with databases.fresh("postgresql-3.3") as database, World(database) as world:
        world.sql("CREATE TABLE _xcom_archive AS SELECT * FROM xcom")
        with Scene(database, world, Folder(Path("/nowhere"))) as scene, made(scene) as roles:
            roles.execute(*statements("postgresql", "archives that are there"))
