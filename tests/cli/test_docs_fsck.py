"""What the page about fsck names is what there is: every finding, with its severities, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run, place
from tests.cli.test_docs import below, words_of
from tests.operations.scene import Scene
from xcomctl.errors import ExitCode
from xcomctl.model import Severity
from xcomctl.operations.fsck import Kind
from xcomctl.operations.fsck.objects import AT_EASE_BYTES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/fsck.md").read_text("utf-8")
TABLE = below(PAGE, "| finding | severity |")


def severities() -> dict[str, set[str]]:
    cells = (line.split(" | ") for line in TABLE.splitlines() if line.startswith("| `"))
    return {name.strip("| `"): set(severity.split(", ")) for name, severity, *_ in cells}


def in_the_code() -> dict[str, set[str]]:
    """Each kind with the severities that stand beside it wherever a finding is made."""
    found: dict[str, set[str]] = {kind.value: set() for kind in Kind}
    for file in (ROOT / "xcomctl/operations/fsck").glob("*.py"):
        for kind, severity in re.findall(r"Kind\.([A-Z_]+),\s*Severity\.([A-Z]+)", file.read_text("utf-8")):
            found[Kind[kind].value].add(Severity[severity].value)
    return found


def test_every_finding_is_explained_with_its_severities():
    assert words_of(TABLE) == {kind.value for kind in Kind}
    assert severities() == in_the_code()


def test_the_exit_codes_are_those_that_there_are():
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert codes == [ExitCode.OK, ExitCode.NO, ExitCode.USAGE, ExitCode.METADATA, ExitCode.STORAGE]


def test_the_size_that_is_read_at_ease_is_told():
    assert f"above {AT_EASE_BYTES // 1024**2} MiB" in PAGE


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.stores("file")
def test_the_line_for_cron_is_silent_while_nothing_is_wrong(cli: Run, scene: Scene):
    (line,) = re.findall(r"\* {2}xcomctl (.*)\n", PAGE)
    scene.push("d")
    scene.age(scene.leak("d"), 10)
    done = cli(*line.split(), *place(scene))
    assert (done.code, done.out, done.err) == (0, b"", "")
    scene.world.push("d", "r", "t", key="lost", value=f'"{scene.base.text}/d/r/t/00000000-0000-4000-8000-000000000000"')
    assert cli(*line.split(), *place(scene)).code == 1
