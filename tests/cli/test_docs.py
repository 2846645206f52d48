"""What the pages about gc name is what there is: every gate, count, cause and metric, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run, place
from tests.operations.scene import Scene
from xcomctl.operations.gc import Cause, Gate
from xcomctl.operations.rm import GATES, Skip, Unmarked

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/gc.md").read_text("utf-8")

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]


def words_of(table: str) -> set[str]:
    """The words in backticks of a table's first column."""
    cells = (line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def below(page: str, header: str) -> str:
    return page.partition(header)[2].partition("\n\n")[0]


def test_every_gate_is_explained():
    assert words_of(below(PAGE, "| gate | shut when |")) == {gate.value for gate in Gate}


def test_every_count_and_field_is_explained(cli: Run, scene: Scene):
    scene.push("d")
    report = cli("gc", "-n", *place(scene), "-o", "json").json
    counts = {name for name in report if f"{name}_bytes" in report}
    assert words_of(below(PAGE, "| count | of |")) | {"deletable", "marked"} == counts
    extra = set(report) - counts - {f"{name}_bytes" for name in counts}
    known = {"schema", "command", "operation_id", "dry_run", "status", "failures", "refusals"}
    assert {word for word in extra - known if f"`{word}`" not in PAGE} == set()


def test_every_cause_is_explained():
    assert {cause.value for cause in Cause if f"`{cause.value}`" not in PAGE} == set()


def test_every_metric_is_named(cli: Run, scene: Scene, tmp_path: Path):
    scene.push("d")
    file = tmp_path / "m.prom"
    cli("gc", "-y", *place(scene), "-q", "--metrics-file", str(file))
    metrics = set(re.findall(r"^# TYPE (\w+) gauge$", file.read_text(), re.MULTILINE))
    assert set(re.findall(r"`(xcomctl_gc_\w+)", PAGE)) == metrics


def test_the_control_folder_is_what_the_page_shows(cli: Run, scene: Scene):
    """Of what a marking and a deleting run leave, every object matches a line of the table."""
    scene.push("d")
    scene.age(scene.leak("d"), 30)
    asked = ("gc", "-y", *place(scene), "-q", "--confirm-after", "0s", "--unsafe-windows", "--max-delete", "1")
    assert [cli(*asked).code for _ in range(2)] == [0, 0]
    (control,) = (scene.raw.path / "pre/_xcomctl").iterdir()
    left = {str(each.relative_to(control)) for each in control.rglob("*") if each.is_file()}
    shown = words_of(below(PAGE, "| object | holds |"))
    patterns = [re.sub(r"<\w+>", r"[\\w-]+", re.escape(name).replace(r"\<", "<").replace(r"\>", ">")) for name in shown]
    assert left and {name for name in left if not any(re.fullmatch(pattern, name) for pattern in patterns)} == set()


def test_what_rm_says_is_explained():
    page = (ROOT / "docs/rm.md").read_text("utf-8")
    assert words_of(below(page, "| reason | is |")) == {why.value for why in Unmarked}
    assert {skip.value for skip in Skip if f"`{skip.value}`" not in page} == set()
    assert {gate.value for gate in GATES if f"`{gate.value}`" not in page} == set()
