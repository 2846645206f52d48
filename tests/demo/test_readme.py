"""Every command of the README runs on a sandbox, and what the README shows of it is what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.demo.conftest import Built
from xcomctl.demo.tour import tour

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.one_airflow]


@dataclass(frozen=True, slots=True)
class Example:
    """A command of the README and what is shown below it."""

    command: str
    shown: str


def examples() -> list[Example]:
    found = []
    for block in BLOCK.findall(README.read_text("utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append(Example(command, re.sub(r"^#.*\n?", "", shown, flags=re.MULTILINE)))
    return found


def shape(text: str) -> list[str]:
    """The lines of an output, with everything that differs from run to run made alike: values, times and order."""
    alike = re.sub(r'"[abc]"|\b(true|false)\b|[\d][\d.,:T+-]*( [KM]iB| B)?', "~", text)
    return sorted(" ".join(line.split()) for line in alike.splitlines() if line.strip())


COMMANDS = [example for example in examples() if example.command.startswith("xcomctl ")]


@pytest.mark.parametrize("example", COMMANDS, ids=[example.command for example in COMMANDS])
def test_a_command_of_the_readme_runs(built: Built, example: Example, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(example.command)],
        env=built.sandbox.environment(),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_readme_shows_what_the_demo_shows(built: Built) -> None:
    shown = {example.command: shape(example.shown) for example in COMMANDS}
    for stop in tour(built.sandbox):
        assert shown[stop.command] == shape(stop.output), f"the README is stale: {stop.command}"


def test_the_readme_names_the_make_targets_that_exist() -> None:
    makefile = (README.parent / "Makefile").read_text("utf-8")
    for target in re.findall(r"`?make ([a-z]+)", README.read_text("utf-8")):
        assert f"\n{target}:" in makefile, target


def test_every_command_has_its_help_in_the_reference() -> None:
    reference = (README.parent / "docs/reference.md").read_text("utf-8")
    cog = Path(sys.executable).with_name("cog")
    if cog.exists():  # the matrix has no linters; `make lint` always runs this
        subprocess.run(
            [str(cog), "--check", str(README.parent / "docs/reference.md")], check=True, env=dict(os.environ)
        )
    for command in (
        "ls",
        "du",
        "get",
        "gc",
        "restore",
        "migrate",
        "preflight",
        "rm",
        "verify-backend",
        "demo",
        "completions",
    ):
        assert f"## xcomctl {command}\n" in reference
