"""The benchmarks run, on next to nothing, and write down what they should. Times are nobody's business here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import report, scale, xcoms
from benchmarks.__main__ import main
from benchmarks.goals import GOALS, Goal
from benchmarks.lab import Lab
from benchmarks.measuring import ROOT, Contender, Cost, FailedError, Spread, measure, ratios, run
from benchmarks.row import FLOOR, OURS, SCRIPT, Outcome, Verdict
from benchmarks.rows import GROUPS
from benchmarks.rows.scaling import too_much
from tests.lab import mariadb
from xcomctl.backend.reference import parse_base, place, recognise

SECONDS = 180


def small(path: Path, *names: str) -> dict[str, dict]:
    command = [sys.executable, "-m", "benchmarks", *names, "--scale", "0.0005", "--repeat", "1", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("| what | on | floor | ours | script |")
    return {row["name"]: row for row in json.loads(path.read_text())["rows"]}


def test_a_few_rows_and_then_one_more(tmp_path: Path):
    path = tmp_path / "results.json"
    first = small(path, "ls", "plan")
    assert first.keys() == {"ls postgresql", "gc plan"}
    planned = first["gc plan"]
    assert planned["skipped"] == "" and planned["repeat"] == 1
    told = {each["goal"]: each["ratio"] for each in planned["verdicts"]}
    assert told[str(GOALS["gc plan"][2])] == planned["costs"][OURS]["peak"]["median"] / 1e6 and len(told) == 3
    assert planned["costs"].keys() == {OURS, FLOOR, SCRIPT} and planned["ratios"].keys() == {FLOOR, SCRIPT}
    assert all(cost["wall"]["median"] > 0 and cost["peak"]["median"] > 5e6 for cost in planned["costs"].values())
    assert planned["machine"].keys() >= {"cores", "python", "commit", "date", "obstore"}
    second = small(path, "sweep", "get", "du", "sqlite", "migrate")
    assert second["gc plan"] == planned
    others = {"du postgresql", "ls sqlite", "du sqlite", "gc rows sqlite", "migrate"}
    assert second.keys() == first.keys() | {"gc sweep versions", "gc sweep trash", "get"} | others
    assert not [row["skipped"] for row in second.values() if row["skipped"]]
    page = report.page({"rows": list(second.values())})
    assert page.count("`xcomctl gc --single-pass --yes`") == 4 and "Floor: a listing by obstore" in page


def test_every_other_group(tmp_path: Path):
    others = GROUPS.keys() - {"ls", "plan", "sweep", "get", "du", "sqlite", "migrate"}
    found = small(tmp_path / "results.json", *sorted(others))
    started = {"start version", "start help", "start completion", "start ls"}
    planned = {"gc plan 20 ms", "gc plan 80 ms", "gc plan seaweedfs", "gc plan seaweedfs 20 ms"}
    sizes = {name for name in found if name.startswith(scale.PREFIX)}
    on_mariadb = {"ls mariadb", "du mariadb", "gc rows mariadb"}
    assert found.keys() == started | planned | sizes | on_mariadb and len(sizes) >= 2
    skipped = {name: row["skipped"] for name, row in found.items() if row["skipped"]}
    assert skipped == ({} if mariadb.server() else dict.fromkeys(on_mariadb, "no server"))


def test_what_fails_is_told_and_loses_nothing_that_was_measured(tmp_path: Path):
    path = tmp_path / "results.json"
    small(path, "du")
    before = path.read_text()
    command = [sys.executable, "-m", "benchmarks", "du", "mariadb", "--scale", "0.0005", "--repeat", "1"]
    nowhere = {**os.environ, "XCOMCTL_TEST_MYSQL": "mysql+pymysql://root@127.0.0.1:1/"}
    done = subprocess.run(
        [*command, "--json", str(path)], cwd=ROOT, capture_output=True, text=True, env=nowhere, check=False
    )
    assert done.returncode == 1 and "| `xcomctl du` |" in done.stdout
    assert "| all of `mariadb` |" in done.stdout and "skipped: failed: " in done.stdout
    assert json.loads(path.read_text())["rows"][0]["name"] == "du postgresql" and path.read_text() != before
    assert len(json.loads(path.read_text())["rows"]) == 1


def test_a_row_that_is_skipped_takes_no_place_of_one_that_was_measured(tmp_path: Path):
    path = tmp_path / "results.json"
    measured, absent = ({"name": name, "skipped": ""} for name in "ab")
    report.write(path, report.merged(path, [measured, {**absent, "skipped": "no server"}], {"cores": "2"}))
    found = report.merged(path, [{**measured, "skipped": "no server"}, {**absent, "skipped": "failed: x"}], {})
    assert [(row["name"], row["skipped"], row["machine"]) for row in found["rows"]] == [
        ("a", "", {"cores": "2"}),
        ("b", "no server", {"cores": "2"}),
    ]


@pytest.mark.parametrize(
    "wrong", [["--scale", "nan"], ["--scale", "0"], ["--repeat", "0"], ["--json", "no/such/x"], ["x"]]
)
def test_wrong_options(wrong: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2 and capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_is_told_to_end_leaves_nothing(tmp_path: Path, number: int):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "benchmarks", "plan", "--scale", "0.01", "--repeat", "50"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "gc plan" not in process.stderr.readline():
        pass
    time.sleep(1)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0 and [*tmp_path.iterdir()] == []
    mine = [each for each in psutil.process_iter() if str(tmp_path) in str(_environment_of(each))]
    assert mine == []


def _environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_a_size_that_would_not_fit_is_left_out():
    def took(wall: float, peak: float) -> Lab:
        each = {"wall": Spread(wall, wall, wall), "peak": Spread(peak, peak, peak)}
        return Lab(measured=[Outcome(f"{scale.PREFIX}00001000", "", "", "", costs={OURS: each})])

    assert too_much(took(1, 1e6), 10_000) == "" == too_much(took(1e9, 1e15), 100_000)
    assert too_much(took(1, 1e15), 10_000) == "would need 10000000 GB of memory"
    assert too_much(took(120, 1e6), 10_000) == "would take 20 minutes"
    assert "GB of disk" in too_much(took(1, 1e6), 10**12)


def test_every_goal_is_of_a_row_with_what_it_is_measured_against():
    assert all(goal.limit > 0 for goals in GOALS.values() for goal in goals)
    assert {"start version", "start help", "start completion", "start ls"} <= GOALS.keys()
    assert [goal.limit for goal in GOALS["gc plan"]] == [1.4, 0.2, 300] and str(GOALS["gc plan"][2]).endswith(" 300 MB")


def test_an_answer_that_is_wrong_fails():
    says = {name: Contender([sys.executable, "-c", f"print({n})"], int) for name, n in ((OURS, 1), (FLOOR, 2))}
    with pytest.raises(FailedError, match="differ"):
        measure(says, 1, warm=False)
    with pytest.raises(FailedError, match="differ"):
        measure({OURS: says[OURS]}, 1, warm=False, expected=3)
    assert len(measure({OURS: says[OURS]}, 2, expected=1)[OURS]) == 2


def test_a_contender_that_fails_or_says_nothing_of_the_kind():
    with pytest.raises(FailedError, match="ended with 7"):
        run(Contender([sys.executable, "-c", "raise SystemExit(7)"]))
    with pytest.raises(FailedError, match="something else"):
        measure({OURS: Contender([sys.executable, "-c", "print('x')"], int)}, 1, warm=False)


def test_memory_is_that_of_the_contender_alone():
    ballast = bytearray(300_000_000)
    small, _ = run(Contender([sys.executable, "-I", "-c", "pass"]))
    large, _ = run(Contender([sys.executable, "-I", "-c", "bytearray(200_000_000)"]))
    assert small.peak < 50e6 < 200e6 < large.peak < 250e6 and ballast


def test_what_is_counted_may_lie_across_two_reads():
    says = "import sys, time; w = sys.stdout.write; w('abxa'); sys.stdout.flush(); time.sleep(0.3); w('bab')"
    assert run(Contender([sys.executable, "-c", says], counts=b"ab"))[1] == b"3"


def test_ratios_are_taken_turn_by_turn():
    costs = {OURS: [Cost(2, 2, 10), Cost(9, 9, 10)], FLOOR: [Cost(1, 1, 5), Cost(3, 3, 5)]}
    assert ratios(costs, OURS, FLOOR) == Spread(2.5, 2, 3)
    assert ratios(costs, OURS, FLOOR, "peak").median == 2


def test_what_takes_minutes_runs_once(tmp_path: Path):
    notes = tmp_path / "notes"
    noting = "import sys; open(sys.argv[1], 'a').write('x')"
    slow = Contender([sys.executable, "-c", noting, str(notes)], turns=1)
    costs = measure({OURS: Contender([sys.executable, "-c", "pass"]), SCRIPT: slow}, 2)
    assert len(costs[OURS]) == 2 and len(costs[SCRIPT]) == 1 and notes.read_text() == "x"
    assert ratios(costs, OURS, SCRIPT).median == costs[OURS][0].wall / costs[SCRIPT][0].wall


def test_a_part_stands_for_the_whole():
    part = "print('a log'); print('{\"seconds\": 5}')"
    cost, _ = run(Contender([sys.executable, "-c", part], scale=3))
    assert 10 < cost.wall < 15


def test_what_is_missed_and_what_is_skipped_is_told():
    one = Spread(2, 1, 3)
    costs = {OURS: {"wall": one, "cpu": one, "peak": one}, FLOOR: {"wall": one, "cpu": one, "peak": one}}
    verdicts = (Verdict(str(Goal(1.5)), 2, False),)
    missed = Outcome("a", "what", "on", "floor", "", "", 1, costs, {FLOOR: one}, verdicts)
    lines = report.table([missed.facts(), Outcome("b", "what", "on", "floor", "", "no server").facts()]).splitlines()
    assert lines[2].endswith(f"| 2.00 (1.00..3.00) |  | 0 MB (0 MB) | {Goal(1.5)} | no, 2.00 |")
    assert lines[3].endswith("| skipped: no server |")


def test_names_are_those_that_xcom_backends_make():
    base = parse_base(xcoms.BASE)
    rows = 5000
    live, orphans = set(xcoms.live_names(rows)), set(xcoms.orphan_names(rows))
    assert len(live) == xcoms.references(rows) and len(orphans) == xcoms.orphans(rows) and not live & orphans
    assert recognise(xcoms.reference(0), base).location.name in live
    assert all(place(name.removeprefix(f"{xcoms.PREFIX}/")) for name in live | orphans)
    assert {xcoms.dag_id(run) for run in range(xcoms.DAGS)} >= {name.split("/")[2] for name in orphans}


def test_a_line_through_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def row(references: int) -> dict[str, object]:
        objects = references * scale.OBJECTS_PER_REFERENCE
        costs = {"wall": {"median": 1 + objects / 1e5}, "peak": {"median": 50e6 + 100 * objects}}
        return {"name": f"{scale.PREFIX}{references:08}", "skipped": "", "costs": {OURS: costs}}

    path = tmp_path / "results.json"
    monkeypatch.setattr(scale, "RESULTS", path)
    assert "make bench" in scale.told()
    path.write_text(json.dumps({"rows": [row(10_000), row(100_000), row(1_000_000)]}))
    told = scale.told()
    assert "10.0 µs and 100 bytes for each object, after 50 MB" in told
    assert "| 1,000,000 | 11.0 s | 150 MB | 1,000 | $0.005 | $1.15 | by the line |" in told
    assert "| 100,000,000 | 17 min | 10.1 GB | 100,000 | $0.5 | $115.38 | extrapolated |" in told
    assert scale.picture().count("<circle") == 6
