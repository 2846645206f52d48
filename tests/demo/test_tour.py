from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.sandbox import Built
from xcomctl.demo.tour import Shown, play_lines, tour

pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(scope="module")
def shown(built: Built) -> list[Shown]:
    return list(tour(built.sandbox))


def the_output_of(shown: list[Shown], words: str) -> list[list[str]]:
    """The words of each line that the command with these words said."""
    (stop,) = (stop for stop in shown if words in stop.command)
    return [line.split() for line in stop.output.splitlines() if line.strip()]


def test_every_command_of_the_tour_succeeds(shown: list[Shown]) -> None:
    assert [stop.exit_code for stop in shown] == [0] * len(shown)
    assert [stop.command.split()[1] for stop in shown] == ["ls", "get", "get", "du", "fsck", "gc"]


def test_the_tour_shows_the_values_that_the_run_really_has(built: Built, shown: list[Shown]) -> None:
    best = _newest_value(built, "choose_best")
    assert the_output_of(shown, "choose_best") == [[best]]
    assert [best.strip('"'), "true"] in the_output_of(shown, "tabulate")


def test_the_tour_shows_what_the_deleted_run_left_and_leaves_it_there(built: Built, shown: list[Shown]) -> None:
    counts = {words[0]: words[1] for words in the_output_of(shown, "gc") if len(words) > 1}
    assert (counts["listed"], counts["live"], counts["marked"]) == ("42", "35", "7")
    assert "deleted" not in counts
    assert len(built.sandbox.all_objects()) == 42


@pytest.mark.skipif(
    not Path(sys.executable).with_name("xcomctl").exists(), reason="xcomctl is not installed as a command"
)
def test_the_lines_to_go_on_with_work_in_a_new_shell(built: Built) -> None:
    enter, look, collect = play_lines(built.sandbox)
    script = f"{enter}\n{look}\n{collect}"
    done = subprocess.run(
        [shutil.which("sh") or "/bin/sh", "-c", script],
        env={"PATH": "/usr/bin:/bin", "HOME": str(built.sandbox.folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 35
    # Only a terminal can be asked: elsewhere gc does nothing without --yes.
    assert done.returncode == 2
    assert "--yes" in done.stderr


def _newest_value(built: Built, task_id: str) -> str:
    """The value of a small XCom as the database holds it, in the newest run."""
    until_3_3 = "select cast(value as text) from xcom where task_id = ? order by timestamp desc"
    since_3_4 = (
        "select cast(x.value as text) from xcom_v2 x join task_instance ti on ti.id = x.task_instance_id"
        " where ti.task_id = ? order by x.timestamp desc"
    )
    with sqlite3.connect(built.sandbox.database) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master")}
        query = since_3_4 if "xcom_v2" in tables else until_3_3
        return str(database.execute(query, (task_id,)).fetchone()[0])
