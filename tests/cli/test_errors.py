"""Bad input: a line of what, a line of what to do, the right exit code, no traceback, no secret, nothing changed."""

from __future__ import annotations

import gzip
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from tests.cli.conftest import Result, Run, Session, place, storage_options, tree
from tests.lab import s3
from tests.lab.database import Databases
from tests.operations.scene import BASE_FOLDER, Scene

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

SECRET = "hunter2hunter2"
BASE = "file:///tmp"
READING = (("ls", "--check"), ("get", "d", "r", "t"), ("gc", "--single-pass", "--yes"), ("fsck",))
"""The commands that read rows and objects."""

LOUDNESS = ((), ("-v",), ("--log-format", "json", "-v"), ("--debug",))


def everywhere(run: Run, *words: str, code: int, says: str, hint: str = "", **environment: str) -> None:
    """Check that each command fails alike, and that nothing secret is said however loud it is."""
    for command in READING:
        run(*command, *words, **environment).failed(code, says, hint)
    for loud in LOUDNESS:
        shown = run("ls", "--check", *words, *loud, **environment)
        assert shown.code == code and SECRET not in shown.text + shown.err
        assert ("Traceback" in shown.err) == (loud == ("--debug",))


class TestCommandLine:
    """2, before anything is read."""

    @pytest.mark.parametrize(
        ("words", "says", "hint"),
        [
            (("nope",), "no such command 'nope'", "xcomctl --help"),
            (("ls", "--nope"), "no such option --nope", "xcomctl ls --help"),
            (("ls", "extra"), "unexpected extra argument", "xcomctl ls --help"),
            (("get", "d", "r"), "Missing argument", "xcomctl get --help"),
            (("ls", "--dag-id"), "'--dag-id' requires an argument", "--help"),
            (("ls", "--limit", "many"), "Invalid value for '--limit'", "xcomctl ls --help"),
            (("ls", "--limit", "-1"), "Invalid value for '--limit'", "xcomctl ls --help"),
            (("ls", "--limit", "1.5"), "Invalid value for '--limit'", "xcomctl ls --help"),
            (("ls", "--map-index", "x"), "Invalid value for '--map-index'", "xcomctl ls --help"),
            (("ls", "--map-index", "9" * 20), "Invalid value for '--map-index'", "xcomctl ls --help"),
            (("get", "d", "r", "t", "--map-index", "-2"), "Invalid value for '--map-index'", "xcomctl get --help"),
            (("ls", "-o", "xml"), "'xml' is not one of 'auto', 'table', 'plain', 'json'", "xcomctl ls --help"),
            (("ls", "--state", "gone"), "'gone' is not one of 'inline', 'external'", "xcomctl ls --help"),
            (("completions", "tcsh"), "'tcsh' is not one of 'bash', 'zsh', 'fish'", "xcomctl completions --help"),
            (("ls", "--older-than", "5"), "--older-than '5' is not an age", "write 7d, 12h or 30m"),
            (("ls", "--older-than", "7days"), "--older-than '7days' is not an age", "write 7d, 12h or 30m"),
            (("ls", "--older-than", "-3d"), "is not an age", "write 7d, 12h or 30m"),
            (("ls", "--older-than", "9999999d"), "is too long", "write 7d, 12h or 30m"),
            (("ls", "--older-than", "9" * 400 + "d"), "is too long", "write 7d, 12h or 30m"),
            (("ls", "--since", "yesterday"), "--since 'yesterday' is not a time", "an age: 7d"),
            (("ls", "--since", "9999999d"), "is not a time", "an age: 7d"),
            (("ls", "--until", "2026-13-01"), "--until '2026-13-01' is not a time", "an age: 7d"),
            (("ls", "--larger-than", "5X"), "--larger-than '5X' is not a size", "write 1MB, 1MiB or 512k"),
            (("ls", "--smaller-than", "-1"), "--smaller-than '-1' is not a size", "write 1MB, 1MiB or 512k"),
            (("ls", "--larger-than", "9" * 400), "is not a size", "write 1MB, 1MiB or 512k"),
            (("gc", "-n", "--older-than", "soon"), "is not an age", "write 7d, 12h or 30m"),
            (("gc", "-n", "--older-than", "9999999d"), "is too long", "write 7d, 12h or 30m"),
            (("ls", "--storage-option", SECRET), "--storage-option wants key=value", "client_kwargs.endpoint_url=URL"),
            (("ls", "--storage-option", f"={SECRET}"), "--storage-option wants key=value", "client_kwargs"),
            (
                ("ls", "--storage-option", f"a={SECRET}", "--storage-option", f"a.b={SECRET}"),
                "--storage-option a.b reaches into a",
                "",
            ),
            (
                ("ls", "--base-path", "s3://c@b/x", "--storage-option", f"k={SECRET}"),
                "--storage-option does not go",
                "conn",
            ),
        ],
    )
    def test_a_mistake(self, cli: Run, words, says, hint):
        failed = cli(*words, XCOMCTL_DB="sqlite:////nonexistent.db")
        failed.failed(2, says, hint)
        assert SECRET not in failed.err
        assert "Traceback" not in failed.err

    @pytest.mark.parametrize(
        ("base", "says", "hint"),
        [
            ("/data/xcom", "'/data/xcom' has no scheme", "write file:///data/xcom"),
            ("bucket/xcom", "'bucket/xcom' has no scheme", "write s3://bucket/prefix"),
            ("ftp://host/xcom", "has the unknown scheme ftp://", "known are s3, "),
            ("s3:///xcom", "names no bucket", "write s3://bucket/prefix"),
            ("s3://", "names no bucket", "write s3://bucket/prefix"),
            ("file://data/xcom", "is not the absolute path of a folder", "three slashes"),
        ],
    )
    def test_a_base_path_that_is_none(self, cli: Run, base, says, hint):
        """2 where the command line says it; 10 where Airflow's configuration does."""
        nowhere = ("--db", "sqlite:////nonexistent.db")
        for command in READING:
            cli(*command, *nowhere, "--base-path", base).failed(2, says, hint)
            cli(*command, *nowhere, XCOMCTL_BASE_PATH=base).failed(2, says, hint)
            configured = cli(*command, *nowhere, AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH=base)
            configured.failed(10, "[common.io] xcom_objectstorage_path ", hint)

    def test_wrong_numbers_of_the_environment(self, cli: Run):
        cli("ls", XCOMCTL_LIMIT="many").failed(2, "XCOMCTL_LIMIT")
        cli("ls", XCOMCTL_MAP_INDEX="x").failed(2, "XCOMCTL_MAP_INDEX")
        cli("ls", XCOMCTL_OUTPUT="xml").failed(2, "XCOMCTL_OUTPUT")
        cli("ls", XCOMCTL_CHECK="perhaps").failed(2, "XCOMCTL_CHECK")

    def test_what_reads_one_database_says_so_before_it_reads_any(self, cli: Run):
        two = ("--db", "sqlite:////nonexistent.db", "--db", "sqlite:////neither.db", "--base-path", BASE)
        cli("ls", *two).failed(2, "reads one database", "give --db once")
        cli("get", "d", "r", "t", *two).failed(2, "reads one database", "give --db once")

    def test_a_name_that_is_no_text_is_a_mistake(self, process: Run, scene: Scene):
        """A shell can hand over any bytes."""
        process("get", b"\xff", "r", "t", *place(scene)).failed(2, "not UTF-8")
        process("ls", "--dag-id", b"\xff*", *place(scene)).failed(2, "not UTF-8")


