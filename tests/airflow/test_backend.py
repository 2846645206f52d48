"""The backend in a running Airflow: branches, mapped tasks, a retry and clears, with a real scheduler."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.airflow.conftest import xcomctl
from tests.airflow.deployment import AIRFLOW, Deployment
from tests.airflow.every_value import BALLAST, EDGE, MAKERS, NUMBERS
from tests.airflow.stage import BACKEND, Combination, Row, Seen, Stage, copy_parts
from tests.lab import s3
from tests.lab.database import Databases
from tests.lab.effort import LONG
from tests.lab.folder import Folder
from tests.lab.proxy import FaultProxy
from xcomctl.demo.sandbox import Sandbox, prepare

pytestmark = pytest.mark.xdist_group("airflow-backend")

DAG_ID, LOOP = "ordeal", "rounds"
COMBINATIONS = [Combination("s3", 0), Combination("file", EDGE)]
COMBINATIONS += [Combination("s3", EDGE), Combination("file", 0)] if LONG else []

REFUSED = {"bytes"} | ({"uuid"} if AIRFLOW < (3, 2) else set())
"""What Airflow's own encoder has no form for."""
NOT_FOR_JSONB = {"nan", "infinity", "nul", "surrogate", "beyond", "large_float"}
"""What a row of Airflow 3 refuses, or a JSONB changes."""
NOT_FOR_JSONB |= {"none"} if AIRFLOW == (3, 0) else set()  # its worker sends no body for None
LARGE = {("every_value", "edge"), ("stumbles", "progress"), ("stumbles", "ballast"), ("stumbles", "return_value")}
LARGE |= {("square", "ballast"), ("square", "return_value")}
"""What is at or beyond the edge, by task and key; both tasks return a dict, so each of its keys is an XCom too."""
CONTROL = {"skipmixin_key"}
"""What Airflow itself reads from the rows, and pushes for a branch."""


@pytest.fixture(scope="module")
def bucket(seaweedfs: s3.S3Server) -> s3.Bucket:
    return s3.bucket(seaweedfs)