class TestDatabase:
    """10."""

    @pytest.mark.parametrize(
        ("url", "says", "hint"),
        [
            ("nonsense", "the database URL cannot be read", "dialect://user:password@host:port/database"),
            (f"postgresql://u:{SECRET}@127.0.0.1:port/x", "the database URL cannot be read", "dialect://"),
            (f"oracle://u:{SECRET}@127.0.0.1/x", "oracle is not a database that Airflow uses", "postgresql, mysql"),
            (f"postgresql://u:{SECRET}@127.0.0.1:1/x", "Connection refused", "reachable from here"),
            (f"postgresql+asyncpg://u:{SECRET}@127.0.0.1:1/x", "postgresql+psycopg2://u:***@", "reachable from here"),
            (f"postgres://u:{SECRET}@127.0.0.1:1/x", "postgresql+psycopg2://u:***@", "reachable from here"),
            (f"postgresql://u@127.0.0.1:1/x?password={SECRET}", "Connection refused", "reachable from here"),
            (f"mysql://u:{SECRET}@127.0.0.1:1/x", "Can't connect to MySQL", "reachable from here"),
            (f"mysql+mysqldb://u:{SECRET}@127.0.0.1:1/x?charset=utf8mb4", "mysql+pymysql://u:***@", "reachable"),
            ("sqlite:////nonexistent/airflow.db", "there is no SQLite file /nonexistent/airflow.db", "four slashes"),
            ("sqlite:////", "there is no SQLite file /", "four slashes"),
        ],
    )
    def test_a_url_that_leads_nowhere(self, cli: Run, url, says, hint):
        everywhere(cli, "--db", url, "--base-path", BASE, code=10, says=says, hint=hint)
        everywhere(cli, code=10, says=says, hint=hint, XCOMCTL_DB=url, XCOMCTL_BASE_PATH=BASE)

    @pytest.mark.parametrize("content", [b"", b"SQLite format 3\0 and then nothing", b"not a database at all" * 99])
    def test_a_file_that_is_not_airflows(self, cli: Run, tmp_path: Path, content):
        path = tmp_path / "airflow.db"
        path.write_bytes(content)
        before = tree(path)
        says = "not Airflow's database" if not content else "file is not a database"
        everywhere(cli, "--db", f"sqlite:///{path}", "--base-path", BASE, code=10, says=says, hint="--db-schema")
        assert tree(path) == before and [found.name for found in tmp_path.glob("*.db*")] == ["airflow.db"]

    @pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
    def test_a_database_that_is_not_airflows(self, cli: Run, databases: Databases, dialect):
        with databases.empty(dialect) as url:
            asked = ("--db", url, "--base-path", BASE)
            everywhere(cli, *asked, code=10, says="it is not Airflow's database", hint="`airflow db migrate`")
            _run_sql(url, "CREATE TABLE xcom (id integer)")
            everywhere(cli, *asked, code=10, says="the table xcom has no column `value`", hint="check --db")

    @pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
    def test_a_database_that_a_server_lacks(self, cli: Run, databases: Databases, dialect):
        with databases.empty(dialect) as url:
            wrong = make_url(url).set(database="xcomctl_nonexistent").render_as_string(hide_password=False)
        everywhere(cli, "--db", wrong, "--base-path", BASE, code=10, says="nonexistent", hint="check the database name")

    @pytest.fixture
    def reader(self, databases: Databases) -> Iterator[str]:
        """The URL of a MariaDB user who has a password and may read nothing."""
        admin = databases.mariadb.url
        name = f"xcomctl_{uuid4().hex[:8]}"
        _run_sql(admin, f"CREATE USER {name}@'%' IDENTIFIED BY '{SECRET}'")
        try:
            with databases.fresh("mysql-3.3") as database:
                url = make_url(database.url).set(username=name, password=SECRET)
                yield url.render_as_string(hide_password=False)
        finally:
            _run_sql(admin, f"DROP USER {name}@'%'")

    def test_a_wrong_password(self, cli: Run, reader):
        wrong = reader.replace(SECRET, f"{SECRET}x")
        everywhere(cli, "--db", wrong, "--base-path", BASE, code=10, says="Access denied for user", hint="password")

    def test_a_user_who_may_not_read(self, cli: Run, reader):
        says = "Access denied for user"
        everywhere(cli, "--db", reader, "--base-path", BASE, code=10, says=says, hint="or check its name")

    def test_an_unknown_schema_head(self, cli: Run, scene: Scene):
        """Rows can be looked at; nothing is deleted (5)."""
        url = scene.push("d")
        scene.age(scene.leak("d"), 30)
        scene.world.sql("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        before = tree(scene.raw.path)
        assert cli("ls", "-q", *place(scene), "--columns", "reference") == Result(0, f"{url}\n".encode())
        assert cli("get", "d", "r", "t", "--key", "k", *place(scene)).json == [1]
        refused = cli("gc", "--single-pass", "--max-delete", "9", "--yes", *place(scene), "-o", "json")
        assert refused.code == 5 and "unknown schema ffffffffffff" in refused.json["refusals"][0]["message"]
        assert tree(scene.raw.path) == before


def _run_sql(url: str, statement: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(statement))


class TestStorage:
    """12."""

    def test_a_base_folder_that_does_not_exist(self, cli: Run, scene: Scene):
        """A volume that is not mounted would make every XCom dangling and every row's object lost."""
        scene.push("d", key="return_value")
        (scene.raw.path / BASE_FOLDER).rename(scene.raw.path / "unmounted")
        before = tree(scene.raw.path)
        everywhere(
            cli, *place(scene), code=12, says=f"folder {scene.raw.path}/{BASE_FOLDER} does not exist", hint="mounted"
        )
        assert tree(scene.raw.path) == before

    @pytest.mark.parametrize("scheme", ["abfs", "abfss", "az", "adl"])
    def test_a_package_that_is_missing(self, cli: Run, scene: Scene, scheme):
        if importlib.util.find_spec("adlfs") is not None:
            pytest.skip("adlfs is installed here")
        scene.world.push("d", "r", "t", value=json.dumps(f"{scheme}://container/xcom/d/r/t/{uuid4()}"))
        asked = ("--db", scene.database.url, "--base-path", f"{scheme}://container/xcom")
        everywhere(cli, *asked, code=12, says=f"cannot open {scheme}:// URLs", hint="pip install adlfs")

    def test_nobody_listens(self, cli: Run, scene: Scene):
        """With a number inside nested options, so that nothing is tried again."""
        options = {
            "key": "k",
            "secret": SECRET,
            "client_kwargs": {"endpoint_url": "http://127.0.0.1:1"},
            "config_kwargs": {"retries": {"max_attempts": 0}},
        }
        asked = ("--db", scene.database.url, "--base-path", "s3://bucket/xcom", *storage_options(options))
        scene.world.push("d", "r", "t", value=json.dumps(f"s3://bucket/xcom/d/r/t/{uuid4()}"))
        everywhere(cli, *asked, code=12, says="Could not connect to the endpoint URL", hint="check the endpoint")

    @pytest.mark.stores("seaweedfs")
    def test_a_wrong_secret(self, cli: Run, scene: Scene):
        scene.push("d", key="return_value")
        before = scene.urls()
        asked = [word.replace("xcomctl-secret", SECRET) for word in place(scene)]
        everywhere(cli, *asked, code=12, says=f"s3://{scene.raw.name}/", hint="the credentials may not")
        assert scene.urls() == before

    @pytest.mark.stores("ministack", "seaweedfs")
    def test_a_bucket_that_does_not_exist(self, cli: Run, scene: Scene):
        """Not the same as an object that does not."""
        assert isinstance(scene.raw, s3.Bucket)
        scene.world.push("d", "r", "t", value=json.dumps(f"s3://nonexistent/{BASE_FOLDER}/d/r/t/{uuid4()}"))
        asked = [word.replace(scene.raw.name, "nonexistent") for word in place(scene)]
        everywhere(cli, *asked, code=12, says="s3://nonexistent", hint="does the bucket nonexistent exist?")

    def test_an_object_that_is_damaged(self, cli: Run, scene: Scene):
        for task_id, body in {"cut": gzip.compress(b"[1]" * 99)[:-9], "text": b"no JSON"}.items():
            url = scene.put(f"d/r/{task_id}/{uuid4()}.gz", body)
            scene.world.push("d", "r", task_id, value=json.dumps(url))
        cli("get", "d", "r", "cut", *place(scene)).failed(12, "the gzip data is corrupt or cut short", "run the task")
        cli("get", "d", "r", "text", *place(scene)).failed(12, "not JSON", "it looks like plain text")
        for task_id in ("cut", "text"):
            loud = cli("get", "d", "r", task_id, *place(scene), "--debug")
            assert loud.code == 12 and "Traceback" in loud.err and loud.out == b""


class TestConnection:
    """A base path with `conn@`: that connection's credentials or none."""

    @pytest.mark.stores("ministack")
    def test_one_that_does_not_exist_is_an_error_though_credentials_lie_about(self, session: Session, scene: Scene):
        assert isinstance(scene.raw, s3.Bucket)
        name = f"{BASE_FOLDER}/d/r/t/{uuid4()}"
        scene.raw.put(name, b"[1]")
        scene.raw.put(f"{BASE_FOLDER}/d/gone/t/{uuid4()}", b"[1]")
        before = scene.urls()
        scene.world.push("d", "r", "t", value=json.dumps(f"s3://nope@{scene.raw.name}/{name}"))
        scene.world.push("d", "r", "ambient", value=json.dumps(f"s3://{scene.raw.name}/{name}"))
        database = ("--db", scene.database.url, "--base-path")
        asked = [(*command, *database, f"s3://nope@{scene.raw.name}/{BASE_FOLDER}") for command in READING]
        trusting = ("get", "d", "r", "ambient", *database, f"s3://{scene.raw.name}/{BASE_FOLDER}")
        ambient = {
            "AWS_ACCESS_KEY_ID": scene.raw.server.key,
            "AWS_SECRET_ACCESS_KEY": scene.raw.server.secret,
            "AWS_ENDPOINT_URL": scene.raw.server.endpoint,
            "AWS_DEFAULT_REGION": scene.raw.server.region,
        }
        *refused, fetched = session(*asked, trusting, **ambient)
        for each in refused:
            each.failed(10, "the Airflow connection nope cannot be resolved", "`airflow connections add nope`")
        assert scene.urls() == before
        assert fetched.json == [1], "those credentials do open the bucket"

    @pytest.mark.stores("seaweedfs")
    def test_one_that_does_works_from_end_to_end(self, session: Session, scene: Scene):
        assert isinstance(scene.raw, s3.Bucket)
        base = f"s3://store@{scene.raw.name}/{BASE_FOLDER}"
        live, orphan = (f"d/r/{task}/{uuid4()}" for task in ("t", "orphan"))
        for name in (live, orphan):
            scene.raw.put(f"{BASE_FOLDER}/{name}", b'"value"')
        scene.world.push("d", "r", "t", value=json.dumps(f"{base}/{live}"))
        collecting = ("gc", "--single-pass", "--yes", "--older-than", "0s", "--unsafe-windows", "--max-delete", "50%")
        time.sleep(1.1)  # the Date header, by which ages are told, has whole seconds
        listed, fetched, collected = session(
            ("ls", "--check", "--columns", "task_id,state,object_size_bytes"),
            ("get", "d", "r", "t"),
            (*collecting, "-o", "json", "-q"),
            AIRFLOW_CONN_STORE=scene.raw.server.connection(),
            XCOMCTL_DB=scene.database.url,
            AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH=base,
        )
        assert listed == Result(0, b"t\texternal\t7\n")
        assert fetched == Result(0, b'"value"\n')
        assert (collected.code, collected.out) == (0, b"")
        assert scene.raw.keys(f"{BASE_FOLDER}/") == {f"{BASE_FOLDER}/{live}"}

    @pytest.mark.stores("seaweedfs")
    def test_one_with_a_wrong_password(self, session: Session, scene: Scene):
        assert isinstance(scene.raw, s3.Bucket)
        base = f"s3://store@{scene.raw.name}/{BASE_FOLDER}"
        asked = ("gc", "-n", "--db", scene.database.url, "--base-path", base)
        environment = {"AIRFLOW_CONN_STORE": scene.raw.server.connection(password=SECRET)}
        failed, loud = session(asked, (*asked, "-v", "--debug"), **environment)
        failed.failed(12, f"cannot read s3://{scene.raw.name}/", "the credentials may not read")
        assert loud.code == 12 and "Traceback" in loud.err and SECRET not in loud.err

    def test_one_whose_provider_is_missing(self, process: Run, scene: Scene):
        if importlib.util.find_spec("airflow.providers.microsoft") is not None:
            pytest.skip("the provider for Azure is installed here")
        azure = json.dumps({"conn_type": "wasb", "login": "account", "password": SECRET})
        asked = ("gc", "-n", "--db", scene.database.url, "--base-path", "abfs://store@container/xcom")
        failed = process(*asked, AIRFLOW_CONN_STORE=azure)
        failed.failed(10, "Airflow cannot open abfs:// URLs", "apache-airflow-providers-microsoft-azure")
        assert SECRET not in failed.err


@pytest.mark.stores("file")
@pytest.mark.databases("sqlite-3.3")
def test_a_secret_in_a_row_is_never_said(cli: Run, scene: Scene):
    """Airflow writes none into a reference; who wrote this one did not mean it for a log."""
    scene.world.push("d", "r", "t", value=json.dumps(f"s3://AKIA:hunter2@nowhere/d/r/t/{uuid4()}"))
    for words in (
        ("ls", "-o", "json"),
        ("ls", "--check", "-v"),
        ("get", "d", "r", "t"),
        ("get", "d", "r", "t", "--explain", "-o", "json"),
        ("fsck", "--deep", "-o", "table"),
        ("du", "-v"),
        ("get", "d", "r", "t", "--log-format", "json", "--debug"),
    ):
        done = cli(*words, *place(scene))
        assert "***" in done.text + done.err or words[0] == "du", words
        assert "hunter2" not in (done.text + done.err).lower(), words