@pytest.fixture(scope="module")
def proxy(bucket: s3.Bucket) -> Iterator[FaultProxy]:
    """It stands between Airflow and the bucket, and counts."""
    with FaultProxy(int(bucket.server.endpoint.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, bucket: s3.Bucket, proxy: FaultProxy
) -> Iterator[Deployment]:
    """An Airflow without scheduler; what serves people has the settings of the first combination."""
    sandbox = Sandbox.at(tmp_path_factory.mktemp("airflow") / "backend")
    prepare(sandbox)
    for dag in sandbox.dags.glob("*.py"):
        dag.unlink()
    copy_parts(sandbox.dags, "every_value.py", "ordeal.py", *(["rounds.py"] if AIRFLOW >= (3, 4) else []))
    lab = bucket.server.connection(proxy.endpoint)
    settings = {"AIRFLOW_CONN_LAB": lab, "AIRFLOW__CORE__XCOM_BACKEND": BACKEND}
    with databases.empty("postgresql") as url:
        deployment = Deployment(sandbox, url, settings | Stage(COMBINATIONS[0], bucket).settings)
        deployment.prepare()
        with deployment.serving():
            yield deployment


class Story:
    """What was there after each chapter, and where."""

    def __init__(self, stage: Stage, deployment: Deployment) -> None:
        self.stage, self.deployment = stage, deployment
        self.run_id = f"manual__{stage.combination}T00:00:00+00:00"
        left_out = NOT_FOR_JSONB if stage.combination.threshold and AIRFLOW >= (3,) else set()
        self.names = [name for name in MAKERS if name not in REFUSED | left_out]
        with deployment.scheduling(**stage.settings):
            deployment.run(DAG_ID, self.run_id, {"values": self.names})
            self.first = self.seen()
            deployment.clear(DAG_ID, self.run_id)
            self.cleared = self.seen()
            deployment.clear(DAG_ID, self.run_id, "avoided", "avoided_each")
            self.last = self.seen()

    @property
    def chapters(self) -> tuple[Seen, Seen, Seen]:
        return self.first, self.cleared, self.last

    def seen(self) -> Seen:
        states = self.deployment.states(DAG_ID, self.run_id)
        told = [self.deployment.sandbox.dags / f"{name}-{self.run_id}.json" for name in ("expected", "pulled")]
        if not all(path.exists() for path in told):
            raise AssertionError(f"{states}\n{self.deployment.logs()}")
        return self.stage.seen(self.deployment.url, DAG_ID, self.run_id, states, *told)

    def xcomctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return xcomctl(self.deployment.sandbox, *words, **self.deployment.environment(**self.stage.settings))


@pytest.fixture(scope="module", params=COMBINATIONS, ids=str)
def story(
    request: pytest.FixtureRequest, deployment: Deployment, bucket: s3.Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Story:
    """A run with a retry, the whole of it cleared, and then only the side that no branch led to."""
    store = bucket if request.param.kind == "s3" else Folder(tmp_path_factory.mktemp("objects"))
    return Story(Stage(request.param, store), deployment)


def test_a_task_pulls_what_was_pushed(story: Story) -> None:
    for seen in (story.first, story.cleared):
        where = {row.key: "object" if seen.key(row) else "row" for row in seen.rows if row.task_id == "every_value"}
        assert set(story.names) <= where.keys()
        expected = {name: seen.expected[name][where[name]] for name in story.names}
        errors = {name for name, (kind, *_) in expected.items() if kind == "error"}
        values = seen.pulled["values"]
        assert {name: values[name] for name in expected.keys() - errors} == {
            name: expected[name] for name in expected.keys() - errors
        }
        assert {name: values[name][0] for name in errors} == dict.fromkeys(errors, "error"), "and never a URL"


def test_every_task_reads_every_other(story: Story) -> None:
    for seen, tries in ((story.first, 2), (story.cleared, 4)):
        squares = [number * number for number in NUMBERS]
        assert {key: value for key, value in seen.pulled.items() if key != "values"} == {
            "edges": [EDGE - 3, EDGE - 2],
            "tries": [tries, tries],
            "ballast": [len(BALLAST), len(BALLAST)],
            "avoided": None,
            "squares": squares,
            "sum": sum(squares),
        }


def test_the_threshold_decides_what_leaves_its_row(story: Story) -> None:
    """At threshold 0 that is all but what Airflow itself reads."""
    for seen in story.chapters:
        external = {(row.task_id, row.key) for row in seen.rows if seen.key(row)}
        every = {(row.task_id, row.key) for row in seen.rows if row.key not in CONTROL}
        assert external == (LARGE if story.stage.combination.threshold else every)
        assert {row.key for row in seen.rows} >= CONTROL


def test_a_side_that_was_not_chosen_stays_skipped(story: Story) -> None:
    """Also when it is cleared alone: then the scheduler knows only from the row that the branch led elsewhere."""
    for seen in story.chapters:
        ends = {"avoided": "skipped", "avoided_each": "skipped"}
        assert {task_id: seen.states[task_id] for task_id in ends} == ends
        assert {state for task_id, state in seen.states.items() if task_id not in ends} == {"success"}


def test_nothing_dangles(story: Story) -> None:
    for seen in story.chapters:
        assert seen.referred - seen.objects == set()


def test_a_retry_leaves_nothing_behind(story: Story) -> None:
    """Airflow 3.4 keeps the XComs of the attempt that failed, and their objects."""
    first = story.first
    assert first.objects == first.referred
    attempts = {row.attempt for row in first.rows if (row.task_id, row.key) == ("stumbles", "progress")}
    assert attempts == ({1, 2} if AIRFLOW >= (3, 4) else {None})


def test_a_clear_leaves_nothing_behind(story: Story) -> None:
    """Airflow 3.4 keeps the attempts. Airflow 3.0 forgets to purge mapped tasks, and pushes over their rows."""
    first, cleared = story.first, story.cleared
    if AIRFLOW >= (3, 4):
        assert first.objects < cleared.objects
        assert len(cleared.rows) == 2 * len(first.rows)
    forgotten = first.objects_of("square") if AIRFLOW == (3, 0) else frozenset()
    assert cleared.objects - cleared.referred == forgotten
    if AIRFLOW < (3, 4):
        assert first.objects & cleared.objects == forgotten
        assert [row.names for row in first.rows] == [row.names for row in cleared.rows]


def test_xcomctl_knows_every_row_and_object(story: Story) -> None:
    done = story.xcomctl("gc", "--dry-run", "-o", "json")
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    report = json.loads(done.stdout)
    objects, referred = story.last.objects, story.last.referred
    assert (report["listed"], report["live"], report["unknown"]) == (len(objects), len(referred), 0)
    listed = story.xcomctl("ls", "--dag-id", DAG_ID, "--all-attempts", "--state", "external", "-o", "json")
    run = [row["reference"] for row in json.loads(listed.stdout) if row["run_id"] == story.run_id]
    assert {reference.removeprefix(f"{story.stage.base}/") for reference in run} == referred


def entry(story: Story, row: Row) -> str:
    run = f"dags/{DAG_ID}/dagRuns/{quote(story.run_id)}"
    return f"{run}/taskInstances/{row.task_id}/xcomEntries/{row.key}"


def test_a_list_of_xcoms_opens_no_object(story: Story, proxy: FaultProxy) -> None:
    """Neither does the look at one of them; a task's pull does, and Airflow 2 and 3.0 do when they are asked to."""
    if story.stage.combination.kind != "s3":
        pytest.skip("requests are counted on their way to S3")
    rest, (*_, row) = story.deployment.rest, [row for row in story.last.rows if row.key == "decimal"]
    before = len(proxy.requests)
    listed = rest.ask("GET", f"dags/{DAG_ID}/dagRuns/~/taskInstances/~/xcomEntries", limit="100")
    assert {each["key"] for each in listed["xcom_entries"]} >= set(story.names)
    one = rest.ask("GET", entry(story, row))
    reference = json.loads(row.value)
    assert reference in str(one["value"]) or AIRFLOW < (3,), one
    if AIRFLOW < (3,):
        page = rest.page("xcom/list/?_flt_0_task_id=every_value&page_size=100")
        assert f">{row.key}<" in page.replace(" ", "").replace("\n", ""), page
        when = rest.ask("GET", f"dags/{DAG_ID}/dagRuns/{quote(story.run_id)}")["logical_date"]
        place = f"dag_id={DAG_ID}&task_id=every_value&execution_date={quote(when)}&map_index=-1"
        assert "decimal" in rest.page(f"xcom?{place}")
    assert proxy.requests[before:] == []

    if AIRFLOW < (3, 1):
        assert "12.34" in str(rest.ask("GET", entry(story, row), deserialize="true")["value"])
        assert proxy.requests[before:] != []
        before = len(proxy.requests)
    assert read_in_a_process(story, row) == ["decimal.Decimal", "Decimal('12.34')"]
    assert reference.rpartition("/")[2] in " ".join(seen.path for seen in proxy.requests[before:])


def read_in_a_process(story: Story, row: Row) -> object:
    """What the backend makes of a row, in a process with the settings of a task's."""
    home = story.deployment.sandbox.folder
    copy_parts(home, "exchange.py", "every_value.py")
    (home / "row.json").write_text(json.dumps({"serialize_value": {row.key: row.value}}))
    command = [sys.executable, home / "exchange.py", BACKEND, "read", home / "row.json"]
    done = subprocess.run(command, env=story.deployment.environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])["serialize_value"][row.key]


@pytest.mark.skipif(AIRFLOW < (3, 4), reason="loops came with Airflow 3.4")
def test_a_loop_is_not_refused_and_each_round_has_its_object(story: Story, deployment: Deployment) -> None:
    if story.stage.combination != COMBINATIONS[0]:
        pytest.skip("one store is enough")
    run_id = "manual__loop"
    with deployment.scheduling(**story.stage.settings):
        deployment.run(LOOP, run_id, {})
    states = deployment.states(LOOP, run_id)
    assert set(states.values()) == {"success"}, (states, deployment.logs())
    listed = story.xcomctl("ls", "--dag-id", LOOP, "--key", "return_value", "-o", "json", "--limit", "0")
    rows = [row for row in json.loads(listed.stdout) if row["task_id"] == "accumulate.add"]
    assert [row["state"] for row in rows] == ["external"] * 3
    objects = {row["map_index"]: story.stage.read(row["reference"]) for row in rows}
    assert objects == {0: b"[0]", 1: b"[0, 1]", 2: b"[0, 1, 2]"}
    owners = {row["reference"].split("/")[-2] for row in rows}
    assert len(owners) == 3 and all(owner.startswith("ti-") for owner in owners)
    assert all(row["reference"].endswith("/return_value.json") for row in rows)
